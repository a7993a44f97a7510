"""The cache folder: whole files or none, a checksum in each, and one clear sentence when something is wrong."""

import contextlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

Content = tuple[dict[str, np.ndarray], dict[str, Any]]  # arrays and facts of a file


def folder() -> Path:
    """The cache folder: `$ANAXON_CACHE`, or `~/.cache/anaxon`. It is made if it is not there.

    Raises:
      OSError: when it cannot be made; the sentence names it.
    """
    path = Path(os.environ.get("ANAXON_CACHE") or "~/.cache/anaxon").expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot make the cache folder (set ANAXON_CACHE to another): {error.strerror}",
                      str(path)) from error  # fmt: skip
    return path


def crc(*arrays: np.ndarray) -> int:
    """CRC-32 over dtype, shape and bytes of the arrays, in order."""
    code = 0
    for array in arrays:
        array = np.ascontiguousarray(array)
        code = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), code)
        code = zlib.crc32(array.reshape(-1).view(np.uint8).data, code)
    return code


def fingerprint(**facts: Any) -> str:
    """Eight hex digits of the JSON of `facts`: the part of a file's name that says what made it."""
    return f"{zlib.crc32(json.dumps(facts, sort_keys=True, default=str).encode()):08x}"


def save(path: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any] | None = None) -> None:
    """Writes arrays and JSON facts to `path` (npz) with a checksum; a reader sees the old file or all of the new one.

    Raises:
      OSError: when the disk is full or the folder not writable; nothing that was there is lost.
    """
    members: dict[str, np.ndarray] = {**arrays, "_facts": np.frombuffer(json.dumps(facts or {}).encode(), np.uint8)}
    members["_crc"] = np.asarray(crc(*members.values()), np.uint32)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = file.name
            np.savez(file, allow_pickle=False, **members)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write (earlier files are kept): {error.strerror}", str(path)) from error
    finally:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def locked(path: Path, wait: bool = True) -> FileLock:
    """A lock on a file or folder that is being made: one process makes it, others wait or (`filelock.Timeout`) go on.

    The operating system lets go of it when a process dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"), timeout=-1 if wait else 0)


def made(path: Path, make: Callable[[], Content], wait: bool = True) -> Content:
    """What is in a file; it is made first where it is not there, by one process at a time.

    Raises:
      ValueError, OSError: as `load` and `save`.
      filelock.Timeout: unless `wait`, where another process is making it.
    """
    if not path.exists():
        with locked(path, wait):
            if not path.exists():
                save(path, *make())
    return load(path)


def load(path: Path) -> Content:
    """Arrays and facts that `save` wrote.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when the file is damaged: the sentence says where it is and what to do.
    """
    try:
        with np.load(path) as file:
            members = {name: file[name] for name in file.files}
        stored = int(members.pop("_crc"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(_damaged(path, str(error) or type(error).__name__)) from error
    found = crc(*members.values())
    if found != stored:
        raise ValueError(_damaged(path, f"checksum {found:08x}, expected {stored:08x}"))
    facts = json.loads(members.pop("_facts").tobytes())
    return members, facts


def _damaged(path: Path, why: str) -> str:
    return f"{path}: this cache file is damaged ({why}); delete it and it will be made again"
