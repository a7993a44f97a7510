"""`linearised`: the variance of any function's results by its derivatives, the delta method.

`Var y_k = sum over cells of Var w (dy_k / dw)^2 + sum over column reads of Var z (dy_k / dz)^2`, to first order in
every deviation, for any graph: loops, shared weights, attention. Nothing of the size of a covariance is formed: memory
is that of a few backward passes. The function runs through the ordinary interpreter, on a chip of expected cells; what
reverse mode brings back to the cells and to every read is squared there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.check import integer
from anaxon.crossbar import array as xbar
from anaxon.device.moments import PairMoments
from anaxon.interpret import analog as simulation
from anaxon.interpret import kinks
from anaxon.interpret.moments.examples import checked, side_by_side
from anaxon.interpret.moments.expected import mean_chip
from anaxon.interpret.plan import Chip, Plan
from anaxon.interpret.product import Product
from anaxon.interpret.program import cells_of, is_crossbar
from anaxon.interpret.ramps import ramps
from anaxon.interpret.reads import Read
from anaxon.interpret.taps import shaken, tap
from anaxon.interpret.trace import Walk
from anaxon.numerics import clip
from anaxon.prng import fold_name
from anaxon.types import Array, PyTree, is_concrete, pytree
from anaxon.types import replace as changed

AT_ONCE = 16  # backward passes side by side on an accelerator, where launches would take most of the time


@pytree
class Spread:
    """Moments of a function's results, to first order.

    Attributes:
      mean: of every result at the expected cells, the function's own result.
      cells: variance by programming, one entry for each weight's path, of the shape of `mean` (the first result's).
      reads: variance by what is new at every read (read noise, converter noise, rounding), by path.
      kinks: variance that kinks make beyond what their average slopes pass on; 0 where slopes are those at the mean.
    """

    mean: Array
    cells: dict[str, Array]
    reads: dict[str, Array]
    kinks: Array | float = 0.0

    @property
    def variance(self) -> Array:
        """Of every number of the result."""
        return sum([*self.cells.values(), *self.reads.values()], jnp.zeros_like(self.mean) + self.kinks)


@dataclass(frozen=True)
class TappedRead(Read):
    """A read whose noise is not drawn but accounted for."""

    account: Any = None

    def _noisy(self, z: xbar.Columns, variance: xbar.Columns) -> xbar.Columns:
        return tuple(tap(a, jnp.broadcast_to(v, a.shape), self.account) for a, v in zip(z, variance, strict=True))

    def _digitised(self, adc: Any, z: xbar.Columns, limit: Array, step: Array | None) -> xbar.Columns:
        if adc is None:
            return z
        distance = adc.scales(limit)[0] if step is None else step
        variance = jnp.asarray(distance) ** 2 / 12 + (0.0 if adc.noise is None else jnp.asarray(adc.noise) ** 2)
        of = lambda value: [xbar.of_slice(value, s) for s in range(len(z))]  # noqa: E731
        noisy = self._noisy(z, tuple(of(jnp.asarray(variance))))
        # Limited and not rounded: rounding is in the account, and must not be in the mean, too.
        return tuple(self._limited(a, top) for a, top in zip(noisy, of(limit), strict=True))

    def _limited(self, z: Array, top: Array) -> Array:
        return clip(z, -top, top)


class ProbedRead(TappedRead):
    """The same, with probes of its noise."""

    def _noisy(self, z: xbar.Columns, variance: xbar.Columns) -> xbar.Columns:
        number = len(self.memo)  # of this noise among those of the read
        self.memo["noise", number] = None
        key = jax.random.fold_in(self.key, number)
        keys = [jax.random.key_data(jax.random.fold_in(key, s)) for s in range(len(z))]
        wide = [jnp.broadcast_to(v, a.shape) for a, v in zip(z, variance, strict=True)]
        return tuple(shaken(a, v, self.account, k) for a, v, k in zip(z, wide, keys, strict=True))

    def _limited(self, z: Array, top: Array) -> Array:
        key = jax.random.key_data(fold_name(self.key, "saturation"))
        return kinks.averaged(kinks.clipping(z, -top, top), self.account, key)


class Accountant(simulation.Simulator):
    """The simulator with accounts, by path, for what its reads would add."""

    def __init__(self, chip: Chip, accounts: dict[str, Array], kind: type[TappedRead] = TappedRead) -> None:
        super().__init__(jax.random.key(0), (), ramps(chip))
        self.anchor: Array | float = 0.0
        self.accounts, self.kind = accounts, kind

    def at_kink(self) -> tuple[Array, Array, Array | float]:
        """The account of kinks, a key's data for the next of them, and the walk's anchor."""
        return self.accounts[kinks.ACCOUNT], jax.random.key_data(self._key(kinks.ACCOUNT)), self.anchor

    def read(self, weight: Any, operand: Array, product: Product, dtype: Any) -> TappedRead:
        """A pending read with an account."""
        key, account = self._key(weight.path), self.accounts[weight.path]
        return self.kind(weight, operand, product, dtype, key, self.watch, account=account)


def linearised(fn: Callable[..., Array], probes: int = 0, at_once: int = AT_ONCE) -> Callable[..., Spread]:
    """Transforms `fn(params, *inputs)` into `(plan, params, *inputs) -> Spread`, by the delta method.

    Right where deviations are small: a kink (ReLU) that they often cross makes the variance too large, the more the
    deeper (`experiments/deep_networks.py` shows how much). A jump (a comparison, attention that drops scores by the
    hard rule) has no slope: what flips across it is left out, and the variance is too small, the more so the smaller
    the noise. With `probes`, elementwise kinks and jumps pass on `E f(X)` and the slope `E f'(X)` of a normal X with
    the value's own variance, instead of those at its mean, and what f adds beyond that slope is new noise (statistical
    linearisation). `predict` follows kinks, too, but not loops or a softmax.
    ADC rounding counts as white noise, a DAC rounds as it does. For the variance of a difference of outputs (does a
    class flip?), let `fn` return that.

    Args:
      fn: a function with one result, `[batch, ...]`, whose examples do not mix.
      probes: random deviations of all cells and reads that are carried forward beside the values, with fixed keys; the
        variance at a kink is their mean square, with a relative standard error of `sqrt(2 / probes)`. 16 are enough
        for most; memory is that of so many forward passes, and derivatives of the result hold the slopes fixed.
      at_once: backward passes side by side on an accelerator, in as much memory as so many gradients of the weights
        take; there is one for every number of every example's result: take hundreds. On a CPU they follow each other.

    Returns:
      The transformed function.

    Raises:
      ValueError: for hardware that ends in a ramp, ranges that follow the data (`calibrate` first), and kinks that no
        slope can be averaged of.
    """

    @jax.jit
    def mapped(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> Spread:
        chip = mean_chip(plan, params)
        one = lambda xs: _one(fn, chip, jax.tree.map(lambda x: x[None], xs), probes, at_once)  # noqa: E731
        return side_by_side(one, inputs, examples_of(fn, params, inputs, at_once))

    def told(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> Spread:
        found = mapped(plan, params, inputs)
        if probes and is_concrete(found.mean) and not bool(jnp.all(jnp.isfinite(found.variance))):
            raise ValueError(
                "fn: a kink whose values are infinite, or nearly so (scores masked by -inf?), has no average slope; "
                "take probes=0, or sample chips"
            )
        return found

    integer("probes", probes, 0, 2**16)
    integer("at_once", at_once, 1, 2**20)
    return checked(fn, told)


def mean_result(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Transforms `fn` into `(plan, params, *inputs) -> its result on the mean chip`, without noise of reads."""

    @jax.jit
    def run(plan: Plan, params: PyTree, *inputs: PyTree) -> Array:
        chip = mean_chip(plan, params)
        quiet = Accountant(chip, dict.fromkeys(cells_of(chip), jnp.zeros(())))
        return simulation.walked(fn, quiet, chip, None, *inputs)

    return run


