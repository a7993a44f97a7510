"""What readers of recorded speech give: utterances by split, with transcripts as written."""

import dataclasses
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anaxon.data.asr import SpeechData

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One utterance: seconds `start` to `stop` (None: the end) of a file, its transcript as written, who speaks."""

    id: str
    file: Path
    text: str
    speaker: str
    start: float = 0.0
    stop: float | None = None
    speed: float = 1.0


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a reader found: the corpus's name, recordings by split, sentences on what it treated."""

    name: str
    recordings: dict[str, list[Recording]]
    notes: tuple[str, ...] = ()


def split_of(name: str, config: "SpeechData") -> list[str]:
    """The splits whose patterns (`train_folders` ...) the name of a part matches."""
    return [split for split in SPLITS if any(fnmatch(name, pattern) for pattern in getattr(config, f"{split}_folders"))]
