"""Where the levels of a ramp lie, for functions that are monotone and for those that turn."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from anaxon.converter.ramp.activation import Activation
from anaxon.converter.ramp.tabulate import crossings
from anaxon.types import is_concrete


class Ladder(NamedTuple):
    """Levels of one ramp.

    Attributes:
      thresholds: inputs at which the counter steps `[K]`.
      start, stop: levels before the first and after the last threshold, or None.
      low: the output's value at the lower edge of code 0 ("centres": code 0 itself).
      lsb: output between two thresholds.
      signs: `[K]` of +1 and -1, or None where all are +1.
      first_code: code left of all thresholds.
    """

    thresholds: Any
    start: Any
    stop: Any
    low: Any
    lsb: Any
    signs: tuple[int, ...] | None
    first_code: int


def ladder(act: Activation, codes: int, convention: str, span: Any) -> Ladder:
    """The ladder of an activation; JAX and differentiable in a span that is a JAX value.

    Raises:
      ValueError: for a range on which the inverse is infinite.
      TypeError: for a traced span of a function that turns.
    """
    if act.rising is not None:
        return _monotone(act, codes, convention, span)
    if not is_concrete(span):
        raise TypeError(f"span: {act.name!r} turns, so its crossings are found on the host; expected a number")
    return _turning(act, codes, convention, span)


def _ends(act: Activation, convention: str, span: Any) -> tuple[Any, Any, Any, Any]:
    """Inputs and outputs at both ends of the ramp: the function's limits unless the range is said."""
    low, high = act.domain if span is None else (-span, span)
    m = np if is_concrete(span) else jnp
    low, high = m.maximum(low, act.strict[0]), m.minimum(high, act.strict[1])
    y_low, y_high = act.value(low), act.value(high)
    if span is None and convention != "range":
        y_low, y_high = (y if limit is None else limit for y, limit in zip((y_low, y_high), act.limits, strict=True))
    return low, high, y_low, y_high


def _monotone(act: Activation, codes: int, convention: str, span: Any) -> Ladder:
    low, high, y_low, y_high = _ends(act, convention, span)
    if act.tabulated is not None and is_concrete(low):
        _check_reach(act.name, act.tabulated.x, low, high)
    step = (y_high - y_low) / codes
    k = np.arange(1, codes + 1) - (0.5 if convention == "centres" else 0.0)
    assert act.inverse is not None
    with np.errstate(all="ignore"):
        levels = act.inverse(y_low + step * k[: codes if convention == "centres" else codes - 1])
    crossed = levels[: codes - 1]
    if is_concrete(crossed):
        _check_levels(act.name, levels, y_low + step * k)
    return Ladder(
        thresholds=crossed,
        start=low if convention == "range" else None,
        stop={"edges": None, "centres": levels[-1], "range": high}[convention],
        low=y_low if act.rising else y_high,
        lsb=step if act.rising else -step,
        signs=None if act.rising else (-1,) * (codes - 1),
        first_code=0 if act.rising else codes - 1,
    )


def _check_levels(name: str, levels: np.ndarray, outputs: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(levels))
    if len(wrong):
        raise ValueError(
            f"{name}: the inverse is infinite at {len(wrong)} of {len(levels)} levels, first at output "
            f"{outputs[wrong[0]]:.6g}; expected a range (domain, span) on which it is finite"
        )
    back = np.flatnonzero(np.diff(levels) < 0)
    if len(back):
        i = back[0]
        raise ValueError(
            f"{name}: a ramp runs upwards; its inverse falls from {levels[i]:.6g} to {levels[i + 1]:.6g} between "
            f"outputs {outputs[i]:.6g} and {outputs[i + 1]:.6g}; expected a monotone function"
        )


def _check_reach(name: str, x: np.ndarray, low: float, high: float) -> None:
    """A table ends where its function is not finite, or turns outside of its domain."""
    if low < x[0] or high > x[-1]:
        raise ValueError(
            f"{name}: expected a range inside {x[0]:g} to {x[-1]:g}, where it is known; got {low:g} to {high:g}"
        )


def _turning(act: Activation, codes: int, convention: str, span: float | None) -> Ladder:
    """Output steps counted from where the function starts, so that its flat end has no threshold and no error."""
    table = act.table
    low, high = act.domain if span is None else (-span, span)
    if span is None and convention != "range":
        low = low if act.limits[0] is None else table.x[0]
        high = high if act.limits[1] is None else table.x[-1]
    _check_reach(act.name, table.x, low, high)
    y = table.y[(table.x >= low) & (table.x <= high)]
    below, above = y[0] - y.min(), y.max() - y[0]
    down, step = _steps_each_way(below, above, codes)
    edges = y[0] + step * (np.arange(1, codes) - down - 0.5)
    crossed, signs = crossings(table, edges, low, high)
    return Ladder(
        thresholds=crossed,
        start=low if convention == "range" else None,
        stop=high if convention == "range" else None,
        low=y[0] - step * (down + (0.0 if convention == "centres" else 0.5)),
        lsb=step,
        signs=None if np.all(signs > 0) else tuple(int(s) for s in signs),
        first_code=down,
    )


def _steps_each_way(below: float, above: float, codes: int) -> tuple[int, float]:
    """How many codes lie below the starting one, and the smallest step with which all of them reach both extremes."""
    down = np.arange(codes)
    step = np.maximum(below / (down + 0.5), above / (codes - 1 - down + 0.5))
    best = int(np.argmin(step))
    return best, float(step[best])
