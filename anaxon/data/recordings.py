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


def text_of(file: Path) -> str:
    """A transcript file's text, UTF-8 with or without a byte order mark.

    Raises:
      ValueError: for bytes that are none; the sentence names file and line.
    """
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}: line {line} is not UTF-8; convert the file, for example with iconv") from None


def split_of(name: str, config: "SpeechData") -> list[str]:
    """The splits whose patterns (`train_folders` ...) the name of a part matches."""
    return [split for split in SPLITS if any(fnmatch(name, pattern) for pattern in getattr(config, f"{split}_folders"))]
