"""The synthetic corpus: shards spoken by worker processes, turned into features here as they arrive."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import Progress

from anaxon.data import cache, voices, workers
from anaxon.data.features import log_mel_batches
from anaxon.data.speak import SHARD

if TYPE_CHECKING:
    from anaxon.data.keywords import KeywordData

NAME = "synthetic (espeak-ng)"
_VERSION = 1  # raise it when clips change


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


def build(config: "KeywordData", progress: bool) -> tuple[workers.Arrays, dict]:
    """Arrays `{split}_features`, `_labels`, `_speakers` and facts. Finished shards of an earlier call are kept."""
    folder = _parts_folder(cache_path(config))
    folder.mkdir(parents=True, exist_ok=True)
    parts = workers.parts({split: getattr(config, split) for split in voices.SPLITS}, SHARD)
    voices.cast(config.seed)  # fails here, in one sentence, when espeak-ng is not installed
    done = {
        part: arrays for part in parts if (arrays := workers.read(folder / f"{workers.name_of(part)}.npz")) is not None
    }
    with Progress(disable=not progress) as bar:
        task = bar.add_task("speaking the keyword corpus", total=sum(p[2] for p in parts))
        bar.advance(task, sum(p[2] for p in done))
        todo = [part for part in parts if part not in done]
        what, job = "the keyword corpus", {"seed": config.seed}
        for part, clips in workers.spoken("anaxon.data.speak", job, folder, todo, config.workers, what):
            done[part] = _featurise(folder, part, clips, config)
            bar.advance(task, part[2])
    return _joined(parts, done)


def _featurise(folder: Path, part: workers.Part, clips: workers.Arrays, config: "KeywordData") -> workers.Arrays:
    """Replaces a shard's clips by its features, 4 times smaller."""
    name = workers.name_of(part)
    arrays = {
        "features": log_mel_batches(clips["clips"], config.features),
        "labels": clips["labels"],
        "speakers": clips["speakers"],
        "audio_crc": np.asarray(cache.crc(clips["clips"]), np.uint32),
    }
    cache.save(folder / f"{name}.npz", arrays)
    (folder / f"{name}.clips.npz").unlink(missing_ok=True)
    return arrays


def _joined(parts: list[workers.Part], done: dict[workers.Part, workers.Arrays]) -> tuple[workers.Arrays, dict]:
    arrays = {f"{split}_{field}": np.concatenate([done[p][field] for p in parts if p[0] == split])
              for split in voices.SPLITS for field in ("features", "labels", "speakers")}  # fmt: skip
    audio = cache.crc(np.array([done[part]["audio_crc"] for part in parts], np.uint32))
    return arrays, {"name": NAME, "audio_crc": f"{audio:08x}", "speakers": voices.identities()}
