"""The fitted parameters of a VCM technology, loaded from TOML.

Source of the model: T. Hennen et al., "Synaptogen", IEEE Trans. Electron Devices 2024, arXiv 2404.06344.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from anaxon.configs import config_path

# The four features of one cycle of one device, in the order of every table.
HIGH_RESISTANCE, SET_THRESHOLD, LOW_RESISTANCE, RESET_THRESHOLD = range(4)
FEATURES = 4
COMPONENTS = 3

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """One VCM technology; hashable, so that tables are cached per technology and it may be static in a pytree.

    Attributes:
      name: of the technology.
      high, low: current polynomials I(U) [A] of the bounds r = 1 and r = 0, highest power first, constant term 0.
      reference_volts: where a resistance is defined [V].
      curvature: exponent of the reset transition.
      full_volts: voltage of a full reset [V].
      weights: `[3]` of the device-to-device mixture.
      mean: `[8, 3]` of the 4 feature means and 4 cycle-to-cycle scales.
      factor: `[3, 8, 8]` lower-triangular Cholesky factors of their covariance.
      quantile_map: `[4, 5]` polynomials from a standard normal to the standardised feature, highest power first.
      innovation: `[4, 4]` factor of the innovation covariance of the autoregression.
      lags: `[p, 4, 4]` lag matrices, oldest first.
    """

    name: str
    high: Vector
    low: Vector
    reference_volts: float
    curvature: float
    full_volts: float
    weights: Vector
    mean: Matrix
    factor: tuple[Matrix, ...]
    quantile_map: Matrix
    innovation: Matrix
    lags: tuple[Matrix, ...]

    def __hash__(self) -> int:
        """Of a few fields only: a jitted call hashes its static arguments each time."""
        return hash((self.name, self.high, self.low, self.weights))

    @property
    def order(self) -> int:
        """p of the vector autoregression."""
        return len(self.lags)

    @property
    def mixture(self) -> np.ndarray:
        """Normalised weights of the device-to-device mixture, `[3]`."""
        weights = np.array(self.weights)
        return weights / weights.sum()

    @property
    def low_conductance(self) -> float:
        """Of the bound r = 0 at the reference voltage [S]."""
        return float(np.polyval(self.low[:-1], self.reference_volts))

    @property
    def high_conductance(self) -> float:
        """Of the bound r = 1 at the reference voltage [S]: negative, an extrapolation and not a state."""
        return float(np.polyval(self.high[:-1], self.reference_volts))


# Section and key of each field, and the shape of its array.
_LAYOUT: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "high": ("current", (None,)),
    "low": ("current", (None,)),
    "reference_volts": ("current", ()),
    "curvature": ("reset", ()),
    "full_volts": ("reset", ()),
    "weights": ("device_to_device", (COMPONENTS,)),
    "mean": ("device_to_device", (2 * FEATURES, COMPONENTS)),
    "factor": ("device_to_device", (COMPONENTS, 2 * FEATURES, 2 * FEATURES)),
    "quantile_map": ("cycle_to_cycle", (FEATURES, 5)),
    "innovation": ("cycle_to_cycle", (FEATURES, FEATURES)),
    "lags": ("cycle_to_cycle", (None, FEATURES, FEATURES)),
}


def load_parameters(path: Path | str) -> Parameters:
    """Reads a technology from a TOML file laid out like `configs/devices/vcm.toml`.

    Raises:
      ValueError: for a missing key, a wrong shape, a number that is not finite, or a polynomial with a constant term.
    """
    with open(path, "rb") as file:
        document = tomllib.load(file)
    fields = {key: _field(document, key, section, shape, path) for key, (section, shape) in _LAYOUT.items()}
    for key in ("high", "low"):
        if fields[key][-1] != 0:
            raise ValueError(f"{path}: current.{key}: a polynomial without constant term; got {fields[key][-1]}")
    return Parameters(name=str(document.get("name", Path(path).stem)), **fields)


def _field(document: dict, key: str, section: str, shape: tuple[int | None, ...], path: Path | str) -> Any:
    if key not in document.get(section, {}):
        raise ValueError(f"{path}: the key {section}.{key} is missing")
    value = document[section][key]
    if key == "factor":
        value = [[row + [0.0] * (2 * FEATURES - len(row)) for row in block] for block in value]
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"{path}: {section}.{key}: numbers of shape {_shown(shape)}; got {value!r:.60}") from None
    fits = array.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, array.shape, strict=True))
    if not fits or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{path}: {section}.{key}: finite numbers of shape {_shown(shape)}; got shape {array.shape}")
    return _nested(array.tolist())


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"


def _nested(value: Any) -> Any:
    return tuple(_nested(v) for v in value) if isinstance(value, list) else value


@cache
def default_parameters() -> Parameters:
    """The published technology of Synaptogen."""
    return load_parameters(config_path("devices", "vcm.toml"))
