"""A keyword run small enough for a test: clips that are class prototypes in noise, five frames of eight bands."""

import numpy as np

from anaxon.data import keywords, real_speech
from anaxon.data.keywords import Corpus, Split

CONFIG = """
job = "keywords"
seed = 3
[data]
train = 240
validation = 48
test = 96
[data.features]
mels = 8
hop = 3200
[model]
hidden = 6
[training]
epochs = 40
batch = 24
[training.noise]
shift = 0
time_mask = 0
mel_mask = 0
[hardware]
preset = "gaussian-8bit"
[ensemble]
chips = 7
panel = 48
full_test_chips = 3
calibration = 24
chunk = 2
"""


def corpus(config, progress=True):
    """Stands in for `keywords.load`."""
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(12, 5, 8))

    def split(n):
        labels = np.arange(n, dtype=np.int32) % 12
        features = 0.6 * prototypes[labels] + 0.5 * rng.normal(size=(n, 5, 8))
        return Split(np.clip(features, -3, 3).astype(np.float32), labels, labels)

    splits = [split(n) for n in (config.train, config.validation, config.test)]
    return Corpus("synthetic (test)", *splits, np.zeros(8, np.float32), np.ones(8, np.float32), "0badcafe")


def checks(progress=True):
    """Stands in for `real_speech_check`."""
    clips = np.random.default_rng(1).integers(-999, 999, (6, 16000)).astype(np.int16)
    return [real_speech.CheckSet("six <clips>", clips, np.arange(6, dtype=np.int32), tuple("abcdef"))]


def install(monkeypatch, tmp_path):
    """Puts the stand-ins in place; returns the configuration file."""
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(keywords, "load", corpus)
    monkeypatch.setattr(real_speech, "real_speech_check", checks)
    monkeypatch.setattr("anaxon.cli._use_all_cores", lambda: None)  # other tests want one device
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path
