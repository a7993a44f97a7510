"""The one precision door for contractions, and the quantiser every converter and weight mapping uses."""

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.types import Array


def contract(lhs: Array, rhs: Array, dimension_numbers: lax.DotDimensionNumbers) -> Array:
    """`lax.dot_general` at the highest precision in float32.

    Analog sums are compared with ADC steps, so an accelerator's default (TF32, relative error 3e-4) would move codes.
    """
    return lax.dot_general(
        lhs, rhs, dimension_numbers, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )


@jax.custom_jvp
def ste_round(x: Array) -> Array:
    """Round half to even with the straight-through gradient 1."""
    return jnp.round(x)


@ste_round.defjvp
def _ste_round_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return ste_round(primals[0]), tangents[0]  # itself again, so that second derivatives are straight through too


def clip(x: Array, lo: Array, hi: Array) -> Array:
    """Clip whose gradient to `x` is 1 on the closed interval and 0 outside, and the rest goes to the bounds.

    `jnp.clip` splits the gradient at a tie, which halves it exactly where an absmax scale puts the largest weight.
    The bounds are widened by a few ulp for the same reason: `x / absmax * n` may exceed `n` by rounding.
    """
    tol = 4e-7
    low, high = x < lo - tol * jnp.abs(lo), x > hi + tol * jnp.abs(hi)
    return jnp.where(low, lo, jnp.where(high, hi, x))


def quantise(x: Array, step: Array, lo: Array, hi: Array) -> Array:
    """`step * clip(round(x / step), lo, hi)` with the straight-through gradient of exactly this expression.

    `lo` and `hi` are in steps. Gradients to `x`, `step`, `lo` and `hi` are those of the formula with round' = 1, so a
    saturated value moves with the range (`step * hi`) and not with `x`.
    """
    return step * clip(ste_round(x / step), lo, hi)


def safe_scale(absmax: Array) -> Array:
    """A scale that is never zero: an all-zero weight or input has scale 1, so that 0 / scale is 0 and not NaN."""
    return jnp.where(absmax > 0, absmax, jnp.ones_like(absmax))
