"""Integers of a bit-serial dot product: steps, thresholds on the host, and sums wider than 32 bits.

A score is `x = S s_q s_k / sqrt(d)` with the integer dot product S, so `x >= Th` iff
`S >= ceil(Th sqrt(d) / (s_q s_k))`: thresholding integers is exact (spec 1.5).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from anaxon.check import integer, require
from anaxon.numerics import safe_scale
from anaxon.types import Array, ArrayLike, is_concrete

LOW = 16  # bits in the low half of a `Wide`
BITS = (4, 16)  # of an operand, sign included
EXACT = 24  # a float32 holds every integer up to 2**24


class Wide(NamedTuple):
    """Integers `high * 2**16 + low` with `0 <= low < 2**16`, where 32 bits do not hold a score."""

    high: Array | np.ndarray
    low: Array | np.ndarray

    def to_int64(self) -> np.ndarray:
        """The same on the host."""
        return (np.asarray(self.high, np.int64) << LOW) + np.asarray(self.low, np.int64)


Integers = Array | Wide


def is_wide(head_dim: int, bits: int) -> bool:
    """Whether scores, or bounds on the way to them, may exceed an int32."""
    return largest_score(head_dim, bits) >= 2**31


def largest_score(head_dim: int, bits: int) -> int:
    """Scores are within +- this: `head_dim` products of two `bits`-bit integers."""
    return head_dim << (2 * bits - 2)


def step_of(absmax: ArrayLike, bits: int) -> ArrayLike:
    """The step of symmetric `bits`-bit integers that reach `absmax`; of nothing but zeros it is 1 / the largest.

    Raises:
      ValueError: for a number of the host that is negative or not finite.
    """
    integer("step_of: bits", bits, *BITS)
    largest = 2 ** (bits - 1) - 1
    if isinstance(absmax, int | float | np.number | np.ndarray):
        require(np.all(np.isfinite(absmax) & (np.asarray(absmax) >= 0)), "step_of: absmax", absmax, "numbers >= 0")
        return np.where(np.asarray(absmax) == 0, 1.0, np.asarray(absmax, np.float64)) / largest
    return safe_scale(jnp.asarray(absmax)) / largest


def quantised(x: ArrayLike, step: ArrayLike, bits: int) -> Array:
    """Symmetric integers `clip(round(x / step))` within `+-(2**(bits - 1) - 1)`, int32, of any shape.

    Args:
      x: values; NaN becomes 0, as a conversion to integers does.
      step: what one is worth, broadcastable to `x`.
      bits: 4 to 16, sign included.
    """
    integer("quantised: bits", bits, *BITS)
    largest = 2 ** (bits - 1) - 1
    codes = jnp.clip(jnp.round(jnp.asarray(x) / step), -largest, largest)
    return jnp.where(jnp.isnan(codes), 0, codes).astype(jnp.int32)


def integer_threshold(
    threshold: ArrayLike, step_q: ArrayLike, step_k: ArrayLike, head_dim: int, bits: int
) -> np.ndarray | Wide:
    """The smallest integer score that a threshold keeps, on the host in float64: `ceil(Th sqrt(d) / (s_q s_k))`.

    A tie is kept: the result is the first S of which `S * (s_q * s_k / sqrt(d)) >= Th` in float64. It is saturated into
    the range of scores, `inf` one above it so that nothing is kept.

    Args:
      threshold: of the scaled scores `q . k / sqrt(d)`; any shape, concrete.
      step_q: of the query's integers, broadcastable against the threshold.
      step_k: of the key's.
      head_dim: the dot product's length.
      bits: of an operand, 4 to 16.

    Returns:
      int32 of the broadcast shape; `Wide` where `is_wide(head_dim, bits)`.

    Raises:
      TypeError: for a value that is being traced: calibrated scales are static.
      ValueError: for NaN, and for steps that are not finite and positive.
    """
    integer("integer_threshold: bits", bits, *BITS)
    integer("integer_threshold: head_dim", head_dim, 1, 2 ** (EXACT - bits))
    given = {"threshold": threshold, "step_q": step_q, "step_k": step_k}
    for name, value in given.items():
        if not is_concrete(value):
            raise TypeError(f"integer_threshold: {name}: expected a concrete number, since it is computed on the host; "
                            f"got {value}: call it outside jit, vmap and grad")  # fmt: skip
    level, q, k = (np.asarray(value, np.float64) for value in given.values())
    require(not np.any(np.isnan(level)), "integer_threshold: threshold", threshold, "numbers (infinity included)")
    for name, step in (("step_q", q), ("step_k", k)):
        require(np.all(np.isfinite(step) & (step > 0)), f"integer_threshold: {name}", step, "finite steps above 0")
    return saturated(_first_kept(level, q * k / math.sqrt(head_dim)), head_dim, bits)


def _first_kept(level: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The first integer whose multiple of `unit` reaches the level: division may round across it."""
    require(np.all(unit > 0), "integer_threshold: step_q * step_k", unit, "products that are no underflow")
    with np.errstate(over="ignore", invalid="ignore"):  # infinities, which are saturated
        first = np.ceil(level / unit)
        first = np.where((first - 1) * unit >= level, first - 1, first)
        first = np.where(first * unit < level, first + 1, first)
    return np.where(np.isinf(level), level, first)


def saturated(scores: np.ndarray, head_dim: int, bits: int) -> np.ndarray | Wide:
    """Integer scores within the range and one above it, as int32 or `Wide`."""
    largest = largest_score(head_dim, bits)
    codes = np.clip(scores, -largest, largest + 1).astype(np.int64)
    if not is_wide(head_dim, bits):
        return codes.astype(np.int32)
    return Wide((codes >> LOW).astype(np.int32), (codes & (2**LOW - 1)).astype(np.int32))


def zeros(shape: tuple[int, ...], wide: bool) -> Integers:
    """Nothing summed yet."""
    nothing = jnp.zeros(shape, jnp.int32)
    return Wide(nothing, nothing) if wide else nothing


def added(total: Integers, part: Array, shift: int) -> Integers:
    """`total + part * 2**shift` for an int32 `part`; `shift <= 16`."""
    if not isinstance(total, Wide):
        return total + (part << shift)
    low = total.low + ((part << shift) & (2**LOW - 1))  # what the shift pushes out is in the high half
    high = total.high + (part >> (LOW - shift)) + (low >> LOW)
    return Wide(high, low & (2**LOW - 1))


def at_least(total: Integers, bound: Integers) -> Array:
    """`total >= bound`, elementwise."""
    if not (isinstance(total, Wide) and isinstance(bound, Wide)):
        return jnp.asarray(total) >= jnp.asarray(bound)
    high, low, bound_high, bound_low = (jnp.asarray(half) for half in (*total, *bound))
    return (high > bound_high) | ((high == bound_high) & (low >= bound_low))
