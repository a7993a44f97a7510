"""Twelve-class keyword spotting: ten words, silence and unknown, from espeak-ng or from a Speech Commands folder."""

import dataclasses
import os
from functools import partial

import numpy as np

from anaxon.data import cache, speech_commands, synthesis, voices
from anaxon.data.features import LogMel

CLASSES = voices.CLASSES
BOUND = 3.0  # normalised features are clipped here, so that a DAC's range is known


@dataclasses.dataclass(frozen=True)
class KeywordData:
    """Which corpus, how much of it, and its features.

    `path` is a Speech Commands v1 or v2 folder; None is the synthetic corpus. The clip counts are of the synthetic
    corpus. `workers` 0 means one for each core.

    Raises:
      ValueError: for a count below 12 (one clip a class), a negative seed or number of workers.
    """

    path: str | None = None
    train: int = 14_000
    validation: int = 1_200
    test: int = 2_400
    seed: int = 0
    workers: int = 0
    features: LogMel = dataclasses.field(default_factory=LogMel)

    def __post_init__(self) -> None:
        for name, least in (("train", 12), ("validation", 12), ("test", 12), ("seed", 0), ("workers", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"data.{name} must be a whole number, {least} or more; got {value!r}")
        if not isinstance(self.features, LogMel):
            raise ValueError(f"data.features must be a LogMel; got {type(self.features).__name__}")
        if self.path is not None and not isinstance(self.path, str | os.PathLike):
            raise ValueError(f"data.path must be a folder's path; got {self.path!r}")


@dataclasses.dataclass(frozen=True)
class Split:
    """Features `[n, frames, mels]` float32 in [-3, 3], labels `[n]` int32, speakers `[n]` int32 (-1: nobody speaks)."""

    features: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Three splits without a common speaker; `mean` and `std` `[mels]` are of the training split's log-mel values."""

    name: str
    train: Split
    validation: Split
    test: Split
    mean: np.ndarray
    std: np.ndarray
    checksum: str
    classes: tuple[str, ...] = CLASSES

    def normalise(self, log_mel: np.ndarray) -> np.ndarray:
        """Features of other clips on this corpus's scale, `[n, frames, mels]` to the same shape in [-3, 3]."""
        return normalise(log_mel, self.mean, self.std)


def normalise(log_mel: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """`clip((log_mel - mean) / std, -3, 3)` as float32."""
    return np.clip((log_mel.astype(np.float32) - mean) / std, -BOUND, BOUND)


def load(config: KeywordData = KeywordData(), progress: bool = True) -> Corpus:  # noqa: B008 - frozen
    """The corpus; it is made on the first call (an interrupted one continues) and read from the cache afterwards.

    Raises:
      ValueError: when `path` is no Speech Commands folder, the cache file is damaged or espeak-ng is not installed.
      OSError: when the cache cannot be written (full disk); shards already made are kept.
    """
    source = synthesis if config.path is None else speech_commands
    path = source.cache_path(config)
    arrays, facts = cache.made(path, partial(source.build, config, progress))
    source.forget_parts(path)
    return _corpus(arrays, facts)


def _corpus(arrays: dict[str, np.ndarray], facts: dict) -> Corpus:
    train = arrays["train_features"].astype(np.float32)
    mean, std = train.mean((0, 1), dtype=np.float64), train.std((0, 1), dtype=np.float64)
    mean, std = mean.astype(np.float32), np.maximum(std, 1e-3).astype(np.float32)

    def split(name: str) -> Split:
        features = normalise(arrays[f"{name}_features"], mean, std)
        return Split(features, arrays[f"{name}_labels"], arrays[f"{name}_speakers"])

    return Corpus(facts["name"], split("train"), split("validation"), split("test"), mean, std,
                  checksum=f"{cache.crc(*(arrays[name] for name in sorted(arrays))):08x}")  # fmt: skip


def stratified_panel(labels: np.ndarray, size: int = 200, seed: int = 0) -> np.ndarray:
    """Sorted indices `[size]` into `labels` `[n]`: the same number from every class, the remainder spread by the seed.

    Raises:
      ValueError: when `size` is not positive or a class has too few clips.
    """
    if size < 1:
        raise ValueError(f"panel size must be positive; got {size}")
    rng = np.random.default_rng([seed, 202])
    classes, counts = np.unique(labels, return_counts=True)
    share = np.full(len(classes), size // len(classes))
    share[rng.permutation(len(classes))[: size % len(classes)]] += 1
    if (counts < share).any():
        short = classes[np.argmax(share - counts)]
        raise ValueError(f"panel of {size}: class {short} has {counts.min()} clips, {share.max()} are needed")
    picks = [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in zip(classes, share, strict=True)]
    return np.sort(np.concatenate(picks))
