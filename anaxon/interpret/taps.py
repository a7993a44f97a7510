"""Taps: noise that is not drawn but accounted for, by what reverse mode brings back to where it would enter."""

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.numerics import safe_sqrt
from anaxon.prng import normal
from anaxon.types import Array

PROBES = "probes"  # the mapped axis of a forward pass with random deviations


@jax.custom_vjp
def tap(z: Array, variance: Array, account: Array) -> Array:
    """`z`; the gradient to `account` is `sum variance * (cotangent of z)^2`, what noise of that variance adds."""
    del variance, account
    return z


def _tap_forward(z: Array, variance: Array, account: Array) -> tuple[Array, Array]:
    del account
    return z, variance


def _tap_backward(variance: Array, cotangent: Array) -> tuple[Array, Array, Array]:
    return cotangent, jnp.zeros_like(variance), jnp.sum(variance * cotangent**2)


tap.defvjp(_tap_forward, _tap_backward)


def probe(key: Array, variance: Array) -> Array:
    """A probe's share of noise of that variance; `key` is a key's data."""
    own = jax.random.fold_in(jax.random.wrap_key_data(key), lax.axis_index(PROBES))
    return lax.stop_gradient(safe_sqrt(variance)) * normal(own, variance.shape).astype(variance.dtype)


@jax.custom_jvp
def shaken(z: Array, variance: Array, account: Array, key: Array) -> Array:
    """`tap`, where probes get noise of that variance."""
    del key
    return tap(z, variance, account)


@shaken.defjvp
def _shaken_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    z, variance, account, key = primals
    return tap(z, variance, account), tangents[0] + probe(key, variance)
