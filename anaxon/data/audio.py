"""Sound files of any kind that libsndfile reads (wav, flac, NIST sph, ogg, mp3 ...), as mono at 16 kHz."""

import importlib
from pathlib import Path

import numpy as np

from anaxon.data.features import RATE


def check_installed() -> None:
    """Raises a `ValueError` that says what to install when the packages that read and resample are not there."""
    for name in ("soundfile", "soxr"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
            raise ValueError(f"reading sound files needs the package {name}: pip install 'anaxon[asr]'") from error


def read(path: Path, start: float = 0.0, stop: float | None = None) -> tuple[np.ndarray, int]:
    """Samples `[n]` float32 in [-1, 1] between two times in seconds, channels averaged, and their rate in Hz.

    Raises:
      ValueError: for a file that is missing, damaged or empty there, or holds values that are not finite.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, first = file.samplerate, round(start * file.samplerate)
            last = file.frames if stop is None else min(file.frames, round(stop * rate))
            if last <= first:
                raise ValueError(f"{path}: holds no sound" + (f" from {start} to {stop} s" if stop else ""))
            file.seek(first)
            sound = file.read(last - first, dtype="float32", always_2d=True).mean(1)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path}: not a readable sound file ({_reason(error)})") from error
    if len(sound) < 0.99 * (last - first) or not np.isfinite(sound).all():
        raise ValueError(f"{path}: damaged ({len(sound)} of {last - first} samples could be read)")
    return sound, rate


def _reason(error: Exception) -> str:
    """What libsndfile says, without the path that it repeats."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def at_16_khz(sound: np.ndarray, rate: float) -> np.ndarray:
    """`sound` `[n]` at `rate` Hz, resampled to 16 kHz where it is not. A wrong `rate` on purpose changes the speed."""
    if rate == RATE:
        return sound
    import soxr

    return np.asarray(soxr.resample(sound, rate, RATE), np.float32)
