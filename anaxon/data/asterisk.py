"""Real human speech, where Debian's `asterisk-core-sounds-en-wav` is installed: telephone prompts of one speaker."""

import gzip
import re
from pathlib import Path

import numpy as np

from anaxon.data import tokens
from anaxon.data.asr import SpeechData, Utterances
from anaxon.data.reading import features_of
from anaxon.data.recordings import Recording

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TEXTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
_PUNCTUATION = re.compile(r"[.,;:!?\"()…-]+")


def prompts(config: SpeechData = SpeechData(), sounds: Path = SOUNDS, texts: Path = TEXTS) -> Utterances | None:  # noqa: B008
    """The prompts whose transcript is words alone (no tones, digits or signs).

    They were recorded at 8 kHz: bands above 4 kHz hold nothing. None where they are not installed.
    """
    if not (sounds.is_dir() and texts.is_file()):
        return None
    found = [r for r in _recordings(sounds, texts) if not tokens.unknown(r.text) and r.text]
    arrays, facts = features_of(found, config, training=False)
    if not len(arrays["kept"]):
        return None
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(arrays["lengths"])])
    ids = tuple(found[k].id for k in arrays["kept"])
    return Utterances(arrays["features"], starts, tuple(facts["texts"]), np.zeros(len(ids), np.int32), ids)


def _recordings(sounds: Path, texts: Path) -> list[Recording]:
    """One a line `name: transcript`; comments start with a semicolon, what is in brackets is no speech."""
    lines = gzip.decompress(texts.read_bytes()).decode("utf-8", "replace").splitlines()
    pairs = [line.split(": ", 1) for line in lines if ": " in line and not line.startswith(";")]
    spoken = [(name.strip(), text) for name, text in pairs if "[" not in text]
    return [Recording(name, file, _PUNCTUATION.sub(" ", text), "allison") for name, text in spoken
            if (file := sounds / f"{name}.wav").is_file()]  # fmt: skip
