"""The covariance of a value with itself, in as many blocks as there are parts that know nothing of each other.

What leaves a crossbar with known drives varies with the cells of its own column: a first layer's channels, the largest
value of most networks, are independent of each other, and stay so through activations and pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.interpret.moments.blocks import along, correlations, diagonal, series, with_diagonal
from anaxon.interpret.moments.rounding import Residual, shared
from anaxon.interpret.product import Product
from anaxon.types import Array

Follow = Callable[[int], int | None]  # where an operation takes an axis whose slices it does not mix; else None


def lost(axis: int) -> None:
    """An operation that may mix slices along any axis."""
    del axis


@dataclass(frozen=True)
class Covariance:
    """Blocks of slices along one axis, which are independent of each other.

    Attributes:
      blocks: `[K, n, n]`.
      shape: of the value.
      axis: of the slices, K long; None for one block with all numbers.
    """

    blocks: Array
    shape: tuple[int, ...]
    axis: int | None = None

    @classmethod
    def whole(cls, own: Array, shape: tuple[int, ...]) -> Covariance:
        """Of one block, from `[*a, *a]`."""
        return cls(own.reshape(1, prod(shape), prod(shape)), shape)

    def slices(self, x: Array) -> Array:
        """`[..., *a]` as `[..., K, n]`."""
        lead = x.ndim - len(self.shape)
        x = x if self.axis is None else jnp.moveaxis(x, lead + self.axis, lead)
        return x.reshape(*x.shape[:lead], *self.blocks.shape[:2])

    def dense(self) -> Array:
        """`[*a, *a]`."""
        if self.axis is None:
            return self.blocks.reshape(self.shape * 2)
        count, axes = len(self.blocks), len(self.shape)
        lead = (count, *np.delete(self.shape, self.axis))
        same = jnp.eye(count, dtype=bool)[:, None, :, None]
        wide = jnp.where(same, self.blocks[:, :, None, :], 0.0).reshape(lead * 2)
        return jnp.moveaxis(wide, (0, axes), (self.axis, axes + self.axis))

    def variance(self) -> Array:
        """`[*a]`."""
        if self.axis is None:
            return diagonal(self.blocks, self.shape)
        found = jnp.diagonal(self.blocks, axis1=1, axis2=2)
        return jnp.moveaxis(found.reshape(-1, *np.delete(self.shape, self.axis)), 0, self.axis)

    def through(self, slopes: Array, variance: Array) -> Covariance:
        """Of an elementwise function with the slopes `[ORDERS, *a]`, whose variance `[*a]` is known."""
        d = self.slices(slopes)
        return self._with(with_diagonal(series(d[..., :, None], d[..., None, :], self.blocks), self.slices(variance)))

    def moved(self, fn: Callable[[Array], Array], shape: tuple[int, ...], axis: int) -> Covariance:
        """Of a linear function that takes slices along the axis to slices along another, where it does not mix them."""
        assert self.axis is not None
        count, n, _ = self.blocks.shape
        one = tuple(1 if i == self.axis else s for i, s in enumerate(self.shape))
        half = along(fn, self.blocks.reshape(count, n, *one), 2).reshape(count, n, -1)
        full = along(fn, jnp.swapaxes(half, 1, 2).reshape(count, -1, *one), 2)
        m = half.shape[2]
        return Covariance(full.reshape(count, m, m), shape, axis)

    def plus(self, other: Covariance) -> Covariance:
        """With what is independent of it."""
        if self.axis == other.axis:
            return self._with(self.blocks + other.blocks)
        return Covariance.whole(self.dense() + other.dense(), self.shape)

    def with_variance(self, more: Array) -> Covariance:
        """With noise of a variance `[*a]` that is independent everywhere."""
        return self._with(self.blocks + self.slices(more)[..., None] * jnp.eye(self.blocks.shape[1], dtype=more.dtype))

    def rounded(self, residual: Residual) -> Covariance:
        """What rounding `[*a]` adds: as alike at two elements as the values that this is the covariance of."""
        parts = [self.slices(jnp.broadcast_to(x, self.shape)) for x in residual]
        one, other = Residual(*(x[..., :, None] for x in parts)), Residual(*(x[..., None, :] for x in parts))
        alike = shared(one, other, correlations(self.blocks))
        return self._with(with_diagonal(alike, self.slices(jnp.broadcast_to(residual.beyond, self.shape))))

    def _with(self, blocks: Array) -> Covariance:
        return Covariance(blocks.astype(self.blocks.dtype), self.shape, self.axis)


def of_columns(product: Product, noise: Array) -> Covariance:
    """Of a product's output, from covariances within its columns, `[G, C, M, M']`."""
    g, c, m, _ = noise.shape
    shape, axis, place = product.out_shape, product.column_axis, places(product)
    if axis is not None and shape[axis] == g * c:
        order = np.moveaxis(place.reshape(shape), axis, 0).reshape(g, c, m)
        if np.all(order == np.moveaxis(np.arange(g * m * c).reshape(g, m, c), 1, 2)):
            return Covariance(noise.reshape(g * c, m, m), shape, axis)
    columns = noise.reshape(g * c, m, m)
    dense = jnp.where(jnp.eye(g * c, dtype=bool)[:, None, :, None], columns[:, :, None, :], 0.0)
    own = jnp.einsum("gcmhdk->gmchkd", dense.reshape(g, c, m, g, c, m)).reshape(place.size, place.size)
    own = own if np.all(place == np.arange(place.size)) else own[place][:, place]
    return Covariance.whole(own, shape)


def within_columns(product: Product, own: Covariance) -> Array:
    """Covariances within the columns of a product's output, `[G, C, M, M']`."""
    g, m, _, c = product.sizes
    if own.axis is not None and own.axis == product.column_axis:
        return own.blocks.reshape(g, c, m, m)
    back = np.argsort(places(product))
    dense = own.dense().reshape(back.size, back.size)
    return jnp.einsum("gmcgkc->gcmk", dense[back][:, back].reshape(g, m, c, g, m, c))


def places(product: Product) -> np.ndarray:
    """Of each number of the output, its place in `[G, M, C]`."""
    g, m, _, c = product.sizes
    with jax.ensure_compile_time_eval():
        return np.asarray(product.assemble(jnp.arange(g * m * c).reshape(g, m, c))).reshape(-1)
