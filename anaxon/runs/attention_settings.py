"""The configuration of an attention job: which model and texts, how thresholds are learned, on which accelerator."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

from anaxon.accelerators import AcceleratorTable, load_accelerator
from anaxon.attention.integers import BITS, EXACT
from anaxon.attention.tile import Tile
from anaxon.check import choice, integer, number, require
from anaxon.data.characters import CharacterData
from anaxon.data.images import ImageData
from anaxon.data.texts import SOURCES
from anaxon.data.token_batches import LENGTHS
from anaxon.models.causal_lm import CausalSizes
from anaxon.models.encoder import EncoderSizes
from anaxon.models.vit import PictureSizes
from anaxon.runs.config import from_table, seed_of
from anaxon.settings import check_keys


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Texts to classify.

    Attributes:
      sources: of `data.texts.SOURCES`, a task each.
      path: see `data.texts`; None for installed packages.
      train, test: texts of each task.
      length: tokens, beyond which a text is cut.
      padded: lengths that texts are padded to, the last enough for `length`; few of them are few programs to compile,
        which takes a GPU longer than the padding.

    Raises:
      ValueError: for an unknown source, or a number out of range.
    """

    sources: tuple[str, ...] = ("movies",)
    path: str | None = None
    train: int = 4000
    test: int = 1500
    length: int = 64
    padded: tuple[int, ...] = LENGTHS

    def __post_init__(self) -> None:
        for source in self.sources:
            choice("data.sources", source, SOURCES)
        integer("data.train", self.train, 16, 1 << 20)
        integer("data.test", self.test, 2, 1 << 20)
        integer("data.length", self.length, 8, 512)
        for low, high in itertools.pairwise((0, *self.padded)):
            integer("data.padded", high, low + 1, 512)
        enough = bool(self.padded) and self.padded[-1] >= self.length
        require(enough, "data.padded", self.padded, f"lengths up to data.length = {self.length} at least")


@dataclasses.dataclass(frozen=True)
class Sequences(CharacterData):
    """Characters (see `data.characters`), so many sequences of them of each split."""

    train: int = 4000
    test: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("data.train", self.train, 16, 1 << 20)
        integer("data.test", self.test, 2, 1 << 20)


@dataclasses.dataclass(frozen=True)
class Learning:
    """How the dense model is trained, and then its thresholds with it.

    Attributes:
      dense_epochs: of the model without thresholds; 0 leaves it as it is.
      epochs: with thresholds.
      batch: tokens of a batch of texts, padding included; examples of any other.
      dense_rate, learning_rate: of the weights, at their highest, in the two phases.
      threshold_rate: of the thresholds [score a step].
      start: share of pairs that the thresholds prune before they are learned.

    Raises:
      ValueError: for a number out of range.
    """

    dense_epochs: int = 1
    epochs: int = 1
    batch: int = 2048
    dense_rate: float = 5e-5
    learning_rate: float = 2e-5
    threshold_rate: float = 1e-2
    start: float = 0.5

    def __post_init__(self) -> None:
        integer("training.dense_epochs", self.dense_epochs, 0, 10_000)
        integer("training.epochs", self.epochs, 1, 10_000)
        integer("training.batch", self.batch, 1, 1 << 24)
        for name in ("dense_rate", "learning_rate", "threshold_rate"):
            number(f"training.{name}", getattr(self, name), "a number > 0", low=0, open_low=True)
        _share("training.start", self.start)


