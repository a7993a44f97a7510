import errno
import os
import subprocess
import sys

import filelock
import numpy as np
import pytest

from anaxon.data import cache


def test_round_trip_and_checksum(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.array([1, -1], np.int32)}
    cache.save(tmp_path / "x.npz", arrays, {"name": "n", "k": [1, 2]})
    loaded, facts = cache.load(tmp_path / "x.npz")
    assert facts == {"name": "n", "k": [1, 2]} and set(loaded) == {"a", "b"}
    np.testing.assert_array_equal(loaded["a"], arrays["a"])
    assert os.listdir(tmp_path) == ["x.npz"]


def test_crc_sees_shape_and_type():
    a = np.zeros(6, np.float32)
    assert len({cache.crc(a), cache.crc(a.reshape(2, 3)), cache.crc(a.view(np.int32)), cache.crc(a + 1)}) == 4


@pytest.mark.parametrize("keep", [0, 100, 700])
def test_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "x.npz"
    cache.save(path, {"a": np.arange(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"x\.npz: this cache file is damaged"):
        cache.load(path)


def test_other_content_under_the_old_checksum_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    cache.save(path, {"a": np.arange(100)})
    with np.load(path) as file:
        members = dict(file)
    np.savez(path, **{**members, "a": np.arange(100) + 1})
    with pytest.raises(ValueError, match="checksum"):
        cache.load(path)


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    cache.save(path, {"a": np.arange(3)})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*x\.npz") as caught:
        cache.save(path, {"a": np.arange(4)})
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["x.npz"] and len(cache.load(path)[0]["a"]) == 3


def test_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(OSError, match="cannot make the cache folder"):
        cache.folder()


def test_a_file_is_made_once_and_then_read(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": np.arange(3)}, {"n": len(made)}

    for _ in range(2):
        arrays, facts = cache.made(tmp_path / "deep" / "x.npz", make)
        np.testing.assert_array_equal(arrays["a"], np.arange(3))
        assert facts == {"n": 1}


def test_what_another_process_makes_is_waited_for_or_left(tmp_path):
    path = tmp_path / "x.npz"
    holder = (
        "import sys, time; from pathlib import Path; from anaxon.data import cache\n"
        "def make():\n"
        "    print('holding', flush=True); sys.stdin.readline(); return {}, {'by': 'the other'}\n"
        f"cache.made(Path({str(path)!r}), make)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(filelock.Timeout):
            cache.made(path, dict, wait=False)
        other.stdin.write("\n")
        other.stdin.flush()
        assert cache.made(path, lambda: ({}, {"by": "us"}))[1] == {"by": "the other"}


def test_a_lock_dies_with_its_process(tmp_path):
    path = tmp_path / "x.npz"
    holder = (
        "import os; from pathlib import Path; from anaxon.data import cache\n"
        f"cache.made(Path({str(path)!r}), lambda: os._exit(3))"
    )
    assert subprocess.run([sys.executable, "-c", holder]).returncode == 3
    assert cache.made(path, lambda: ({}, {"by": "us"}), wait=False)[1] == {"by": "us"}
