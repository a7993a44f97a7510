"""The design of a ramp: from an activation and a bit count to the levels the ramp must visit.

A column's pre-activation z flips its comparator at the ramp level `V(t*) = z`. With levels `V_k = g^-1(y_k)` and y_k
equispaced, the number of levels passed is the code of g(z) (Yang et al., Nat. Commun. 16:1136, 2025,
10.1038/s41467-025-56254-6). The paper's exact levels are not known; three conventions are built, P = 2**bits:

  "edges"    V_k = g^-1(y_min + k LSB),         k = 1..P-1   the edges between P codes
  "centres"  V_k = g^-1(y_min + (k - 1/2) LSB), k = 1..P     rounds; the counter of P codes stops at P - 1
  "range"    V_k = g^-1(y(z_min) + k LSB),      k = 0..P     from z_min to z_max, exactly P steps

A function that turns is converted in one pass too: crossings of a falling branch count down.
"""

from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.check import choice, integer
from anaxon.converter.ramp.activation import Activation, find
from anaxon.converter.ramp.ladder import ladder
from anaxon.types import ArrayLike, is_concrete, pytree, replace, static

Convention = Literal["edges", "centres", "range"]
Reconstruction = Literal["mid-rise", "floor", "ends"]
CONVENTIONS: tuple[Convention, ...] = ("edges", "centres", "range")
RECONSTRUCTIONS: tuple[Reconstruction, ...] = ("mid-rise", "floor", "ends")


@pytree
class Design:
    """What one ramp converts.

    Attributes:
      thresholds: inputs z at which the counter steps `[K]`, ascending.
      start: z where the ramp starts: the first level of "edges" and "centres", z_min of "range".
      stop: the ramp's last level where no code begins there ("centres", "range"), or None.
      low, lsb: the output of a code is `low + lsb (code + offset)`.
      offset: the reconstruction, in steps.
      signs: +1 or -1 for every threshold, or None where the counter only counts up.
      first_code: code left of all thresholds.
      codes: number of codes.
      activation, bits, convention, reconstruction: what it was designed for.
      devices: memristors of the column that are there for the ramp.
      ends: whether the ramp ends where the function goes on: outside, its output does not move.
    """

    thresholds: ArrayLike
    start: ArrayLike
    stop: ArrayLike | None
    low: ArrayLike
    lsb: ArrayLike
    offset: float = static()
    signs: tuple[int, ...] | None = static()
    first_code: int = static()
    codes: int = static()
    activation: str = static()
    bits: int = static()
    convention: Convention = static()
    reconstruction: Reconstruction = static()
    devices: int = static()
    ends: bool = static(default=False)

    @property
    def levels(self) -> Any:
        """All levels of the ramp in z, `[D + 1]`: the first is set by the bias, the others by D ramp devices."""
        m = _module(self.thresholds)
        parts = [m.asarray(self.thresholds)]
        if self.convention == "range":
            parts.insert(0, m.asarray(self.start)[None])
        if self.stop is not None:
            parts.append(m.asarray(self.stop)[None])
        return m.concatenate(parts)

    @property
    def increments(self) -> Any:
        """Steps of the ramp in z, `[D]`."""
        return _module(self.thresholds).diff(self.levels)

    @property
    def output_step(self) -> Any:
        """Distance of the output between two thresholds: the LSB in which INL is given."""
        return self.lsb * (self.codes - 1) / self.codes if self.reconstruction == "ends" else self.lsb

    def output(self, code: ArrayLike) -> Any:
        """The number that stands for a code."""
        return self.low + self.lsb * (code + self.offset)


def design(
    which: str | Callable[[Any], Any] | Activation,
    bits: int = 5,
    *,
    convention: Convention = "edges",
    span: ArrayLike | None = None,
    reconstruction: Reconstruction = "mid-rise",
    devices: int | None = None,
) -> Design:
    """The ramp of an activation.

    Args:
      which: name, function or `Activation` (see `activation`).
      bits: of the output, 2..8.
      convention: see the module.
      span: the ramp runs over (-span, span) in z; by default over the activation's whole output range, or its domain
        where that is unbounded or the convention is "range". May be a JAX number, for a monotone activation.
      reconstruction: "mid-rise" gives a code the middle of its interval (error <= LSB/2), "floor" its lower edge,
        "ends" makes the first and last code the ends of the output range. "centres" has its middle at the level
        itself, so "mid-rise" and "floor" are the same there.
      devices: ramp devices in the column; 2**bits, or more where a turning function needs them, by default.

    Raises:
      ValueError: for an unknown name or kind, a range on which the inverse is infinite, more steps than devices.
      TypeError: for a traced span of a function that turns.
    """
    act = find(which)
    integer("design.bits", bits, 2, 8)
    choice("design.convention", convention, CONVENTIONS)
    choice("design.reconstruction", reconstruction, RECONSTRUCTIONS)
    if span is None or is_concrete(span):
        return _on_host(act, bits, convention, _number(span), reconstruction, devices)
    return _designed(act, bits, convention, span, reconstruction, devices)


def thresholds(which: str | Callable[[Any], Any] | Activation, bits: int = 5, **kwargs: Any) -> Any:
    """Inputs `[K]` at which the counter steps: `design(which, bits, ...).thresholds`."""
    return design(which, bits, **kwargs).thresholds


def _number(span: Any) -> float | None:
    if span is None:
        return None
    try:
        value = float(np.asarray(span))
    except (TypeError, ValueError):
        value = np.nan
    if isinstance(span, bool | str) or not (np.isfinite(value) and value > 0):
        raise ValueError(f"design.span: expected a finite number > 0, in units of the pre-activation; got {span!r}")
    return value


@lru_cache(maxsize=512)
def _on_host(*args: Any) -> Design:
    """A design in float64, made once."""
    made = _designed(*args)
    for leaf in jax.tree.leaves(made):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
    return made


def _designed(
    act: Activation,
    bits: int,
    convention: Convention,
    span: Any,
    reconstruction: Reconstruction,
    devices: int | None,
) -> Design:
    codes = 2**bits
    found = ladder(act, codes, convention, span)
    crossed = found.thresholds
    stretch = codes / (codes - 1) if reconstruction == "ends" else 1.0
    made = Design(
        thresholds=crossed,
        start=crossed[0] if found.start is None else found.start,
        stop=found.stop,
        low=found.low,
        lsb=found.lsb * stretch,
        offset=0.5 if reconstruction == "mid-rise" and convention != "centres" else 0.0,
        signs=found.signs,
        first_code=found.first_code,
        codes=codes,
        activation=act.name,
        bits=bits,
        convention=convention,
        reconstruction=reconstruction,
        devices=codes if devices is None else devices,
        ends=span is not None or convention == "range" or act.low is None or act.high is None,
    )
    return replace(made, devices=_device_count(made, devices))


def _device_count(made: Design, devices: int | None) -> int:
    """Ramp devices of the column: one per step, 2**bits unless it is said or a function that turns needs more."""
    needed = made.increments.shape[0]
    if devices is None:
        return max(2**made.bits, needed)
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < needed:
        raise ValueError(
            f"design.devices: {made.activation} at {made.bits} bits in convention {made.convention!r} needs {needed} "
            f"ramp devices, one per step; got {devices}"
        )
    return devices


def _module(value: Any) -> ModuleType:
    return jnp if isinstance(value, jax.Array) else np
