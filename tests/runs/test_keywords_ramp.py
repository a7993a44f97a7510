"""The comparison of converters, end to end on clips that are class prototypes in noise."""

import json
import re

import jax
import numpy as np
import pytest
import tiny

from anaxon import cli
from anaxon.data import cache
from anaxon.runs import efficiency, keywords_ramp
from anaxon.runs.converters import at_bits
from anaxon.runs.side_by_side import side_by_side

CONFIG = """
job = "keywords_ramp"
seed = 3
size = "small"
[small]
hidden = [6]
epochs = [30]
aware_epochs = [5]
linear_aware = [8]
[data]
train = 240
validation = 48
test = 96
[data.features]
mels = 8
hop = 3200
[training]
batch = 24
[training.noise]
shift = 0
time_mask = 0
mel_mask = 0
[chips]
bits = [4]
main_bits = 4
chips = 3
main_chips = 5
panel = 48
full_test_chips = 2
calibration = 24
[hardware]
preset = "ramp-5bit"
[hardware.activation]
sigma = 0.0182
"""


def install(monkeypatch, tmp_path):
    tiny.install(monkeypatch, tmp_path)
    path = tmp_path / "ramp.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run: its configuration file and its folder."""
    tmp_path = tmp_path_factory.mktemp("keywords_ramp")
    with pytest.MonkeyPatch.context() as monkeypatch:
        config = install(monkeypatch, tmp_path)
        assert cli.main(["run", str(config), "--out", str(tmp_path / "run")]) == 0
    return config, tmp_path / "run"


@pytest.fixture
def record(finished):
    return json.loads((finished[1] / "results.json").read_text())


@pytest.fixture
def rows(finished):
    return cache.load(finished[1] / "ensemble.npz")[0]


@pytest.mark.slow
def test_every_point_has_its_chips_and_intervals(record, rows):
    points = {(p["kind"], p["bits"], p["training"]): p for p in record["points"]}
    assert set(points) == {("ramp", 4, "plain"), ("ramp", 4, "aware"), ("linear", 4, "plain")}
    assert [points["ramp", 4, t]["accuracy"]["n"] for t in ("plain", "aware")] == [5, 5]
    assert points["linear", 4, "plain"]["accuracy"]["n"] == 3
    for (kind, bits, training), p in points.items():
        classes = rows[f"classes/6-{kind}-{bits}/{training}"]
        hits = classes == rows["labels"][rows["panel"]]
        assert p["accuracy"]["mean"] == pytest.approx(hits.mean())
        digital = (rows["digital/6"] == rows["labels"])[rows["panel"]]
        assert p["loss"]["mean"] == pytest.approx(digital.mean() - hits.mean())
    assert rows["full_classes/6-ramp-4/aware"].shape == (2, 96)
    assert {"six <clips>: float", "six <clips>: chips"} <= set(record["metrics"])
    assert record["metrics"]["6 units, float, panel"]["mean"] > 0.6  # chance is 0.08


@pytest.mark.slow
def test_training_for_the_chips_changes_the_weights_answers(rows):
    assert not np.array_equal(rows["classes/6-ramp-4/plain"], rows["classes/6-ramp-4/aware"])


@pytest.mark.slow
def test_goals_say_what_was_asked_and_obtained(record):
    main = next(p for p in record["points"] if (p["kind"], p["training"]) == ("ramp", "aware"))
    panel, everything, *_ = record["goals"]
    assert panel["obtained"] == pytest.approx(100 * main["loss"]["mean"])
    assert everything["obtained"] == pytest.approx(100 * main["full_test_loss"]["mean"])
    assert all(g["met"] == (g["obtained"] <= 1.0) for g in (panel, everything))


@pytest.mark.slow
def test_the_report_is_one_file_that_says_what_it_is(finished):
    page = (finished[1] / "report.html").read_text()
    assert "<b>This speech is synthetic.</b>" in page
    assert "not those of Yang et al." in page
    assert "They are not results of this program" in page
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.slow
def test_a_finished_run_is_not_run_again_and_resume_reads_it(finished, monkeypatch, capsys):
    config = install(monkeypatch, finished[0].parent)
    assert cli.main(["run", str(config), "--out", str(finished[1]), "--resume"]) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.slow
