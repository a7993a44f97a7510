"""The memory network job on few stories, few epochs, small networks."""

import json

import numpy as np
import pytest

from anaxon import cli
from anaxon.data import cache, story_questions
from anaxon.data.stories import Line
from anaxon.runs import attention_memn2n
from anaxon.settings import read_toml

CONFIG = """
job = "attention_memn2n"
seed = 2
[data]
train = 60
validation = 12
test = 12
questions = 3
[model]
width = 8
hops = 2
memories = 12
[training]
linear = 1
dense = 6
pruning = 3
settling = 1
batch = 16
learning_rate = 0.03
[study]
tasks = ["single", "yes_no"]
penalties = [1.0]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("memories")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
        (tmp_path / "tiny.toml").write_text(CONFIG)
        assert cli.main(["run", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run")]) == 0
        (tmp_path / "run" / "results.json").rename(tmp_path / "first.json")
        assert cli.main(["run", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run"), "--resume"]) == 0
    return tmp_path


@pytest.mark.slow
def test_rows_and_rates(finished):
    record, rows = json.loads((finished / "run/results.json").read_text()), cache.load(finished / "run/ensemble.npz")[0]
    assert set(record["tasks"]) == {"single", "yes_no"}
    line = record["tasks"]["single"]
    assert line["questions"] == 36 and rows["single/kept"].shape == (2, 36)
    assert line["dense"]["mean"] == pytest.approx(rows["single/dense"].mean())
    assert line["lost"] - line["won"] == rows["single/dense"].sum() - rows["single/pruned"].sum()
    valid = rows["single/valid"]
    assert line["rate"] == pytest.approx(1 - rows["single/kept"].sum() / (2 * valid.sum()))
    assert line["ceiling"] == pytest.approx(1 - rows["single/supports"].sum() / (2 * valid.sum()))
    np.testing.assert_allclose(line["emptied"], (rows["single/kept"] == 0).mean(1))
    assert np.all(rows["single/kept"] <= valid) and rows["single/history/thresholds"].shape == (4, 2)
    assert record["pooled"]["questions"] == 72
    assert np.all(np.abs(np.diff(rows["single/history/share"], axis=0)) <= 1)
    assert record["pooled"]["hardware"]["wrong"] == 0 < record["pooled"]["hardware"]["pairs"]


@pytest.mark.slow
def test_a_run_that_continues_finds_its_networks(finished):
    first, again = (json.loads((finished / name).read_text()) for name in ("first.json", "run/results.json"))
    assert first["tasks"] == again["tasks"]
    assert len(list((finished / "cache" / "models").glob("memory-*.npz"))) == 6


@pytest.mark.slow
def test_the_page_is_one_file(finished):
    page = (finished / "run/report.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "http" not in page.replace("http-equiv", "")
    assert "one supporting fact" in page and "ceiling" in page


def test_a_perfect_reader_reaches_the_ceiling():
    """One memory in one hop of three, for a question with one support; a hop that keeps nothing is counted."""
    rows = {"dense": np.ones(4, bool), "pruned": np.ones(4, bool), "valid": np.full(4, 5), "supports": np.ones(4, int),
            "kept": np.asarray([[1] * 4, [0] * 4, [0] * 4])}  # fmt: skip
    found = attention_memn2n.told(rows, 3, 2)
    assert found["rate"] == found["ceiling"] == pytest.approx(1 - 1 / 15)
    np.testing.assert_array_equal(found["emptied"], [0, 1, 1])
    assert found["unresolved"] and found["difference"]["mean"] == 0


def test_supports_that_are_no_memories_leave_room_to_prune():
    """Two supports, of which only the newer is among the newest two statements."""
    lines = [Line("Mary took the ball."), Line("Mary went to the hall."), Line("John left."), Line("Sue left.")]
    story = (*lines, Line("Where is the ball?", "hall", (1, 3)))
    known = story_questions.vocabulary([story])
    for memories, supports in ((4, 2), (3, 1), (2, 1), (1, 0)):
        asked = story_questions.questions([story], known, memories)
        assert asked.supports == [supports] and asked.valid == [memories]
        assert story_questions.ceiling(asked.supports, asked.valid, 3) == 1 - supports / (3 * memories)


def test_a_loss_that_is_resolved():
    rows = {"dense": np.ones(400, bool), "pruned": np.arange(400) % 4 > 0, "valid": np.full(400, 5),
            "supports": np.ones(400, int), "kept": np.ones((3, 400))}  # fmt: skip
    assert not attention_memn2n.told(rows, 3, 1)["unresolved"]


@pytest.mark.parametrize(
    ("section", "values", "says"),
    [
        ("study", {"tasks": ["four"]}, "study.tasks: expected one of"),
        ("study", {"penalties": [0]}, "study.penalties"),
        ("data", {"test": 1}, "data.test: expected an integer from 2"),
        ("model", {"hops": 0}, "model.hops"),
        ("training", {"band": -1.0}, "training.band"),
        ("training", {"rate": 1.0}, "training: unknown key 'rate'"),
    ],
)
def test_wrong_settings_are_named(tmp_path, section, values, says):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    table = read_toml(tmp_path / "tiny.toml")
    table[section] |= values
    with pytest.raises((ValueError, TypeError), match=says):
        attention_memn2n.read(table)


def test_explain_says_that_nothing_is_placed(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    assert cli.main(["explain", str(tmp_path / "tiny.toml")]) == 0
    assert "no crossbars" in capsys.readouterr().out
