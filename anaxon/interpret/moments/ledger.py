"""The ledger: covariance blocks between all live values, so that values that meet again know of each other.

A residual connection adds two values that stem from one: what their sum varies by depends on the block between them. A
block is freed with the values it belongs to; blocks that nothing reads are never computed, because the whole
propagation is traced and XLA drops them.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.types import Array, PyTree

LIMIT = 2**31  # bytes of one covariance, for one example
_NUMBERS = itertools.count()


@dataclass(eq=False)
class Random:
    """A value known by its mean; its covariances are in the ledger."""

    mean: Array
    number: int = field(default_factory=lambda: next(_NUMBERS))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example, as the function sees it."""
        return tuple(self.mean.shape)

    @property
    def dtype(self) -> jnp.dtype:
        """Of the function's value."""
        return self.mean.dtype

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)


class Origin(NamedTuple):
    """A share `push(fn(base))` of a value. It does not keep its base alive: where that is gone, nothing asks for it."""

    base: weakref.ref[Random]
    fn: Callable[[Array], Array]
    push: Callable[[Array], Array] | None  # linear; None is the identity


class Ledger:
    """Blocks `[*a, *b]` for pairs of live values."""

    def __init__(self) -> None:
        self.live: weakref.WeakValueDictionary[int, Random] = weakref.WeakValueDictionary()
        self.blocks: dict[tuple[int, int], Array] = {}
        self.origins: dict[int, list[Origin]] = {}  # of values that hold functions of others, by number

    def covariance(self, a: Random, b: Random | None = None) -> Array:
        """The block `[*a, *b]`; of a value with itself without `b`."""
        b = a if b is None else b
        if a.number <= b.number:
            found = self.blocks.get((a.number, b.number))
            return jnp.zeros((*a.shape, *b.shape), a.dtype) if found is None else found
        return swapped(self.covariance(b, a), len(b.shape))

    def variance(self, a: Random) -> Array:
        """The diagonal, of the value's shape."""
        return diagonal(self.covariance(a), a.shape)

    def add(self, mean: Array, own: Array, others: dict[int, Array], where: str) -> Random:
        """A new value with its own block `[*a, *a]` and those with live values, `[*other, *a]` by number."""
        value = Random(mean)
        check_size(value.shape, value.dtype, where)
        self.live[value.number] = value
        self.blocks[value.number, value.number] = own
        self.blocks |= {(number, value.number): block for number, block in others.items()}
        weakref.finalize(value, self._free, value.number)
        return value

    def derive(
        self, mean: Array, parents: Sequence[Random], maps: Sequence[Callable[[Array], Array]], where: str
    ) -> Random:
        """A linear function of live values: `maps[i]` takes `parents[i]` to its share of the result."""
        check_size(mean.shape, mean.dtype, where)
        steps = list(zip(parents, maps, strict=True))
        pushed = lambda block_of, axes: functools.reduce(  # noqa: E731
            jnp.add, [along(f, block_of(p), axes) for p, f in steps]
        )
        shares = {
            z.number: pushed(lambda p, z=z: self.covariance(z, p), len(z.shape)) for z in list(self.live.values())
        }
        own = pushed(lambda p: swapped(shares[p.number], len(p.shape)), mean.ndim)
        value = self.add(mean, own, shares, where)
        self.origins[value.number] = [
            Origin(o.base, o.fn, _after(o.push, f))
            for p, f in steps
            for o in self.origins.get(p.number, ())
            if o.base() is not None
        ]
        return value

    def functions(self, a: Random, base: Random) -> list[Origin]:
        """The shares of a value that are functions of `base`."""
        return [o for o in self.origins.get(a.number, ()) if o.base() is base]

    def with_noise(self, value: Random, noise: Array, where: str) -> Random:
        """The value with independent noise of a covariance `[*a, *a]`, or a variance `[*a]` that is its diagonal."""
        own = self.covariance(value)
        own = own + (noise if noise.ndim == own.ndim else on_diagonal(noise))
        blocks = {o.number: self.covariance(o, value) for o in list(self.live.values())}
        noisy = self.add(value.mean, own, blocks, where)
        self.origins[noisy.number] = list(self.origins.get(value.number, ()))
        return noisy

    def _free(self, number: int) -> None:
        self.origins.pop(number, None)
        for pair in [p for p in self.blocks if number in p]:
            del self.blocks[pair]


def _after(push: Callable[[Array], Array] | None, more: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return more if push is None else lambda v: more(push(v))


def check_size(shape: tuple[int, ...], dtype: jnp.dtype, where: str) -> None:
    """Raises `ValueError` for a covariance that is too large to hold, before anything of it is allocated."""
    n = prod(shape)
    size = n * n * jnp.dtype(dtype).itemsize
    if size > LIMIT:
        raise ValueError(
            f"{where}: its {n:,} values have a covariance of {size / 2**30:.3g} GiB for every example, more than the "
            f"{LIMIT / 2**30:.3g} GiB that are held; predict with `linearised`, which needs none, or sample chips"
        )


def along(fn: Callable[[Array], Array], block: Array, axes: int) -> Array:
    """`fn` on the axes of a block `[*other, *a]` behind the first `axes`, for every element of the others."""
    other = block.shape[:axes]
    out = jax.vmap(fn)(block.reshape(-1, *block.shape[axes:]))
    return out.reshape(*other, *out.shape[1:])


def held(values: PyTree) -> PyTree:
    """The same values, worked out once: on a CPU, XLA would do it again for every pair that they make and every use.

    It drops barriers before it fuses, but fuses nothing across a branch; where a mean is not finite, nothing is.
    """
    finite = jnp.ravel(jax.tree.leaves(values)[0])[0] < jnp.inf
    return lax.cond(finite, lambda v: v, lambda v: jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), v), values)


def swapped(block: Array, axes: int) -> Array:
    """`[*a, *b]` as `[*b, *a]`, where `a` has so many axes."""
    return jnp.transpose(block, (*range(axes, block.ndim), *range(axes)))


def diagonal(block: Array, shape: tuple[int, ...]) -> Array:
    """The variances of `[*a, *a]`."""
    n = prod(shape)
    return jnp.diagonal(block.reshape(n, n)).reshape(shape)


def on_diagonal(variance: Array) -> Array:
    """Variances as a covariance."""
    return jnp.diag(variance.reshape(-1)).reshape(variance.shape * 2)


def with_diagonal(matrix: Array, variance: Array) -> Array:
    """A covariance `[n, n]` with other variances."""
    same = jnp.eye(matrix.shape[0], dtype=bool)
    return jnp.where(same, variance.reshape(-1, 1), matrix)
