"""Tables of activations without an inverse: made once, eagerly, from the callable's own values.

A callable is evaluated in float32 on a grid that is dense where its output moves, from -1e6 to 1e6; levels are then
found on the host by crossings of the table, whether the function is monotone or turns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

REACH = 1e6  # inputs that a table covers on each side
COARSE, FINE = 1 << 15, 1 << 16  # points of the first and of the second grid
FAR = 10.0 ** np.arange(6, 31, 3)  # where a limit is looked for: nearer ones first, since squares overflow further out
TRACED = 1 << 13  # points that a compiled program carries, for a learned range
TAIL = 0.018  # of the output range: where a default domain ends; logistic(-4), and (1 + tanh(-2)) / 2
ROUNDING = 1e-6  # of the output range: float32 noise that is neither a turn nor a crossing

Limits = tuple[float | None, float | None]


class Table(NamedTuple):
    """A tabulated activation.

    Attributes:
      x: inputs `[N]`, ascending.
      y: outputs `[N]`.
      limits: outputs at -inf and +inf; None where the function is unbounded, or leaves the direction of its domain.
      domain: inputs between which the ramp runs by default.
      rising: True or False for a monotone function, None for one that turns inside its domain.
    """

    x: np.ndarray
    y: np.ndarray
    limits: Limits
    domain: tuple[float, float]
    rising: bool | None


def evaluate(fn: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """Outputs `[N]` float64 of an elementwise JAX function, also from inside a trace.

    Raises:
      TypeError: for a function that is not elementwise.
    """
    flat = np.ravel(x)
    # One of few lengths: operations outside of a compiled function are compiled for every new shape.
    length = 1 << max(flat.size - 1, 255).bit_length()
    padded = np.pad(flat, (0, length - flat.size), mode="edge").astype(np.float32)
    with jax.ensure_compile_time_eval():
        y = fn(jnp.asarray(padded))
    if jnp.shape(y) != padded.shape:
        raise TypeError(f"activation: expected an elementwise function; got shape {jnp.shape(y)} from {padded.shape}")
    return np.asarray(y, np.float64)[: flat.size].reshape(x.shape)


def limits_of(fn: Callable[[Any], Any]) -> Limits:
    """Outputs at -inf and +inf, None where there is none."""
    return _limit(evaluate(fn, -FAR)), _limit(evaluate(fn, FAR))


def _limit(y: np.ndarray) -> float | None:
    """The first output that the next one repeats."""
    near, far = y[:-1], y[1:]
    with np.errstate(invalid="ignore"):
        arrived = np.isfinite(far) & (np.abs(far - near) <= ROUNDING * (1 + np.abs(far)))
    return float(far[np.argmax(arrived)]) if arrived.any() else None


def tabulate(fn: Callable[[Any], Any], name: str, domain: tuple[float, float] | None = None) -> Table:
    """The table of an elementwise function.

    Raises:
      ValueError: for an unbounded function without a domain, one that is constant, or not finite on its domain.
    """
    limits = limits_of(fn)
    reach = np.arcsinh(REACH)
    x = np.sinh(np.linspace(-reach, reach, COARSE + 1))
    if domain is None:
        domain = _default_domain(name, x, evaluate(fn, x), limits)
    x = _finer(fn, np.unique(np.concatenate([x, np.linspace(*domain, COARSE // 8)])), domain)
    x, y = _finite(name, x, evaluate(fn, x), domain)
    rising = direction(x, y, domain)
    if rising is None:
        return Table(x, y, limits, domain, None)
    return _monotone_part(x, y, limits, domain, rising)


def _default_domain(name: str, x: np.ndarray, y: np.ndarray, limits: Limits) -> tuple[float, float]:
    """Inputs between which the output is further than `TAIL` from its limits."""
    if limits[0] is None or limits[1] is None:
        side = "-inf" if limits[0] is None else "+inf"
        raise ValueError(f"activation {name!r}: no finite limit at {side}; expected domain=(z_min, z_max); got None")
    span = np.nanmax(y) - np.nanmin(y)
    inside = np.flatnonzero((np.abs(y - limits[0]) > TAIL * span) & (np.abs(y - limits[1]) > TAIL * span))
    if span == 0 or len(inside) == 0:
        raise ValueError(f"activation {name!r}: expected a function that varies; got the constant {limits[0]:g}")
    return float(x[inside[0]]), float(x[inside[-1]])


def _finer(fn: Callable[[Any], Any], x: np.ndarray, domain: tuple[float, float]) -> np.ndarray:
    """A grid with equal steps of (output + asinh of input): a kink or a steep flank gets its points."""
    y = evaluate(fn, x)
    known = np.where((x >= domain[0]) & (x <= domain[1]) & np.isfinite(y), y, np.nan)
    if np.all(np.isnan(known)):
        return x
    low, high = np.nanmin(known), np.nanmax(known)
    moved = np.abs(np.diff(np.clip(np.nan_to_num(y, posinf=high), 2 * low - high, 2 * high - low)))
    length = np.diff(np.arcsinh(x))
    way = np.cumsum(np.concatenate([[0.0], moved / max(moved.sum(), 1e-300) + length / length.sum()]))
    finer = np.interp(np.linspace(0.0, way[-1], FINE), way, x)
    return np.unique(np.concatenate([finer, x, domain]).astype(np.float32)).astype(np.float64)


def _finite(name: str, x: np.ndarray, y: np.ndarray, domain: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The stretch around the domain on which the function is finite."""
    bad = np.flatnonzero(~np.isfinite(y))
    inside = bad[(x[bad] >= domain[0]) & (x[bad] <= domain[1])]
    if len(inside):
        where = f"fn({x[inside[0]]:.6g}) = {y[inside[0]]:g}"
        raise ValueError(f"activation {name!r}: expected finite outputs on its domain {_text(domain)}; got {where}")
    before, after = bad[x[bad] < domain[0]], bad[x[bad] > domain[1]]
    keep = slice(before[-1] + 1 if len(before) else 0, after[0] if len(after) else len(x))
    return x[keep], y[keep]


