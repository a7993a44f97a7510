"""The synthetic corpus: shards spoken by worker processes, turned into features here as they arrive."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import Progress

from anaxon.data import cache, voices
from anaxon.data.features import log_mel_batches
from anaxon.data.speak import SHARD

if TYPE_CHECKING:
    from anaxon.data.keywords import KeywordData

NAME = "synthetic (espeak-ng)"
_VERSION = 1  # raise it when clips change
_Part = tuple[str, int, int]  # split, shard, clips


def cache_path(config: "KeywordData") -> Path:
    """The corpus's file; its name depends on everything that its content depends on."""
    code = cache.fingerprint(version=_VERSION, shard=SHARD, seed=config.seed, features=str(config.features),
                             clips=[config.train, config.validation, config.test])  # fmt: skip
    return cache.folder() / f"keywords-{code}.npz"


def _parts_folder(path: Path) -> Path:
    return path.with_suffix(".parts")


def forget_parts(path: Path) -> None:
    """Removes the shards of a corpus that is complete."""
    shutil.rmtree(_parts_folder(path), ignore_errors=True)


def build(config: "KeywordData", progress: bool) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays `{split}_features`, `_labels`, `_speakers` and facts. Finished shards of an earlier call are kept."""
    folder = _parts_folder(cache_path(config))
    folder.mkdir(parents=True, exist_ok=True)
    parts = [(split, k, min(SHARD, count - k * SHARD)) for split in voices.SPLITS
             for count in [getattr(config, split)] for k in range(-(-count // SHARD))]  # fmt: skip
    voices.cast(config.seed)  # fails here, in one sentence, when espeak-ng is not installed
    done = {part: arrays for part in parts if (arrays := _read(folder / f"{part[0]}-{part[1]:03d}.npz")) is not None}
    with Progress(disable=not progress) as bar:
        task = bar.add_task("speaking the keyword corpus", total=sum(p[2] for p in parts))
        bar.advance(task, sum(p[2] for p in done))
        todo = [part for part in parts if part not in done]
        for part, clips in _spoken(config, folder, todo):
            done[part] = _featurise(folder, part, clips, config)
            bar.advance(task, part[2])
    return _joined(parts, done)


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """A finished shard, or None where there is none; a damaged one is made again."""
    try:
        return cache.load(path)[0]
    except FileNotFoundError:
        return None
    except ValueError:
        path.unlink(missing_ok=True)
        return None


def _spoken(config: "KeywordData", folder: Path, todo: list[_Part]) -> Iterator[tuple[_Part, dict[str, np.ndarray]]]:
    """Shards as workers finish them. Workers end with this generator; what they wrote stays."""
    waiting = dict.fromkeys(todo)
    count = min(config.workers or os.cpu_count() or 1, len(todo))
    workers = [_start(config.seed, folder, todo[k::count]) for k in range(count)]
    try:
        while waiting:
            ended = all(worker.poll() is not None for worker in workers)
            for part in list(waiting):
                if (clips := _read(folder / f"{part[0]}-{part[1]:03d}.clips.npz")) is not None:
                    del waiting[part]
                    yield part, clips
            _check(workers)
            if ended and waiting:
                raise RuntimeError("the keyword corpus: the speaking processes ended before all clips were made")
            time.sleep(0.1 if waiting else 0)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _start(seed: int, folder: Path, parts: list[_Part]) -> subprocess.Popen[str]:
    job = json.dumps({"seed": seed, "folder": str(folder), "shards": parts, "parent": os.getpid()})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "anaxon.data.speak", job], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip


def _check(workers: list[subprocess.Popen[str]]) -> None:
    for worker in workers:
        if worker.poll():
            lines = (worker.stderr.read() if worker.stderr else "").strip().splitlines()
            why = lines[-1] if lines else f"exit code {worker.returncode}"
            raise RuntimeError(f"the keyword corpus could not be spoken (finished shards are kept): {why}")


def _featurise(folder: Path, part: _Part, clips: dict[str, np.ndarray], config: "KeywordData") -> dict[str, np.ndarray]:
    """Replaces a shard's clips by its features, 4 times smaller."""
    name = f"{part[0]}-{part[1]:03d}"
    arrays = {
        "features": log_mel_batches(clips["clips"], config.features),
        "labels": clips["labels"],
        "speakers": clips["speakers"],
        "audio_crc": np.asarray(cache.crc(clips["clips"]), np.uint32),
    }
    cache.save(folder / f"{name}.npz", arrays)
    (folder / f"{name}.clips.npz").unlink(missing_ok=True)
    return arrays


def _joined(parts: list[_Part], done: dict[_Part, dict[str, np.ndarray]]) -> tuple[dict[str, np.ndarray], dict]:
    arrays = {f"{split}_{field}": np.concatenate([done[p][field] for p in parts if p[0] == split])
              for split in voices.SPLITS for field in ("features", "labels", "speakers")}  # fmt: skip
    audio = cache.crc(np.array([done[part]["audio_crc"] for part in parts], np.uint32))
    return arrays, {"name": NAME, "audio_crc": f"{audio:08x}", "speakers": voices.identities()}
