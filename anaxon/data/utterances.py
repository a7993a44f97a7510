"""The default corpus: the grammar's sentences spoken by espeak-ng, in worker processes (`python -m` this module)."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import Progress

from anaxon.data import cache, espeak, rooms, sentences, tokens, voices, workers

if TYPE_CHECKING:
    from anaxon.data.asr import SpeechData

NAME = "synthetic sentences (espeak-ng)"
SHARD = 100  # sentences
FRAME = 0.04  # s: an output frame of a recogniser that reads one of four
TIGHTEST = 0.72  # tokens per output frame; a sentence that is faster is said again more slowly

_VERSION = 2  # raise it when recordings change
_FIELDS = ("train", "validation", "test", "vocabulary", "rates", "noise_db", "gain_db", "room", "accents", "voices",
           "speakers", "seed")  # fmt: skip
_WHAT = "the sentences"


def job_of(config: "SpeechData") -> dict[str, Any]:
    """The settings that recordings depend on, as JSON takes them."""
    return {name: getattr(config, name) for name in _FIELDS}


def cache_path(config: "SpeechData") -> Path:
    """The corpus's file; its name depends on everything that its content depends on."""
    code = cache.fingerprint(version=_VERSION, shard=SHARD, features=str(config.features), **job_of(config),
                             grammar=[sentences.RULES, sentences.WORDS])  # fmt: skip
    return cache.folder() / f"sentences-{code}.npz"


def forget_parts(path: Path) -> None:
    """Removes the shards of a corpus that is complete."""
    shutil.rmtree(path.with_suffix(".parts"), ignore_errors=True)


def cast(job: dict[str, Any]) -> dict[str, list[str]]:
    """The voice variants of each split: whole identities are held out, or the training split's speak everywhere."""
    found = voices.cast(job["seed"])
    if job["speakers"]:
        order = np.random.default_rng([job["seed"], 402]).permutation(len(found["train"]))
        found["train"] = [found["train"][k] for k in sorted(order[: job["speakers"]])]
    return found if job["voices"] == "held-out" else dict.fromkeys(voices.SPLITS, found["train"])


def written(job: dict[str, Any]) -> dict[str, list[str]]:
    """The sentences of each split."""
    return sentences.write(job["seed"], {split: job[split] for split in voices.SPLITS}, job["vocabulary"])


def build(config: "SpeechData", progress: bool) -> tuple[workers.Arrays, dict[str, Any]]:
    """Arrays `{split}_features`, `_starts`, `_speakers` and facts. Finished shards of an earlier call are kept."""
    job, folder = job_of(config), cache_path(config).with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    texts = written(job)
    cast(job)  # fails here, in one sentence, when espeak-ng is not installed
    parts = workers.parts({split: job[split] for split in voices.SPLITS}, SHARD)
    files = {part: folder / f"{workers.name_of(part)}.npz" for part in parts}
    done = {part: arrays for part in parts if (arrays := workers.read(files[part])) is not None}
    with Progress(disable=not progress) as bar:
        task = bar.add_task("speaking sentences", total=sum(p[2] for p in parts), completed=sum(p[2] for p in done))
        todo = [part for part in parts if part not in done]
        for part, clips in workers.spoken("anaxon.data.utterances", job, folder, todo, config.workers, _WHAT):
            done[part] = _featurise(files[part], clips, config)
            bar.advance(task, part[2])
    return _joined([(part, done[part]) for part in parts]), _facts(texts)


def _facts(texts: dict[str, list[str]]) -> dict[str, Any]:
    ids = {split: [f"{split}-{k:05d}" for k in range(len(said))] for split, said in texts.items()}
    return {"name": NAME, "texts": texts, "ids": ids, "notes": [], "speakers": voices.identities()}


def speak_shard(job: dict[str, Any], part: workers.Part) -> workers.Arrays:
    """Samples `[total]` int16 of a shard's sentences one after the other, their lengths and speakers `[count]`.

    A shard is spoken by one fresh `Speaker` in order; sentence i draws from `default_rng([seed, 403, split, i])`.
    """
    split, shard, count = part
    texts, variants, names = written(job)[split], cast(job)[split], voices.identities()
    clips, speakers = [], []
    with espeak.speaker() as speaker:
        for i in range(shard * SHARD, shard * SHARD + count):
            rng = np.random.default_rng([job["seed"], 403, voices.SPLITS.index(split), i])
            variant = variants[rng.integers(len(variants))]
            sound = _say(speaker, rng, texts[i], variant, job)
            clips.append(rooms.sentence(rng, sound, speaker.rate, where=job["room"], noise_db=job["noise_db"],
                                        gain_db=job["gain_db"]))  # fmt: skip
            speakers.append(names.index(voices.identity(variant)))
    lengths = np.array([len(clip) for clip in clips], np.int64)
    return {"samples": np.concatenate(clips), "lengths": lengths, "speakers": np.array(speakers, np.int32)}


def _say(speaker: espeak.Speaker, rng: np.random.Generator, text: str, variant: str, job: dict[str, Any]) -> np.ndarray:
    """The dry sentence in a random accent, rate, pitch and pitch range; slower when CTC could not write it in time."""
    accents: Sequence[str] = job["accents"]
    voice = f"{accents[int(rng.integers(len(accents)))]}+{variant}"
    rate, pitch, pitch_range = (int(rng.integers(low, high + 1)) for low, high in (job["rates"], (20, 79), (20, 79)))
    needed = tokens.frames_needed(tokens.encode(text))
    while True:
        sound = speaker.say(text, voice, rate=rate, pitch=pitch, pitch_range=pitch_range)
        tightness = needed / max(1e-9, len(rooms.trim(sound)) / speaker.rate / FRAME)
        if tightness <= TIGHTEST or rate <= 80:  # the synthesiser's slowest
            return sound
        rate = max(80, int(min(0.95, TIGHTEST / tightness) * rate))


def _featurise(file: Path, clips: workers.Arrays, config: "SpeechData") -> workers.Arrays:
    """Replaces a shard's samples by its features."""
    from anaxon.data.features import log_mel_utterances  # here: workers import this module and need no JAX

    sounds = np.split(clips["samples"], np.cumsum(clips["lengths"])[:-1])
    features, starts = log_mel_utterances(sounds, config.features)
    arrays = {"features": features, "lengths": np.diff(starts), "speakers": clips["speakers"]}
    cache.save(file, arrays)
    file.with_suffix(".clips.npz").unlink(missing_ok=True)
    return arrays


def _joined(shards: list[tuple[workers.Part, workers.Arrays]]) -> workers.Arrays:
    arrays = {}
    for split in voices.SPLITS:
        own = [made for part, made in shards if part[0] == split]
        arrays[f"{split}_features"] = np.concatenate([made["features"] for made in own])
        lengths = np.concatenate([made["lengths"] for made in own])
        arrays[f"{split}_starts"] = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        arrays[f"{split}_speakers"] = np.concatenate([made["speakers"] for made in own])
    return arrays


if __name__ == "__main__":
    workers.serve(speak_shard)
