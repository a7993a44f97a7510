"""Covariance blocks `[*a, *b]` as arrays: what becomes of them under functions and reorderings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import factorial, prod

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.normal import ORDERS
from anaxon.types import Array, PyTree

einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)  # an accelerator's default rounds to 3e-4


def along(fn: Callable[[Array], Array], block: Array, axes: int) -> Array:
    """`fn` on the axes of a block `[*other, *a]` behind the first `axes`, for every element of the others."""
    other = block.shape[:axes]
    out = jax.vmap(fn)(block.reshape(-1, *block.shape[axes:]))
    return out.reshape(*other, *out.shape[1:])


def held(values: PyTree) -> PyTree:
    """The same values, worked out once: on a CPU, XLA would do it again for every pair that they make and every use.

    There it drops barriers before it fuses, but fuses nothing across a branch; where a mean is not finite, nothing is.
    """
    return lax.platform_dependent(values, cpu=_behind_a_branch, default=lax.optimization_barrier)


def _behind_a_branch(values: PyTree) -> PyTree:
    finite = jnp.ravel(jax.tree.leaves(values)[0])[0] < jnp.inf
    return lax.cond(finite, lambda v: v, lambda v: jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), v), values)


def swapped(block: Array, axes: int) -> Array:
    """`[*a, *b]` as `[*b, *a]`, where `a` has so many axes."""
    return jnp.transpose(block, (*range(axes, block.ndim), *range(axes)))


def through(block: Array, axes: int, f: Callable[[Array], Array], g: Callable[[Array], Array]) -> Array:
    """A block `[*a, *b]` with `f` on a's axes and `g` on b's."""
    half = along(g, block, axes)
    count = half.ndim - axes
    return swapped(along(f, swapped(half, axes), count), count)


def diagonal(block: Array, shape: tuple[int, ...]) -> Array:
    """The variances of `[*a, *a]`."""
    n = prod(shape)
    return jnp.diagonal(block.reshape(n, n)).reshape(shape)


def with_diagonal(matrix: Array, variance: Array) -> Array:
    """Covariances `[..., n, n]` with other variances `[..., n]`."""
    assert variance.shape == matrix.shape[:-1]
    same = jnp.eye(matrix.shape[-1], dtype=bool)
    return jnp.where(same, variance[..., :, None], matrix)


def correlations(covariance: Array) -> Array:
    """Of covariances `[..., n, n]`; what does not vary is correlated with itself alone."""
    spread = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance, axis1=-2, axis2=-1), 0.0))
    scale = spread[..., :, None] * spread[..., None, :]
    found = jnp.where(scale > 0, covariance / jnp.where(scale > 0, scale, 1.0), 0.0)
    return jnp.where(jnp.eye(covariance.shape[-1], dtype=bool), 1.0, jnp.clip(found, -1.0, 1.0))


def series(left: Array, right: Array, c: Array) -> Array:
    """`sum_n d_n d_n' C^n / n!`."""
    terms = [left[n] * right[n] * c ** (n + 1) / factorial(n + 1) for n in range(ORDERS)]
    return sum(terms[1:], terms[0])


def series_together(slopes: Array, block: Array, axes: int) -> Array:
    """The series for K functions of a base with so many axes and the covariance `block`, `[K, *base, K, *base]`."""
    count, shape = slopes.shape[1], slopes.shape[2:]
    left = slopes.reshape(ORDERS, count, *shape, 1, *(1,) * axes)
    right = slopes.reshape(ORDERS, 1, *(1,) * axes, count, *shape)
    return series(left, right, block.reshape(1, *block.shape[:axes], 1, *block.shape[axes:]))


def with_exact_diagonal(own: Array, covariance: Array, count: int, size: int) -> Array:
    """Functions at the same variable: `[K, K, *shape]` in the place of the truncated sum."""
    table = own.reshape(count, size, count, size)
    same = jnp.eye(size, dtype=bool)[None, :, None, :]
    exact = jnp.moveaxis(covariance.reshape(count, count, size), 2, 1)[:, :, :, None]
    return jnp.where(same, exact, table).reshape(own.shape)
