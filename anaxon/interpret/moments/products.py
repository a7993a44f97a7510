"""Products and quotients of two values that vary, which may depend on each other.

For normal x and y, `z = sum_k x_k y_k` has (Isserlis)

    E z = sum E x_k E y_k + Cov(x_k, y_k)
    Cov(z, z') = Cov(l, l') + sum_kl Cov(x_k, x'_l) Cov(y_k, y'_l) + Cov(x_k, y'_l) Cov(y_k, x'_l)

with `l = sum x_k E y_k + E x_k y_k`, through which z depends on any other normal value (Stein; on
another product or function of the same values only to first order). A quotient is a
product with the reciprocal, whose moments are those of a function of its base.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.interpret import jaxpr as jx
from anaxon.interpret.moments.chains import Chain, base_of, chain_of, settle
from anaxon.interpret.moments.ledger import Forms, Ledger, Random
from anaxon.interpret.product import Dot, product_of
from anaxon.numerics import safe_sqrt
from anaxon.types import Array

REACH = 5.5  # standard deviations of its base within which a denominator must stay away from 0
NEAREST = 1 / 12  # of its value at the mean: a normal denominator's mean is then at least 6 standard deviations


def product(ledger: Ledger, x: Random, y: Random, shape: tuple[int, ...], where: str) -> Random:
    """`x * y`, elementwise."""
    x, y = (_broadcast(ledger, v, shape, where) for v in (x, y))
    return ledger.multiply(x, y, where)


def _broadcast(ledger: Ledger, value: Random, shape: tuple[int, ...], where: str) -> Random:
    """With axes of extent 1 repeated, as an operation's result has them."""
    if value.shape == shape:
        return value
    wide = lambda v: jnp.broadcast_to(v, shape)  # noqa: E731
    return ledger.derive(wide(value.mean), [value], [wide], where)


def contraction(ledger: Ledger, eqn: Any, x: Random, y: Random, where: str) -> Random:
    """`dot_general` of x and y: no more memory than the covariances of operands and result."""
    dot = lambda a, b: jx.bind(jx.precise(eqn), [a, b])[0]  # noqa: E731
    return ledger.contract(x, y, dot, _normal_form(eqn), where)


def _normal_form(eqn: Any) -> Forms:
    """What takes the operands to `[B, A, K]` and `[B, C, K]`, and `[B, A, C]` to the result."""
    form = product_of(eqn, 1)
    assert isinstance(form, Dot)
    g, _, n, c = form.sizes
    right = lambda v: jnp.swapaxes(form.weight(v), -1, -2).reshape(g, c, n)  # noqa: E731
    return Forms(form.operand, right, form.assemble)


def quotient(ledger: Ledger, x: Random | Chain, y: Random | Chain, shape: tuple[int, ...], where: str) -> Random:
    """`x / y` where both vary: right while the denominator stays away from 0.

    It must keep its sign, and `NEAREST` of its value at the mean, within `REACH` standard deviations of what it is a
    function of; elsewhere the moments do not exist. There the result is NaN, and `predict` says why where it may.
    """
    base, fn = base_of(y), chain_of(y).fn
    middle = lax.stop_gradient(fn(base.mean))
    ahead = lambda v: fn(v) / jnp.where(middle == 0, 1.0, middle)  # noqa: E731
    nearest = _nearest(ledger, chain_of(y))
    ledger.doubt(f"{where}: div", jnp.min(nearest))
    # Further out, where hardly any probability is, it is held where it was: a node of the quadrature may hit 0.
    inverse = lambda v: jnp.where(nearest >= NEAREST, 1.0 / (middle * jnp.maximum(ahead(v), NEAREST)), jnp.nan)  # noqa: E731
    reciprocal = settle(ledger, Chain(base, inverse, y.shape, y.dtype, None), where)
    return product(ledger, settle(ledger, x, where), reciprocal, shape, where)


def divisor(ledger: Ledger, y: Random | Chain, where: str) -> Chain:
    """A denominator that varies under a number, or under another function of its base: NaN where it may pass 0.

    The whole is then a function of one base: nothing but its pole can be wrong with it.
    """
    chain = chain_of(y)
    nearest = _nearest(ledger, chain)
    ledger.doubt(f"{where}: div", jnp.min(jnp.where(nearest > 0, 1.0, nearest)))
    fn = lambda v: jnp.where(nearest > 0, chain.fn(v), jnp.nan)  # noqa: E731
    return Chain(chain.base, fn, chain.shape, chain.dtype, None)


def _nearest(ledger: Ledger, y: Chain) -> Array:
    """The least of a function within `REACH` standard deviations of its base, relative to its value at the mean."""
    base = y.base
    middle = lax.stop_gradient(y.fn(base.mean))
    scores = jnp.asarray(np.linspace(-REACH, REACH, 23), base.dtype).reshape(-1, *(1,) * base.mean.ndim)
    found = jax.vmap(y.fn)(base.mean + safe_sqrt(ledger.variance(base)) * scores)
    least = jnp.min(found / jnp.where(middle == 0, 1.0, middle), 0)
    return jnp.where(middle == 0, 0.0, least)
