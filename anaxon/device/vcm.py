"""The VCM memristor cell: binary, nonlinear, with device-to-device and cycle-to-cycle variability.

Source: T. Hennen et al., "Synaptogen", IEEE Trans. Electron Devices 2024 (arXiv 2404.06344); its use for neural
networks: N. Rossenbach et al., Interspeech 2025 (arXiv 2505.24721).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon import prng
from anaxon.device.vcm_current import chord_conductances, horner, noise_per_conductance
from anaxon.device.vcm_disturb import disturbed
from anaxon.device.vcm_explain import explain_rows
from anaxon.device.vcm_marginal import set_probability, state_moments, state_table
from anaxon.device.vcm_parameters import Parameters, default_parameters
from anaxon.types import Array, PyTree, is_concrete, pytree, static
from anaxon.units import ELEMENTARY_CHARGE, ROOM_TEMPERATURE

REFERENCE_VOLTS = 0.6  # full input voltage at which `current_scale` is stated
FITTED_CURRENT_SCALE = {"one-shot": 8020.0, "ideal": 5476.0}  # 1/A, Rossenbach et al. 2025 and its program
# Constants of the published torch port: a charge of exp(1) and a bandwidth of 1e-8 (39.5 times too much noise).
LEGACY_CHARGE, LEGACY_BANDWIDTH, LEGACY_TEMPERATURE = math.e, 1e-8, 300.0
NOISES = ("physical", "legacy", "off")


@pytree
class StateTable:
    """Quantile table of r with what it belongs to, so that a changed device rebuilds it.

    Attributes:
      of: (parameters, cycles).
      table: `[2, TABLE_SIZE]` float32, r of every code: HRS, LRS.
    """

    of: tuple = static()
    table: Any


@pytree
class VCM:
    """A VCM (valence change) ReRAM technology, its cells set or left by one pulse each.

    The state r `[2, S, *W]` is 0 at the low-resistance bound L of the current, 1 at the high-resistance bound H:
    `I(U, r) = (1 - r) L(U) + r H(U)`. The defaults reproduce the published technology. Read voltages may lie between
    -0.6 V and 1.46 V; outside the fitted polynomials mean nothing.

    Attributes:
      current_scale: column units per ampere at a full input voltage of 0.6 V (at another `v_max` it goes with
        0.6 / v_max); "fitted": the published constant of `programming`, see `fitted_current_scale`.
      bandwidth: of a read [Hz].
      temperature: of the Johnson noise [K].
      variability: 1 for the measured spread of the states about their means, 0 for none (all cells alike).
      noise: "physical", "legacy" (the constants of the published torch port) or "off".
      programming: "one-shot" (exact distribution after one pulse) or "ideal" (r is 0 or 1, the bounds themselves).
      cycles: full set/reset cycles the cells have behind them; 0 for fresh ones.
      parameters: the fitted technology.
      tables: made from the parameters; leave it out.
    """

    current_scale: float | Array | str = "fitted"
    bandwidth: float | Array = 1e8
    temperature: float | Array = ROOM_TEMPERATURE
    variability: float | Array = 1.0
    noise: str = static(default="physical")
    programming: str = static(default="one-shot")
    cycles: int = static(default=0)
    parameters: Parameters = static(default_factory=default_parameters)
    tables: StateTable | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        if isinstance(self.current_scale, str):
            object.__setattr__(self, "current_scale", _fitted_default(self.current_scale, self.programming))
        _check_numbers(self)
        of = (self.parameters, self.cycles)
        if self.tables is None or (isinstance(self.tables, StateTable) and self.tables.of != of):
            with jax.ensure_compile_time_eval():  # a leaf of the device even when it is made inside a trace
                table = jnp.asarray(state_table(*of))
            object.__setattr__(self, "tables", StateTable(of=of, table=table))

    def __repr__(self) -> str:
        shown = ("current_scale", "bandwidth", "temperature", "variability", "noise", "programming", "cycles")
        return f"VCM({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def cell_bits(self) -> int | None:
        """One: high or low resistance."""
        return 1

    @property
    def state_means(self) -> tuple[float, float]:
        """Mean r of a cell at target 0 and at target 1."""
        if self.programming == "ideal":
            return 1.0, 0.0
        (off, _), (on, _) = state_moments(self.parameters, self.cycles)
        return off, on

    @property
    def g_max(self) -> Array | float:
        """Conductance at 0.2 V of the mean LRS state [S]."""
        on = self.state_means[1]
        return (1 - on) * self.parameters.low_conductance + on * self.parameters.high_conductance

    @property
    def voltage_range(self) -> tuple[float, float]:
        """Row voltages between which the I-V polynomials were fitted [V]."""
        return -0.6, 1.46

    @property
    def g_min(self) -> Array | float:
        """Conductance at 0.2 V of the mean HRS state [S]; 0 under ideal programming, whose bound is below zero."""
        off = self.state_means[0]
        g = (1 - off) * self.parameters.low_conductance + off * self.parameters.high_conductance
        return max(g, 0.0)

    def program(self, key: Array, target: Array) -> PyTree:
        """r `[2, S, *W]` float32 of cells set (target 1) or left in the high-resistance state (target 0).

        Draws the exact marginal distribution of r, one 32-bit word a pair. The derivative to the target is the
        straight-through `mean r(1) - mean r(0)`.
        """
        off, on = self.state_means
        if self.programming == "ideal":
            return (1.0 - target).astype(jnp.float32)
        mean = jnp.array([[off], [on]], jnp.float32)
        table = mean + self.variability * (self.tables.table - mean)  # type: ignore[union-attr]
        code = jnp.stack(prng.code_pairs(key, target.shape[1:]))
        state = prng.lookup(table.reshape(-1), jnp.where(target > 0.5, code + prng.TABLE_SIZE, code))
        return _straight_through(state, target, jnp.float32(on - off))

    def drive(self, volts: Array, v_max: Array | float) -> tuple[Array, ...]:
        """`L(U) - H(U)` in column units: what a pair carries per difference of state."""
        low, high = self.parameters.low, self.parameters.high
        width = max(len(low), len(high))
        padded = [(0.0,) * (width - len(c)) + c for c in (low, high)]
        difference = tuple(a - b for a, b in zip(*padded, strict=True))
        return (horner(difference, volts) * self._scale(v_max),)

    def response(self, cells: PyTree) -> tuple[Array, ...]:
        """`r_neg - r_pos`: I_pos - I_neg = (L - H)(r_neg - r_pos)."""
        return (cells[1] - cells[0],)

    def noise_drive(self, volts: Array, v_max: Array | float) -> tuple[Array, ...]:
        """Variance in column units squared, linear in the states: `B (4kT + 2e|U|) (I/U)` summed over the pair.

        Valid for physical states (r < 0.89), where I/U > 0; for ideal programming by the magnitude of the bounds.
        """
        if self.noise == "off":
            return ()
        low, high = chord_conductances(self.parameters, volts)
        if self.programming == "ideal":
            low, high = jnp.abs(low), jnp.abs(high)
        if self.noise == "legacy":
            density = LEGACY_BANDWIDTH * noise_per_conductance(volts, LEGACY_TEMPERATURE, LEGACY_CHARGE)
        else:
            density = self.bandwidth * noise_per_conductance(volts, self.temperature, ELEMENTARY_CHARGE)
        density = density * self._scale(v_max) ** 2
        return density * low, density * (high - low)

    def noise_response(self, cells: PyTree) -> tuple[Array, ...]:
        """2 for the term without r (two cells), and `r_pos + r_neg`."""
        return () if self.noise == "off" else (jnp.float32(2.0), cells[0] + cells[1])

    def disturb(self, key: Array, cells: PyTree, lowest: Array) -> tuple[PyTree, Array]:
        """The cells `[2, S, *W]` after reads down to `lowest` [V] (broadcasts to `W`), and how many were set.

        An HRS cell (r > 0.45) whose set threshold is at or above `lowest` becomes an LRS cell; see `vcm_disturb`.

        Raises:
          ValueError: for ideal programming, whose cells are bounds of the fit and have no threshold.
        """
        if self.programming == "ideal":
            raise ValueError("programming: read disturb needs cells with thresholds, 'one-shot'; got 'ideal'")
        return disturbed(self.parameters, self.cycles, key, cells, lowest)

    def disturb_share(self, lowest: float) -> float:
        """Expected share of HRS cells that reads down to `lowest` [V] set: 0.111 at -0.6 V when fresh."""
        return set_probability(self.parameters, self.cycles, lowest) if lowest < 0 else 0.0

    def explain(self) -> list[tuple[str, str]]:
        """Rows on variability, nonlinearity, read noise, read disturb and what is not modelled."""
        return explain_rows(self)

    def _scale(self, v_max: Array | float) -> Array:
        if is_concrete(v_max) and np.any(np.asarray(v_max) > self.parameters.full_volts):
            raise ValueError(f"v_max: at most {self.parameters.full_volts} V, where the I-V fit ends; got {v_max} V")
        return self.current_scale * (REFERENCE_VOLTS / v_max)  # type: ignore[operator]


def fitted_current_scale(
    parameters: Parameters | None = None, cycles: int = 0, programming: str = "one-shot", v_max: float = REFERENCE_VOLTS
) -> float:
    """Column units per ampere [1/A]: the mean of `U / (I_on - I_off)` over U = v_max/6 ... v_max, over `v_max`.

    5476.5 for ideal cells and 8026 for the mean programmed pair at 0.6 V; batches of 100 pairs scatter by 53 about
    8031, of which 8020 is the published draw. Source: Rossenbach et al. 2025 (arXiv 2505.24721) and its program.
    """
    parameters = parameters or default_parameters()
    (off, _), (on, _) = state_moments(parameters, cycles)
    step = 1.0 if programming == "ideal" else off - on
    volts = v_max * np.arange(1, 7) / 6
    difference = horner(parameters.low, volts) - horner(parameters.high, volts)
    return float(np.mean(volts / difference) / v_max / step)


@jax.custom_jvp
def _straight_through(state: Array, target: Array, slope: Array) -> Array:
    """`state`, whose derivative to the target it was drawn for is `slope`."""
    del target, slope
    return state


@_straight_through.defjvp
def _straight_through_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return primals[0], tangents[0] + (tangents[1] * primals[2]).astype(tangents[0].dtype)


def _fitted_default(word: str, programming: str) -> float:
    if word != "fitted":
        raise ValueError(f"current_scale: a number of column units per ampere or 'fitted'; got {word!r}")
    return FITTED_CURRENT_SCALE[programming]


def _check_kinds(device: VCM) -> None:
    if device.noise not in NOISES:
        raise ValueError(f"noise: one of {', '.join(NOISES)}; got {device.noise!r}")
    if device.programming not in FITTED_CURRENT_SCALE:
        raise ValueError(f"programming: one of {', '.join(FITTED_CURRENT_SCALE)}; got {device.programming!r}")
    if not isinstance(device.cycles, int) or isinstance(device.cycles, bool) or device.cycles < 0:
        raise ValueError(f"cycles: a number of cycles, 0 or more; got {device.cycles!r}")
    if not isinstance(device.parameters, Parameters):
        raise TypeError(f"parameters: from load_parameters(path); got {type(device.parameters).__name__}")


def _check_numbers(device: VCM) -> None:
    for name in ("current_scale", "bandwidth", "temperature", "variability"):
        value = getattr(device, name)
        low = 0 if name == "variability" else math.ulp(0)
        if isinstance(value, bool | str) or (isinstance(value, int | float) and not low <= value < math.inf):
            raise ValueError(f"{name}: a finite {'number >= 0' if low == 0 else 'positive number'}; got {value!r}")
    if device.programming == "ideal" and _is_number(device.current_scale, FITTED_CURRENT_SCALE["one-shot"]):
        raise ValueError("current_scale: 8020 belongs to one-shot cells; give 'fitted' or 5476 for ideal programming")
    if device.programming == "one-shot" and _is_number(device.current_scale, FITTED_CURRENT_SCALE["ideal"]):
        raise ValueError("current_scale: 5476 belongs to ideal cells; give 'fitted' or 8020 for one-shot programming")


def _is_number(value: Any, number: float) -> bool:
    return isinstance(value, float | int) and value == number
