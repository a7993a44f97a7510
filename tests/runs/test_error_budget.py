"""The error budget on a network and pictures small enough for a test."""

import json

import numpy as np
import pytest

from anaxon import cli
from anaxon.data import cache, images
from anaxon.report import error_budget_delta
from anaxon.runs import error_delta, error_settings
from anaxon.runs.folder import RunFolder
from anaxon.settings import read_toml

CONFIG = """
job = "error_budget"
seed = 1
[data]
train = 200
test = 20
[model]
channels = [2, 2, 2, 2, 2]
[training]
epochs = 1
batch = 50
[study]
networks = ["plain"]
sigmas = [0.01]
windows = [0.5]
images = 2
chips = 48
window_chips = 16
power_chips = 16
tuned_images = 4
tuned_chips = 8
budgets = [0.1, 0.5, 1.0]
refined_budget = 0.1
refined_images = 2
refined_steps = 1
[causes]
chips = 32
[delta]
networks = ["transformer"]
sigmas = [0.003]
inputs = 2
chips = 48
epochs = 1
[hardware.device]
kind = "gaussian"
sigma = 0.01
[hardware.array]
weight_bits = "analog"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("budget")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
        (tmp_path / "budget.toml").write_text(CONFIG)
        assert cli.main(["run", str(tmp_path / "budget.toml"), "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


@pytest.mark.slow
def test_predictions_stand_beside_samples(finished):
    record, rows = json.loads((finished / "results.json").read_text()), cache.load(finished / "ensemble.npz")[0]
    (line,) = record["networks"]["plain"]["lines"]
    assert rows["plain/error"].shape == (48, 1, 2)
    assert line["sampled"]["mean"] == pytest.approx(rows["plain/error"].mean())
    low, high = line["sampled"]["ci95"]
    assert low * 0.8 < line["predicted"] < high * 1.2
    assert sum(line["cells"].values()) == pytest.approx(line["linearised"] - line["bias"], rel=0.01)
    assert line["trusted"] and 0 <= line["flip"] <= 1
    assert line["flip_sampled"]["mean"] == pytest.approx(rows["plain/flip"].mean())
    low, high = line["spread_sampled"]["ci95"]
    assert line["spread_sampled"]["mean"] == pytest.approx(rows["plain/hit"].mean((1, 2)).std(ddof=1))
    assert low <= line["spread_sampled"]["mean"] <= high
    narrow, full = record["networks"]["plain"]["windows"]
    assert narrow["window"] == 0.5 and full == line and narrow["sampled"]["mean"] > 2 * full["sampled"]["mean"]


@pytest.mark.slow
def test_every_cause_and_layer_stands_beside_chips(finished):
    """Each active alone; what is predicted adds up, and lies near what chips have."""
    found = json.loads((finished / "results.json").read_text())["causes"]
    predicted, sampled = found["predicted"], found["sampled"]
    assert len(found["sites"]) == 6 and set(predicted) == set(sampled)
    for kind in ("programming", "reads"):
        assert predicted[kind] == pytest.approx(sum(predicted[f"{kind}/{p}"] for p in found["sites"]))
    assert predicted["quantisation"] == pytest.approx(sampled["quantisation"]["mean"], rel=1e-3)
    assert sampled["quantisation"]["ci95"][0] == pytest.approx(sampled["quantisation"]["ci95"][1])
    for name, value in predicted.items():
        assert value == pytest.approx(sampled[name]["mean"], rel=1.0)


@pytest.mark.slow
def test_power_stands_beside_chips(finished):
    record = json.loads((finished / "results.json").read_text())
    found = record["networks"]["plain"]["power"]
    assert len(found) == 7 and "Power" in (finished / "report.html").read_text()
    for line in found.values():
        for part in ("cells", "amplifiers"):
            estimate = line[part]["sampled"]
            assert line[part]["predicted"] == pytest.approx(estimate["mean"], abs=6 * estimate["std"] / 4, rel=1e-3)


@pytest.mark.slow
def test_a_transformer_stands_beside_its_chips(finished):
    record, rows = json.loads((finished / "results.json").read_text()), cache.load(finished / "ensemble.npz")[0]
    net = record["delta"]["networks"]["transformer"]
    (line,) = net["lines"]
    assert rows["transformer/error"].shape == (48, 1, 2) and net["inputs"] == 2
    low, high = line["sampled"]["ci95"]
    assert low * 0.8 < line["predicted"] < high * 1.2
    assert sum(line["cells"].values()) == pytest.approx(line["predicted"] - line["bias"], rel=0.01)
    assert len(line["cells"]) == 14
    page = (finished / "report.html").read_text()
    assert "loops and attention" in page and "blocks/1/attention/query/kernel" in page


@pytest.mark.slow
def test_windows_at_equal_power(finished):
    tuned = json.loads((finished / "results.json").read_text())["tuned"]
    rows = tuned["rows"]
    (beyond,) = tuned["out_of_reach"]  # one conductance for all weights never draws as much as full windows
    assert beyond.startswith("100% of full power: power_budget: full windows draw")
    by_choice = {row["choice"]: row for row in rows if row["budget"] == 0.1}
    bound = {f"{name}, no box" for name in ("layer", "column") if by_choice[name]["largest"] == pytest.approx(1.0)}
    assert set(by_choice) == {"uniform", "tensor", "layer", "column", "refined"} | bound
    powers = [row["power"] for row in by_choice.values()]
    np.testing.assert_allclose(powers, powers[0], rtol=1e-2)
    assert len(tuned["refined"]["objective"]) == 2
    wide = {row["choice"]: row for row in rows if row["budget"] == 0.5}
    assert wide["column, no box"]["largest"] > 1 >= wide["column"]["largest"]
    assert wide["column, no box"]["predicted"] < wide["column"]["predicted"]
    errors = [by_choice[c]["predicted"] for c in ("column", "layer", "tensor")]
    assert errors == sorted(errors) and by_choice["layer"]["predicted"] <= by_choice["uniform"]["predicted"]


@pytest.mark.slow
def test_the_report_is_one_file(finished):
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 6 and "http" not in page.replace("http-equiv", "")
    assert "MNIST" in page


@pytest.mark.parametrize(
    ("section", "values", "says"),
    [
        ("study", {"sigma": 0.02}, "study.sigma: expected one of study.sigmas"),
        ("study", {"budgets": [1.5]}, "study.budgets: expected shares of full power"),
        ("study", {"windows": [0.0]}, "study.windows: expected shares of full scale"),
        ("study", {"refined_budget": 0.3}, "study.refined_budget: expected 0 or one of"),
        ("study", {"networks": ["dense"]}, "study.networks"),
        ("causes", {"read_sigma": 0.0}, "causes.read_sigma"),
        ("model", {"channels": [4]}, "model.channels: expected five numbers"),
        ("data", {"source": "letters"}, "data.source"),
        ("hardware", {"preset": "vcm-4bit"}, "one linear pair for each weight"),
        ("training", {"rate": 0.1}, "training"),
        ("delta", {"networks": ["gru"]}, "delta.networks"),
        ("delta", {"sigmas": []}, "delta.sigmas"),
    ],
)
def test_wrong_settings_are_named(tmp_path, section, values, says):
    (tmp_path / "budget.toml").write_text(CONFIG)
    table = read_toml(tmp_path / "budget.toml")
    table[section] = values if section == "hardware" else {**table.get(section, {}), **values}
    with pytest.raises((ValueError, TypeError), match=says):
        error_settings.read(table)


def test_a_network_whose_data_are_missing_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(error_delta, "find_spec", lambda name: None)
    (tmp_path / "budget.toml").write_text(CONFIG)
    table = read_toml(tmp_path / "budget.toml")
    table["delta"]["networks"] = ["keyword-lstm"]
    found, rows = error_delta.measured(error_settings.read(table), None, RunFolder(tmp_path), progress=False)
    assert not rows and not found["networks"] and "pip install 'anaxon[speech]'" in found["skipped"]["keyword-lstm"]
    assert "keyword-lstm is left out" in "".join(error_budget_delta.section(found))


def test_digits_are_split_by_class():
    found = images.load(images.ImageData(source="digits", train=4000, test=1000))
    assert np.bincount(found.test.labels).tolist() == [100] * 10
    assert (
        found.train.features.shape == (4000, 28, 28)
        and 0 <= found.train.features.min() < found.train.features.max() <= 1
    )
    again = images.load(images.ImageData(source="digits", train=4000, test=1000))
    assert again.checksum == found.checksum
    flat = {x.tobytes() for x in found.train.features}
    assert sum(x.tobytes() in flat for x in found.test.features) < 10


def test_too_many_pictures_are_refused():
    with pytest.raises(ValueError, match="data.test: MNIST digits .* has 1000; got 2000"):
        images.load(images.ImageData(source="digits", test=2000))


def test_missing_fashion_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "FASHION", tmp_path / "no")
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        images.load(images.ImageData(source="fashion"))
