"""Wrong settings of a speech recognition run end before any work, with a message that names them."""

from pathlib import Path

import pytest

from anaxon.runs import asr_settings
from anaxon.settings import read_toml

SMALL = Path(__file__).parents[2] / "configs" / "asr_small.toml"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"study": {"conditions": ["default", "layer"]}}, "study.conditions"),
        ({"study": {"weight_bits": [4, 4]}}, "study.weight_bits: expected each once"),
        ({"model": {"mels": 40}}, "model.mels"),
        ({"model": {"position": "none"}}, "needs model.position"),
        ({"model": {"norm": "batch"}}, "model.norm"),
        ({"quantised": {"observer": "median"}}, "quantised.observer"),
        ({"hardware": {"preset": "gaussian-8bit"}}, "hardware.adc"),
        ({"quantised": {"activation_bits": 5}}, "quantised.activation_bits: expected .* 8 bits; got 5"),
    ],
)
def test_wrong_settings_are_named(change, says):
    table = read_toml(SMALL)
    for section, values in change.items():
        table[section] = values if section == "hardware" else {**table[section], **values}
    with pytest.raises(ValueError, match=says):
        asr_settings.read(table)
