"""Chains of elementwise operations on one normal variable, and what becomes of them at their first other use.

In a jaxpr GELU is pow, mul, add, tanh, mul: settled one by one each would add its own Gaussian closure. A chain stays a
function of its base until something else needs it; then mean and variance come from the whole function at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from math import factorial
from typing import Any

import jax.numpy as jnp
import numpy as np

from anaxon.interpret import jaxpr as jx
from anaxon.interpret.moments.ledger import Ledger, Origin, Random, along, held, swapped, with_diagonal
from anaxon.normal import ORDERS, Clip, Moments, clip_moments, function_moments
from anaxon.types import Array

ELEMENTWISE = frozenset(
    """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p cos cosh
    digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max
    min mul name ne neg nextafter not or pow reduce_precision rem round rsqrt select_n sign sin
    sinh sqrt square stop_gradient sub tan tanh xor
    """.split()  # noqa: SIM905
)
STILL = frozenset(("convert_element_type", "copy", "copy_p", "name", "stop_gradient"))


@dataclass(eq=False)
class Chain:
    """An elementwise function of one normal value; `form` says so where it is affine or clips, for closed forms."""

    base: Random
    fn: Callable[[Array], Array]
    shape: tuple[int, ...]
    dtype: Any
    form: Clip | None
    settled: Random | None = field(default=None)


def chain_of(value: Random | Chain) -> Chain:
    """A value as a chain."""
    return value if isinstance(value, Chain) else Chain(value, lambda x: x, value.shape, value.dtype, Clip())


def base_of(value: Random | Chain) -> Random:
    """What a value is a function of."""
    return value.base if isinstance(value, Chain) else value


def extended(eqn: Any, operands: list[Any]) -> Chain:
    """A chain by one more operation: `operands` are numbers, or values with one base."""
    links = {i: chain_of(v) for i, v in enumerate(operands) if isinstance(v, Random | Chain)}
    if len(links) == 1 and _is_affine(eqn, next(iter(links))):
        links = {i: chain_of(v.settled or v) for i, v in links.items()}  # what was settled once is that value
    first = next(iter(links.values()))
    inner = {i: link.fn for i, link in links.items()}  # a function that knew its base would keep it in the ledger
    numbers = {i: v for i, v in enumerate(operands) if i not in links}

    def fn(x: Array) -> Array:
        return jx.bind(eqn, [inner[i](x) if i in inner else numbers[i] for i in range(len(inner) + len(numbers))])[0]

    out = eqn.outvars[0].aval
    form = _form(eqn, operands, links) if jnp.issubdtype(out.dtype, jnp.floating) else None
    return Chain(first.base, fn, tuple(out.shape), out.dtype, form)


def _is_affine(eqn: Any, place: int) -> bool:
    """Whether one more operation with numbers is affine in the operand at `place`."""
    name = eqn.primitive.name
    return name in STILL or name in ("add", "add_any", "sub", "neg", "mul") or (name == "div" and place == 0)


def _form(eqn: Any, operands: list[Any], links: dict[int, Chain]) -> Clip | None:
    """The closed form after one more operation, if it still has one."""
    name = eqn.primitive.name
    (place, link), *more = links.items()
    form = link.form
    if more or form is None:
        return None
    if name in STILL:
        return form
    if name == "neg":
        return _scaled(form, -1.0, 0.0)
    if name == "clamp":
        low = _limited(form, True, operands[0]) if place == 1 else None
        return None if low is None else _limited(low, False, operands[2])
    return _with_number(name, form, place, operands[1 - place]) if len(operands) == 2 else None


def _with_number(name: str, form: Clip, place: int, other: Any) -> Clip | None:
    """The form and a number, the form at `place` of the two."""
    if name in ("add", "add_any"):
        return form._replace(offset=form.offset + other)
    if name == "sub":
        return form._replace(offset=form.offset - other) if place == 0 else _scaled(form, -1.0, other)
    if name == "mul":
        return _scaled(form, other, 0.0)
    if name == "div" and place == 0:
        return _scaled(form, 1.0 / other, 0.0)
    return _limited(form, name == "max", other) if name in ("max", "min") else None


def _scaled(form: Clip, by: Any, plus: Any) -> Clip:
    return form._replace(scale=form.scale * by, offset=form.offset * by + plus)


def _limited(form: Clip, at_least: bool, bound: Any) -> Clip | None:
    """The form limited from one side; None where the direction of the slope is not known while tracing."""
    if not isinstance(form.scale, float | int | np.number) or form.scale == 0:
        return None
    if isinstance(bound, float | np.number | np.ndarray) and np.ndim(bound) == 0 and np.isinf(bound):
        return form if at_least == (bound < 0) else None
    at = (bound - form.offset) / form.scale
    limit = jnp.maximum if at_least == (form.scale > 0) else jnp.minimum
    low, high = (None if x is None else limit(x, at) for x in (form.low, form.high))
    if limit is jnp.maximum:
        return form._replace(low=at if low is None else low, high=high)
    return form._replace(low=low, high=at if high is None else high)


def as_floats(value: Random | Chain) -> Random | Chain:
    """Truth values and whole numbers as floats, whose mean says how often."""
    if jnp.issubdtype(value.dtype, jnp.floating) or isinstance(value, Random):
        return value
    inner, dtype = value.fn, value.base.dtype
    return Chain(value.base, lambda x: inner(x).astype(dtype), value.shape, dtype, None)


def settle(ledger: Ledger, value: Random | Chain, where: str) -> Random:
    """A value with a mean and covariances; at most once for every chain.

    Raises:
      TypeError: for truth values or whole numbers.
    """
    if isinstance(value, Random):
        return value
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{where}: {value.dtype.name} values that vary have no moments; make them floats, elementwise")
    if value.settled is None:
        affine = value.form is not None and value.form.affine
        value.settled = _moved(ledger, value, where) if affine else _single(ledger, value, where)
    return value.settled


def _single(ledger: Ledger, chain: Chain, where: str) -> Random:
    base = chain.base
    found = held(moments_of([chain], base.mean, ledger.variance(base)))
    slopes, n = found.slopes[:, 0], base.size
    flat = slopes.reshape(ORDERS, n)  # matrices: a CPU's loops over six axes are several times slower
    own = _series(flat[:, :, None], flat[:, None, :], ledger.covariance(base).reshape(n, n))
    own = held(with_diagonal(own, found.covariance[0, 0])).reshape(*base.shape, *base.shape)
    others = {z.number: _across(ledger, z, chain, slopes) for z in list(ledger.live.values())}
    value = ledger.add(found.mean[0].astype(chain.dtype), own, others, where)
    ledger.origins[value.number] = [Origin(weakref.ref(base), chain.fn, None)]
    return value


def _across(ledger: Ledger, z: Random, chain: Chain, slopes: Array) -> Array:
    """The block `[*z, *chain]`: Stein's lemma, and the Hermite series for what z holds of the same base."""
    base = chain.base
    block, axes = ledger.covariance(z, base) * slopes[0], len(base.shape)
    for origin in ledger.functions(z, base):
        exact, first = _siblings(ledger, origin.fn, chain)
        if origin.push is None:
            return exact
        block += swapped(along(origin.push, swapped(exact - first, axes), axes), axes)
    return block


