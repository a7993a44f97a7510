"""A run's folder: what was asked, what is done, what came out. Files appear whole or not at all."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout
from rich.console import Console

from anaxon.data import cache

CONFIG, RESULTS, CHIPS, REPORT, LOG = "config.json", "results.json", "ensemble.npz", "report.html", "log.txt"
_MISSING = "(not there)"


class RunFolder:
    """An opened run folder; `finished` says whether its results are complete.

    Attributes:
      path: the folder.
      finished: whether `results.json` is there; it is the last file that a run writes.
      seconds: wall time of the phases of this process, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.seconds = path, {}
        self.finished = (path / RESULTS).exists()

    def log(self, text: str) -> None:
        """A line with the time in `log.txt`."""
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a part of the run and logs it."""
        self.log(f"{name}: started")
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        self.log(f"{name}: {self.seconds[name]} s")

    @contextlib.contextmanager
    def busy(self, name: str, progress: bool) -> Iterator[None]:
        """A phase that cannot count its steps: a spinner instead of a bar."""
        console = Console(stderr=True, quiet=not progress)
        with self.phase(name), console.status(name):
            yield

    def chunks(self, name: str) -> Path:
        """Where `ensemble` keeps the finished chunks of one of its calls."""
        return self.path / "chunks" / name

    def parts(self, makers: dict[str, Callable[[], cache.Content]]) -> dict[str, cache.Content]:
        """The parts of a long run, each kept in a file as soon as it is made; processes in one folder share them.

        A part that fails does not stop those after it; its error is raised at the end.
        """
        file = {name: self.path / "parts" / f"{name}.npz" for name in makers}
        failed = []
        for name, make in makers.items():
            try:
                cache.made(file[name], partial(_timed, make), wait=False)
            except Timeout:  # another process makes it: the next one, meanwhile
                pass
            except Exception as error:
                self.log(f"part {name} failed: {error!r}")
                failed.append(error)
        if failed:
            raise failed[0]
        found = {name: cache.made(file[name], partial(_timed, make)) for name, make in makers.items()}
        self.seconds |= {f"part {name}": facts["seconds"] for name, (_, facts) in found.items()}
        return found

    def write_json(self, name: str, content: Any) -> None:
        """Writes JSON; a value that is not finite is written as null.

        Raises:
          OSError: when it cannot be written; what was there is kept.
        """
        text = json.dumps(_plain(content), indent=2, allow_nan=False)
        self.write(name, (text + "\n").encode())

    def write(self, name: str, content: bytes) -> None:
        """Writes bytes beside, then renames.

        Raises:
          OSError: when it cannot be written; what was there is kept.
        """
        path = self.path / name
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise OSError(error.errno, f"cannot write (what is there is kept): {error.strerror}", str(path)) from error

    def write_report(self, page: str, figures: dict[str, bytes]) -> None:
        """Writes the page, and its figures as PNG files beside it.

        Raises:
          OSError: when one cannot be written.
        """
        for name, png in figures.items():
            self.write(f"figures/{name}.png", png)
        self.write(REPORT, page.encode())

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Writes arrays with a checksum, as `anaxon.data.cache` does."""
        cache.save(self.path / name, arrays)

    def keep(
        self, record: dict[str, Any], rows: dict[str, np.ndarray], page: str, figures: dict[str, bytes]
    ) -> dict[str, Any]:
        """Writes a job's arrays, page and figures, and last its record, with the wall time of the phases so far."""
        self.write_arrays(CHIPS, rows)
        self.write_report(page, figures)
        record["seconds"] = self.seconds
        self.finish(record)
        return record

    def finish(self, results: dict[str, Any]) -> None:
        """Writes `results.json` and drops the chunks, whose rows are in `ensemble.npz`."""
        self.write_json(RESULTS, results)
        shutil.rmtree(self.path / "chunks", ignore_errors=True)
        self.finished = True


def _timed(make: Callable[[], cache.Content]) -> cache.Content:
    """A part, its wall time among its facts."""
    start = time.perf_counter()
    arrays, facts = make()
    return arrays, {**facts, "seconds": round(time.perf_counter() - start, 2)}


def open_new(path: Path, config: dict[str, Any]) -> RunFolder:
    """A folder for a fresh run, or that of the very same run where it is finished.

    Raises:
      ValueError: when there is a run or something else already; the sentence says how to go on.
      OSError: when it cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path}: expected a folder; there is a file")
    if (path / RESULTS).exists():
        if _changed(path, config) is None:
            return RunFolder(path)
        raise ValueError(f"--out {path}: holds a finished run of another configuration; choose another folder")
    if (path / CONFIG).exists():
        raise ValueError(f"{path} holds an unfinished run; continue it with --resume, or choose another with --out")
    if path.exists() and any(path.iterdir()):
        raise ValueError(f"--out {path}: the folder is not empty and holds no run; choose another")
    return _made(path, config)


def open_again(path: Path, config: dict[str, Any]) -> RunFolder:
    """The folder of a run to continue; a fresh one where there is none yet.

    Raises:
      ValueError: when the run there was started with another configuration; the sentence names the key.
    """
    with cache.locked(path):  # several processes may begin at once
        if not (path / CONFIG).exists():
            return open_new(path, config)
    if changed := _changed(path, config):
        key, old, new = changed
        raise ValueError(
            f"--resume: {path} was started with {key} = {old}, the configuration now says {new}; set it back, or start "
            "a new run with --out"
        )
    return RunFolder(path)


def _changed(path: Path, config: dict[str, Any]) -> tuple[str, str, str] | None:
    try:
        before = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path / CONFIG}: not readable as JSON ({error}); start anew with --out") from None
    return difference(before, _plain(config))


def _made(path: Path, config: dict[str, Any]) -> RunFolder:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot make the run's folder: {error.strerror}", str(path)) from error
    folder = RunFolder(path)
    folder.write_json(CONFIG, config)
    return folder


def difference(old: Any, new: Any, where: str = "") -> tuple[str, str, str] | None:
    """The first key at which two JSON values differ, with both values as text."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inner = f"{where}.{key}" if where else key
            if key not in old or key not in new:
                return (
                    inner,
                    json.dumps(old[key]) if key in old else _MISSING,
                    (json.dumps(new[key]) if key in new else _MISSING),
                )
            if found := difference(old[key], new[key], inner):
                return found
        return None
    return None if old == new else (where, json.dumps(old), json.dumps(new))


def _plain(value: Any) -> Any:
    """A value as JSON has it: NumPy scalars and arrays as numbers and lists, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist") and not isinstance(value, str | bytes):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
