import errno
import os

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