def _siblings(ledger: Ledger, left: Callable[[Array], Array], right: Chain) -> tuple[Array, Array]:
    """The block `[*base, *base]` of two functions of the base of `right`, and what Stein's lemma alone makes of it."""
    base, n = right.base, right.base.size
    both = function_moments(lambda x: (left(x), right.fn(x)), base.mean, ledger.variance(base))
    flat, c = both.slopes.reshape(ORDERS, 2, n), ledger.covariance(base).reshape(n, n)
    block = with_diagonal(_series(flat[:, 0, :, None], flat[:, 1, None, :], c), both.covariance[0, 1])
    first = flat[0, 0, :, None] * flat[0, 1, None, :] * c
    return block.reshape(*base.shape, *base.shape), first.reshape(*base.shape, *base.shape)


def _moved(ledger: Ledger, value: Chain, where: str) -> Random:
    """An affine chain stays normal."""
    scale = jnp.asarray(value.form.scale, value.base.dtype)  # type: ignore[union-attr]
    return ledger.derive(value.fn(value.base.mean).astype(value.dtype), [value.base], [lambda v: scale * v], where)


def mean_of(ledger: Ledger, value: Random | Chain) -> Array:
    """Its mean alone."""
    base = base_of(value)
    return moments_of([chain_of(value)], base.mean, ledger.variance(base)).mean[0]


def jointly(ledger: Ledger, chains: list[Chain], where: str) -> Random:
    """Several functions of one base as one value `[K, *shape]`: their covariances at one variable are exact."""
    base, count = chains[0].base, len(chains)
    found = moments_of(chains, base.mean, ledger.variance(base))
    own = _hermite(found.slopes, ledger.covariance(base), len(base.shape))
    own = _exact_diagonal(own, found.covariance, count, base.size)
    others = {}
    for other in list(ledger.live.values()):
        cross = ledger.covariance(other, base)
        cross = cross.reshape(*other.shape, 1, *base.shape)
        others[other.number] = cross * found.slopes[0]
    return ledger.add(found.mean.astype(chains[0].dtype), own, others, where)


def moments_of(chains: list[Chain], mean: Array, variance: Array) -> Moments:
    """In closed form where there is one, by quadrature elsewhere."""
    form = chains[0].form
    if len(chains) == 1 and form is not None:
        return clip_moments(form, mean, variance)
    return function_moments(lambda x: tuple(c.fn(x) for c in chains), mean, variance)


def _series(left: Array, right: Array, c: Array) -> Array:
    """`sum_n d_n d_n' C^n / n!`."""
    terms = [left[n] * right[n] * c ** (n + 1) / factorial(n + 1) for n in range(ORDERS)]
    return sum(terms[1:], terms[0])


def _hermite(slopes: Array, block: Array, axes: int) -> Array:
    """The series for K functions, `[K, *base, K, *base]`."""
    count, shape = slopes.shape[1], slopes.shape[2:]
    left = slopes.reshape(ORDERS, count, *shape, 1, *(1,) * axes)
    right = slopes.reshape(ORDERS, 1, *(1,) * axes, count, *shape)
    return _series(left, right, block.reshape(1, *block.shape[:axes], 1, *block.shape[axes:]))


def _exact_diagonal(own: Array, covariance: Array, count: int, size: int) -> Array:
    """Functions at the same variable: `[K, K, *shape]` in the place of the truncated sum."""
    table = own.reshape(count, size, count, size)
    same = jnp.eye(size, dtype=bool)[None, :, None, :]
    exact = jnp.moveaxis(covariance.reshape(count, count, size), 2, 1)[:, :, :, None]
    return jnp.where(same, exact, table).reshape(own.shape)
