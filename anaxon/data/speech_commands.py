"""A reader for a folder of Speech Commands v1 or v2 (Warden 2018, arXiv:1804.03209) with its official split."""

import wave
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import Progress

from anaxon.data import cache, voices
from anaxon.data.features import RATE, log_mel_batches

if TYPE_CHECKING:
    from anaxon.data.keywords import KeywordData

_NOISE = "_background_noise_"
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_V2_ONLY = ("backward", "follow", "forward", "learn", "visual")
_Clip = tuple[Path, int, int]  # file, label, speaker


def cache_path(config: "KeywordData") -> Path:
    """The file of this folder's features; checks on the way that it is a Speech Commands folder."""
    lists = [(folder_of(config) / name).read_bytes() for name in _LISTS.values()]
    code = cache.fingerprint(version=1, folder=str(folder_of(config).resolve()), seed=config.seed,
                             lists=[zlib.crc32(text) for text in lists], features=str(config.features))  # fmt: skip
    return cache.folder() / f"speech-commands-{code}.npz"


def forget_parts(path: Path) -> None:
    """Nothing is kept besides the file itself."""


def folder_of(config: "KeywordData") -> Path:
    """The folder, checked.

    Raises:
      ValueError: when it is no Speech Commands copy; the sentence names the first thing that is missing.
    """
    folder = Path(str(config.path)).expanduser()
    if not folder.is_dir():
        raise ValueError(f"data.path: there is no folder {folder}")
    for name in (*_LISTS.values(), *voices.KEYWORDS, _NOISE):
        if not (folder / name).exists():
            raise ValueError(f"data.path: {folder} is no Speech Commands folder: it has no {name}")
    return folder


def build(config: "KeywordData", progress: bool) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays `{split}_features`, `_labels`, `_speakers` and facts, in the layout of the synthetic corpus."""
    folder = folder_of(config)
    files = _files(folder)
    noises = [_read(path) for path in sorted((folder / _NOISE).glob("*.wav"))]
    if not noises:
        raise ValueError(f"data.path: {folder / _NOISE} has no .wav files, from which silence is cut")
    arrays: dict[str, np.ndarray] = {}
    with Progress(disable=not progress) as bar:
        for number, split in enumerate(voices.SPLITS):
            rng = np.random.default_rng([config.seed, 303, number])
            chosen = _balanced(files[split], rng)
            clips = [_fit(_read(file)) for file, _, _ in bar.track(chosen, description=f"reading {split}")]
            silent = [_silence(rng, noises) for _ in range(max(1, len(clips) // 11))]
            arrays[f"{split}_features"] = log_mel_batches(np.stack(clips + silent), config.features)
            arrays[f"{split}_labels"] = np.array([c[1] for c in chosen] + [voices.SILENCE] * len(silent), np.int32)
            arrays[f"{split}_speakers"] = np.array([c[2] for c in chosen] + [-1] * len(silent), np.int32)
    version = "v2" if any((folder / word).is_dir() for word in _V2_ONLY) else "v1"
    return arrays, {"name": f"Speech Commands {version}", "folder": str(folder)}


def _files(folder: Path) -> dict[str, list[_Clip]]:
    """Every word's files by official split, sorted by name. A speaker is the hash before `_nohash_`."""
    member = {line.strip(): split for split, name in _LISTS.items()
              for line in (folder / name).read_text().splitlines() if line.strip()}  # fmt: skip
    files: dict[str, list[_Clip]] = {split: [] for split in voices.SPLITS}
    for word in (*voices.KEYWORDS, *voices.OTHERS):
        label = voices.KEYWORDS.index(word) if word in voices.KEYWORDS else voices.UNKNOWN
        for path in sorted((folder / word).glob("*.wav")):
            speaker = zlib.crc32(path.stem.split("_nohash_")[0].encode()) & 0x7FFFFFFF
            files[member.get(f"{word}/{path.name}", "train")].append((path, label, speaker))
    for split, found in files.items():
        if not found:
            raise ValueError(f"data.path: {folder} is no Speech Commands folder: its {split} split is empty")
    return files


def _balanced(files: list[_Clip], rng: np.random.Generator) -> list[_Clip]:
    """All keywords, and as many unknown words as the mean keyword has clips (the usual 12-class task)."""
    known = [clip for clip in files if clip[1] != voices.UNKNOWN]
    other = [clip for clip in files if clip[1] == voices.UNKNOWN]
    count = min(len(other), max(1, round(len(known) / len(voices.KEYWORDS))))
    return known + [other[k] for k in np.sort(rng.choice(len(other), count, replace=False))]


def _read(path: Path) -> np.ndarray:
    """Samples `[n]` int16 of a mono 16-bit 16 kHz WAV file."""
    try:
        with wave.open(str(path)) as file:
            shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if shape != (1, 2, RATE):
                raise ValueError(f"{path}: expected mono, 16 bit, {RATE} Hz; got channels, bytes, Hz = {shape}")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: not a readable WAV file ({error})") from error


def _fit(clip: np.ndarray) -> np.ndarray:
    """One second: cut, or padded with zeros at the end."""
    return np.pad(clip[:RATE], (0, max(0, RATE - len(clip))))


def _silence(rng: np.random.Generator, noises: list[np.ndarray]) -> np.ndarray:
    """A second of a background noise at a random level."""
    noise = noises[rng.integers(len(noises))]
    first = rng.integers(max(1, len(noise) - RATE + 1))
    return np.round(_fit(noise[first : first + RATE]) * rng.uniform(0.0, 1.0)).astype(np.int16)
