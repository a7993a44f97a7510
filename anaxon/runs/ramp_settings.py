"""The configuration of a ramp design: which activations and resolutions, which devices, which sweeps."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from anaxon.check import choice, integer, number
from anaxon.converter.ramp import Ramp, find
from anaxon.runs.config import from_table, seed_of
from anaxon.settings import check_keys

# name: what it changes of a ramp. Without calibration and with exact bias devices, the ramp starts where it should.
SCHEMES: dict[str, dict[str, str]] = {
    "none": {},
    "none, blind bias": {"bias": "blind"},
    "one-point": {"calibration": "one-point"},
    "one-point, sequential bias": {"calibration": "one-point", "bias": "sequential"},
    "two-point": {"calibration": "two-point"},
}
READ_NOISE = "read noise alone, one pass"


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which ramps are designed.

    Attributes:
      activations: names; where outputs have no bound, the ramp runs over the activation's own finite range.
      bits: resolutions.
      shown: the resolution of the curves, the INL figures and the programming tables.
      convention: of the thresholds, "edges", "centres" or "range".
      reconstruction: the number that stands for a code.
      limit: of the worst INL of a good ramp [LSB of the output].

    Raises:
      ValueError: for what does not exist.
    """

    activations: tuple[str, ...] = ("sigmoid", "tanh", "softplus", "gelu")
    bits: tuple[int, ...] = (3, 4, 5, 8)
    shown: int = 5
    convention: str = "edges"
    reconstruction: str = "mid-rise"
    limit: float = 0.5

    def __post_init__(self) -> None:
        for bits in self.bits:
            integer("columns.bits", bits, 2, 8)
        if self.shown not in self.bits:
            raise ValueError(f"columns.shown: expected one of columns.bits = {list(self.bits)}; got {self.shown}")
        choice("columns.convention", self.convention, ("edges", "centres", "range"))
        choice("columns.reconstruction", self.reconstruction, ("mid-rise", "floor", "ends"))
        number("columns.limit", self.limit, "LSB above 0", low=0, open_low=True)
        for name in self.activations:
            find(name)


@dataclasses.dataclass(frozen=True)
class Devices:
    """The memristors of the ramp column.

    Attributes:
      g_max: largest conductance [S].
      g_min: smallest conductance that can be programmed [S].
      sigma: std of a programmed conductance [S]; of "truncated" before the tolerance cuts it.
      tolerance: largest error that write-verify leaves where the distribution is "truncated" [S].
      read_sigma: std of a conductance from read to read [S].
      distribution: of the programming error, "normal", "truncated" (normal within the tolerance) or "uniform" (of this
        sigma).

    Raises:
      ValueError: for numbers out of range.
    """

    g_max: float = 150e-6
    g_min: float = 0.0
    sigma: float = 2.73e-6
    tolerance: float = 5e-6
    read_sigma: float = 0.14e-6
    distribution: str = "normal"

    def __post_init__(self) -> None:
        number("devices.g_max", self.g_max, "siemens above 0", low=0, open_low=True)
        for name in ("g_min", "sigma", "tolerance", "read_sigma"):
            number(f"devices.{name}", getattr(self, name), "siemens, 0 or more", low=0)
        if not self.g_min < self.g_max:
            raise ValueError(f"devices.g_min: expected less than devices.g_max = {self.g_max:g}; got {self.g_min:g}")
        choice("devices.distribution", self.distribution, ("normal", "truncated", "uniform"))


@dataclasses.dataclass(frozen=True)
class Samples:
    """How many ramps.

    Attributes:
      ramps: programmed for each figure.
      validation: programmed for each statistical statement of the validation.
      chunk: ramps between two writes to the disk.

    Raises:
      ValueError: for too few.
    """

    ramps: int = 2000
    validation: int = 20000
    chunk: int = 500

    def __post_init__(self) -> None:
        for name, low in (("ramps", 20), ("validation", 100), ("chunk", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"samples.{name} must be a whole number, {low} or more; got {getattr(self, name)!r}")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is varied, one at a time.

    Attributes:
      sigma: std of a programmed conductance [S], for the yield.
      copies: redundant columns of which the best is kept.
      v_ratio: read voltage over its nominal value.
      gain: ramp gain over that of the dot product, kappa.
    """

    sigma: tuple[float, ...] = (0.05e-6, 0.1e-6, 0.2e-6, 0.5e-6, 1e-6, 1.5e-6, 2e-6, 2.73e-6, 3.5e-6, 5e-6, 7e-6, 10e-6)
    copies: tuple[int, ...] = (1, 2, 4, 8)
    v_ratio: tuple[float, ...] = (0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25)
    gain: tuple[float, ...] = (0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08, 1.1)

    def __post_init__(self) -> None:
        for name in ("sigma", "copies", "v_ratio", "gain"):
            for value in getattr(self, name):
                number(f"sweep.{name}", value, "numbers above 0", low=0, open_low=True)


SECTIONS = {"columns": Columns, "devices": Devices, "samples": Samples, "sweep": Sweep}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A resolved configuration: every default filled in."""

    seed: int
    columns: Columns
    devices: Devices
    samples: Samples
    sweep: Sweep

    @property
    def record(self) -> dict[str, Any]:
        """The configuration as JSON: what decides the results, and nothing else."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        return {"job": "ramp_design", "seed": self.seed, **sections}


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, ("job", "seed", *SECTIONS), "configuration")
    sections: dict[str, Any] = {name: from_table(kind, table.get(name, {}), name) for name, kind in SECTIONS.items()}
    return Settings(seed=seed_of(table), **sections)


def ramp(settings: Settings, bits: int, **changes: Any) -> Ramp:
    """The ramp of one resolution without errors; `changes` are fields of `Ramp`.

    Targets below g_min are programmed as g_min: the report counts them.
    """
    columns, devices = settings.columns, settings.devices
    return Ramp(
        bits=bits,
        convention=columns.convention,  # type: ignore[arg-type]
        reconstruction=columns.reconstruction,  # type: ignore[arg-type]
        g_max=devices.g_max,
        g_min=devices.g_min,
        below_g_min="clamp",
        read_sigma=devices.read_sigma / devices.g_max,
        **changes,
    )


def programming(devices: Devices, sigma: Any = None) -> dict[str, Any]:
    """Fields of `Ramp` for programming errors of std `sigma` [S] (traced or not), the devices' own by default."""
    sigma = (devices.sigma if sigma is None else sigma) / devices.g_max
    if devices.distribution == "uniform":
        return {"distribution": "uniform", "tolerance": math.sqrt(3) * sigma}
    if devices.distribution == "truncated":
        return {"distribution": "truncated", "sigma": sigma, "tolerance": devices.tolerance / devices.g_max}
    return {"sigma": sigma}
