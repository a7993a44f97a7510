"""The speech recognition job on a corpus and a network small enough for a test."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from anaxon import cli
from anaxon.data import asr, asterisk, cache, tokens
from anaxon.runs import asr_chips
from anaxon.runs.asr_conditions import CONDITIONS

pytestmark = pytest.mark.slow

CONFIG = """
job = "asr"
seed = 2
[data]
train = 8
[data.features]
mels = 8
[model]
mels = 8
width = 16
heads = 2
feed_forward = 16
blocks = 1
kernel = 3
front_end = [2, 2]
[training]
epochs = 2
frames_per_batch = 300
shapes = 1
save_every = 1
[quantised]
epochs = 1
[study]
conditions = ["twin", "default", "pos-1/7", "arrays", "large", "offset"]
chips = 2
words = 6
calibration = 3
[hardware]
preset = "vcm-4bit"
[hardware.array]
rows = 16
cols = 16
"""
WORDS = ("a", "bad", "cab", "deaf", "egg")


def corpus(config, progress=True):
    """Stands in for `asr.load`."""
    rng = np.random.default_rng(0)

    def split(n):
        texts = tuple(" ".join(rng.choice(WORDS, 3)) for _ in range(n))
        lengths = [8 * len(tokens.encode(t)) for t in texts]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        features = rng.normal(size=(starts[-1], 8)).astype(np.float16)
        return asr.Utterances(features, starts, texts, np.zeros(n, np.int32), tuple(map(str, range(n))))

    mean, std = np.zeros(8, np.float32), np.ones(8, np.float32)
    return asr.Corpus("synthetic (test)", split(8), split(2), split(4), mean, std, "0badcafe", ("2 left out",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run: its folder."""
    tmp_path = tmp_path_factory.mktemp("asr")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(asr, "load", corpus)
        monkeypatch.setitem(CONDITIONS, "twin", dataclasses.replace(CONDITIONS["default"], what="the same again"))
        monkeypatch.setattr(asterisk, "prompts", lambda config: corpus(config).validation)
        (tmp_path / "asr.toml").write_text(CONFIG)
        assert cli.main(["run", str(tmp_path / "asr.toml"), "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


@pytest.fixture
def record(finished):
    return json.loads((finished / "results.json").read_text())


@pytest.fixture
def rows(finished):
    return cache.load(finished / "ensemble.npz")[0]


def test_rates_are_those_of_the_tables(record, rows):
    for row in record["conditions"]:
        errors = rows[f"errors/4/{row['condition'].replace('/', '_')}"]
        assert errors.shape == (1, 2, len(rows["words"]))
        assert row["wer"]["mean"] == pytest.approx(errors.sum() / (2 * rows["words"].sum()))
        digital = rows["digital/4/"].sum() / rows["words"].sum()
        assert row["added"]["mean"] == pytest.approx(row["wer"]["mean"] - digital)


def test_equal_bits_cost_equal_energy(record):
    by_name = {row["condition"]: row for row in record["conditions"]}
    assert set(by_name) == {"twin", "default", "pos-1/7", "arrays", "large", "offset"}
    assert by_name["large"]["mean_bits"] == 16 and by_name["large"]["adc_energy_share"] > 100
    for name in set(by_name) - {"large"}:
        assert by_name[name]["equal_bits"] and by_name[name]["mean_bits"] == 8
        assert by_name[name]["adc_energy_share"] == pytest.approx(1.0)


def test_layers_show_the_ranges_of_their_condition(record):
    pos = {x["condition"]: x for x in record["layers"] if x["path"] == "blocks/0/attention/linear_pos/kernel"}
    assert pos["default"]["full_scale"] == [8.0] and pos["pos-1/7"]["full_scale"] == [64.0]
    assert all(np.log2(s) % 1 == 0 for s in pos["arrays"]["full_scale"])
    assert pos["pos-1/7"]["saturation"] <= pos["default"]["saturation"]
    others = [x for x in record["layers"] if x["condition"] == "pos-1/7" and not x["encodings"]]
    assert len(others) == 9 and all(x["full_scale"] == [8.0] for x in others)


def test_the_same_chips_in_every_condition(rows):
    """Conditions of equal numbers hear the same, chip by chip; chips differ."""
    np.testing.assert_array_equal(rows["kl/4/default"], rows["kl/4/twin"])
    assert not np.array_equal(rows["kl/4/default"][0, 0], rows["kl/4/default"][0, 1])
    assert not np.array_equal(rows["kl/4/default"], rows["kl/4/pos-1_7"])


def test_data_are_named(record, finished):
    assert record["data"]["synthetic"] and record["data"]["notes"] == ["2 left out"]
    assert record["data"]["recorded"]["words"] == 6
    assert "synthetic" in (finished / "report.html").read_text()
    assert "2 left out" in (finished / "log.txt").read_text()


def test_a_run_goes_on_where_it_was_and_ends_alike(finished, rows, monkeypatch):
    """Interrupted with the float part and one chunk of chips done; the chunk of another machine is begun anew."""
    again = finished.parent / "again"
    shutil.copytree(finished, again)
    for name in ("results.json", "ensemble.npz", "report.html", "parts/2-4.npz"):
        (again / name).unlink()
    monkeypatch.setenv("ANAXON_CACHE", str(finished.parent / "cache"))
    monkeypatch.setattr(asr, "load", corpus)
    monkeypatch.setattr(asterisk, "prompts", lambda config: None)
    monkeypatch.setitem(CONDITIONS, "twin", dataclasses.replace(CONDITIONS["default"], what="the same again"))
    chunks = again / "chunks" / "2-4-twin"
    chunks.mkdir(parents=True)
    (chunks / "ensemble.json").write_text('{"keys": "other", "count": 2, "chunk": 4, "function": "other"}')
    monkeypatch.setattr(asr_chips, "studied", lambda *args: stopped())
    run = ["run", str(finished.parent / "asr.toml"), "--out", str(again), "--resume"]
    assert cli.main(run) == cli.INTERRUPTED
    assert sum(1 for _ in chunks.glob("chunk-*.npz")) > 0
    before = {p: p.stat().st_mtime_ns for p in chunks.glob("chunk-*.npz")}
    monkeypatch.undo()
    monkeypatch.setenv("ANAXON_CACHE", str(finished.parent / "cache"))
    monkeypatch.setattr(asr, "load", corpus)
    monkeypatch.setattr(asterisk, "prompts", lambda config: None)
    monkeypatch.setitem(CONDITIONS, "twin", dataclasses.replace(CONDITIONS["default"], what="the same again"))
    assert before and cli.main(run) == 0
    for name, values in cache.load(again / "ensemble.npz")[0].items():
        np.testing.assert_array_equal(values, rows[name], err_msg=name)


def stopped():
    raise KeyboardInterrupt
