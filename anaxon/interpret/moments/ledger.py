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
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

import jax.numpy as jnp

from anaxon.interpret.moments.blocks import (
    along,
    diagonal,
    einsum,
    held,
    series,
    series_together,
    swapped,
    through,
    with_diagonal,
    with_exact_diagonal,
)
from anaxon.interpret.moments.covariance import Covariance, Follow, lost
from anaxon.interpret.moments.rounding import Residual
from anaxon.normal import ORDERS, Moments, function_moments
from anaxon.types import Array

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


class Forms(NamedTuple):
    """What takes the operands of a matrix product to `[B, A, K]` and `[B, C, K]`, and `[B, A, C]` to its result."""

    left: Callable[[Array], Array]
    right: Callable[[Array], Array]
    assemble: Callable[[Array], Array]


class Ledger:
    """A covariance for every live value, and blocks `[*a, *b]` for pairs of them."""

    def __init__(self) -> None:
        self.live: weakref.WeakValueDictionary[int, Random] = weakref.WeakValueDictionary()
        self.own: dict[int, Covariance] = {}
        self.blocks: dict[tuple[int, int], Array] = {}
        self.origins: dict[int, list[Origin]] = {}  # of values that hold functions of others, by number
        self.doubts: dict[str, Array] = {}  # by place: how near to 0 a denominator comes, relative to its mean

    def covariance(self, a: Random, b: Random | None = None) -> Array:
        """The block `[*a, *b]`; of a value with itself without `b`."""
        if b is None or a is b:
            return self.own[a.number].dense()
        if a.number <= b.number:
            found = self.blocks.get((a.number, b.number))
            return jnp.zeros((*a.shape, *b.shape), a.dtype) if found is None else found
        return swapped(self.covariance(b, a), len(b.shape))

    def variance(self, a: Random) -> Array:
        """The diagonal, of the value's shape."""
        return self.own[a.number].variance()

    def add(self, mean: Array, own: Array | Covariance, others: dict[int, Array], where: str) -> Random:
        """A new value with its covariance `[*a, *a]` and blocks with live values, `[*other, *a]` by number."""
        value = Random(mean)
        check_size(value.shape, value.dtype, where)
        self.live[value.number] = value
        self.own[value.number] = own if isinstance(own, Covariance) else Covariance.whole(own, value.shape)
        self.blocks |= {(number, value.number): block for number, block in others.items()}
        weakref.finalize(value, self._free, value.number)
        return value

    def derive(
        self,
        mean: Array,
        parents: Sequence[Random],
        maps: Sequence[Callable[[Array], Array]],
        where: str,
        follow: Follow = lost,
    ) -> Random:
        """A linear function of live values: `maps[i]` takes `parents[i]` to its share of the result.

        Where `follow` tells what becomes of an axis, the map of a single parent is given slices of extent 1 along it.
        """
        check_size(mean.shape, mean.dtype, where)
        steps = list(zip(parents, maps, strict=True))
        pushed = lambda block_of, axes: functools.reduce(  # noqa: E731
            jnp.add, [along(f, block_of(p), axes) for p, f in steps]
        )
        shares = {
            z.number: pushed(lambda p, z=z: self.covariance(z, p), len(z.shape)) for z in list(self.live.values())
        }
        first = self.own[parents[0].number]
        axis = follow(first.axis) if len(parents) == 1 and first.axis is not None else None
        if axis is None:
            own = Covariance.whole(pushed(lambda p: swapped(shares[p.number], len(p.shape)), mean.ndim), mean.shape)
        else:
            own = first.moved(maps[0], mean.shape, axis)
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

    def with_noise(self, value: Random, noise: Array | Covariance, where: str) -> Random:
        """The value with independent noise of a covariance `[*a, *a]`, or a variance `[*a]` that is its diagonal."""
        own = self.own[value.number]
        if isinstance(noise, Covariance):
            own = own.plus(noise)
        elif noise.ndim == len(value.shape):
            own = own.with_variance(noise)
        else:
            own = own.plus(Covariance.whole(noise, value.shape))
        blocks = {o.number: self.covariance(o, value) for o in list(self.live.values())}
        noisy = self.add(value.mean, own, blocks, where)
        self.origins[noisy.number] = list(self.origins.get(value.number, ()))
        return noisy

    def with_residual(self, value: Random, residual: Residual, where: str) -> Random:
        """The value with what rounding adds, `[*a]`: as alike at two elements as what was rounded there."""
        return self.with_noise(value, self.own[value.number].rounded(residual), where)

    def doubt(self, where: str, nearest: Array) -> None:
        """Notes what decides whether a rule holds at a place."""
        old = self.doubts.get(where)
        self.doubts[where] = nearest if old is None else jnp.minimum(old, nearest)

    def apply(self, base: Random, fn: Callable[[Array], Array], found: Moments, where: str) -> Random:
        """`fn` of a live value, elementwise, whose moments are known."""
        slopes, own = found.slopes[:, 0], self.own[base.number]
        new = own.through(slopes, found.covariance[0, 0])
        new = replace(new, blocks=held(new.blocks))
        others = {z.number: self._across(z, base, fn, slopes[0]) for z in list(self.live.values())}
        value = self.add(found.mean[0], new, others, where)
        self.origins[value.number] = [Origin(weakref.ref(base), fn, None)]
        return value

    def apply_together(
        self, base: Random, fns: Sequence[Callable[[Array], Array]], found: Moments, where: str
    ) -> Random:
        """Several functions of one live value as one, `[K, *shape]`: at one variable their covariances are exact."""
        own = series_together(found.slopes, self.covariance(base), len(base.shape))
        own = with_exact_diagonal(own, found.covariance, len(fns), base.size)
        others = {}
        for other in list(self.live.values()):
            cross = self.covariance(other, base)
            others[other.number] = cross.reshape(*other.shape, 1, *base.shape) * found.slopes[0]
        return self.add(found.mean, own, others, where)

    def multiply(self, x: Random, y: Random, where: str) -> Random:
        """`x * y` of live values of one shape that may depend on each other (Isserlis)."""
        m, n, axes = x.mean, y.mean, len(x.shape)
        xx, yy, xy = self.covariance(x), self.covariance(y), self.covariance(x, y)
        shares = [lambda v: v * n, lambda v: m * v]
        straight = self.derive(m * n + diagonal(xy, x.shape), [x, y], shares, where)
        return self.with_noise(straight, xx * yy + xy * swapped(xy, axes), where)

    def contract(self, x: Random, y: Random, dot: Callable[[Array, Array], Array], forms: Forms, where: str) -> Random:
        """A matrix product of live values that may depend on each other (Isserlis)."""
        left, right, assemble = forms
        mean = dot(x.mean, y.mean)
        check_size(mean.shape, mean.dtype, where)
        xx = through(self.covariance(x), len(x.shape), left, left)  # [B, A, K, B', A', K']
        yy = through(self.covariance(y), len(y.shape), right, right)
        xy = through(self.covariance(x, y), len(x.shape), left, right)
        shared = assemble(einsum("bakbck->bac", xy))
        quadratic = einsum("bakdel,bckdfl->bacdef", xx, yy) + einsum("bakdfl,delbck->bacdef", xy, xy)
        shares = [lambda v: dot(v, y.mean), lambda v: dot(x.mean, v)]
        straight = self.derive(mean + shared, [x, y], shares, where)
        return self.with_noise(straight, through(quadratic, 3, assemble, assemble), where)

    def _across(self, z: Random, base: Random, fn: Callable[[Array], Array], slope: Array) -> Array:
        """The block `[*z, *fn(base)]`: Stein's lemma, and the Hermite series for what z holds of the same base."""
        block, axes = self.covariance(z, base) * slope, len(base.shape)
        for origin in self.functions(z, base):
            exact, first = self._siblings(base, origin.fn, fn)
            if origin.push is None:
                return exact
            block += swapped(along(origin.push, swapped(exact - first, axes), axes), axes)
        return block

    def _siblings(
        self, base: Random, left: Callable[[Array], Array], right: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """The block `[*base, *base]` of two functions of a base, and what Stein's lemma alone makes of it."""
        n = base.size
        both = function_moments(lambda x: (left(x), right(x)), base.mean, self.variance(base))
        flat, c = both.slopes.reshape(ORDERS, 2, n), self.covariance(base).reshape(n, n)
        block = with_diagonal(series(flat[:, 0, :, None], flat[:, 1, None, :], c), both.covariance[0, 1].reshape(n))
        first = flat[0, 0, :, None] * flat[0, 1, None, :] * c
        return block.reshape(*base.shape, *base.shape), first.reshape(*base.shape, *base.shape)

    def _free(self, number: int) -> None:
        self.origins.pop(number, None)
        self.own.pop(number, None)
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
            f"{LIMIT / 2**30:.3g} GiB that are held; use `anaxon.interpret.moments.low_rank` or `linearised`, which "
            "need none, or sample chips"
        )
