"""Transcribed speech: sentences of the packaged synthesiser, or a folder of LibriSpeech, TED-LIUM 2 or any manifest."""

import dataclasses
import os
from functools import partial

import numpy as np

from anaxon.check import choice, integer
from anaxon.data import cache, reading, utterances
from anaxon.data.features import SpeechLogMel

SPLITS = ("train", "validation", "test")
_LARGE = 10**9
_LISTS = ("rates", "noise_db", "gain_db", "accents", "train_folders", "validation_folders", "test_folders", "speeds")


@dataclasses.dataclass(frozen=True)
class SpeechData:
    """Which corpus, how difficult it is, and its features.

    `path` is a folder (LibriSpeech, TED-LIUM 2) or a manifest file; None is the synthetic corpus. To that belong:
    sentences in `train`, `validation` and `test`; `vocabulary`, the share of the grammar's words that is used; `rates`
    in words a minute; `room` "random" or "dry"; speech over noise `noise_db` and peak level `gain_db` (dB, uniform in
    the range); `accents` of espeak-ng; `speakers` of the training split (0: all); `voices` "held-out" (nobody speaks in
    two splits) or "shared". `workers` 0 means one for each core.

    To a folder belong: `train_folders`, `validation_folders`, `test_folders` (patterns of the names of its parts);
    `speeds` at which every training utterance is heard (0.9, 1, 1.1: three times the data); `longest` in seconds, above
    which training utterances are skipped and counted; `unknown` "skip" leaves out utterances whose transcript holds a
    symbol without a token, "drop" leaves out the symbol. `seed` chooses sentences, voices and rooms.

    Raises:
      ValueError: for a value out of range; the sentence names the field.
    """

    path: str | None = None
    train: int = 1_200
    validation: int = 200
    test: int = 800
    vocabulary: float = 1.0
    rates: tuple[int, int] = (110, 150)
    noise_db: tuple[float, float] = (10.0, 35.0)
    gain_db: tuple[float, float] = (-20.0, 0.0)
    room: str = "random"
    accents: tuple[str, ...] = ("en-us",)
    voices: str = "held-out"
    speakers: int = 0
    train_folders: tuple[str, ...] = ("train*",)
    validation_folders: tuple[str, ...] = ("dev*", "valid*")
    test_folders: tuple[str, ...] = ("test*",)
    speeds: tuple[float, ...] = (1.0,)
    longest: float = 20.0
    unknown: str = "skip"
    seed: int = 0
    workers: int = 0
    features: SpeechLogMel = dataclasses.field(default_factory=SpeechLogMel)

    def __post_init__(self) -> None:
        for name in _LISTS:
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not value:
                raise ValueError(f"data.{name}: expected a list; got {value!r}")
            object.__setattr__(self, name, tuple(value))
        for name, least in (("train", 2), ("validation", 1), ("test", 1), ("speakers", 0), ("seed", 0), ("workers", 0)):
            integer(f"data.{name}", getattr(self, name), least, _LARGE)
        for name, low, high in (("rates", 80, 450), ("noise_db", -20, 200), ("gain_db", -60, 0)):
            _range(f"data.{name}", getattr(self, name), low, high)
        choice("data.room", self.room, ("random", "dry"))
        choice("data.voices", self.voices, ("held-out", "shared"))
        choice("data.unknown", self.unknown, ("skip", "drop"))
        for speed in self.speeds:
            _number("data.speeds", speed, 0.5, 2)
        _number("data.vocabulary", self.vocabulary, 0.05, 1)
        _number("data.longest", self.longest, 0.1, 3600)
        if not isinstance(self.features, SpeechLogMel):
            raise ValueError(f"data.features: expected a SpeechLogMel; got {type(self.features).__name__}")
        if self.path is not None and not isinstance(self.path, str | os.PathLike):
            raise ValueError(f"data.path: expected a path; got {self.path!r}")


def _number(field: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field}: expected a number from {low} to {high}; got {value!r}")


def _range(field: str, value: tuple, low: float, high: float) -> None:
    ok = len(value) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not ok or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{field}: expected [lowest, highest] between {low} and {high}; got {value!r}")


@dataclasses.dataclass(frozen=True)
class Utterances:
    """One split: raw log-mel `features` `[frames_total, mels]` float16, utterance i in rows `starts[i]:starts[i + 1]`.

    `starts` `[n + 1]` int64, `texts` and `ids` of n, `speakers` `[n]` int32 (numbers without meaning).
    """

    features: np.ndarray
    starts: np.ndarray
    texts: tuple[str, ...]
    speakers: np.ndarray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each utterance, `[n]` int64."""
        return np.diff(self.starts)

    @property
    def words(self) -> int:
        """Words of all transcripts."""
        return sum(len(text.split()) for text in self.texts)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Three splits; `mean` and `std` `[mels]` float32 are of the training split.

    `notes` are sentences on what was left out; `hop` is the time from frame to frame in seconds.
    """

    name: str
    train: Utterances
    validation: Utterances
    test: Utterances
    mean: np.ndarray
    std: np.ndarray
    checksum: str
    notes: tuple[str, ...] = ()
    hop: float = 0.01

    def seconds(self, split: str) -> float:
        """Speech in a split, in seconds."""
        return len(getattr(self, split).features) * self.hop


def load(config: SpeechData = SpeechData(), progress: bool = True) -> Corpus:  # noqa: B008 - frozen
    """The corpus; it is made on the first call (an interrupted one continues) and read from the cache afterwards.

    Raises:
      ValueError: when `path` holds no known corpus, nothing of a split can be used, the cache file is damaged or
        espeak-ng is not installed.
      OSError: when the cache cannot be written (full disk); shards already made are kept.
    """
    source = utterances if config.path is None else reading
    path = source.cache_path(config)
    arrays, facts = cache.made(path, partial(source.build, config, progress))
    source.forget_parts(path)
    return _corpus(arrays, facts, config)


def _corpus(arrays: dict[str, np.ndarray], facts: dict, config: SpeechData) -> Corpus:
    def split(name: str) -> Utterances:
        features, starts, speakers = (arrays[f"{name}_{field}"] for field in ("features", "starts", "speakers"))
        return Utterances(features, starts, tuple(facts["texts"][name]), speakers, tuple(facts["ids"][name]))

    made = {name: split(name) for name in SPLITS}
    mean, std = _moments(made["train"].features)
    code = cache.crc(*(arrays[name] for name in sorted(arrays)), np.frombuffer(str(facts["texts"]).encode(), np.uint8))
    return Corpus(facts["name"], **made, mean=mean, std=std, checksum=f"{code:08x}", notes=tuple(facts["notes"]),
                  hop=config.features.hop / 16_000)  # fmt: skip


def _moments(features: np.ndarray, block: int = 1 << 16) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band, `[mels]` float32, in float64 a block at a time."""
    total, square = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for first in range(0, len(features), block):
        part = features[first : first + block].astype(np.float64)
        total += part.sum(0)
        square += (part**2).sum(0)
    mean = total / len(features)
    std = np.sqrt(np.maximum(square / len(features) - mean**2, 0))
    return mean.astype(np.float32), np.maximum(std, 1e-3).astype(np.float32)
