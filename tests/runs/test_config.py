import dataclasses
import json

import pytest

from anaxon.data.keywords import KeywordData
from anaxon.models.train import Training
from anaxon.presets import hardware_from, preset
from anaxon.runs import config, keywords
from anaxon.runs.chips import Ensemble

TABLE = {"job": "keywords", "hardware": {"preset": "vcm-4bit"}}


def test_nested_tables_become_dataclasses():
    got = config.from_table(KeywordData, {"train": 24, "features": {"hop": 640, "floor": 1}}, "data")
    assert got.train == 24 and got.features.hop == 640 and got.features.floor == 1.0
    assert isinstance(got.features.floor, float)


@dataclasses.dataclass(frozen=True)
class Sweep:
    sigma: tuple[float, ...] = (0.1, 0.2)


def test_lists_become_tuples_of_the_defaults_type():
    got = config.from_table(Sweep, {"sigma": [1, 0.5]}, "sweep").sigma
    assert got == (1.0, 0.5) and isinstance(got[0], float)
    assert config.from_table(Sweep, {}, "sweep").sigma == (0.1, 0.2)


@pytest.mark.parametrize(
    ("kind", "table", "error", "words"),
    [
        (Ensemble, {"chip": 3}, ValueError, "did you mean 'chips'"),
        (Ensemble, {"chips": 1}, ValueError, "ensemble.chips must be"),
        (Ensemble, {"chips": 3, "full_test_chips": 4}, ValueError, "at most ensemble.chips = 3; got 4"),
        (Ensemble, {"chips": 2.5}, TypeError, "ensemble.chips: expected a whole number; got 2.5"),
        (Ensemble, {"chips": True}, TypeError, "ensemble.chips: expected a whole number; got True"),
        (Ensemble, 3, TypeError, "expected a table"),
        (Training, {"learning_rate": "fast"}, TypeError, "learning_rate: expected a number; got 'fast'"),
        (Training, {"noise": {"weight": -1}}, ValueError, "training.noise.weight must not be negative"),
        (Sweep, {"sigma": 0.1}, TypeError, r"sweep.sigma: expected a list such as \[0.1, 0.2\]; got 0.1"),
        (Sweep, {"sigma": []}, TypeError, "expected a list"),
        (Sweep, {"sigma": [1, "x"]}, TypeError, r"sweep.sigma\[1\]: expected a number; got 'x'"),
        (KeywordData, {"path": 3}, TypeError, "data.path: expected text; got 3"),
    ],
)
def test_bad_tables(kind, table, error, words):
    where = {Ensemble: "ensemble", Training: "training", KeywordData: "data", Sweep: "sweep"}[kind]
    with pytest.raises(error, match=words):
        config.from_table(kind, table, where)


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ({"job": "keywords"}, ValueError, "hardware: missing"),
        ({**TABLE, "seed": -1}, ValueError, "seed: expected a whole number"),
        ({**TABLE, "hardwear": {}}, ValueError, "did you mean 'hardware'"),
        ({**TABLE, "cost": {"components": "cmos3"}}, ValueError, "cmos32"),
        ({**TABLE, "cost": "cheap"}, TypeError, "cost: expected a table"),
        ({**TABLE, "hardware": {"preset": "vcm-4bit", "adc": {"range_bit": 3}}}, ValueError, "range_bits"),
        ({**TABLE, "model": {"hidden": 0}}, ValueError, "model.hidden"),
    ],
)
def test_bad_configurations(table, error, words):
    with pytest.raises(error, match=words):
        keywords.read(table)


def test_the_record_is_json_and_decides_nothing_else():
    settings = keywords.read(TABLE)
    record = json.loads(json.dumps(settings.record))
    assert record["ensemble"]["chips"] == 1000 and record["hardware"]["resolved"]["adc"]["step"] == 1 / 16
    more_workers = keywords.read({**TABLE, "data": {"workers": 2}})
    assert more_workers.record == settings.record
    assert keywords.read({**TABLE, "training": {"noise": {"level": 0.1}}}).record != settings.record


def test_described_hardware_tells_hardware_apart():
    names = ("vcm-4bit", "vcm-4bit-legacy", "vcm-8bit", "pcm", "gaussian-8bit", "ideal")
    texts = [json.dumps(config.described(preset(name))) for name in names]
    assert len(set(texts)) == len(names)
    assert json.dumps(config.described(hardware_from("pcm"))) == texts[3]
