"""From recordings to features, shard by shard: which reader, what was left out and why."""

import collections
import dataclasses
import logging
import os
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import Progress

from anaxon.data import audio, cache, librispeech, manifest, tedlium, tokens
from anaxon.data.features import RATE, log_mel_utterances
from anaxon.data.recordings import SPLITS, Listing, Recording

if TYPE_CHECKING:
    from anaxon.data.asr import SpeechData

SHARD = 200  # recordings: what an interrupt loses at most
_VERSION = 2  # raise it when features or choices change
_SHOWN = 3  # examples of each reason in a note
_FRAMES = 4  # feature frames to an output frame of a recogniser

log = logging.getLogger("anaxon.data")


def listing(config: "SpeechData") -> Listing:
    """The recordings under `config.path`, by the reader that knows what is there.

    Raises:
      ValueError: when there is nothing that a reader knows, or a split is empty.
    """
    path = Path(str(config.path)).expanduser()
    if not path.exists():
        raise ValueError(f"data.path: there is no {path}")
    for reader in (librispeech, tedlium, manifest):
        if (found := reader.find(path, config)) is not None:
            return _checked(found, path, config)
    raise ValueError(f"data.path: {path} holds no LibriSpeech (*/*/*/*.trans.txt), no TED-LIUM 2 (*/stm/*.stm) and no "
                     "manifest (*.csv, *.tsv, *.jsonl)")  # fmt: skip


def _checked(found: Listing, path: Path, config: "SpeechData") -> Listing:
    for split in SPLITS:
        if not found.recordings.get(split):
            patterns = ", ".join(getattr(config, f"{split}_folders"))
            raise ValueError(f"data.{split}_folders: {path} ({found.name}) has no utterances for {split} in {patterns}")
    faster = [dataclasses.replace(r, speed=speed, id=r.id if speed == 1 else f"{r.id}-x{speed}")
              for r in found.recordings["train"] for speed in config.speeds]  # fmt: skip
    return dataclasses.replace(found, recordings={**found.recordings, "train": faster})


