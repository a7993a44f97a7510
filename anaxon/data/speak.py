"""A worker that speaks shards of the synthetic corpus: `python -m anaxon.data.speak JSON`.

A shard is spoken by one fresh `Speaker`, in order, so its clips depend on (seed, split, shard) only, never on how many
workers there are or which shards were already made.
"""

import numpy as np

from anaxon.data import espeak, rooms, voices, workers

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


if __name__ == "__main__":
    workers.serve(lambda job, part: speak_shard(job["seed"], *part))
