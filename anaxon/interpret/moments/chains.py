"""Chains of elementwise operations on one normal variable, and what becomes of them at their first other use.

In a jaxpr GELU is pow, mul, add, tanh, mul: settled one by one each would add its own Gaussian closure. A chain stays a
function of its base until something else needs it; then mean and variance come from the whole function at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from anaxon.interpret import jaxpr as jx
from anaxon.interpret.moments.blocks import held
from anaxon.interpret.moments.covariance import lost
from anaxon.interpret.moments.ledger import Ledger, Random
from anaxon.normal import Clip, Moments, clip_moments, function_moments
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
    found = held(moments_of([chain], chain.base.mean, ledger.variance(chain.base)))
    return ledger.apply(chain.base, chain.fn, found._replace(mean=found.mean.astype(chain.dtype)), where)


def _moved(ledger: Ledger, value: Chain, where: str) -> Random:
    """An affine chain stays normal."""
    scale = jnp.asarray(value.form.scale, value.base.dtype)  # type: ignore[union-attr]
    mean, follow = value.fn(value.base.mean).astype(value.dtype), (lambda axis: axis) if scale.ndim == 0 else lost
    return ledger.derive(mean, [value.base], [lambda v: scale * v], where, follow)


def mean_of(ledger: Ledger, value: Random | Chain) -> Array:
    """Its mean alone."""
    base = base_of(value)
    return moments_of([chain_of(value)], base.mean, ledger.variance(base)).mean[0]


def jointly(ledger: Ledger, chains: list[Chain], where: str) -> Random:
    """Several functions of one base as one value `[K, *shape]`: their covariances at one variable are exact."""
    base = chains[0].base
    found = moments_of(chains, base.mean, ledger.variance(base))
    found = found._replace(mean=found.mean.astype(chains[0].dtype))
    return ledger.apply_together(base, [c.fn for c in chains], found, where)


def moments_of(chains: list[Chain], mean: Array, variance: Array) -> Moments:
    """In closed form where there is one, by quadrature elsewhere."""
    form = chains[0].form
    if len(chains) == 1 and form is not None:
        return clip_moments(form, mean, variance)
    return function_moments(lambda x: tuple(c.fn(x) for c in chains), mean, variance)