def direction(x: np.ndarray, y: np.ndarray, domain: tuple[float, float]) -> bool | None:
    """Whether the function rises on its domain (True), falls (False) or turns (None), to within float32.

    Raises:
      ValueError: for a constant.
    """
    inside = y[(x >= domain[0]) & (x <= domain[1])]
    span = np.ptp(inside)
    if span <= ROUNDING * np.abs(inside).max():
        raise ValueError(f"activation: expected a function that varies on {_text(domain)}; got {inside[0]:g} only")
    rises, falls = _turns(inside, span) < 0, _turns(-inside, span) < 0
    return True if rises else False if falls else None


def _turns(y: np.ndarray, span: float) -> float:
    """How far `y` falls behind its largest value so far, less what float32 explains."""
    return float((np.maximum.accumulate(y) - y).max() - ROUNDING * (span + np.abs(y).max()))


def _monotone_part(x: np.ndarray, y: np.ndarray, limits: Limits, domain: tuple[float, float], rising: bool) -> Table:
    """The table cut to its domain on a side where the function turns; without noise of the wrong sign."""
    up = y if rising else -y
    span = np.ptp(up[(x >= domain[0]) & (x <= domain[1])])
    left, right = x <= domain[0], x >= domain[1]
    # On an unbounded side float32 noise is relative to what the function has grown to.
    goes_left, goes_right = (_turns(up[s], span) < 0 for s in (left, right))
    keep = (goes_left | (x >= domain[0])) & (goes_right | (x <= domain[1]))
    up = np.maximum.accumulate(up[keep])
    ends = (limits[0] if goes_left else None, limits[1] if goes_right else None)
    return Table(x[keep], up if rising else -up, ends, domain, rising)


def inverse_of(table: Table) -> Callable[[Any], Any]:
    """The input of an output by linear interpolation of a monotone table; JAX where the output is a JAX value."""
    sign = 1.0 if table.rising else -1.0
    levels = sign * table.y
    some = np.unique(np.linspace(0, len(levels) - 1, TRACED).astype(int))
    traced_levels, traced_x = levels[some].astype(np.float32), table.x[some].astype(np.float32)

    def inverse(y: Any) -> Any:
        if isinstance(y, jax.Array):
            return jnp.interp(sign * y, jnp.asarray(traced_levels), jnp.asarray(traced_x))
        return np.interp(sign * y, levels, table.x)

    return inverse


def crossings(table: Table, edges: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `[K]`, ascending in (low, high), at which the output crosses one of `edges`, and signs `[K]` (+1 rising).

    A crossing counts once the output has left the edge by more than float32 noise, so noise on a flat stretch is none.
    """
    inside = (table.x >= low) & (table.x <= high)
    x, y = table.x[inside], table.y[inside]
    noise = ROUNDING * np.ptp(y)
    places, signs = [np.empty(0)], [np.empty(0)]
    for edge in edges:
        above = y - edge
        decided = np.flatnonzero(np.abs(above) > noise)
        side = np.sign(above[decided])
        changes = np.flatnonzero(side[1:] != side[:-1])
        a, b = decided[changes], decided[changes + 1]
        places.append(x[a] + (x[b] - x[a]) * above[a] / (above[a] - above[b]))
        signs.append(side[changes + 1])
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(places)[order], np.concatenate(signs)[order].astype(int)


def _text(domain: tuple[float, float]) -> str:
    return f"({domain[0]:g}, {domain[1]:g})"
