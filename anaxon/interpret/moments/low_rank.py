"""`low_rank`: means and variances of a function's results where full covariances do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.check import integer
from anaxon.interpret.moments.examples import checks, side_by_side
from anaxon.interpret.moments.expected import expected
from anaxon.interpret.moments.ledger import Random, check_size
from anaxon.interpret.moments.low_rank_ledger import LowRankLedger
from anaxon.interpret.moments.low_rank_reads import SketchedNoise
from anaxon.interpret.moments.predict import Propagation, check_divisions, check_finite, one_of
from anaxon.interpret.plan import Chip, Plan
from anaxon.numerics import contract
from anaxon.prng import check_key
from anaxon.types import Array, PyTree, pytree


@pytree
class LowRank:
    """Moments from several independent sketches.

    Attributes:
      means: of the function's result, by sketch: `[repeats, batch, ...]`.
      variances: alike.
      factors: `[repeats, batch, rows, n]` over the n numbers of an example's result, in the order of
        `jax.tree.leaves`; covariances are `factors' factors` off the diagonal.
    """

    means: PyTree
    variances: PyTree
    factors: Array

    @property
    def mean(self) -> PyTree:
        """`[batch, ...]`."""
        return self.of(lambda mean, variance: mean)[0]

    @property
    def variance(self) -> PyTree:
        """`[batch, ...]`."""
        return self.of(lambda mean, variance: variance)[0]

    @property
    def error(self) -> PyTree:
        """The standard error of every variance that the sketch causes, `[batch, ...]`."""
        return self.of(lambda mean, variance: variance)[1]

    def of(self, figure: Callable[[PyTree, PyTree], PyTree]) -> tuple[PyTree, PyTree]:
        """Any figure of (mean, variance), such as a mean squared error, and its standard error.

        The error is that of a mean of the sketches; with R of them it is known from R - 1 degrees of freedom (95 %
        within 3.2 errors for 4 sketches). It holds what sketches scatter by, not the closure that `predict` has, too,
        nor a bias of the order of 1 / rank behind functions that are not linear.
        """
        found = jax.vmap(figure)(self.means, self.variances)
        mean = jax.tree.map(lambda x: x.mean(0), found)
        return mean, jax.tree.map(lambda x: x.std(0, ddof=1) / x.shape[0] ** 0.5, found)

    def covariance(self) -> Array:
        """`[batch, n, n]`, for results that are few."""
        n = self.factors.shape[-1]
        check_size((n,), self.factors.dtype, "the result")
        whole = contract(self.factors, self.factors, (((2,), (2,)), ((0, 1), (0, 1)))).mean(0)
        flat = [v.reshape(v.shape[0], -1) for v in jax.tree.leaves(self.variance)]
        return jnp.where(jnp.eye(n, dtype=bool), jnp.concatenate(flat, 1)[:, :, None], whole)


def low_rank(fn: Callable[..., Any], rank: int = 256, repeats: int = 4, at_once: int = 1) -> Callable[..., LowRank]:
    """Transforms `fn(params, *inputs)` into `(key, plan, params, *inputs) -> LowRank`: `predict` in less memory.

    Deviations of all values are held as `[rank, *shape]` over common sources, right on average (`LowRankLedger`), and
    nothing of the size of a covariance is built: up to about three times the rank for every value that is live. The
    strongest directions are exact; what the others err by is measured by `repeats` independent sketches. Every example
    has sketches of its own.

    Args:
      fn: any function that was placed.
      rank: sources that are kept; the error falls with it at least as `1 / sqrt(rank)`.
      repeats: independent sketches, two at least; the time grows with them.
      at_once: examples side_by_side side by side on an accelerator; on a CPU they follow each other.

    Returns:
      The transformed function, differentiable with respect to the plan's numbers and the parameters.

    Raises:
      TypeError: as `predict`, and for a registered rule that gives covariances.
      ValueError: as `predict`, but for sizes; for a rank below 8.

    Source: Kern et al., AICAS 2022 (arXiv 2205.01707) for what is propagated; sketches after Halko, Martinsson, Tropp,
    SIAM Review 53 (2011) 217.
    """
    integer("rank", rank, 8, 2**16)
    integer("repeats", repeats, 2, 2**10)
    integer("at_once", at_once, 1, 2**20)

    @jax.jit
    def mapped(key: Array, plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> tuple[LowRank, dict]:
        chip = expected(plan, params)
        batch = jnp.shape(jax.tree.leaves(inputs)[0])[0]
        keys = jax.random.split(key, (repeats, batch))
        one = lambda given: _one(fn, chip, rank, *given)  # noqa: E731
        return lax.map(lambda some: side_by_side(one, (some, inputs), at_once), keys)

    check = checks(fn)

    def run(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> LowRank:
        check(plan, params, inputs)
        found, doubts = mapped(check_key(key), plan, params, inputs)
        check_divisions(doubts)
        check_finite(found.means, found.factors)
        return found

    return run


def _one(fn: Callable, chip: Chip, rank: int, key: Array, inputs: tuple) -> tuple[LowRank, dict[str, Array]]:
    """One sketch of one example, and what its divisions hang on."""
    ledger = LowRankLedger(key, rank)
    walk = Propagation(ledger, SketchedNoise)
    found, out_tree = walk.through(fn, chip, *jax.tree.map(lambda x: x[None], inputs))
    means = [one_of(x) for x in found]
    variances = [
        ledger.variance(x)[0] if isinstance(x, Random) else jnp.zeros_like(m) for x, m in zip(found, means, strict=True)
    ]
    rows = [
        ledger.joined(ledger.factors[x.number]).reshape(ledger.count, x.size)
        if isinstance(x, Random)
        else jnp.zeros((ledger.count, jnp.size(x)))
        for x in found
    ]
    sketched = LowRank(
        means=out_tree.unflatten(means),
        variances=out_tree.unflatten(variances),
        factors=jnp.concatenate(rows, 1),
    )
    return sketched, ledger.doubts
