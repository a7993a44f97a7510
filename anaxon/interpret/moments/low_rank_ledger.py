"""A ledger of low rank: what all live values share of common sources, and the variance of each.

A value's deviation from its mean is `sum_r Z_r xi_r` of sources `xi` that are independent, of variance 1, and the same
for all values: `Cov(a, b) = Z_a' Z_b`, so that values that meet again know of each other. Nothing is ever taken as
independent: what an operation adds becomes sources of its own, drawn at random where there are too many, and right on
average. Where sources grow beyond twice the rank, those of all live values are mixed by one matrix (`sketch.mixing`).
Variances are followed apart, exactly through elementwise functions and reorderings, since sums of squares of mixed rows
err.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.interpret.moments import sketch
from anaxon.interpret.moments.covariance import Covariance, Follow, lost
from anaxon.interpret.moments.ledger import Forms, Ledger, Random, check_size
from anaxon.interpret.moments.rounding import Residual
from anaxon.normal import Moments, function_moments
from anaxon.numerics import contract
from anaxon.types import Array

SEEDS = 256  # that are drawn together
Function = Callable[[Array], Array]


@dataclass
class Expansion:
    """What functions of one base share beside the base itself.

    Attributes:
      second: a live value whose covariance is `Cov(base)^2`, elementwise.
      units: live values, independent everywhere and of variance 1.
      known: functions met so far, and of each the coefficients of the units.
    """

    second: Random
    units: list[Random] = field(default_factory=list)
    known: list[tuple[Function, list[Array]]] = field(default_factory=list)


class LowRankLedger(Ledger):
    """Factors `[sources, *a]` and variances `[*a]` of live values.

    Args:
      key: of everything that is drawn.
      rank: sources that are kept where there would be more than twice as many.
    """

    def __init__(self, key: Array, rank: int) -> None:
        super().__init__()
        self.key, self.rank = key, rank
        self.count = 0  # sources so far
        self.factors: dict[int, Array] = {}  # without the zeros of sources that came later
        self.variances: dict[int, Array] = {}
        self.expansions: dict[int, Expansion] = {}  # of bases, by number
        self._seeds: list[Array] = []
        self._draws = itertools.count()

    def draw(self) -> Array:
        """A seed that was not used yet."""
        if not self._seeds:
            self._seeds = sketch.seeds(jax.random.fold_in(self.key, next(self._draws)), SEEDS)
        return self._seeds.pop()

    def covariance(self, a: Random, b: Random | None = None) -> Array:
        """The block `[*a, *b]`, for what is small enough; of a value with itself without `b`."""
        b = a if b is None else b
        for value in (a, b):
            check_size(value.shape, value.dtype, "a covariance that was asked for")
        rows = min(len(self.factors[a.number]), len(self.factors[b.number]))
        left, right = (self.factors[v.number][:rows].reshape(rows, v.size) for v in (a, b))
        block = contract(left, right, (((0,), (0,)), ((), ())))
        if a is b:
            block = jnp.where(jnp.eye(a.size, dtype=bool), self.variance(a).reshape(-1, 1), block)
        return block.reshape(*a.shape, *b.shape)

    def variance(self, a: Random) -> Array:
        """Of the value's shape."""
        return self.variances[a.number]

    def add(self, mean: Array, own: Array | Covariance, others: dict[int, Array], where: str) -> Random:
        """Raises `TypeError`: blocks are what does not fit."""
        raise TypeError(
            f"{where}: its rule gives blocks of covariance, which are not held at low rank; use `predict`, or a rule "
            "of `ledger.derive` and `ledger.with_noise` alone"
        )

    def hold(self, mean: Array, factors: Array, variance: Array) -> Random:
        """A new live value."""
        value = Random(mean)
        self.live[value.number] = value
        # Not for speed alone: without the barrier XLA's CPU backend (jaxlib 0.10.2) made other factors for other uses,
        # 50 times too large behind a second convolution.
        self.factors[value.number], self.variances[value.number] = lax.optimization_barrier((factors, variance))
        weakref.finalize(value, self._free, value.number)
        return value

    def joined(self, factors: Array, *more: Array) -> Array:
        """Factors with rows of new sources behind those of all that there are; ask `make_room` for them before."""
        rows = jnp.concatenate([sketch.padded(factors, self.count), *more])
        self.count = rows.shape[0]
        return rows

    def make_room(self, sources: int) -> None:
        """Mixes the sources of all live values where so many more would be too many."""
        if self.count + sources <= 2 * self.rank or self.count <= self.rank:
            return
        values = list(self.live.values())
        helpers = {v.number for e in self.expansions.values() for v in (e.second, *e.units)}
        flat = [sketch.padded(self.factors[v.number], self.count) for v in values if v.number not in helpers]
        gram = sum((_gram(lax.stop_gradient(z)) for z in flat), jnp.zeros((self.count, self.count), jnp.float32))
        matrix = sketch.mixing(self.draw(), gram, self.rank)
        for v in values:
            rows = self.factors[v.number]
            self.factors[v.number] = sketch.mixed(matrix[:, : rows.shape[0]].astype(rows.dtype), rows)
        self.count = self.rank

    def derive(
        self, mean: Array, parents: Sequence[Random], maps: Sequence[Function], where: str, follow: Follow = lost
    ) -> Random:
        """A linear function of live values: `maps[i]` takes `parents[i]` to its share of the result."""
        del follow  # there are no blocks
        shares = [jax.vmap(f)(self.factors[p.number]) for p, f in zip(parents, maps, strict=True)]
        most = max(s.shape[0] for s in shares)
        variance = [self._moved(p, f, s) for p, f, s in zip(parents, maps, shares, strict=True)]
        for a, b in itertools.combinations(shares, 2):
            rows = min(a.shape[0], b.shape[0])
            variance.append(2 * (a[:rows] * b[:rows]).sum(0))
        total = jnp.maximum(_sum(variance), 0.0) if len(parents) > 1 else variance[0]
        return self.hold(mean, _sum([sketch.padded(s, most) for s in shares]), total)

    def with_noise(self, value: Random, noise: Array | Covariance, where: str) -> Random:
        """The value with independent noise of a variance `[*a]`.

        Raises:
          TypeError: for a covariance `[*a, *a]`.
        """
        if isinstance(noise, Covariance) or noise.ndim != value.mean.ndim:
            raise TypeError(f"{where}: noise with covariances is not held at low rank; use `predict`")
        self.make_room(self.rank // 2)
        own = sketch.independent(self.draw(), noise, self.rank // 2)
        return self.hold(value.mean, self.joined(self.factors[value.number], own), self.variance(value) + noise)

    def with_residual(self, value: Random, residual: Residual, where: str) -> Random:
        """The value with what rounding adds, independent at every element: what equal values share is left out."""
        return self.with_noise(value, residual.beyond, where)

    def apply(self, base: Random, fn: Function, found: Moments, where: str) -> Random:
        """`fn` of a live value: its base, what all functions of that share to second order, and a rest at each element.

        The rest has what orders beyond the second add to the variance, and depends on those of other functions of this
        base as it should (`sketch.triangular`).
        """
        self.make_room(self.rank // 2)
        shared = self._expansion(base)
        variance, (first, second) = self.variance(base), found.slopes[:2, 0]
        rest = lambda cov, a, b: cov - a[0] * b[0] * variance - a[1] * b[1] * variance**2 / 2  # noqa: E731
        beside = []
        for other, _ in shared.known:
            both = function_moments(lambda x, other=other: (other(x), fn(x)), base.mean, variance)
            beside.append(rest(both.covariance[0, 1], both.slopes[:, 0], both.slopes[:, 1]))
        alone = rest(found.covariance[0, 0], found.slopes[:, 0], found.slopes[:, 0])
        row = sketch.triangular([c for _, c in shared.known], beside, alone)
        shared.units.append(self._unit(base))
        shared.known.append((fn, row))
        terms = [(first, base), (second / 2**0.5, shared.second), *zip(row, shared.units, strict=True)]
        factors = _sum([scale * sketch.padded(self.factors[v.number], self.count) for scale, v in terms])
        return self.hold(found.mean[0], factors, found.covariance[0, 0])

    def apply_together(self, base: Random, fns: Sequence[Function], found: Moments, where: str) -> Random:
        """Several functions of one live value as one, `[K, *shape]`."""
        values = []
        for k, fn in enumerate(fns):
            one = slice(k, k + 1)
            alone = Moments(found.mean[one], found.covariance[one, one], found.slopes[:, one])
            values.append(self.apply(base, fn, alone, where))
        rows = [sketch.padded(self.factors[v.number], self.count) for v in values]
        return self.hold(found.mean, jnp.stack(rows, 1), jnp.stack([self.variance(v) for v in values]))

    def multiply(self, x: Random, y: Random, where: str) -> Random:
        """`x * y` of live values of one shape that may depend on each other (Isserlis)."""
        pairs = self.rank // 4
        self.make_room(pairs)
        zx, zy = (sketch.padded(self.factors[v.number], self.count) for v in (x, y))
        m, n, shared = x.mean, y.mean, (zx * zy).sum(0)
        x1, x2, y1, y2 = (z for mixed in self._combined([zx, zy], pairs) for z in mixed)
        quadratic = (x1 * y2 + x2 * y1) / (2 * pairs) ** 0.5
        factors = self.joined(zx * n + zy * m, quadratic)
        vx, vy = self.variance(x), self.variance(y)
        variance = m**2 * vy + n**2 * vx + 2 * m * n * shared + vx * vy + shared**2
        return self.hold(m * n + shared, factors, jnp.maximum(variance, 0.0))

    def contract(self, x: Random, y: Random, dot: Callable[[Array, Array], Array], forms: Forms, where: str) -> Random:
        """A matrix product of live values that may depend on each other (Isserlis); variances are the factors'."""
        del forms  # of blocks
        pairs = self.rank // 4
        self.make_room(pairs)
        zx, zy = (sketch.padded(self.factors[v.number], self.count) for v in (x, y))
        both = jax.vmap(dot)
        x1, x2, y1, y2 = (z for mixed in self._combined([zx, zy], pairs) for z in mixed)
        quadratic = (both(x1, y2) + both(x2, y1)) / (2 * pairs) ** 0.5
        straight = jax.vmap(lambda a, b: dot(a, y.mean) + dot(x.mean, b))(zx, zy)
        factors = self.joined(straight, quadratic)
        return self.hold(dot(x.mean, y.mean) + both(zx, zy).sum(0), factors, (factors**2).sum(0))

    def combined(self, rows: Array, count: int) -> Array:
        """Random combinations of a value's factors: so many draws of its deviation, `[count, *a]`."""
        return sketch.mixed(sketch.signs(self.draw(), (count, rows.shape[0]), rows.dtype), rows)

    def _combined(self, values: list[Array], count: int) -> list[tuple[Array, Array]]:
        """Two independent sets of combinations, the same for all the values."""
        draws = sketch.signs(self.draw(), (2, count, values[0].shape[0]), values[0].dtype)  # no tails, as normals have
        return [(sketch.mixed(draws[0], z), sketch.mixed(draws[1], z)) for z in values]

    def _expansion(self, base: Random) -> Expansion:
        if base.number not in self.expansions:
            pairs = self.rank // 4
            ((one, two),) = self._combined([self.factors[base.number]], pairs)
            rows = self.joined(jnp.zeros((0, *base.shape), one.dtype), one * two / pairs**0.5)
            second = self.hold(jnp.zeros_like(base.mean), rows, self.variance(base) ** 2)
            self.expansions[base.number] = Expansion(second)
        return self.expansions[base.number]

    def _unit(self, base: Random) -> Random:
        ones = jnp.ones_like(base.mean)
        own = sketch.independent(self.draw(), ones, self.rank // 4)
        return self.hold(jnp.zeros_like(ones), self.joined(jnp.zeros((0, *base.shape), ones.dtype), own), ones)

    def _moved(self, parent: Random, fn: Function, share: Array) -> Array:
        """The variance of a linear function: as exact as the parent's where elements only move."""
        if not sketch.moves(fn, parent.shape, parent.dtype):
            return (share**2).sum(0)
        return fn(sketch.safe_sqrt(self.variance(parent))) ** 2

    def _free(self, number: int) -> None:
        self.factors.pop(number, None)
        self.variances.pop(number, None)
        self.expansions.pop(number, None)


def _sum(terms: Sequence[Array]) -> Array:
    return functools.reduce(jnp.add, terms)


def _gram(rows: Array) -> Array:
    """Of the sources, in one value, relative to all of its variance."""
    flat = rows.reshape(rows.shape[0], -1)
    gram = contract(flat, flat, (((1,), (1,)), ((), ()))).astype(jnp.float32)
    total = jnp.trace(gram)
    return gram / jnp.where(total > 0, total, 1.0)
