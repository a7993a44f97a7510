"""The settings of a comparison of converters behind a keyword spotter."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from anaxon.data import keywords, speech_commands
from anaxon.hardware import Hardware
from anaxon.models.train import Training
from anaxon.runs.config import SIZES, components_of, described, from_table, ramp_hardware_of, seed_of, size_of
from anaxon.runs.network import Model
from anaxon.runs.ramp_points import Aware, Point
from anaxon.settings import check_keys


@dataclasses.dataclass(frozen=True)
class Size:
    """What fits on which machine: `hidden` units of each network, with its `epochs` and those of every noise-aware
    training; `linear_aware`: resolutions at which the first network is trained for linear converters too.

    Raises:
      ValueError: for lists of different lengths, or numbers below one.
    """

    hidden: tuple[int, ...] = (32,)
    epochs: tuple[int, ...] = (40,)
    aware_epochs: tuple[int, ...] = (8,)
    linear_aware: tuple[int, ...] = (5,)

    def __post_init__(self) -> None:
        lists = (self.hidden, self.epochs, self.aware_epochs)
        if len({len(x) for x in lists}) != 1 or min(map(min, lists)) < 1:
            raise ValueError(
                "size: expected hidden, epochs and aware_epochs of one length, all positive; got "
                f"{', '.join(str(list(x)) for x in lists)}"
            )


@dataclasses.dataclass(frozen=True)
class Chips:
    """`chips` at every point and `main_chips` at the ramp of `main_bits`, heard on a `panel` of test clips;
    `full_test_chips` of the ramps of 4 and `main_bits` also hear the whole test set; `calibration` training clips fix
    ranges.

    Raises:
      ValueError: for a number out of range, or `main_bits` that are none of `bits`.
    """

    bits: tuple[int, ...] = (3, 4, 5, 8)
    main_bits: int = 5
    chips: int = 100
    main_chips: int = 1000
    panel: int = 200
    full_test_chips: int = 20
    calibration: int = 500

    def __post_init__(self) -> None:
        least = {"chips": 2, "main_chips": 2, "panel": 24, "full_test_chips": 2, "calibration": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"chips.{name}: expected a whole number, {low} or more; got {getattr(self, name)!r}")
        if self.main_bits not in self.bits or not all(2 <= b <= 8 for b in self.bits):
            raise ValueError(
                f"chips.bits: expected resolutions from 2 to 8 with main_bits among them; got {list(self.bits)} and "
                f"{self.main_bits}"
            )


SECTIONS = {"data": keywords.KeywordData, "training": Training, "aware": Aware, "chips": Chips}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A resolved configuration."""

    seed: int
    size_name: str
    size: Size
    use_bias: bool
    data: keywords.KeywordData
    training: Training
    aware: Aware
    chips: Chips
    hardware: Hardware
    hardware_table: Mapping[str, Any]
    components: str

    @property
    def record(self) -> dict[str, Any]:
        """The configuration as JSON: what decides the results, and nothing else."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        sections["data"].pop("workers")
        hardware = {"given": self.hardware_table, "resolved": described(self.hardware)}
        size = {"name": self.size_name, **dataclasses.asdict(self.size)}
        return {"job": "keywords_ramp", "seed": self.seed, "size": size, "use_bias": self.use_bias, **sections,
                "hardware": hardware, "cost": {"components": self.components}}  # fmt: skip

    def model(self, hidden: int) -> Model:
        """The network of this size."""
        return Model(hidden=hidden, use_bias=self.use_bias)

    def points(self, hidden: int) -> list[Point]:
        """All converters at all resolutions behind it."""
        return [Point(hidden, kind, bits) for kind in ("ramp", "linear") for bits in self.chips.bits]

    def is_aware(self, point: Point) -> bool:
        """Whether the network is also trained for this point."""
        linear = point.hidden == self.size.hidden[0] and point.bits in self.size.linear_aware
        return point.kind == "ramp" or linear


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, ("job", "seed", "size", "use_bias", *SECTIONS, *SIZES, "hardware", "cost"), "configuration")
    size_name, size = size_of(table, Size)
    use_bias = table.get("use_bias", True)
    if not isinstance(use_bias, bool):
        raise TypeError(f"use_bias: expected true or false; got {use_bias!r}")
    hardware = ramp_hardware_of(table)
    training = {"noise": {"weight": 0.0}, **table.get("training", {})}  # plain: no noise on the weights
    sections: dict[str, Any] = {n: from_table(k, table.get(n, {}), n) for n, k in SECTIONS.items() if n != "training"}
    if sections["data"].path is not None:
        speech_commands.folder_of(sections["data"])
    return Settings(
        seed=seed_of(table),
        size_name=size_name,
        size=size,
        use_bias=use_bias,
        training=from_table(Training, training, "training"),
        hardware=hardware,
        hardware_table=table["hardware"],
        components=components_of(table),
        **sections,
    )
