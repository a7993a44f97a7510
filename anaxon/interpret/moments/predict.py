"""`predict`: means and covariances of a function's results over chips and reads, without sampling any."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.check import integer
from anaxon.converter.dac import encode_exact
from anaxon.crossbar import array as xbar
from anaxon.interpret import control, program, trace
from anaxon.interpret import jaxpr as jx
from anaxon.interpret.analog import opened
from anaxon.interpret.moments import chains, rules
from anaxon.interpret.moments.chains import Chain
from anaxon.interpret.moments.examples import checked, side_by_side
from anaxon.interpret.moments.expected import expected
from anaxon.interpret.moments.ledger import Ledger, Random, check_size
from anaxon.interpret.moments.products import NEAREST, REACH, divisor
from anaxon.interpret.moments.reads import CellNoise, Columns, mean_of, read
from anaxon.interpret.moments.rounding import Residual, converted
from anaxon.interpret.placed import Placed
from anaxon.interpret.plan import Chip, Plan
from anaxon.interpret.product import Product, product_of
from anaxon.interpret.values import Joined, Param
from anaxon.normal import Clip, clip_moments
from anaxon.numerics import absmax, safe_scale
from anaxon.types import Array, PyTree, is_concrete

Watch = Callable[[Columns, Array, Array | None], None]


class Propagation(trace.Walk):
    """The walk over values that vary: what is known of them is a ledger's, what crossbars add to it `noise`'s.

    Args:
      ledger: of the values; by full covariances without.
      noise: what crossbars add.
      params: the digital weights, for a watch that asks for them.
      watch: is told of every read: the crossbar, the mean of its drives `[terms, *operand]`, and their covariance
        `[terms, *operand, terms, *operand]`, or None where they do not vary.
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        noise: type[CellNoise] = CellNoise,
        *,
        params: PyTree | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(_Machine())
        self.ledger = Ledger() if ledger is None else ledger
        self.noise, self.params, self.watch = noise, params, watch
        self.seen: dict[str, np.ndarray] = {}  # which of a weight's elements were read

    def through(self, fn: Callable, chip: Chip, *inputs: PyTree) -> tuple[list[Any], Any]:
        """A function's results on the expected chip, settled, and their tree; inputs may vary (`Random`)."""
        shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, Random) else x  # noqa: E731
        jaxpr, out_tree, values = opened(fn, chip, self.params, *jax.tree.map(shape, inputs))
        outs = self.run(jaxpr, [*map(_numbered, values), *jax.tree.leaves(inputs)])
        return [self._settled(o) for o in outs], out_tree

    def _settled(self, value: Any) -> Any:
        if isinstance(value, Random | Chain):
            return chains.settle(self.ledger, chains.as_floats(value), "the result")
        return self.digital(value)

    def equation(self, eqn: Any, values: list[Any]) -> list[Any]:
        """Calls are entered; products with weights are reads; the rest follows the rules of what varies."""
        name = eqn.primitive.name
        varies = any(isinstance(v, Random | Chain) for v in values)
        if not varies and not any(trace.is_weight(v) for v in values):
            return super().equation(eqn, values)
        if name in jx.CALLS | jx.CUSTOM | jx.REMATS:
            return self.run(jx.inner(eqn), values)
        if name in control.HANDLERS:
            raise TypeError(_loop_message(name, values))
        if name in trace.PRODUCTS and any(trace.is_weight(v) for v in values):
            return self._product(eqn, values)
        return self._varying(eqn, values) if varies else super().equation(eqn, values)

    def _product(self, eqn: Any, values: list[Any]) -> list[Any]:
        place = next((i for i, v in enumerate(values) if trace.is_weight(v)), None)
        if place is None:
            return super()._product(eqn, values)
        weight, operand = values[place], values[1 - place]
        if isinstance(weight, Joined) or trace.is_weight(operand):
            raise TypeError(f"{weight.path}: concatenated weights have no rule; use `linearised`, which needs none")
        if isinstance(operand, Param):
            operand = self.digital(operand)
        if eqn.outvars[0].aval.dtype.itemsize < 4:
            raise TypeError(f"{weight.path}: moments of {eqn.outvars[0].aval.dtype.name} are not followed; use float32")
        self._mark(weight)
        return [self._read(weight, operand, eqn, place)]

    def _mark(self, weight: Placed) -> None:
        """Notes which cells are read: two slices of a weight are different cells, like two weights."""
        before = self.seen.pop(weight.path, np.zeros(weight.elements, bool))
        now = np.zeros(weight.elements, bool)
        now[np.asarray(weight.index).reshape(-1)] = True
        if np.any(before & now):
            raise TypeError(
                f"{weight.path}: read a second time, by the same cells; the two results depend on each other, which is "
                "not followed. Use `linearised`"
            )
        self.seen[weight.path] = before | now

    def _varying(self, eqn: Any, values: list[Any]) -> list[Any]:
        name, where = eqn.primitive.name, self._where(eqn)
        if name == "optimization_barrier":
            return list(values)
        shape = tuple(eqn.outvars[0].aval.shape)
        wide = lambda x: jnp.broadcast_to(x, shape) if name in chains.ELEMENTWISE and jnp.ndim(x) else x  # noqa: E731
        values = [v if isinstance(v, Random | Chain) else wide(self.digital(v)) for v in values]
        bases = {chains.base_of(v).number for v in values if isinstance(v, Random | Chain)}
        if name in chains.ELEMENTWISE and name not in rules.RULES and len(bases) == 1 and _alike(eqn, values):
            return [chains.extended(eqn, self._divided(eqn, values, where))]
        return rules.applied(self.ledger, eqn, values, where)

    def _divided(self, eqn: Any, values: list[Any], where: str) -> list[Any]:
        """Operands of which a denominator that varies is guarded."""
        inverse = eqn.primitive.name == "integer_pow" and eqn.params["y"] < 0
        place = 0 if inverse else 1 if eqn.primitive.name == "div" else None
        if place is None or not isinstance(values[place], Random | Chain):
            return values
        return [divisor(self.ledger, v, where) if i == place else v for i, v in enumerate(values)]

    def _read(self, weight: Placed, operand: Any, eqn: Any, place: int) -> Random:
        code, full_scale = self._encoded(weight, operand)
        columns = Columns(weight, product_of(eqn, place), full_scale, eqn, place)
        signal, chi = self._drives(weight.hardware, code)
        chi = [chains.mean_of(self.ledger, c) if isinstance(c, Random | Chain) else c for c in chi]
        varying = [chains.chain_of(v) for v in signal if isinstance(v, Random | Chain)]
        drive = self._stacked(varying, weight.path) if varying else jnp.stack(signal)
        if self.watch is not None:
            certain = not isinstance(drive, Random)
            self.watch(columns, mean_of(drive), None if certain else self.ledger.covariance(drive))
        return read(self.noise(self.ledger, columns, drive), chi)

    def _stacked(self, drives: list[Chain], where: str) -> Random:
        if len(drives) > 1:
            return chains.jointly(self.ledger, drives, where)
        single = chains.settle(self.ledger, drives[0], where)
        return self.ledger.derive(single.mean[None], [single], [lambda v: v[None]], where)

    def _encoded(self, weight: Placed, operand: Any) -> tuple[Any, Array]:
        """What the DAC makes of the operand, and the range it is driven over."""
        hw, ranges = weight.hardware, weight.ranges
        if ranges.offset is not None:
            raise ValueError(f"{weight.path}: known offsets of the operand are not followed; use `linearised`")
        encode = hw.dac.encode if hw.dac else encode_exact
        if not isinstance(operand, Random | Chain):
            x = program.as_float(operand)
            limit = safe_scale(absmax(x) if ranges.input is None else jnp.asarray(ranges.input, x.dtype))
            return encode(x, limit), limit
        if ranges.input is None:
            return operand, jnp.float32(1.0)  # without converters and with ohmic cells the range cancels
        limit = jnp.asarray(ranges.input, jnp.float32)
        relative = chains.settle(self.ledger, self._traced(lambda x: x / limit, operand)[0], weight.path)
        limited = self._traced(lambda x: jnp.minimum(jnp.maximum(x, -1.0), 1.0), relative)[0]
        if hw.dac is None:
            return limited, limit
        settled = chains.settle(self.ledger, limited, weight.path)
        return self._rounded(operand, settled, limit, hw.dac, weight.path), limit

    def _rounded(self, operand: Random | Chain, limited: Random, limit: Array, dac: Any, where: str) -> Random:
        """The DAC's codes of a value limited to [-1, 1], from those of the normal value behind it."""
        variance = self.ledger.variance(limited)
        mean, spread = self._behind(operand)
        behind, spread = mean / limit, spread / limit**2
        step = jnp.asarray(1.0 / dac.levels, behind.dtype)
        codes, smooth = (
            converted(behind, spread, -1.0, 1.0, step),
            clip_moments(Clip(low=-1.0, high=1.0), behind, spread),
        )
        moving, slope = self._moving(operand), smooth.slopes[0, 0]
        gate = jnp.where(slope > 0, codes.slope / jnp.where(slope > 0, slope, 1.0), 1.0)
        noise = moving * jnp.maximum(codes.variance - gate**2 * smooth.covariance[0, 0], 0.0) * (variance > 0)
        shifted = limited.mean + moving * (codes.mean - smooth.mean[0])
        mean = jnp.where(variance > 0, shifted, dac.encode(limited.mean, jnp.ones_like(limit)))
        passed = self.ledger.derive(mean, [limited], [lambda v: gate * v], where)
        return self.ledger.with_residual(passed, Residual(behind, spread, step, noise, moving * codes.curve), where)

    def _behind(self, operand: Random | Chain) -> tuple[Array, Array]:
        """Mean and variance of a normal value, or of the one that a clipped value would be without its bounds."""
        base = chains.base_of(operand)
        variance = self.ledger.variance(base)
        if isinstance(operand, Chain) and operand.form is None:
            found = chains.moments_of([operand], base.mean, variance)
            return found.mean[0], found.covariance[0, 0]
        form = chains.chain_of(operand).form or Clip()
        return form.scale * base.mean + form.offset, form.scale**2 * variance

    def _moving(self, operand: Random | Chain) -> Array:
        """The chance that a value is not held at a bound, a ReLU's zero: that is encoded without any rounding."""
        form = operand.form if isinstance(operand, Chain) else None
        if form is None or form.affine:
            return jnp.ones(operand.shape, jnp.float32)
        base = chains.base_of(operand)
        free = form._replace(scale=1.0, offset=0.0)
        return clip_moments(free, base.mean, self.ledger.variance(base)).slopes[0, 0]

    def _drives(self, hw: Any, code: Any) -> tuple[list[Any], list[Any]]:
        drives = lambda c: xbar.drives(hw.cells, hw.dac or xbar.EXACT_DAC, c)  # noqa: E731
        if hw.dac is not None and hw.dac.encoding == "bit-serial":
            raise ValueError("DAC.encoding: 'bit-serial' reads the same cells once for every bit; use `linearised`")
        count = len(jax.eval_shape(drives, jax.ShapeDtypeStruct(code.shape, code.dtype))[0])
        both = lambda c: [term for part in drives(c) for term in part]  # noqa: E731
        found = self._traced(both, code) if isinstance(code, Random | Chain) else both(code)
        return list(found[:count]), list(found[count:])

    def _traced(self, fn: Callable[[Array], Any], value: Random | Chain) -> list[Any]:
        """`fn` of a value that varies."""
        closed, _ = jx.trace(fn, jax.ShapeDtypeStruct(value.shape, value.dtype))
        return self.run(closed, [value])

    def _where(self, eqn: Any) -> str:
        """The function's own names for a place in it (`jax.named_scope`, Flax modules), and the last read before it."""
        last = next(reversed(self.seen), None)
        scopes = re.sub(r"\b(vmap|jvp|transpose|checkpoint|remat)\(\)", "", str(eqn.source_info.name_stack))
        named = "/".join(s for s in scopes.split("/") if s) or "the function"  # of an einsum: its letters
        return named if last is None else f"{named}, behind {last}"


