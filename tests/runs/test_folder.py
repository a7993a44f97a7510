import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from anaxon.data import cache
from anaxon.runs import folder

CONFIG = {"seed": 0, "ensemble": {"chips": 4, "panel": 24}, "data": {"path": None}}


def test_a_new_folder_keeps_its_configuration(tmp_path):
    opened = folder.open_new(tmp_path / "a" / "run", CONFIG)
    assert json.loads((opened.path / "config.json").read_text()) == CONFIG
    assert not opened.finished


def test_json_is_plain_and_nan_is_null(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    opened.write_json("x.json", {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": (np.int64(3),)})
    assert json.loads((opened.path / "x.json").read_text()) == {"a": 0.5, "b": [1, 2], "c": None, "d": [3]}


def test_finishing_drops_the_chunks(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    opened.chunks("panel").mkdir(parents=True)
    opened.finish({"schema": 1})
    assert not (opened.path / "chunks").exists()
    assert folder.open_new(opened.path, CONFIG).finished
    assert folder.open_again(opened.path, CONFIG).finished


def test_phases_are_logged_and_timed(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    with opened.phase("training"):
        pass
    log = (opened.path / "log.txt").read_text()
    assert "training: started" in log and f"training: {opened.seconds['training']} s" in log


def test_resume_names_what_changed(tmp_path):
    folder.open_new(tmp_path / "run", CONFIG)
    changed = {**CONFIG, "ensemble": {"chips": 5, "panel": 24}}
    with pytest.raises(ValueError, match=r"started with ensemble.chips = 4, the configuration now says 5"):
        folder.open_again(tmp_path / "run", changed)
    with pytest.raises(ValueError, match=r"data.url = \(not there\), the configuration now says"):
        folder.open_again(tmp_path / "run", {**CONFIG, "data": {"path": None, "url": "x"}})


def test_resume_without_a_run_starts_one(tmp_path):
    assert not folder.open_again(tmp_path / "run", CONFIG).finished


def test_what_stands_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    folder.open_new(tmp_path / "half", CONFIG)
    folder.open_new(tmp_path / "done", CONFIG).finish({})
    for name, words in (("file", "there is a file"), ("other", "not empty"), ("half", "continue it with --resume")):
        with pytest.raises(ValueError, match=words):
            folder.open_new(tmp_path / name, CONFIG)
    with pytest.raises(ValueError, match="another configuration"):
        folder.open_new(tmp_path / "done", {**CONFIG, "seed": 1})


def test_a_damaged_configuration_is_named(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    (opened.path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: not readable"):
        folder.open_again(opened.path, CONFIG)


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    opened.write("report.html", b"old")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="what is there is kept") as caught:
        opened.write("report.html", b"new")
    assert caught.value.errno == errno.ENOSPC
    assert (opened.path / "report.html").read_bytes() == b"old"
    assert [p.name for p in opened.path.iterdir() if p.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ("a.b", "[1, 2]", "[1, 3]")),
        ({"a": 1}, {}, ("a", "1", "(not there)")),
        ({"a": {"b": 1}}, {"a": 2}, ("a", '{"b": 1}', "2")),
    ],
)
def test_difference(old, new, expected):
    assert folder.difference(old, new) == expected


def test_parts_are_kept_as_they_are_made(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    made = []

    def part(name):
        def make():
            if name == "c" and len(made) < 3:
                made.append("failed")
                raise KeyboardInterrupt
            made.append(name)
            return {"x": np.full(2, ord(name))}, {"name": name}

        return make

    makers = {name: part(name) for name in "abc"}
    with pytest.raises(KeyboardInterrupt):
        opened.parts(makers)
    found = folder.open_again(opened.path, CONFIG).parts(makers)
    assert made == ["a", "b", "failed", "c"] and list(found) == ["a", "b", "c"]
    assert all(facts["name"] == name and arrays["x"][0] == ord(name) for name, (arrays, facts) in found.items())


def test_a_part_that_another_process_makes_is_waited_for_last(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    made = []
    busy = cache.locked(opened.path / "parts" / "a.npz")
    busy.acquire()

    def last():
        made.append("b")
        busy.release()  # the other process gives up, without the file
        return {}, {}

    def first():
        made.append("a")
        return {}, {}

    opened.parts({"a": first, "b": last})
    assert made == ["b", "a"]


def test_a_part_that_fails_stops_none_but_the_run(tmp_path):
    opened = folder.open_new(tmp_path / "run", CONFIG)
    made = []

    def bad():
        raise FloatingPointError("diverged")

    def good():
        made.append(1)
        return {}, {}

    with pytest.raises(FloatingPointError, match="diverged"):
        opened.parts({"a": bad, "b": good})
    assert made and (opened.path / "parts" / "b.npz").exists()
    assert "part a failed: FloatingPointError" in (opened.path / "log.txt").read_text()
    found = opened.parts({"a": good, "b": good})
    assert len(made) == 2 and all("seconds" in facts for _, facts in found.values())
    assert set(opened.seconds) == {"part a", "part b"}


def test_processes_may_begin_a_folder_at_once(tmp_path):
    begin = (
        f"from pathlib import Path; from anaxon.runs import folder; "
        f"folder.open_again(Path({str(tmp_path / 'run')!r}), {{'seed': 0}})"
    )
    processes = [subprocess.Popen([sys.executable, "-c", begin]) for _ in range(4)]
    assert [p.wait(60) for p in processes] == [0, 0, 0, 0]
