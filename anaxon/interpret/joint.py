"""`joint`: how the results of all examples vary together from chip to chip, to first order.

A chip errs on all examples at once, so the spread of an accuracy over chips needs the covariance between examples,
`sum over cells of Var w (dy_k / dw) (dy_l / dw)`: a product of slopes with themselves. What is new at every read is
independent from example to example and stays in the blocks on the diagonal.
"""

from collections.abc import Callable
from itertools import combinations
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.check import integer
from anaxon.interpret.linearise import AT_ONCE, examples_of, pulled
from anaxon.interpret.moments.examples import checked, side_by_side
from anaxon.interpret.moments.expected import mean_chip
from anaxon.interpret.plan import Chip, Plan
from anaxon.numerics import contract
from anaxon.types import Array, PyTree

LIMIT = 2**32  # bytes of slopes held at once


def joint(fn: Callable[..., Array], at_once: int = AT_ONCE) -> Callable[..., tuple[Array, Array]]:
    """Transforms `fn(params, *inputs)` into `(plan, params, *inputs) -> (mean, covariance)` of all results together.

    The mean has the shape of the function's result `[batch, *n]`, the covariance is `[batch, n, batch, n]` over chips
    and reads, by the delta method (see `linearised`). With `accuracy_draws` it tells how an accuracy varies from chip
    to chip. `at_once` as in `linearised`.

    Raises:
      ValueError: as `linearised`, or where the covariance or the slopes of all results would not fit.
    """

    integer("at_once", at_once, 1, 2**20)

    @jax.jit
    def mapped(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> tuple[Array, Array]:
        chip, noisy = mean_chip(plan, params), _noisy(plan)
        mean, slopes, blocks = side_by_side(
            lambda xs: _one(fn, chip, noisy, xs, at_once), inputs, examples_of(fn, params, inputs, at_once)
        )
        n = mean.shape[0] * prod(mean.shape[1:])
        total = jnp.zeros((n, n), mean.dtype)
        for found, covariance in slopes.values():
            flat = lambda x, n=n: x.reshape(n, -1)  # noqa: E731
            total += contract(flat(found), flat(covariance), (((1,), (1,)), ((), ())))
        batch = mean.shape[0]
        apart = total.reshape(batch, n // batch, batch, n // batch)
        return mean, apart.at[jnp.arange(batch), :, jnp.arange(batch), :].add(blocks)

    def found(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> tuple[Array, Array]:
        _check_size(fn, plan, params, inputs)
        return mapped(plan, params, inputs)

    return checked(fn, found)


def _check_size(fn: Callable, plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> None:
    result = jax.eval_shape(fn, params, *inputs)
    if not hasattr(result, "shape"):
        raise ValueError(f"fn: expected one result of floats `[batch, ...]`; got {jax.tree.structure(result)}")
    results = prod(result.shape)
    if (size := 4 * results**2) > LIMIT:
        raise ValueError(
            f"joint: {results:,} results have a covariance of {size / 2**30:.3g} GiB, more than the "
            f"{LIMIT / 2**30:.3g} GiB that are held; take fewer examples"
        )
    cells = sum(prod(s.shape) * plan.of(s).array.slices for s in plan.sites if not plan.of(s).is_ideal)
    if (size := 8 * results * cells) > LIMIT:
        raise ValueError(
            f"joint: {results:,} results have {size / 2**30:.3g} GiB of slopes to {cells:,} pairs of cells, more than "
            f"the {LIMIT / 2**30:.3g} GiB that are held; take fewer examples"
        )


def _noisy(plan: Plan) -> bool:
    """Whether anything is new at a read."""
    volts = jnp.zeros(())
    return any(
        plan.of(s).adc is not None or bool(plan.of(s).cells.noise_drive(volts, volts + 1.0))
        for s in plan.sites
        if not plan.of(s).is_ideal
    )


def _one(fn: Callable, chip: Chip, noisy: bool, inputs: tuple, at_once: int) -> tuple[Array, dict, Array]:
    """An example's result, its slopes to the cells with their products with the cells' covariance, and its reads."""
    y, pull, cells = pulled(fn, chip, jax.tree.map(lambda x: x[None], inputs))
    back = lambda seed: pull(seed.reshape(y.shape))  # noqa: E731
    slopes, reads = side_by_side(back, jnp.eye(y.size, dtype=y.dtype), at_once)
    both = {path: _weighted(slopes[path], cells[path].covariance) for path in cells}
    single = sum(reads.values(), jnp.zeros(y.size, y.dtype))
    if not noisy:
        return y, both, jnp.diag(single)
    return y, both, _by_pairs(lambda seed: sum(back(seed)[1].values(), jnp.zeros((), y.dtype)), single, at_once)


def _weighted(slopes: tuple[Array, ...], covariance: tuple[tuple[Array, ...], ...]) -> tuple[Array, Array]:
    terms = range(len(slopes))
    moved = [sum(covariance[a][b] * slopes[b] for b in terms) for a in terms]
    return jnp.stack(slopes, 1), jnp.stack(moved, 1)


def _by_pairs(variance: Callable[[Array], Array], single: Array, at_once: int) -> Array:
    """The covariance `[n, n]` of n results from the variances of their sums, two at a time (polarisation)."""
    n = single.size
    first, second = np.array(list(combinations(range(n), 2)), int).reshape(-1, 2).T
    if not first.size:
        return jnp.diag(single)
    one_hot = jnp.eye(n, dtype=single.dtype)
    sums = side_by_side(variance, one_hot[first] + one_hot[second], at_once)
    between = 0.5 * (sums - single[first] - single[second])
    whole = jnp.zeros((n, n), single.dtype).at[first, second].set(between)
    return whole + whole.T + jnp.diag(single)
