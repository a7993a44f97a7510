"""A ramp conversion: from the value on a line to the output of its code, with the activation's own slope behind it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from anaxon.converter.ramp.activation import find
from anaxon.converter.ramp.counter import Guide, guide_of, passed, passed_by_row
from anaxon.converter.ramp.design import Design
from anaxon.types import Array, pytree, replace


@pytree
class Comparators:
    """What the comparators of one array, or of `A` arrays, compare with.

    Attributes:
      thresholds: `[K]` or `[A, K]` in the order of the ramp [pre-activation units].
      guide: their guide table, where there are many.
      totals: `[K + 1]` or `[A, K + 1]`, codes after so many crossings; None where every crossing counts up.
      design: the ramp as it was meant; its levels are what codes stand for.
    """

    thresholds: Array
    guide: Guide | None
    totals: Array | None
    design: Design

    def of(self, array: Array | int) -> "Comparators":
        """Those of one of the arrays."""
        guide, totals = jax.tree.map(lambda x: x[array], (self.guide, self.totals))
        return replace(self, thresholds=self.thresholds[array], guide=guide, totals=totals)


def comparators(thresholds: Array, design: Design) -> Comparators:
    """Comparators at programmed thresholds `[K]` or `[A, K]`; make them once, outside of loops."""
    guide, totals = guide_of(thresholds), _totals(design, thresholds)
    return Comparators(thresholds=thresholds, guide=guide, totals=totals, design=design)


def _totals(design: Design, thresholds: Array) -> Array | None:
    """Falling branches count down; a stuck device makes steps equal, never negative, but an import might."""
    if design.signs is None:
        return None
    order = jnp.argsort(jax.lax.stop_gradient(thresholds), axis=-1)
    total = jnp.cumsum(jnp.asarray(design.signs, jnp.int32)[order], axis=-1)
    return design.first_code + jnp.concatenate([jnp.zeros_like(total[..., :1]), total], axis=-1)


def codes(comparing: Comparators, z: Array) -> Array:
    """Output codes, int32 of the shape of `z`: `first_code + sum_k sign_k [z >= V_k]`, one set of thresholds `[K]`."""
    return _coded(comparing, passed(comparing.thresholds, comparing.guide, z))


def convert(comparing: Comparators, z: Array) -> Array:
    """`g(z)` as the counter gives it, the shape of `z`, for one set of thresholds `[K]`.

    The gradient to z is g'(z): a dithered quantiser has it within 2 % at 5 bit. A threshold that moves takes it away
    from the values beside it; where the ramp ends and the function goes on, it ends.
    """
    v = comparing.thresholds
    count = passed(v, comparing.guide, z)
    return _output(comparing.design, _coded(comparing, count), v, None, z, count)


def convert_by_row(comparing: Comparators, row: Array, z: Array) -> Array:
    """`g(z)` where value by value the thresholds differ: `row`, the shape of `z`, indexes the `[R, K]` thresholds."""
    design, v = comparing.design, comparing.thresholds
    count, total = passed_by_row(v, row, jnp.asarray(_signs(design, v), jnp.int32), z)
    return _output(design, _limited(design, design.first_code + total), v, row, z, count)


def _signs(design: Design, thresholds: Array) -> tuple[int, ...]:
    return design.signs or (1,) * thresholds.shape[-1]


def _coded(comparing: Comparators, count: Array) -> Array:
    """The code after so many crossings."""
    design, totals = comparing.design, comparing.totals
    return _limited(design, design.first_code + count if totals is None else totals[count])


def _limited(design: Design, code: Array) -> Array:
    return jnp.clip(code, 0, design.codes - 1)


def _output(design: Design, code: Array, v: Array, row: Array | None, z: Array, count: Array) -> Array:
    y = jnp.asarray(design.output(code.astype(jnp.float32)), jnp.float32)
    y = y + _slope(design.activation, design.ends, row, z, v, count)
    return jnp.where(z != z, z, y)  # a diverged sum must not come out as a plausible code


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _slope(name: str, finite: bool, row: Array | None, z: Array, v: Array, count: Array) -> Array:
    """Zero, with the slope of the activation `name` to z, and the opposite one to the thresholds beside z."""
    del name, finite, row, v, count
    return jnp.zeros_like(z)


@partial(_slope.defjvp, symbolic_zeros=True)
def _slope_jvp(name: str, finite: bool, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    row, z, v, count = primals
    _, dz, dv, _ = tangents
    z = jnp.asarray(z)
    move = jnp.zeros_like(z) if isinstance(dz, SymbolicZero) else dz
    if not isinstance(dv, SymbolicZero):
        move = move - _beside(row, z, v, count, dv)
    if finite:
        first, last = _pick(v, row, 0), _pick(v, row, v.shape[-1] - 1)
        lowest = 2 * first - _pick(v, row, 1)
        highest = 2 * last - _pick(v, row, v.shape[-1] - 2)
        move = jnp.where((z >= lowest) & (z <= highest), move, 0.0)
    return jnp.zeros_like(z), jax.jvp(find(name).fn, (z,), (move,))[1]


def _beside(row: Array | None, z: Array, v: Array, count: Array, dv: Array) -> Array:
    """How far the thresholds beside z move, weighted by their distance."""
    below, above = jnp.maximum(count - 1, 0), jnp.minimum(count, v.shape[-1] - 1)
    low, high = _pick(v, row, below), _pick(v, row, above)
    t = jnp.where(high > low, (z - low) / jnp.where(high > low, high - low, 1.0), 0.5)
    return (1 - t) * _pick(dv, row, below) + t * _pick(dv, row, above)


def _pick(v: Any, row: Array | None, k: Array | int) -> Array:
    return v[k] if row is None else v[row, k]