def pulled(fn: Callable, chip: Chip, inputs: tuple, probes: int = 0) -> tuple[Array, Callable, dict[str, PairMoments]]:
    """One example, a batch of one: the result, what takes a seed of it back to cells and reads, and the cells."""
    cells = cells_of(chip)
    means = {path: found.mean for path, found in cells.items()}

    def result(means: dict, accounts: dict) -> Array:
        if probes:
            machine, kind = Accountant(chip, accounts, ProbedRead), kinks.AveragedWalk
            return kinks.probed(lambda m: walked(m, machine, kind), means, cells, probes)
        return walked(means, Accountant(chip, accounts), Walk)

    def walked(means: dict, machine: Accountant, kind: type[Walk]) -> Array:
        machine.anchor = kinks.anchored(means)
        place = lambda x: replace(x, cells=changed(x.cells, mean=means[x.path])) if is_crossbar(x) else x  # noqa: E731
        tree = jax.tree.map(place, chip.tree, is_leaf=is_crossbar)
        return _example(simulation.walked(fn, machine, replace(chip, tree=tree), None, *inputs, kind=kind))

    names = (*cells, kinks.ACCOUNT) if probes else tuple(cells)
    return *jax.vjp(result, means, {name: jnp.zeros(()) for name in names}), cells


