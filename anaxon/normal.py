"""Functions of normal variables: mean, covariance, and the derivatives that covariances pass through.

`X ~ N(mu, s^2)`. For the Hermite rule a function f has the slopes `d_n = E[f^(n)(X)] = E[f(X) He_n((X - mu)/s)] / s^n`,
and of a Gaussian pair with covariance c `Cov(f(X), g(Y)) = sum_n d_n^f d_n^g c^n / n!` (Mehler; Price). Each term is a
Schur product of positive semidefinite matrices and the exact diagonal exceeds the truncated sum (Parseval), so that
covariances stay positive semidefinite whatever the order.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from anaxon.numerics import safe_sqrt
from anaxon.types import Array

ORDERS = 2  # of the Hermite rule off the diagonal
# The trapezoidal rule: exponentially exact for smooth functions (as Gauss-Hermite), and at a kink off by less than
# step^2 / 12 * 0.4 s = 1.3e-4 s, where Gauss-Hermite nodes are too far apart.
NODES = np.linspace(-8.0, 8.0, 257)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.sum(np.exp(-(NODES**2) / 2))


class Moments(NamedTuple):
    """What is known of K functions of the same variables.

    Attributes:
      mean: `[K, *shape]`.
      covariance: of the functions at one variable, `[K, K, *shape]`.
      slopes: `d_1 .. d_ORDERS`, `[ORDERS, K, *shape]`.
    """

    mean: Array
    covariance: Array
    slopes: Array


class Clip(NamedTuple):
    """The function `scale * clip(x, low, high) + offset`; None where it does not clip."""

    scale: Array | float = 1.0
    low: Array | float | None = None
    high: Array | float | None = None
    offset: Array | float = 0.0

    @property
    def affine(self) -> bool:
        """Whether it clips nowhere."""
        return self.low is None and self.high is None


def hermite(order: int, z: Array) -> Array:
    """The probabilists' polynomials `He_n(z)`."""
    before, now = jnp.zeros_like(z), jnp.ones_like(z)
    for n in range(order):
        before, now = now, z * now - n * before
    return now


def function_moments(fn: Callable[[Array], tuple[Array, ...]], mean: Array, variance: Array) -> Moments:
    """Of any functions, each elementwise, by quadrature."""
    s = safe_sqrt(variance)
    shape = (-1,) + (1,) * mean.ndim
    z, w = (jnp.asarray(x, mean.dtype) for x in (NODES, WEIGHTS))
    values = jnp.stack(jax.vmap(fn)(mean + s * z.reshape(shape)), 1).astype(mean.dtype)  # [nodes, K, *shape]
    middle = values[len(NODES) // 2]
    away = values - middle
    far = jnp.abs(z) > 5.5  # of no weight, and maybe where the function is not defined
    away = jnp.where(far.reshape(-1, *(1,) * middle.ndim) & ~jnp.isfinite(away), 0.0, away)
    first = jnp.tensordot(w, away, 1)
    centred = away - first
    covariance = jnp.einsum("q,qa...,qb...->ab...", w, centred, centred)
    inverse = _inverse(s)
    slopes = [jnp.tensordot(w * hermite(n, z), centred, 1) * inverse**n for n in range(1, ORDERS + 1)]
    return Moments(middle + first, covariance, jnp.stack(slopes))


def clip_moments(form: Clip, mean: Array, variance: Array) -> Moments:
    """Of a clipped function, in closed form; ReLU has `low = 0`."""
    s = safe_sqrt(variance)
    inverse = _inverse(s)
    pivot = _clipped(form, mean)  # moments about it: no differences of large numbers
    below, at_low, a = _tail(form.low, mean, inverse, s)
    above, at_high, b = _tail(form.high, mean, inverse, s, upper=True)
    low, high = (_finite(bound, pivot) for bound in (form.low, form.high))
    mu, inside = mean - pivot, 1.0 - below - above
    first = low * below + high * above + mu * inside + s * (at_low - at_high)
    second = low**2 * below + high**2 * above + (mu**2 + s**2) * inside
    second = second + s * ((mu + low) * at_low - (mu + high) * at_high)
    slopes = [inside]
    for n in range(2, ORDERS + 1):
        slopes.append((hermite(n - 2, a) * at_low - hermite(n - 2, b) * at_high) * inverse ** (n - 1))
    scale = jnp.broadcast_to(jnp.asarray(form.scale, mean.dtype), mean.shape)
    variance = scale**2 * jnp.maximum(second - first**2, 0.0)
    return Moments((scale * (pivot + first) + form.offset)[None], variance[None, None],
                   scale * jnp.stack(slopes)[:, None])  # fmt: skip


def folded_mean(mean: Array, variance: Array) -> Array:
    """`E |X|`."""
    return 2 * clip_moments(Clip(low=0.0), mean, variance).mean[0] - mean


def _clipped(form: Clip, x: Array) -> Array:
    x = x if form.low is None else jnp.maximum(x, form.low)
    return x if form.high is None else jnp.minimum(x, form.high)


def _finite(bound: Array | float | None, pivot: Array) -> Array:
    """A bound about the pivot; one that is never reached is worth nothing."""
    if bound is None:
        return jnp.zeros_like(pivot)
    return jnp.where(jnp.isfinite(bound), jnp.nan_to_num(bound - pivot, posinf=0.0, neginf=0.0), 0.0)


def _tail(bound: Array | float | None, mean: Array, inverse: Array, s: Array, upper: bool = False) -> tuple:
    """Probability beyond a bound, density at it, and its standard score; with s = 0 the mean itself decides."""
    if bound is None:
        return (jnp.zeros_like(mean),) * 3
    score = jnp.clip(jnp.nan_to_num((bound - mean) * inverse), -40.0, 40.0)
    sure = (mean > bound if upper else mean < bound).astype(mean.dtype)
    beyond = jnp.where(s > 0, ndtr(-score if upper else score), sure)
    density = jnp.where(s > 0, jnp.exp(-(score**2) / 2) / math.sqrt(2 * math.pi), 0.0)
    return beyond, density, score


def _inverse(s: Array) -> Array:
    """1 / s, and 0 where nothing varies: a certain value has no covariances that a slope could pass."""
    return jnp.where(s > 0, 1.0 / jnp.where(s > 0, s, 1.0), 0.0)
