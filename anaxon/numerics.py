"""The one precision door for contractions, and the quantiser every converter and weight mapping uses."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.types import Array, ArrayLike

TIE = 4e-7  # relative: `x / absmax * n` may exceed `n` by a few ulp and still be the range's end


def contract(lhs: Array, rhs: Array, dimension_numbers: lax.DotDimensionNumbers) -> Array:
    """`lax.dot_general` at the highest precision in float32, or in float64 where an operand has that.

    Analog sums are compared with ADC steps, so an accelerator's default (TF32, relative error 3e-4) would move codes.
    """
    dtype = jnp.promote_types(jnp.float32, jnp.result_type(lhs, rhs))
    return lax.dot_general(lhs, rhs, dimension_numbers, precision=lax.Precision.HIGHEST, preferred_element_type=dtype)


def contract_half(lhs: Array, rhs: Array, dimension_numbers: lax.DotDimensionNumbers) -> Array:
    """`contract` over one axis with a half-precision `rhs`, on units for half precision, sums in float32.

    `lhs` is normalised by its absmax and split into two half-precision numbers (22 bits of float16, 16 of bfloat16), so
    that the products are those of the given `rhs` to about 2**-22 or 2**-16 of the largest `lhs`. The two stand one
    behind the other along the contracted axis: one pass over the result, which is what takes the time.
    """
    (left, right), _ = dimension_numbers
    scale = safe_scale(absmax(lhs))
    high = (lhs / scale).astype(rhs.dtype)
    low = (lhs / scale - high.astype(jnp.float32)).astype(rhs.dtype)
    both, twice = jnp.concatenate([high, low], left[0]), jnp.concatenate([rhs, rhs], right[0])
    return lax.dot_general(both, twice, dimension_numbers, preferred_element_type=jnp.float32) * scale


def contract_coarsely(lhs: Array, rhs: Array, dimension_numbers: lax.DotDimensionNumbers) -> Array:
    """A contraction with a half-precision `rhs` whose result has 16 bits, too: half the memory traffic.

    Right to about 2**-11 of the largest sum in float16 (bfloat16: 2**-8): for the variance of a noise.
    """
    scale = safe_scale(absmax(lhs))
    total = lax.dot_general((lhs / scale).astype(rhs.dtype), rhs, dimension_numbers, preferred_element_type=rhs.dtype)
    return total.astype(jnp.float32) * scale


def is_half(x: Array) -> bool:
    """Whether a value has 16 bits."""
    return jnp.result_type(x).itemsize == 2


@jax.custom_jvp
def ste_round(x: Array) -> Array:
    """Round half to even with the straight-through gradient 1."""
    return jnp.round(x)


@ste_round.defjvp
def _ste_round_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return ste_round(primals[0]), tangents[0]  # itself again, so that second derivatives are straight through too


def clip(x: Array, lo: ArrayLike, hi: ArrayLike) -> Array:
    """Clip whose gradient to `x` is 1 on the closed interval and 0 outside, and the rest goes to the bounds.

    `jnp.clip` splits the gradient at a tie, which halves it exactly where an absmax scale puts the largest weight.
    The bounds are widened by a few ulp for the same reason: `x / absmax * n` may exceed `n` by rounding.
    """
    lo, hi = jnp.asarray(lo), jnp.asarray(hi)
    low, high = x < lo - TIE * jnp.abs(lo), x > hi + TIE * jnp.abs(hi)
    return jnp.where(low, lo, jnp.where(high, hi, x))


@jax.custom_jvp
def _code(v: Array, lo: Array, hi: Array) -> Array:
    return jnp.minimum(jnp.maximum(jnp.round(v), lo), hi)


@_code.defjvp
def _code_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    v, lo, hi = primals
    dv, dlo, dhi = tangents
    low, high = v < lo - TIE * jnp.abs(lo), v > hi + TIE * jnp.abs(hi)
    return _code(v, lo, hi), jnp.where(low, dlo, jnp.where(high, dhi, dv))


def quantise(x: Array, step: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> Array:
    """`step * clip(round(x / step), lo, hi)` with its straight-through gradients.

    `lo` and `hi` are in steps. Inside the range the gradient to `x / step` is 1, so a value's gradient to `step` is
    `round(x / step) - x / step`; outside, the value moves with its bound and not with `x`. Inside means that `x / step`
    itself lies in [lo, hi], not its rounded value: averaged over a dither of one step the output has slope 1 up to
    `hi` and 0 from there, and a mask on the rounded value would let half a step too much through at either end.
    """
    v = x / jnp.asarray(step)
    return jnp.asarray(step) * _code(v, jnp.asarray(lo, v.dtype), jnp.asarray(hi, v.dtype))


def safe_sqrt(x: Array) -> Array:
    """`sqrt(max(x, 0))` with slope 0 where x is not positive: a row without input has no noise and no NaN gradient."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def absmax(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """The largest magnitude, 0 of nothing; its gradient is shared by the elements that have it.

    JAX's own asks which elements equal the maximum. Where XLA computes them anew for that, rounded otherwise, none
    does, and the gradient is 0 / 0.
    """
    return jnp.max(jnp.abs(x), axis=axis, keepdims=keepdims, initial=0.0)


@absmax.defjvp
def _absmax_jvp(axis: int | tuple[int, ...] | None, keepdims: bool, primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    whole = absmax(x, axis, True)
    largest = (jnp.abs(x) >= whole * (1 - TIE)).astype(x.dtype)
    share = largest / jnp.maximum(jnp.sum(largest, axis, keepdims=True), 1)
    return absmax(x, axis, keepdims), jnp.sum(share * jnp.sign(x) * dx, axis, keepdims=keepdims)


def safe_scale(largest: Array) -> Array:
    """A scale that is never zero: an all-zero weight or input has scale 1, so that 0 / scale is 0 and not NaN.

    NaN stays NaN: a diverged weight must not come out of a chip as plausible numbers.
    """
    return jnp.where(largest == 0, jnp.ones_like(largest), largest)
