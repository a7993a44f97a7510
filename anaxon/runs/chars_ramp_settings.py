"""The settings of the character job: two sizes of the network, its training, the converters and the test."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from anaxon.data import characters
from anaxon.hardware import Hardware
from anaxon.models.char_lm import Sizes
from anaxon.models.train_characters import CharacterTraining
from anaxon.runs.chars_ramp_points import Point
from anaxon.runs.config import SIZES, components_of, described, from_table, ramp_hardware_of, seed_of, size_of
from anaxon.runs.converters import KINDS
from anaxon.settings import check_keys


@dataclasses.dataclass(frozen=True)
class Size:
    """What fits on which machine: the network, its training and the number of chips.

    The float network is trained for `steps`; from there it is trained on for `more_steps`, and so is each network that
    is trained for its chips. `chips` at every point, `main_chips` at the ramp of the main resolution.

    Raises:
      ValueError: for a number out of range.
    """

    embedding: int = 32
    hidden: int = 192
    projection: int = 64
    batch: int = 32
    length: int = 64
    steps: int = 2000
    learning_rate: float = 2e-2
    more_steps: int = 600
    more_learning_rate: float = 5e-3
    save_every: int = 250
    chips: int = 20
    main_chips: int = 100

    def __post_init__(self) -> None:
        for name in ("chips", "main_chips"):
            if getattr(self, name) < 2:
                raise ValueError(f"size.{name} must be a whole number, 2 or more; got {getattr(self, name)!r}")

    @property
    def widths(self) -> Sizes:
        """Of the network."""
        return Sizes(self.embedding, self.hidden, self.projection)

    @property
    def rows(self) -> int:
        """Of the gates' array, bias included."""
        return self.embedding + self.projection + 1

    @property
    def columns(self) -> int:
        """Of the gates' array."""
        return 4 * self.hidden


@dataclasses.dataclass(frozen=True)
class Training:
    """What all trainings share; see `CharacterTraining`."""

    weight_decay: float = 1e-2
    gradient_norm: float = 1.0
    clip_sigma: float = 2.0


@dataclasses.dataclass(frozen=True)
class Aware:
    """Noise-aware training, on a freshly programmed chip at every step.

    All noise of the plan grows linearly from nothing to its full size over the first `rise` of the steps. Input ranges
    start at `input_range` [operand units] and are learned, like those of linear converters.

    Raises:
      ValueError: for a number out of range.
    """

    rise: float = 1 / 3
    input_range: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.rise <= 1:
            raise ValueError(f"aware.rise must be from 0 to 1; got {self.rise!r}")
        if not self.input_range > 0:
            raise ValueError(f"aware.input_range must be positive; got {self.input_range!r}")


@dataclasses.dataclass(frozen=True)
class Points:
    """Resolutions of both designs; `linear_aware`: those of them at which a network is trained for linear ADCs, too.

    Raises:
      ValueError: for a resolution out of range, or a main one that is not among them.
    """

    bits: tuple[int, ...] = (3, 4, 5, 8)
    main_bits: int = 5
    linear_aware: tuple[int, ...] = (5,)

    def __post_init__(self) -> None:
        if not all(2 <= b <= 8 for b in self.bits):
            raise ValueError(f"points.bits must be from 2 to 8; got {list(self.bits)}")
        if self.main_bits not in self.bits:
            raise ValueError(f"points.main_bits must be among points.bits = {list(self.bits)}; got {self.main_bits}")


@dataclasses.dataclass(frozen=True)
class Test:
    """Text that every network and chip reads: `rows` places of the test split, `characters` counted at each of them,
    after `warm_up` characters that set the state.

    Raises:
      ValueError: for a number out of range.
    """

    rows: int = 32
    characters: int = 960
    warm_up: int = 64

    def __post_init__(self) -> None:
        for name, low in (("rows", 2), ("characters", 1), ("warm_up", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"test.{name} must be a whole number, {low} or more; got {getattr(self, name)!r}")


SECTIONS = {"data": characters.CharacterData, "training": Training, "aware": Aware, "points": Points, "test": Test}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A resolved configuration: every default filled in."""

    seed: int
    size_name: str
    size: Size
    data: characters.CharacterData
    training: Training
    aware: Aware
    points: Points
    test: Test
    hardware: Hardware
    hardware_table: Mapping[str, Any]
    components: str

    @property
    def record(self) -> dict[str, Any]:
        """The configuration as JSON: what decides the results, and nothing else."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        size = {"name": self.size_name, **dataclasses.asdict(self.size)}
        hardware = {"given": self.hardware_table, "resolved": described(self.hardware)}
        return {"job": "chars_ramp", "seed": self.seed, "size": size, **sections, "hardware": hardware,
                "cost": {"components": self.components}}  # fmt: skip

    @property
    def first_training(self) -> CharacterTraining:
        """Of the float network, from the start."""
        return self._training(self.size.steps, self.size.learning_rate)

    @property
    def more_training(self) -> CharacterTraining:
        """From there on, float or for chips."""
        return self._training(self.size.more_steps, self.size.more_learning_rate)

    def _training(self, steps: int, learning_rate: float) -> CharacterTraining:
        size, common = self.size, dataclasses.asdict(self.training)
        return CharacterTraining(
            steps=steps,
            learning_rate=learning_rate,
            batch=size.batch,
            length=size.length,
            save_every=size.save_every,
            seed=self.seed,
            **common,
        )

    @property
    def all_points(self) -> list[Point]:
        """Both designs at all resolutions, the main point first."""
        points = [Point(kind, bits) for kind in KINDS for bits in self.points.bits]
        return sorted(points, key=lambda p: not self.is_main(p))

    def is_main(self, point: Point) -> bool:
        """Whether the goal is about this point."""
        return point == Point("ramp", self.points.main_bits)

    @property
    def aware_points(self) -> list[Point]:
        """Those that a network is trained for, too."""
        return [p for p in self.all_points if p.kind == "ramp" or p.bits in self.points.linear_aware]


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, ("job", "seed", "size", *SECTIONS, *SIZES, "hardware", "cost"), "configuration")
    size_name, size = size_of(table, Size)
    hardware = ramp_hardware_of(table)
    sections: dict[str, Any] = {name: from_table(kind, table.get(name, {}), name) for name, kind in SECTIONS.items()}
    settings = Settings(
        seed=seed_of(table),
        size_name=size_name,
        size=size,
        hardware=hardware,
        hardware_table=table["hardware"],
        components=components_of(table),
        **sections,
    )
    _ = settings.first_training, settings.more_training, settings.size.widths  # they check their own numbers
    return settings
