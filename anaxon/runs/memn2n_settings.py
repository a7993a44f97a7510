"""The configuration of the memory network job: stories, network, training, what is compared, which accelerator."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from anaxon.check import choice, integer, number
from anaxon.data.stories import TASKS
from anaxon.models.memory_network import MemorySize
from anaxon.models.train_memory import MemoryTraining
from anaxon.runs.attention_settings import Design
from anaxon.runs.config import from_table, seed_of
from anaxon.settings import check_keys

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class StoryData:
    """Stories of every task in each split, and questions in each story."""

    train: int = 1000
    validation: int = 300
    test: int = 600
    questions: int = 5

    def __post_init__(self) -> None:
        for name in (*SPLITS, "questions"):
            integer(f"data.{name}", getattr(self, name), 2, 10**6)


@dataclasses.dataclass(frozen=True)
class Study:
    """What is trained and compared.

    Attributes:
      tasks: of `data.stories.TASKS`.
      penalties: of the share of memories that is kept; one network is trained for each, from the dense one.
      allowed: the accuracy that a network may lose on the validation stories; of those that do, the one that prunes
        most is tested, or the one that loses least.
      traced: test questions of each task whose states and memories go through the accelerator.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    penalties: tuple[float, ...] = (0.1, 0.3, 1.0)
    allowed: float = 0.005
    traced: int = 500

    def __post_init__(self) -> None:
        for name in self.tasks:
            choice("study.tasks", name, tuple(TASKS))
        for value in self.penalties:
            number("study.penalties", value, "numbers > 0", low=0.0, open_low=True)
        number("study.allowed", self.allowed, "a share of questions >= 0", low=0.0)
        integer("study.traced", self.traced, 1, 10**6)


SECTIONS = {"data": StoryData, "model": MemorySize, "training": MemoryTraining, "study": Study, "accelerator": Design}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int
    data: StoryData
    model: MemorySize
    training: MemoryTraining
    study: Study
    accelerator: Design

    @property
    def record(self) -> dict[str, Any]:
        """The resolved configuration, as JSON."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        return {"job": "attention_memn2n", "seed": self.seed, **sections}


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, (*SECTIONS, "job", "seed"), "")
    sections: dict[str, Any] = {name: from_table(kind, table.get(name, {}), name) for name, kind in SECTIONS.items()}
    return Settings(seed=seed_of(table), **sections)
