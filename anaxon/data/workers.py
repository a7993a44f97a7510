"""Shards of a synthetic corpus, spoken by processes of their own: one synthesiser each, and no JAX in any of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from anaxon.data import cache

Part = tuple[str, int, int]  # split, shard, clips
Arrays = dict[str, np.ndarray]


def name_of(part: Part) -> str:
    """The stem of a shard's files."""
    return f"{part[0]}-{part[1]:03d}"


def parts(sizes: dict[str, int], shard: int) -> list[Part]:
    """The shards of splits with so many clips, in order."""
    return [(split, k, min(shard, count - k * shard)) for split, count in sizes.items()
            for k in range(-(-count // shard))]  # fmt: skip


def read(path: Path) -> Arrays | None:
    """A finished shard, or None where there is none; a damaged one is made again."""
    try:
        return cache.load(path)[0]
    except FileNotFoundError:
        return None
    except ValueError:
        path.unlink(missing_ok=True)
        return None


def spoken(module: str, job: dict[str, Any], folder: Path, todo: list[Part], processes: int,
           what: str) -> Iterator[tuple[Part, Arrays]]:  # fmt: skip
    """Shards as workers finish them. Workers end with this generator; what they wrote stays.

    `module` is run as a program that calls `serve`; `what` names the corpus in errors; `processes` 0 is one a core.

    Raises:
      RuntimeError: when a worker failed, with its last line.
    """
    waiting = dict.fromkeys(todo)
    count = min(processes or os.cpu_count() or 1, len(todo))
    workers = [start(module, job, folder, todo[k::count]) for k in range(count)]
    try:
        while waiting:
            ended = all(worker.poll() is not None for worker in workers)
            for part in list(waiting):
                if (clips := read(folder / f"{name_of(part)}.clips.npz")) is not None:
                    del waiting[part]
                    yield part, clips
            _check(workers, what)
            if ended and waiting:
                raise RuntimeError(f"{what}: the speaking processes ended before all clips were made")
            time.sleep(0.1 if waiting else 0)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def start(module: str, job: dict[str, Any], folder: Path, shards: list[Part]) -> subprocess.Popen[str]:
    """One worker process that speaks `shards` into `folder`."""
    text = json.dumps({**job, "folder": str(folder), "shards": shards, "parent": os.getpid()})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", module, text], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip


def _check(workers: list[subprocess.Popen[str]], what: str) -> None:
    for worker in workers:
        if worker.poll():
            lines = (worker.stderr.read() if worker.stderr else "").strip().splitlines()
            why = lines[-1] if lines else f"exit code {worker.returncode}"
            raise RuntimeError(f"{what} could not be spoken (finished shards are kept): {why}")


def serve(make: Callable[[dict[str, Any], Part], Arrays]) -> None:
    """A worker's program: makes its job's shards, and stops early when the process that asked for them is gone."""
    job = json.loads(sys.argv[1])
    try:
        for split, shard, count in job["shards"]:
            if os.getppid() != job["parent"]:
                return
            part = (split, shard, count)
            cache.save(Path(job["folder"]) / f"{name_of(part)}.clips.npz", make(job, part))
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(str(error))
