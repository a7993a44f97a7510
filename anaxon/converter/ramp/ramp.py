"""`Ramp`: the ramp ADC of a chip, with everything its column of memristors does wrong.

Floats are leaves (None is off), kinds are static. Conductances and their errors are relative to g_max inside.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.check import choice, integer, number, require
from anaxon.converter.ramp import calibration as calibrating
from anaxon.converter.ramp import column
from anaxon.converter.ramp.activation import find
from anaxon.converter.ramp.calibration import BiasOrder, Calibration
from anaxon.converter.ramp.column import Distribution
from anaxon.converter.ramp.design import CONVENTIONS, RECONSTRUCTIONS, Convention, Design, Reconstruction, design
from anaxon.converter.ramp.linearity import inl
from anaxon.prng import fold_name
from anaxon.types import Array, is_concrete, pytree, static

_KINDS = {
    "convention": CONVENTIONS,
    "reconstruction": RECONSTRUCTIONS,
    "distribution": get_args(Distribution),
    "calibration": get_args(Calibration),
    "bias": get_args(BiasOrder),
    "reference": ("tracking", "fixed"),
    "digital": ("float", "ramp"),
    "below_g_min": ("error", "clamp"),
}


@pytree
class Ramp:
    """A ramp converter: `2**bits` output codes of the activation that a column reaches.

    One column of memristors makes the ramp of one activation and array, so its errors are common to all neurons there.

    Attributes:
      bits: output resolution, 2..8.
      convention, reconstruction, devices: see `ramp.design`.
      span: the ramp runs over (-span, span) in z; None for the activation's own range.
      sigma: std of a programmed conductance, relative to g_max; None programs exactly. Under "truncated" that of the
        normal before it is cut: 2.73 uS cut at 5 uS leaves 2.30 uS.
      tolerance: largest programming error of "truncated" and "uniform", relative to g_max.
      distribution: of programming errors, "normal", "truncated" (by write-verify) or "uniform".
      p_off, p_on: probabilities of a ramp device stuck at g_min and at g_max.
      read_sigma: std of a device's conductance from pass to pass, relative to g_max.
      calibration: "none", "one-point" (the centre made exact) or "two-point" (two quarters made exact).
      bias: programming of the bias devices: "exact", "sequential" (one device's error remains) or "blind" (all do).
      copies: columns programmed, of which the one with the smallest largest |INL_out| is used.
      gain: of the ramp relative to the multiplying columns, after calibration (a mismatch of capacitors, or drift).
      v_ratio: read voltage over its nominal value.
      reference: "tracking" makes the ramp from the same read voltage, so v_ratio cancels; "fixed" does not.
      digital: where activations of digital values (the LSTM's tanh(c)) are done: "float", or a second pass of the ramp.
      g_max, g_min: largest and smallest conductance [S].
      below_g_min: what a target below g_min is: an "error", or programmed as g_min ("clamp").
      measured: conductances of real columns relative to g_max, `[D]` by activation; they replace targets and
        programming errors.

    Raises:
      ValueError: for a number or kind out of range, or errors whose distribution lacks its parameter.
    """

    bits: int = static(default=5)
    convention: Convention = static(default="edges")
    reconstruction: Reconstruction = static(default="mid-rise")
    devices: int | None = static(default=None)
    span: float | Array | None = None
    sigma: float | Array | None = None
    tolerance: float | Array | None = None
    distribution: Distribution = static(default="normal")
    p_off: float | Array | None = None
    p_on: float | Array | None = None
    read_sigma: float | Array | None = None
    calibration: Calibration = static(default="none")
    bias: BiasOrder = static(default="exact")
    copies: int = static(default=1)
    gain: float | Array | None = None
    v_ratio: float | Array | None = None
    reference: Literal["tracking", "fixed"] = static(default="tracking")
    digital: Literal["float", "ramp"] = static(default="float")
    g_max: float | Array = 150e-6
    g_min: float | Array = 0.0
    below_g_min: Literal["error", "clamp"] = static(default="error")
    measured: dict[str, Array] | None = None

    def __post_init__(self) -> None:
        integer("Ramp.bits", self.bits, 2, 8)
        integer("Ramp.copies", self.copies, 1, 1024)
        for field, accepted in _KINDS.items():
            choice(f"Ramp.{field}", getattr(self, field), accepted)
        if self.devices is not None:
            integer("Ramp.devices", self.devices, 1, 1 << 16)
        self._check_numbers()
        self._check_distribution()
        object.__setattr__(self, "measured", _checked_measured(self.measured))

    def _check_numbers(self) -> None:
        for name in ("span", "gain", "v_ratio"):
            number(f"Ramp.{name}", getattr(self, name), "None or a number > 0", low=0.0, open_low=True)
        for name in ("sigma", "tolerance", "read_sigma"):
            number(f"Ramp.{name}", getattr(self, name), "None or a number >= 0, relative to g_max", low=0.0)
        for name in ("p_off", "p_on"):
            accepted = "None or a probability, 0 to 1"
            number(f"Ramp.{name}", getattr(self, name), accepted, low=0.0)
            if isinstance(getattr(self, name), int | float):
                require(getattr(self, name) <= 1, f"Ramp.{name}", getattr(self, name), accepted)
        self._check_sizes()
        number("Ramp.g_max", self.g_max, "siemens > 0", low=0.0, open_low=True)
        number("Ramp.g_min", self.g_min, "siemens, 0 <= g_min < g_max", low=0.0)
        if isinstance(self.g_min, int | float) and isinstance(self.g_max, int | float):
            require(self.g_min < self.g_max, "Ramp.g_min", self.g_min, f"less than g_max = {self.g_max:g} S")

    def _check_sizes(self) -> None:
        """What cannot be meant: numbers in microsiemens, more stuck devices than there are."""
        for name in ("sigma", "tolerance", "read_sigma"):
            value = getattr(self, name)
            if isinstance(value, int | float):
                require(value < 1, f"Ramp.{name}", value, "a number below 1: it is relative to g_max, not in siemens")
        if isinstance(self.g_max, int | float):
            require(self.g_max < 1, "Ramp.g_max", self.g_max, "siemens, such as 150e-6")
        if isinstance(self.p_off, int | float) and isinstance(self.p_on, int | float):
            both = self.p_off + self.p_on
            require(both <= 1, "Ramp.p_off + Ramp.p_on", both, "at most 1: a device is stuck at one end")

    def _check_distribution(self) -> None:
        """What a distribution of programming errors needs, all of it or none."""
        given = {n for n in ("sigma", "tolerance") if getattr(self, n) is not None}
        needs = {"normal": {"sigma"}, "truncated": {"sigma", "tolerance"}, "uniform": {"tolerance"}}[self.distribution]
        if given != needs and (given or self.distribution != "normal"):
            raise ValueError(
                f"Ramp.distribution: {self.distribution!r} needs {' and '.join(sorted(needs))} and nothing else; got "
                f"{' and '.join(sorted(given)) or 'neither'}"
            )

    def explain(self) -> list[tuple[str, str]]:
        """The ramp and each of its errors, with sizes and units."""
        from anaxon.converter.ramp.explain import explain

        return explain(self)


def _checked_measured(measured: Any) -> dict[str, Any] | None:
    """Measured columns by the names that the ramp goes by."""
    if measured is None:
        return None
    if not isinstance(measured, dict):
        raise TypeError(f"Ramp.measured: expected a dict of conductances by activation; got {type(measured).__name__}")
    for name, g in measured.items():
        if isinstance(g, np.ndarray | list | tuple):
            g = np.asarray(g, np.float64)
            require(
                g.ndim == 1 and bool(np.all(np.isfinite(g) & (g >= 0) & (g <= 2))),
                f"Ramp.measured[{name!r}]",
                g,
                "finite conductances from 0 to 2, relative to g_max, [devices]",
            )
    return {find(name).name: g for name, g in measured.items()}


def design_of(ramp: Ramp, name: str) -> Design:
    """The design of this activation's ramp; made on the host once where the span is no traced number.

    Raises:
      ValueError: what `ramp.design` refuses, and targets below g_min unless they are to be clamped.
    """
    made = design(
        name,
        ramp.bits,
        convention=ramp.convention,
        span=ramp.span,
        reconstruction=ramp.reconstruction,
        devices=ramp.devices,
    )
    if ramp.below_g_min == "error" and is_concrete(made.thresholds, ramp.g_min, ramp.g_max):
        check_reachable(made, float(ramp.g_min) / float(ramp.g_max), float(ramp.g_max))
    return made


def check_reachable(made: Design, g_min: float, g_max: float) -> None:
    """Whether every device of a concrete design can be programmed.

    Args:
      g_min: relative to g_max.
      g_max: [S], for the sentence.

    Raises:
      ValueError: for targets below g_min, with their number and what programming them as g_min does to the INL.
    """
    target = np.asarray(column.conductances(made))
    below = int(np.sum(target < g_min * (1 - 1e-9)))
    if not below:
        return
    with jax.ensure_compile_time_eval():
        clamped = calibrating.one_point(made, column.thresholds_of(made, np.maximum(target, g_min)))
        worst = float(jnp.max(jnp.abs(inl(made, clamped))))
    raise ValueError(
        f"Ramp.g_min: {below} of {len(target)} ramp devices of {made.activation} at {made.bits} bits need less than "
        f"g_min = {g_min * g_max * 1e6:.4g} uS (the smallest {target.min() * g_max * 1e6:.4g} uS); programmed as g_min "
        f"the largest |INL_out| is {worst:.3g} LSB after one-point calibration; take fewer bits or a shorter span, or "
        "accept it with below_g_min='clamp'"
    )


def sample(key: Array, ramp: Ramp, name: str) -> Array:
    """Thresholds `[K]` float32 in z of one programmed, selected and calibrated column.

    A function of key, ramp and name, for `jit`, `vmap` over keys and gradients in the leaves. Without errors it is
    the design, exactly.
    """
    made = design_of(ramp, name)
    key = fold_name(key, made.activation)
    measured = {find(given).name: g for given, g in (ramp.measured or {}).items()}
    if made.activation in measured:
        found = _calibrated(ramp, made, jnp.asarray(measured[made.activation], jnp.float32))
    elif ramp.copies == 1:
        found = _programmed(key, ramp, made)
    else:
        keys = jax.random.split(key, ramp.copies)
        found = calibrating.best(made, jax.vmap(lambda k: _programmed(k, ramp, made))(keys))
    if ramp.gain is not None:
        found = ramp.gain * found
    # A fixed ramp sees inputs scaled by the read voltage, which is the ramp scaled by its inverse.
    return found / ramp.v_ratio if ramp.v_ratio is not None and ramp.reference == "fixed" else found


def _programmed(key: Array, ramp: Ramp, made: Design) -> Array:
    """One column `[K]` before gain and read voltage."""
    g = column.program(
        key,
        column.conductances(made),
        sigma=ramp.sigma,
        tolerance=ramp.tolerance,
        distribution=ramp.distribution,
        p_off=ramp.p_off,
        p_on=ramp.p_on,
        g_min=jnp.asarray(ramp.g_min / ramp.g_max, jnp.float32),
    )
    return _finished(key, ramp, made, g)


def _finished(key: Array, ramp: Ramp, made: Design, g: Array) -> Array:
    """A column's thresholds after calibration, with what its bias devices leave."""
    return _calibrated(ramp, made, g) + calibrating.bias_error(
        key, made, ramp.bias, sigma=ramp.sigma, tolerance=ramp.tolerance, distribution=ramp.distribution
    )


def _calibrated(ramp: Ramp, made: Design, g: Array) -> Array:
    return calibrating.calibrated(made, column.thresholds_of(made, g), ramp.calibration)


def read_noise(key: Array, ramp: Ramp, made: Design, shape: tuple[int, ...]) -> Array:
    """What read noise adds to the thresholds in one pass of the ramp each, `[*shape, K]` in z; zero without any.

    All comparators on a ramp see the same pass: `shape` counts passes, not neurons.
    """
    if ramp.read_sigma is None:
        return jnp.zeros((*shape, jnp.shape(made.thresholds)[0]))
    return column.read_walk(key, made, ramp.read_sigma, shape)