@dataclasses.dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
      rates: shares of pairs to prune without training.
      penalties: weights lambda of L0 in the loss, a learned point each.
      seeds: of trainings.
      traced: test examples whose queries and keys go through the accelerator.
      swept: of them, those that the sweep and the other ways of pruning take, which cost most.
      resamples: of the bootstrap.

    Raises:
      ValueError: for a number out of range.
    """

    rates: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
    penalties: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    traced: int = 64
    swept: int = 16
    resamples: int = 2000

    def __post_init__(self) -> None:
        for rate in self.rates:
            _share("study.rates", rate)
        for value in self.penalties:
            number("study.penalties", value, "numbers >= 0", low=0)
        for seed in self.seeds:
            integer("study.seeds", seed, 0, 1 << 31)
        integer("study.traced", self.traced, 1, 1 << 20)
        integer("study.swept", self.swept, 1, 1 << 20)
        integer("study.resamples", self.resamples, 100, 1 << 20)


@dataclasses.dataclass(frozen=True)
class Design:
    """The accelerator: "area-efficient" (six units) or "high-performance" (eight), and what may be changed of it.

    `keys` of as many elements as there are lanes is what its buffers hold.
    """

    kind: str = "area-efficient"
    bits: int = 12
    per_cycle: int = 2
    fifo: int = 8
    costs: str = "leopard65"
    packed: bool = False
    keys: int = 512

    def __post_init__(self) -> None:
        choice("accelerator.kind", self.kind, ("area-efficient", "high-performance"))
        integer("accelerator.bits", self.bits, *BITS)
        integer("accelerator.per_cycle", self.per_cycle, 1, self.bits)
        integer("accelerator.keys", self.keys, 1, 1 << 24)
        load_accelerator(self.costs)

    @property
    def tile(self) -> Tile:
        """As the accelerator's model takes it."""
        made = Tile.area_efficient if self.kind == "area-efficient" else Tile.high_performance
        return made(bits=self.bits, per_cycle=self.per_cycle, fifo=self.fifo, packed=self.packed, keys=self.keys)

    @property
    def table(self) -> AcceleratorTable:
        """What its operations cost."""
        return load_accelerator(self.costs)


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """A model that comes with its sizes."""


MINILM_HEAD = 32  # elements of a head of all-MiniLM-L6-v2
KINDS: dict[str, tuple[Any, Any]] = {
    "minilm": (Sentences, Unchanged),
    "shared": (Sentences, EncoderSizes),
    "gpt": (Sequences, CausalSizes),
    "pictures": (ImageData, PictureSizes),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    kind: str
    seed: int
    data: Any
    model: Any
    training: Learning
    study: Study
    accelerator: Design

    @property
    def record(self) -> dict[str, Any]:
        """The resolved configuration, as JSON."""
        parts = {name: dataclasses.asdict(getattr(self, name)) for name in
                 ("data", "model", "training", "study", "accelerator")}  # fmt: skip
        return {"job": "attention", "kind": self.kind, "seed": self.seed, **parts}


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, ("job", "kind", "seed", "data", "model", "training", "study", "accelerator"), "")
    kind = table.get("kind", "minilm")
    choice("kind", kind, tuple(KINDS))
    data, model = KINDS[kind]
    parts: dict[str, Any] = {"data": data, "model": model, "training": Learning, "study": Study, "accelerator": Design}
    made: dict[str, Any] = {name: from_table(part, table.get(name, {}), name) for name, part in parts.items()}
    _check_heads(made["accelerator"], *heads_of(kind, made["data"], made["model"]))
    return Settings(kind=kind, seed=seed_of(table), **made)


def heads_of(kind: str, data: Any, model: Any) -> tuple[int, int]:
    """Elements of a head and the most keys of a query, before any model is made."""
    if kind == "minilm":
        return MINILM_HEAD, data.length
    keys = {"shared": lambda: data.length, "gpt": lambda: model.context, "pictures": lambda: model.tokens}[kind]()
    return model.width // model.heads, keys


def _check_heads(design: Design, head: int, keys: int) -> None:
    """Raises before anything is trained what the accelerator would refuse after it."""
    most = 2 ** (EXACT - design.bits)
    if head > most:
        raise ValueError(f"accelerator.bits: products of {design.bits} bits are exact for heads of at most {most} "
                         f"elements; got heads of {head}; fewer bits, or more heads of model.width")  # fmt: skip
    tile = design.tile
    room = tile.room(head)
    if keys > room:
        raise ValueError(f"accelerator.keys: the buffers hold {room} keys of {tile.mapping(head)}; got up to {keys}; "
                         f"give accelerator.keys = {math.ceil(design.keys * keys / room)}, or shorter "
                         "sequences")  # fmt: skip


def _share(field: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{field}: expected a share of pairs in [0, 1); got {value}")
