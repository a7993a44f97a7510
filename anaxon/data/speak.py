"""A worker that speaks shards of the synthetic corpus: `python -m anaxon.data.speak JSON`.

A shard is spoken by one fresh `Speaker`, in order, so its clips depend on (seed, split, shard) only, never on how many
workers there are or which shards were already made.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from anaxon.data import cache, espeak, rooms, voices

SHARD = 512  # clips


def speak_shard(seed: int, split: str, shard: int, count: int = SHARD) -> dict[str, np.ndarray]:
    """Clips `[count, 16000]` int16 with labels and speakers `[count]` int32; the speaker of silence is -1.

    Clip i of a split is drawn from `default_rng([seed, split number, i])`; its class is i mod 12.
    """
    cast, names = voices.cast(seed)[split], voices.identities()
    index = range(shard * SHARD, shard * SHARD + count)
    clips, labels, speakers = np.zeros((count, rooms.CLIP), np.int16), [], []
    with espeak.speaker() as speaker:
        for row, i in enumerate(index):
            rng = np.random.default_rng([seed, voices.SPLITS.index(split), i])
            label = i % len(voices.CLASSES)
            variant = cast[rng.integers(len(cast))]
            word = _say(speaker, rng, label, variant)
            clips[row] = rooms.recording(rng, word, speaker.rate)
            labels.append(label)
            speakers.append(-1 if word is None else names.index(voices.identity(variant)))
    return {"clips": clips, "labels": np.array(labels, np.int32), "speakers": np.array(speakers, np.int32)}


def _say(speaker: espeak.Speaker, rng: np.random.Generator, label: int, variant: str) -> np.ndarray | None:
    """The dry word of a class in a random accent, rate, pitch and pitch range."""
    if label == voices.SILENCE:
        return None
    text = voices.OTHERS[rng.integers(len(voices.OTHERS))] if label == voices.UNKNOWN else voices.KEYWORDS[label]
    accent = voices.ACCENTS[rng.integers(len(voices.ACCENTS))]
    rate, pitch, pitch_range = (int(rng.integers(low, high)) for low, high in ((110, 230), (20, 80), (20, 80)))
    return speaker.say(text, f"{accent}+{variant}", rate=rate, pitch=pitch, pitch_range=pitch_range)


def main() -> None:
    """Speaks the shards of the job and stops early when the process that asked for them is gone."""
    job = json.loads(sys.argv[1])
    for split, shard, count in job["shards"]:
        if os.getppid() != job["parent"]:
            return
        arrays = speak_shard(job["seed"], split, shard, count)
        cache.save(Path(job["folder"]) / f"{split}-{shard:03d}.clips.npz", arrays)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(str(error))
