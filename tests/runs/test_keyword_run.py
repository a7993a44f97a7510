import errno
import importlib
import json
import os
import re

import numpy as np
import pytest
import tiny

from anaxon import cli, statistics
from anaxon.data import cache
from anaxon.report import keywords_figures
from anaxon.runs import results

Store = importlib.import_module("anaxon.ensemble")._Store  # `anaxon.ensemble` is the function


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run: its configuration file, its folder and the cache that it left."""
    tmp_path = tmp_path_factory.mktemp("keywords")
    with pytest.MonkeyPatch.context() as monkeypatch:
        config = tiny.install(monkeypatch, tmp_path)
        assert cli.main(["run", str(config), "--out", str(tmp_path / "run")]) == 0
    return config, tmp_path / "run"


@pytest.fixture
def record(finished):
    return json.loads((finished[1] / "results.json").read_text())


@pytest.fixture
def rows(finished):
    return cache.load(finished[1] / "ensemble.npz")[0]


@pytest.fixture
def again(finished, monkeypatch):
    """The configuration file, with the stand-ins in place and the network trained."""
    return tiny.install(monkeypatch, finished[0].parent)


def test_everything_is_there(finished):
    names = {p.name for p in finished[1].iterdir()}
    assert names == {"config.json", "results.json", "ensemble.npz", "network.npz", "report.html", "log.txt", "figures"}
    assert {p.stem for p in (finished[1] / "figures").iterdir()} == {
        "accuracy", "layer_error", "layer_saturation", "classes", "confusion", "energy"
    }  # fmt: skip


def test_results_have_the_promised_entries(record):
    promised = {"schema", "config", "config_hash", "versions", "device", "seed", "metrics", "layers", "cost"}
    assert promised <= record.keys()
    for name, metric in record["metrics"].items():
        assert {"mean", "std", "ci95", "n", "over"} == metric.keys(), name
        lo, hi = metric["ci95"]
        assert lo <= metric["mean"] <= hi, name
    assert record["metrics"]["chip_accuracy"]["over"] == {"chips": 7, "clips": 48}
    assert record["metrics"]["chip_accuracy_full_test"]["over"] == {"chips": 3, "clips": 96}
    assert [layer["path"] for layer in record["layers"]] == [
        "lstm/cell/dense_h/kernel", "lstm/cell/dense_i/kernel", "readout/kernel"
    ]  # fmt: skip
    assert all(0 < layer["error"]["mean"] < 1 and layer["saturation"]["n"] == 7 for layer in record["layers"])
    parts = record["cost"]["energy_by_part"]
    np.testing.assert_allclose(sum(parts.values()), record["cost"]["energy"], rtol=1e-6)


def test_results_follow_from_the_rows(record, rows):
    labels = rows["labels"][rows["panel"]]
    np.testing.assert_array_equal(rows["correct"], rows["classes"] == labels)
    metrics = record["metrics"]
    assert metrics["chip_accuracy"]["mean"] == pytest.approx(rows["correct"].mean(), abs=1e-12)
    digital = (rows["digital"] == rows["labels"])[rows["panel"]].mean()
    assert metrics["accuracy_loss"]["mean"] == pytest.approx(digital - rows["correct"].mean(), abs=1e-12)
    assert record["layers"][0]["error"]["mean"] == pytest.approx(rows["error/lstm/cell/dense_h/kernel"].mean())
    np.testing.assert_array_equal(np.bincount(labels), 4)  # the panel is stratified


def test_the_network_learned_and_the_chips_hear_what_it_heard(record):
    metrics = record["metrics"]
    assert metrics["float_accuracy"]["mean"] > 0.5  # chance is 1/12
    assert abs(metrics["chip_accuracy"]["mean"] - metrics["float_accuracy_panel"]["mean"]) < 0.3
    assert abs(metrics["quantised_accuracy"]["mean"] - metrics["float_accuracy"]["mean"]) < 0.1


def test_the_report_is_one_file(finished, record):
    page = (finished[1] / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == 6 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert "This speech is synthetic" in page and "six &lt;clips&gt;" in page and "<clips>" not in page
    assert f"{100 * record['metrics']['chip_accuracy']['mean']:.2f} %" in page
    assert record["config_hash"] in page and "over chips and clips" in page


def test_confusion_change_sums_to_the_change_in_accuracy(record, rows):
    change = keywords_figures.confusion_change(rows, 12)
    np.testing.assert_allclose(change.sum(1), 0, atol=1e-9)  # an answer gained is an answer lost
    loss = record["metrics"]["accuracy_loss"]["mean"]
    np.testing.assert_allclose(np.trace(change) / 12, -100 * loss, atol=1e-9)  # classes are of equal size


def test_panel_check_compares_the_same_chips(rows):
    hits = (rows["full_classes"] == rows["labels"]).mean(0)
    rest = np.setdiff1d(np.arange(96), rows["panel"])
    check = results.panel_check(rows)
    assert check.mean == pytest.approx(hits[rows["panel"]].mean() - hits[rest].mean())
    assert check.ci95 == statistics.difference(hits[rows["panel"]], hits[rest], "clips").ci95


def test_the_same_run_again_is_finished_already(finished, again, capsys):
    for extra in ([], ["--resume"]):
        assert cli.main(["run", str(again), "--out", str(finished[1]), *extra]) == 0
        assert "is finished: see" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_run_goes_on_bit_for_bit(finished, again, rows, tmp_path, monkeypatch, capsys):
    save, saved = Store.save, []

    def interrupted(self, start, leaves):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(start)
        save(self, start, leaves)

    monkeypatch.setattr(Store, "save", interrupted)
    out = tmp_path / "run"
    assert cli.main(["run", str(again), "--out", str(out)]) == 130
    told = capsys.readouterr().err
    assert f"--out {out} --resume" in told
    assert sorted(p.name for p in (out / "chunks" / "panel").glob("*.npz")) == [
        "chunk-000000000.npz", "chunk-000000002.npz"
    ]  # fmt: skip
    assert cli.main(["run", str(again), "--out", str(out)]) == 2
    assert "continue it with --resume" in capsys.readouterr().err
    assert cli.main(["run", str(again), "--set", "ensemble.chips=8", "--out", str(out), "--resume"]) == 2
    assert "ensemble.chips = 7, the configuration now says 8" in capsys.readouterr().err

    computed = []
    monkeypatch.setattr(Store, "save", lambda self, start, leaves: computed.append(self.folder.name))
    assert cli.main(["run", str(again), "--out", str(out), "--resume"]) == 0
    assert computed.count("panel") == 2  # chunks of two: four are needed, two were there
    continued, _ = cache.load(out / "ensemble.npz")
    assert continued.keys() == rows.keys()
    for name, values in rows.items():
        np.testing.assert_array_equal(continued[name], values, err_msg=name)


def test_a_full_disk_is_a_failed_run_that_can_go_on(again, tmp_path, monkeypatch, capsys):
    def full(self, start, leaves):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    monkeypatch.setattr(Store, "save", full)
    assert cli.main(["run", str(again), "--out", str(tmp_path / "run"), "--set", "ensemble.chips=3"]) == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told and "--resume" in told and "Traceback" not in told
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


def test_a_damaged_network_is_named(again, tmp_path, capsys):
    from anaxon.runs import folder, keywords
    from anaxon.settings import load_settings

    settings = keywords.read(load_settings(again))
    opened = folder.open_new(tmp_path / "run", settings.record)
    (opened.path / "network.npz").write_bytes(b"PK rubbish")
    assert cli.main(["run", str(again), "--out", str(opened.path), "--resume"]) == 2
    assert "network.npz: this cache file is damaged" in capsys.readouterr().err
