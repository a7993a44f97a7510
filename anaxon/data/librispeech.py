"""LibriSpeech folders (Panayotov et al. 2015): `<part>/<speaker>/<chapter>/*.flac` and one `.trans.txt` a chapter."""

from pathlib import Path
from typing import TYPE_CHECKING

from anaxon.data.recordings import SPLITS, Listing, Recording, split_of, text_of

if TYPE_CHECKING:
    from anaxon.data.asr import SpeechData


def find(path: Path, config: "SpeechData") -> Listing | None:
    """The recordings of the parts that the config's patterns name; None where there is no transcript of this kind.

    `path` may be the folder of the parts or one above it (`LibriSpeech/`).
    """
    root = next((folder for folder in (path, path / "LibriSpeech") if _is_root(folder)), None)
    if root is None:
        return None
    found: dict[str, list[Recording]] = {split: [] for split in SPLITS}
    for part in sorted(folder for folder in root.iterdir() if folder.is_dir()):
        for split in split_of(part.name, config):
            found[split] += [r for file in sorted(part.glob("*/*/*.trans.txt")) for r in _chapter(file)]
    return Listing("LibriSpeech", found)


def _is_root(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob("*/*/*/*.trans.txt"), None) is not None


def _chapter(file: Path) -> list[Recording]:
    """The utterances of one chapter; lines are `id TRANSCRIPT`."""
    lines = [line.partition(" ") for line in text_of(file).splitlines() if line.strip()]
    return [Recording(name, file.parent / f"{name}.flac", text, f"librispeech-{file.parent.parent.name}")
            for name, _, text in lines]  # fmt: skip