class _Machine:
    """What the walk asks beside reads: nothing of it varies."""

    def __init__(self) -> None:
        self.scope = control.Scope()

    def read(self, weight: Any, operand: Any, product: Product, dtype: Any) -> Any:
        """Reads are the propagation's."""
        raise NotImplementedError

    def activate(self, line: Any, name: str) -> Any:
        """No line is ever pending."""
        raise NotImplementedError

    def second_pass(self, value: Any, name: str) -> None:
        """Digital activations stay digital."""
        del value, name

    def bias(self, line: Any, value: Any, shape: tuple[int, ...]) -> None:
        """Biases are digital."""
        del line, value, shape

    def reject(self, param: Param, primitive: str) -> None:
        """What must not be placed was refused by `place`."""
        del param, primitive

    def follows(self, value: Any) -> bool:
        """Numbers need no following."""
        del value
        return False

    def entered(self, weights: list[Any], primitive: str) -> None:
        """`place` has warned."""
        del weights, primitive


def predict(fn: Callable[..., Any], at_once: int = 1) -> Callable[..., tuple[PyTree, Array]]:
    """Transforms `fn(params, *inputs)` into `(plan, params, *inputs) -> (mean, covariance)` over chips and reads.

    Every example of the inputs' leading axis is followed by itself, as a batch of one; the function must not mix them.
    Exact for one layer; through activations, layers behind them are taken as jointly normal. Every cell may be read
    once for an example: for loops, tied weights and softmax use `linearised`. Values that vary may be multiplied by
    each other (exact for normal ones), and divided where the denominator stays away from 0, for a normal one by six
    standard deviations.

    Args:
      fn: any function that was placed.
      at_once: examples side_by_side side by side on an accelerator, as many as their covariances leave room for;
        on a CPU they follow each other.

    Returns:
      The transformed function. Its mean has the shape of the function's result `[batch, ...]`, its covariance is
      `[batch, n, n]` over the n numbers of an example's result, in the order of `jax.tree.leaves`. Both are
      differentiable with respect to the plan's numbers and the parameters.

    Raises:
      TypeError: for an operation without a rule, or a crossbar that is read twice.
      ValueError: for a covariance that would not fit, ranges that follow the data (`calibrate` first), inputs without
        a leading axis, and moments that are not finite or do not exist. Under a caller's `jit` the last two cannot be
        told: they are NaN.

    Source: Kern et al., AICAS 2022 (arXiv 2205.01707), with exact diagonals and the Hermite rule off them.
    """

    integer("at_once", at_once, 1, 2**20)

    @jax.jit
    def mapped(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> tuple[PyTree, Array, dict[str, Array]]:
        chip = expected(plan, params)
        one = lambda xs: example(Propagation(), fn, chip, xs)  # noqa: E731
        return side_by_side(one, inputs, at_once)

    def found(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> tuple[PyTree, Array]:
        mean, covariance, doubts = mapped(plan, params, inputs)
        check_divisions(doubts)
        check_finite(mean, covariance)
        return mean, covariance

    return checked(fn, found)


def check_divisions(doubts: dict[str, Array]) -> None:
    """Raises `ValueError` where a denominator comes near 0, where values are known."""
    for where, nearest in doubts.items():
        if is_concrete(nearest) and not float(jnp.min(nearest)) >= NEAREST:
            raise ValueError(
                f"{where}: its denominator varies, and within {REACH} standard deviations comes to "
                f"{float(jnp.min(nearest)):.3g} of its value at the mean; expected at least {NEAREST:.3g}, since a "
                "quotient that may pass 0 has no moments. Use `linearised`, or a smaller sigma"
            )


def check_finite(mean: PyTree, covariance: Array) -> None:
    """Raises `ValueError` for moments that are not finite, where values are known."""
    found = [*jax.tree.leaves(mean), covariance]
    if is_concrete(*found) and not all(bool(jnp.all(jnp.isfinite(x))) for x in found):
        raise ValueError(
            "the moments are not finite: some function of a value that varies (log, rsqrt) is not defined "
            "everywhere that the value comes to. Use `linearised`, or a smaller sigma"
        )


def _numbered(value: Any) -> Any:
    """A weight with its elements' numbers, known while tracing."""
    if not isinstance(value, Placed):
        return value
    return dataclasses.replace(value, index=np.arange(value.elements, dtype=np.int32).reshape(value.shape))


def _alike(eqn: Any, values: list[Any]) -> bool:
    """Whether all operands have the result's shape, or are single numbers."""
    shape = tuple(eqn.outvars[0].aval.shape)
    return all(tuple(v.shape) == shape if isinstance(v, Random | Chain) else jnp.ndim(v) == 0 or jnp.shape(v) == shape
               for v in values)  # fmt: skip


def _loop_message(name: str, values: list[Any]) -> str:
    weights = sorted(v.path for v in values if trace.is_weight(v))
    what = "reads its weights at every step" if weights else "computes with values that vary"
    then = "sample chips" if name == "while" else "use `linearised`"  # which takes derivatives backwards
    return f"{', '.join(weights) or 'the function'}: {name} {what}, which is not followed; {then}"


def example(walk: Propagation, fn: Callable, chip: Chip, inputs: tuple) -> tuple[PyTree, Array, dict[str, Array]]:
    """One example's result, the covariance `[n, n]` of its numbers, and what its divisions hang on.

    The walk is a new one.
    """
    found, out_tree = walk.through(fn, chip, *jax.tree.map(lambda x: x[None], inputs))
    return out_tree.unflatten([one_of(x) for x in found]), _joint(walk.ledger, found), walk.ledger.doubts


def one_of(x: Any) -> Array:
    """The mean of a result of a batch of one; raises `ValueError` for what has no such axis."""
    mean = x.mean if isinstance(x, Random) else jnp.asarray(x)
    if mean.ndim == 0 or mean.shape[0] != 1:
        raise ValueError(f"fn: expected results with the inputs' leading axis, 1 here; got shape {mean.shape}")
    return mean[0]


def _joint(ledger: Ledger, found: list[Any]) -> Array:
    """The covariance of all results of an example, `[n, n]`."""
    sizes = [x.size for x in found]
    check_size((sum(sizes),), jnp.float32, "the result")
    dtype = jnp.result_type(jnp.float32, *(x.dtype for x in found))
    zero = lambda i, j: jnp.zeros((sizes[i], sizes[j]), dtype)  # noqa: E731
    block = lambda i, j: (  # noqa: E731
        ledger.covariance(found[i], found[j]).reshape(sizes[i], sizes[j])
        if isinstance(found[i], Random) and isinstance(found[j], Random)
        else zero(i, j)
    )
    n = range(len(found))
    whole = jnp.block([[block(i, j) for j in n] for i in n])
    return 0.5 * (whole + whole.T)  # rounding is not symmetric