def test_interrupted_between_points_it_goes_on_to_the_same_answers(finished, rows, monkeypatch, tmp_path):
    config, out = install(monkeypatch, finished[0].parent), tmp_path / "again"
    real, done = keywords_ramp.on_chips, []

    def on_chips(*args, **kwargs):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(args)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("anaxon.runs.keywords_ramp.on_chips", on_chips)
        assert cli.main(["run", str(config), "--out", str(out)]) == cli.INTERRUPTED
    assert cli.main(["run", str(config), "--out", str(out), "--resume"]) == 0
    found = cache.load(out / "ensemble.npz")[0]
    assert found.keys() == rows.keys()
    assert all(np.array_equal(found[k], rows[k]) for k in rows)


@pytest.mark.slow
def test_explain_shows_the_array(finished, monkeypatch, capsys):
    config = install(monkeypatch, finished[0].parent)
    assert cli.main(["explain", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "logistic+tanh" in shown
    assert "15 x 24" in shown  # 8 bands, 6 units, a bias row


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("size=huge", "size: expected one of small, full; got 'huge'"),
        ("chips.main_bits=6", "chips.bits: expected resolutions from 2 to 8 with main_bits among them"),
        ("small.epochs=[3, 4]", "expected hidden, epochs and aware_epochs of one length"),
        ('hardware.activation="none"', "hardware.activation: expected a ramp"),
        ("aware.rise=2", "aware.rise must be from 0 to 1"),
        ('use_bias="no"', "use_bias: expected true or false"),
    ],
)
def test_bad_input_is_one_sentence(change, says, tmp_path, monkeypatch, capsys):
    config = install(monkeypatch, tmp_path)
    assert cli.main(["run", str(config), "--set", change, "--out", str(tmp_path / "x")]) == cli.WRONG
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()


def test_published_steps_follow_from_the_table():
    """V13: operations, step times and energies within the rounding of the published figures."""
    rows = {(r["name"].split(",")[0], r["bits"]): r for r in efficiency.published()}
    assert rows["keywords", 5]["ops"] == 18_432
    assert rows["characters", 5]["ops"] == 10_209_024
    expected = {("keywords", 5): (160.7, 0.595), ("keywords", 8): (1002, 4.61),
                ("characters", 5): (524.3, 213), ("characters", 8): (1849, 1418)}  # fmt: skip
    for name, (time, energy) in expected.items():
        assert rows[name]["time"] * 1e9 == pytest.approx(time, rel=2e-3)
        assert rows[name]["energy"] * 1e9 == pytest.approx(energy, rel=2e-3)


def test_designs_differ_in_their_converters_alone():
    from anaxon.presets import preset

    ramp, linear = efficiency.designs(preset("ramp-5bit"), 72, 128, [5], "cmos32")
    assert ramp["ops"] == linear["ops"] == 18_432
    # 4 of 5 activations are in the converter (V14); 16 ns of pulse and 32 ns of ramp, 3 ns for tanh of 32 cells.
    assert ramp["activations_energy"] == pytest.approx(linear["activations_energy"] / 5)
    assert ramp["time"] == pytest.approx(51e-9)
    assert linear["activations_time"] == pytest.approx(15e-9)
    for e in (ramp, linear):
        assert e["power"] * e["time"] == pytest.approx(e["energy"])
        assert e["tops_per_watt"] == pytest.approx(e["ops"] / e["energy"] / 1e12)


def test_hardware_without_a_ramp_has_none_to_change():
    import anaxon as ax

    with pytest.raises(ValueError, match="hardware.activation: expected a ramp"):
        at_bits(ax.preset("gaussian-8bit"), "ramp", 5, 8, 8)


def test_tasks_side_by_side_keep_their_order_and_stop_together():
    assert side_by_side([lambda tick, i=i: i * i for i in range(5)], 0, "squares", False) == [0, 1, 4, 9, 16]

    def fails(tick):
        raise ValueError("this one")

    def long(tick):
        for _ in range(10_000):
            tick(0.0)
            jax.block_until_ready(jax.numpy.ones(3) + 1)

    with pytest.raises(ValueError, match="this one"):
        side_by_side([fails, long, long], 10, "failing", False)
