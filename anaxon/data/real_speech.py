"""A check with voices the corpus never heard: recorded prompts and recorded-voice synthesisers, where installed.

Accuracy on synthetic speech says little about real speech; these few clips say a little more. Asterisk's prompts
(Debian `asterisk-core-sounds-en-wav`) are one person, recorded: "no" and the digits. flite's voices (Debian `flite`)
are synthesised from recordings of three people and one diphone voice: all 35 words.
"""

import dataclasses
import os
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
from rich.progress import Progress

from anaxon.data import cache, rooms, voices

_PROMPTS = "/usr/share/asterisk/sounds/en_US_f_Allison"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ASTERISK = {"vm-no": "no", **{f"digits/{k}": word for k, word in enumerate(_DIGITS)}}
_FLITE_VOICES = ("slt", "rms", "awb", "kal16")


@dataclasses.dataclass(frozen=True)
class CheckSet:
    """Clips `[n, 16000]` int16 at 16 kHz, labels `[n]` int32, the spoken words `[n]`."""

    name: str
    clips: np.ndarray
    labels: np.ndarray
    words: tuple[str, ...]


def real_speech_check(progress: bool = True) -> list[CheckSet]:
    """The check sets whose sounds are installed, possibly none. Clips are dry: no room, no noise added."""
    return [found for found in (asterisk_prompts(), flite_words(progress)) if found is not None]


def asterisk_prompts(folder: Path | str = _PROMPTS) -> CheckSet | None:
    """Real speech: "no" and ten digits (class unknown) by one speaker, 8 kHz; None when a prompt is not there."""
    files = {Path(folder) / f"{name}.wav": word for name, word in _ASTERISK.items()}
    if not all(path.is_file() for path in files):
        return None
    return _check_set("Asterisk prompts (real speech)", [(word, *_read(path)) for path, word in files.items()])


def flite_words(progress: bool = True) -> CheckSet | None:
    """The 35 words by flite's four voices; None when there is no `flite` program. Cached."""
    program = shutil.which("flite")
    if program is None:
        return None
    stat = os.stat(program)
    path = cache.folder() / f"flite-{cache.fingerprint(version=1, size=stat.st_size, voices=_FLITE_VOICES)}.npz"
    try:
        arrays, facts = cache.load(path)
    except FileNotFoundError:
        made = _check_set("flite (recorded voices)", _flite(program, progress))
        cache.save(path, {"clips": made.clips, "labels": made.labels}, {"name": made.name, "words": made.words})
        return made
    return CheckSet(facts["name"], arrays["clips"], arrays["labels"], tuple(facts["words"]))


def _flite(program: str, progress: bool) -> list[tuple[str, np.ndarray, int]]:
    jobs = [(voice, word) for voice in _FLITE_VOICES for word in (*voices.KEYWORDS, *voices.OTHERS)]
    spoken = []
    with tempfile.TemporaryDirectory() as folder, Progress(disable=not progress) as bar:
        for voice, word in bar.track(jobs, description="speaking with flite"):
            path = Path(folder) / "word.wav"
            subprocess.run([program, "-voice", voice, "-t", word, "-o", str(path)], check=True, capture_output=True)
            spoken.append((word, *_read(path)))
    return spoken


def _read(path: Path) -> tuple[np.ndarray, int]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768, file.getframerate()


def _check_set(name: str, spoken: list[tuple[str, np.ndarray, int]]) -> CheckSet:
    words = tuple(word for word, _, _ in spoken)
    labels = [voices.KEYWORDS.index(word) if word in voices.KEYWORDS else voices.UNKNOWN for word in words]
    return CheckSet(
        name, np.stack([_clip(sound, rate) for _, sound, rate in spoken]), np.array(labels, np.int32), words
    )


def _clip(sound: np.ndarray, rate: int) -> np.ndarray:
    """The word at 16 kHz in the middle of one second, peak 0.5, over faint noise (digital silence is off the scale)."""
    word = rooms.trim(sound)
    word = rooms.resample(word, round(len(word) * rooms.RATE / rate))[: rooms.CLIP]
    clip = rooms.coloured_noise(np.random.default_rng(0), 1.0) * 1e-3
    first = (rooms.CLIP - len(word)) // 2
    clip[first : first + len(word)] += 0.5 * word / np.abs(word).max()
    return np.round(clip * 32767).astype(np.int16)
