"""Products and quotients of two values that vary, which may depend on each other.

For normal x and y, `z = sum_k x_k y_k` has (Isserlis)

    E z = sum E x_k E y_k + Cov(x_k, y_k)
    Cov(z, z') = Cov(l, l') + sum_kl Cov(x_k, x'_l) Cov(y_k, y'_l) + Cov(x_k, y'_l) Cov(y_k, x'_l)

with `l = sum x_k E y_k + E x_k y_k`, through which alone z depends on any other normal value (Stein). A quotient is a
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
    s = safe_sqrt(ledger.variance(base))
    middle = lax.stop_gradient(fn(base.mean))
    ahead = lambda v: fn(v) / jnp.where(middle == 0, 1.0, middle)  # noqa: E731
    scores = jnp.asarray(np.linspace(-REACH, REACH, 23), base.dtype).reshape(-1, *(1,) * base.mean.ndim)
    nearest = jnp.min(jax.vmap(ahead)(base.mean + s * scores), 0)
    nearest = jnp.where(middle == 0, 0.0, nearest)
    ledger.doubt(f"{where}: div", jnp.min(nearest))
    # Further out, where hardly any probability is, it is held where it was: a node of the quadrature may hit 0.
    inverse = lambda v: 1.0 / (middle * jnp.maximum(ahead(v), NEAREST))  # noqa: E731
    reciprocal = settle(ledger, Chain(base, inverse, y.shape, y.dtype, None), where)
    found = product(ledger, settle(ledger, x, where), reciprocal, shape, where)
    found.mean = jnp.where(jnp.broadcast_to(nearest >= NEAREST, shape), found.mean, jnp.nan)
    return found