def examples_of(fn: Callable, params: PyTree, inputs: tuple[PyTree, ...], at_once: int) -> int:
    """Examples side by side, where so many numbers of their results are."""
    results = jax.tree.leaves(jax.eval_shape(fn, params, *inputs))
    examples = max(1, jnp.shape(jax.tree.leaves(inputs)[0])[0])
    return max(1, at_once * examples // max(1, sum(r.size for r in results)))


def _example(out: Any) -> Array:
    single = hasattr(out, "shape") and len(out.shape) > 0 and out.shape[0] == 1
    if not single or not jnp.issubdtype(out.dtype, jnp.floating):
        shapes = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x).name), out)
        raise ValueError(f"fn: expected one result of floats with the inputs' leading axis, 1 here; got {shapes}")
    return out[0]


def _one(fn: Callable, chip: Chip, inputs: tuple, probes: int, at_once: int) -> Spread:
    y, pull, cells = pulled(fn, chip, inputs, probes)

    def of_output(seed: Array) -> tuple[dict, dict]:
        slopes, reads = pull(seed.reshape(y.shape))
        return {p: jnp.sum(_quadratic(slopes[p], cells[p].covariance, ())) for p in cells}, reads

    programmed, reads = side_by_side(of_output, jnp.eye(y.size, dtype=y.dtype), at_once)
    shaped = lambda found: {path: v.reshape(y.shape) for path, v in found.items()}  # noqa: E731
    beyond = reads.pop(kinks.ACCOUNT, jnp.zeros(y.size, y.dtype)).reshape(y.shape)
    return Spread(mean=y, cells=shaped(programmed), reads=shaped(reads), kinks=beyond)


def sensitivities(fn: Callable[..., Array], at_once: int = AT_ONCE) -> Callable[..., dict[str, Array]]:
    """Transforms `fn` into `(plan, params, *inputs) -> {path: error}`: mean squared error by every column's deviations.

    In the weight's shape with extent 1 along its rows; means over examples and results. What a weight's reads add is
    shared out among its columns as their cells' deviations are. `at_once` as in `linearised`.
    """

    integer("at_once", at_once, 1, 2**20)

    @jax.jit
    def mapped(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> dict[str, Array]:
        chip = mean_chip(plan, params)
        axes = {s.path: tuple(a + 2 for a in s.row_axes) for s in plan.sites}

        def one(xs: PyTree) -> tuple[dict, dict]:
            y, pull, cells = pulled(fn, chip, jax.tree.map(lambda x: x[None], xs))

            def of_output(seed: Array) -> tuple[dict, dict]:
                slopes, reads = pull(seed.reshape(y.shape))
                columns = {p: _quadratic(slopes[p], cells[p].covariance, axes[p]) for p in cells}
                return columns, reads

            return _averaged(side_by_side(of_output, jnp.eye(y.size, dtype=y.dtype), at_once))

        columns, reads = _averaged(side_by_side(one, inputs, examples_of(fn, params, inputs, at_once)))
        return {p: _with_reads(columns[p], reads[p]) for p in columns}

    return checked(fn, mapped)


def _averaged(found: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.mean(x, 0), found)


def _with_reads(columns: Array, reads: Array) -> Array:
    """Reads shared out as columns are, or evenly where those are 0."""
    total = jnp.sum(columns)
    share = jnp.where(total > 0, columns / jnp.where(total > 0, total, 1.0), 1.0 / columns.size)
    return columns + reads * share


def _quadratic(slopes: tuple[Array, ...], covariance: tuple[tuple[Array, ...], ...], axes: tuple[int, ...]) -> Array:
    """Variance that cells `[1, S, *W]` bring, over slices and the given axes: `[*W]` with 1 there."""
    pairs = [(a, b) for a in range(len(slopes)) for b in range(len(slopes))]
    each = [covariance[a][b] * slopes[a] * slopes[b] for a, b in pairs]
    return jnp.sum(sum(each[1:], each[0]), (1, *axes), keepdims=True)[0, 0]
