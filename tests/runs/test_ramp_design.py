import csv
import importlib
import json
import re
import tomllib

import jax
import numpy as np
import pytest
from scipy.stats import truncnorm

from anaxon import cli
from anaxon.configs import config_path
from anaxon.converter import ramp as nladc
from anaxon.data import cache
from anaxon.runs import ramp_design, ramp_exact, ramp_monte_carlo, ramp_samples, validation

Store = importlib.import_module("anaxon.ensemble")._Store  # `anaxon.ensemble` is the function
FIGURES = {"transfer", "conventions", "inl", "dnl", "worst_inl", "yield", "dead", "copies", "v_read", "gain"}
CONFIG = """
job = "ramp_design"
seed = 3
[columns]
activations = ["sigmoid", "gelu"]
bits = [3]
shown = 3
[samples]
ramps = 40
validation = 3000
chunk = 16
[sweep]
sigma = [1e-6, 9e-6, 30e-6]
copies = [1, 3]
v_ratio = [0.8, 1.0]
gain = [0.9, 1.0]
"""


def few_statements(monkeypatch):
    """One of each statistical kind: the others are the same code on other numbers."""
    monkeypatch.setattr(ramp_monte_carlo, "FIRST_ORDER", {3: ramp_monte_carlo.FIRST_ORDER[3]})
    monkeypatch.setattr(ramp_monte_carlo, "FIVE_BIT", {2.73: ramp_monte_carlo.FIVE_BIT[2.73]})
    monkeypatch.setattr(ramp_monte_carlo, "OTHER_WIDTHS", {})
    monkeypatch.setattr(ramp_monte_carlo, "_fine", ramp_monte_carlo._read_noise)
    monkeypatch.setattr(cli, "_use_all_cores", lambda: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("ramps")
    (path / "tiny.toml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as monkeypatch:
        few_statements(monkeypatch)
        assert cli.main(["run", str(path / "tiny.toml"), "--out", str(path / "run")]) == 0
    return path / "run"


@pytest.fixture
def record(finished):
    return json.loads((finished / "results.json").read_text())


@pytest.fixture
def rows(finished):
    return cache.load(finished / "ensemble.npz")[0]


@pytest.mark.slow
def test_everything_is_there(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {"config.json", "results.json", "ensemble.npz", "report.html", "log.txt", "figures", "tables"}
    assert {p.stem for p in (finished / "figures").iterdir()} == FIGURES
    assert {p.name for p in (finished / "tables").iterdir()} == {"sigmoid-3bit.csv", "gelu-3bit.csv"}


@pytest.mark.slow
def test_results_have_the_promised_entries(record):
    promised = {"schema", "job", "config", "config_hash", "versions", "device", "seed", "metrics", "validation"}
    assert promised <= record.keys() and record["job"] == "ramp_design"
    for name, metric in record["metrics"].items():
        assert {"mean", "std", "ci95", "n", "over"} == metric.keys(), name
        assert metric["n"] == 40 and metric["over"] == {"ramps": 40}, name


@pytest.mark.slow
def test_results_follow_from_the_rows(record, rows):
    design = nladc.design("sigmoid", 3)
    levels = rows["levels/sigmoid/3/one-point"].astype(np.float64)
    inl = 8 * (1 / (1 + np.exp(-levels)) - np.arange(1, 8) / 8)
    np.testing.assert_allclose(rows["inl/sigmoid/3/one-point"], inl, atol=2e-6)
    np.testing.assert_allclose(rows["dnl/sigmoid/3/one-point"], np.diff(levels) / np.diff(design.thresholds) - 1,
                               atol=1e-5)  # fmt: skip
    worst = np.abs(inl).max(1)
    assert record["metrics"]["max_inl/sigmoid/3/one-point"]["mean"] == pytest.approx(worst.mean(), abs=1e-5)
    assert record["metrics"]["within/sigmoid/3/one-point"]["mean"] == np.mean(worst < 0.5)
    share = np.mean(rows["yield/3/none"][:, 2] < 0.5)
    assert record["metrics"]["yield/3/none/30 uS"]["mean"] == share < 1


@pytest.mark.slow
def test_schemes_share_their_devices(rows):
    plain, mended = rows["levels/sigmoid/3/none"], rows["levels/sigmoid/3/one-point"]
    shift = plain - mended
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-6)
    np.testing.assert_allclose(mended[:, 3], 0, atol=1e-6)  # the centre is exact
    assert np.ptp(plain[:, 3]) > 0.01
    np.testing.assert_allclose(rows["copies/1/none"], rows["max_inl/sigmoid/3/none"], atol=1e-6)
    assert rows["copies/3/none"].mean() < 0.8 * rows["copies/1/none"].mean()


@pytest.mark.slow
def test_programming_tables_are_in_microsiemens(finished):
    with (finished / "tables" / "sigmoid-3bit.csv").open() as file:
        table = [r for r in csv.DictReader(file) if r["role"] == "ramp"]
    np.testing.assert_allclose([float(r["target [uS]"]) for r in table[:3]], [150, 104.0579, 90.4332], rtol=1e-5)


@pytest.mark.slow
def test_what_is_checked_holds(record):
    names = {s["name"] for s in record["validation"]}
    assert names == {f"V{i}" for i in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15)}
    exact = [s for s in record["validation"] if s["name"] not in ("V5", "V6", "V12")]
    assert all(s["passed"] for s in exact), [s for s in exact if not s["passed"]]
    # 3,000 ramps instead of 20,000: 2.6 times the chance error for which the tolerances were made
    for s in record["validation"]:
        np.testing.assert_allclose(s["obtained"], s["expected"], rtol=0.08, atol=0.04, err_msg=s["what"])


def test_a_wrong_ramp_is_found(monkeypatch):
    conductances = nladc.conductances
    monkeypatch.setattr(nladc, "conductances", lambda design: 1.001 * conductances(design))
    failed = {s.name for s in ramp_exact.statements() if not s.passed}
    assert "V2" in failed and "V8" not in failed


@pytest.mark.parametrize(
    ("statement", "passed"),
    [
        (validation.close("A", "", (1.0, 2.0), (1.019, 1.961), 0.02), True),
        (validation.close("A", "", (1.0, 2.0), (1.03, 2.0), 0.02), False),
        (validation.close("A", "", (1.0, 2.0), (1.029, 2.9), (0.02, 0.5), 0.01), True),
        (validation.close("A", "", (1.0, 2.0), (1.0,)), False),
        (validation.close("A", "", 3, 3), True),
        (validation.close("A", "", 1.0, float("nan"), 0.02), False),
        (validation.below("A", "", 0.5, [0.5, -3]), True),
        (validation.below("A", "", 0.5, [0.1, 0.6]), False),
    ],
)
def test_statements(statement, passed):
    assert statement.passed is passed


@pytest.mark.slow
def test_the_report_is_one_file_that_says_what_it_is(finished, record):
    page = (finished / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == len(FIGURES) and all(s.startswith("data:image/png;base64,") for s in sources)
    assert "simulated, not the paper" in page and record["config_hash"] in page
    figures = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert len(figures) == len(FIGURES)
    for caption in figures:  # a figure of INL or DNL states its definition
        for kind in ("INL", "DNL"):
            assert kind not in caption or f"{kind}{'_out' * (kind == 'INL')}(k) = " in caption, caption


@pytest.mark.slow
def test_interrupted_samples_go_on_bit_for_bit(rows, tmp_path, monkeypatch):
    settings = ramp_design.read(tomllib.loads(CONFIG))
    save, saved = Store.save, []

    def interrupted(self, start, leaves):
        if saved:
            raise KeyboardInterrupt
        saved.append(start)
        save(self, start, leaves)

    monkeypatch.setattr(Store, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ramp_samples.copies(settings, tmp_path, False)
    computed = []
    monkeypatch.setattr(Store, "save", lambda self, start, leaves: computed.append(start))
    continued = ramp_samples.copies(settings, tmp_path, False)
    assert computed == [16, 32]
    for name, values in continued.items():
        np.testing.assert_array_equal(values, rows[name], err_msg=name)


def test_explain_tells_what_is_designed_and_active(capsys):
    assert cli.main(["explain", str(config_path("ramp_design.toml")), "--set", "columns.bits=[5]"]) == 0
    told = capsys.readouterr().out
    for words in ("sigmoid", "25.86", "2.73 uS", "INL_out(k) = ", "two-point"):
        assert words in told


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ({"colums": {}}, ValueError, "did you mean 'columns'"),
        ({"columns": {"bits": [5, 9]}}, ValueError, "columns.bits: expected an integer from 2 to 8; got 9"),
        ({"columns": {"shown": 6}}, ValueError, r"columns.shown: expected one of columns.bits = \[3, 4, 5, 8\]; got 6"),
        ({"columns": {"activations": ["sigmoyd"]}}, ValueError, "did you mean 'sigmoid'"),
        ({"columns": {"convention": "B"}}, ValueError, "columns.convention: expected one of"),
        ({"devices": {"g_min": 1.0}}, ValueError, "devices.g_min: expected less than devices.g_max"),
        ({"devices": {"sigma": -1e-6}}, ValueError, "devices.sigma: expected siemens, 0 or more"),
        ({"samples": {"ramps": 1}}, ValueError, "samples.ramps must be a whole number, 20 or more; got 1"),
        ({"sweep": {"gain": [0.0]}}, ValueError, "sweep.gain: expected numbers above 0"),
        ({"sweep": {"copies": 3}}, TypeError, "sweep.copies: expected a list"),
    ],
)
def test_bad_configurations(table, error, words):
    with pytest.raises(error, match=words):
        ramp_design.read({"job": "ramp_design", **table})


@pytest.mark.parametrize("distribution", ["truncated", "uniform"])
def test_distributions_have_the_sigma_they_say(distribution):
    table = {"devices": {"distribution": distribution}, "columns": {"bits": [5]}}
    settings = ramp_design.read({"job": "ramp_design", **table})
    changes = ramp_design.programming(settings.devices)
    error = np.asarray(nladc.program(jax.random.key(0), np.full(20_000, 0.5), **changes)) - 0.5
    cut = 5 / 2.73  # sigma
    expected = {"truncated": 2.73 * truncnorm(-cut, cut).std(), "uniform": 2.73}[distribution]
    assert 150 * error.std() == pytest.approx(expected, rel=0.02)
    assert 150 * np.abs(error).max() < (5.0001 if distribution == "truncated" else 2.7301 * 3**0.5)