def cache_path(config: "SpeechData") -> Path:
    """The corpus's file; its name depends on every transcript and on every sound file's size and time."""
    found = listing(config).recordings
    stats = {file: (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None
             for split in SPLITS for file in {r.file for r in found[split]}}  # fmt: skip
    facts = {split: [(dataclasses.astuple(r), stats[r.file]) for r in found[split]] for split in SPLITS}
    code = cache.fingerprint(version=_VERSION, shard=SHARD, features=str(config.features), longest=config.longest,
                             unknown=config.unknown, **facts)  # fmt: skip
    return cache.folder() / f"speech-{code}.npz"


def forget_parts(path: Path) -> None:
    """Removes the shards of a corpus that is complete."""
    shutil.rmtree(path.with_suffix(".parts"), ignore_errors=True)


def build(config: "SpeechData", progress: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays `{split}_features`, `_starts`, `_speakers` and facts. Finished shards of an earlier call are kept.

    Raises:
      ValueError: when nothing of a split can be used, with the reasons.
    """
    found, path = listing(config), cache_path(config)
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"name": found.name, "texts": {}, "ids": {}, "notes": list(found.notes)}
    left_out: list[str] = []
    with Progress(disable=not progress) as bar:
        for split in SPLITS:
            own = found.recordings[split]
            task = bar.add_task(f"reading {split}", total=len(own))
            parts = []
            for first in range(0, len(own), SHARD):
                file = path.with_suffix(".parts") / f"{split}-{first // SHARD:05d}.npz"
                parts.append(_shard(file, own[first : first + SHARD], config, split))
                bar.advance(task, len(own[first : first + SHARD]))
            texts, ids, lost, notes = _gather(split, parts, own, arrays, config.features.mels)
            facts["texts"][split], facts["ids"][split] = texts, ids
            facts["notes"] += notes
            left_out += lost
    _tell(facts["notes"], left_out, path)
    return arrays, facts


def _tell(notes: list[str], left_out: list[str], path: Path) -> None:
    """Logs the notes, and writes the whole list of what was left out beside the cache file."""
    if left_out:
        file = path.with_suffix(".skipped.txt")
        file.write_text("\n".join(left_out) + "\n", encoding="utf-8")
        notes.append(f"the list of all {len(left_out):,} that were skipped: {file}")
    for note in notes:
        log.warning(note)


_Shard = tuple[Path, dict[str, Any]]  # file with features, lengths, speakers; its facts


def _shard(file: Path, recordings: Sequence[Recording], config: "SpeechData", split: str) -> _Shard:
    """A shard's file and facts, made where it is not there (or damaged)."""
    try:
        return file, cache.load(file)[1]
    except FileNotFoundError:
        pass
    except ValueError:
        file.unlink(missing_ok=True)
    arrays, facts = features_of(recordings, config, training=split == "train")
    cache.save(file, arrays, facts)
    return file, facts


def features_of(recordings: Sequence[Recording], config: "SpeechData", *,
                training: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    """Arrays `features`, `lengths`, `kept` (which) and facts: `texts`, `skipped` (`[id, reason, detail]`), `resampled`.

    For training, an utterance is skipped that is longer than `config.longest`, or whose transcript CTC cannot write in
    an output frame every 4 frames. What is tested on is never made easier.
    """
    audio.check_installed()
    with ThreadPoolExecutor(config.workers or os.cpu_count() or 1) as pool:
        found = list(pool.map(lambda r: _heard(r, config, training), recordings))
    for k, one in enumerate(found):
        if isinstance(one, _Heard) and (short := _too_short(one, config, training)):
            found[k] = short
    good = {k: one for k, one in enumerate(found) if isinstance(one, _Heard)}
    features, starts = log_mel_utterances([one.sound for one in good.values()], config.features)
    skipped = [[r.id, *one] for r, one in zip(recordings, found, strict=True) if isinstance(one, tuple)]
    rates = collections.Counter(str(one.rate) for one in good.values() if one.rate != RATE)
    arrays = {"features": features, "lengths": np.diff(starts), "kept": np.array(list(good), np.int64)}
    facts = {"texts": [one.text for one in good.values()], "skipped": skipped, "resampled": rates}
    return arrays, {**facts, "frames": len(features)}


_Reason = tuple[str, str]  # why an utterance is left out, and a detail


@dataclasses.dataclass(frozen=True)
class _Heard:
    sound: np.ndarray
    rate: int
    text: str


def _heard(recording: Recording, config: "SpeechData", training: bool) -> _Heard | _Reason:
    """Samples at 16 kHz and transcript, or why not (`reason, detail`)."""
    text = tokens.dropped(recording.text)
    if config.unknown == "skip" and (odd := tokens.unknown(recording.text)):
        return "unknown symbols in the transcript", odd
    if not text:
        return "empty transcript", ""
    try:
        sound, rate = audio.read(recording.file, recording.start, recording.stop)
    except ValueError as error:
        return "not readable", str(error)
    if training and len(sound) / rate > config.longest:
        return f"longer than {config.longest:g} s", f"{len(sound) / rate:.1f} s"
    return _Heard(audio.at_16_khz(sound, rate * recording.speed), rate, text)


def _too_short(heard: _Heard, config: "SpeechData", training: bool) -> _Reason | None:
    frames = config.features.frames(len(heard.sound))
    needed = _FRAMES * tokens.frames_needed(tokens.encode(heard.text)) if training else 1
    return ("too short for its transcript", f"{frames} frames") if frames < needed else None


def _gather(split: str, shards: list[_Shard], recordings: list[Recording],
            arrays: dict[str, np.ndarray], mels: int) -> tuple[list[str], list[str], list[str], list[str]]:  # fmt: skip
    """Puts a split's arrays into `arrays`; its transcripts, ids, lines on what was skipped, and notes."""
    features = np.empty((sum(facts["frames"] for _, facts in shards), mels), np.float16)
    lengths, kept, at = [], [], 0
    for number, (file, _) in enumerate(shards):
        made = cache.load(file)[0]
        features[at : at + len(made["features"])] = made["features"]
        at += len(made["features"])
        lengths.append(made["lengths"])
        kept.append(made["kept"] + number * SHARD)
    chosen = [recordings[k] for k in np.concatenate(kept)]
    notes = _notes(split, [facts for _, facts in shards], len(recordings))
    if not chosen:
        raise ValueError(f"data.path: no utterance of {split} can be used: {'; '.join(notes)}")
    arrays[f"{split}_features"] = features
    arrays[f"{split}_starts"] = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    arrays[f"{split}_speakers"] = _numbers([r.speaker for r in chosen])
    lost = ["\t".join([split, *row]) for _, facts in shards for row in facts["skipped"]]
    return [text for _, facts in shards for text in facts["texts"]], [r.id for r in chosen], lost, notes


def _numbers(speakers: list[str]) -> np.ndarray:
    """A number for each name, the same in all splits."""
    return np.array([zlib.crc32(name.encode()) & 0x7FFFFFFF for name in speakers], np.int32)


def _notes(split: str, facts: list[dict[str, Any]], count: int) -> list[str]:
    reasons: dict[str, list[str]] = {}
    rates: collections.Counter[str] = collections.Counter()
    for part in facts:
        rates.update(part["resampled"])
        for name, reason, detail in part["skipped"]:
            reasons.setdefault(reason, []).append(f"{name} {detail}".strip())
    notes = [
        f"{split}: {n:,} of {count:,} utterances resampled from {rate} Hz to {RATE} Hz" for rate, n in rates.items()
    ]
    for reason, names in reasons.items():
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        notes.append(f"{split}: {len(names):,} of {count:,} utterances skipped, {reason}: "
                     f"{', '.join(names[:_SHOWN])}{more}")  # fmt: skip
    return notes
