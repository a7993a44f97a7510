"""A converter's codes of a normal value: mean, variance and average slope of `step * clip(round(z / step), -L, L)`.

For `z ~ N(m, v)` that is a sum over codes, of probabilities that are differences of the normal distribution. Where z is
narrower than half a step, or all codes are few, that sum has nine terms. Elsewhere the error of rounding is its Fourier
series, `e = step / pi sum_n (-1)^n sin(2 pi n z / step) / n`, with `E exp(2 pi i n z / step)` of size
`exp(-2 pi^2 n^2 v / step^2)` (the wrapped normal; Widrow and Kollar, Quantization Noise, 2008): at half a step 0.7 % of
the first term is left, white noise of variance `step^2 / 12` from there on. Certain values are rounded as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr

from anaxon.normal import Clip, clip_moments
from anaxon.numerics import safe_sqrt
from anaxon.types import Array

NARROW = 0.5  # standard deviations in steps, from which on the series is summed
TERMS = 3  # of it: the next is below 1e-30
FEW = 0.1  # squared radians, below which differences of exponentials are rounding
AROUND = 4  # codes on either side that the sum goes over: 9 standard deviations


class Residual(NamedTuple):
    """What codes vary by beyond the average slope.

    Attributes:
      mean, variance: of the normal values that are rounded.
      step: between codes.
      beyond: its variance.
      curve: average second derivative of the codes.
    """

    mean: Array
    variance: Array
    step: Array
    beyond: Array
    curve: Array


class Converted(NamedTuple):
    """Of converted columns; all of their shape.

    Attributes:
      mean: of the codes.
      variance: of the codes.
      slope: average derivative, through which covariances pass.
      curve: average second derivative.
    """

    mean: Array
    variance: Array
    slope: Array
    curve: Array


def converted(mean: Array, variance: Array, low: Array | float, high: Array | float, step: Array) -> Converted:
    """Of normal values, limited to `[low, high]` and rounded to multiples of `step`.

    Gradients are those of rounding as white noise: the value's own is 1, and errors grow with the step. They are what
    the exact ones are on average over a step, and do not vanish where a value is narrower than that.
    """
    limited = clip_moments(Clip(low=low, high=high), mean, variance)
    smooth = Converted(limited.mean[0], limited.covariance[0, 0], limited.slopes[0, 0], limited.slopes[1, 0])
    m, v, lo, hi = (lax.stop_gradient(jnp.asarray(x) / step**p) for x, p in
                    ((mean, 1), (variance, 2), (low, 1), (high, 1)))  # fmt: skip
    parts = smooth.mean / step, smooth.variance / step**2, smooth.slope, smooth.curve * step
    away = lax.stop_gradient(jnp.stack(parts))
    s = safe_sqrt(v)
    ends = jnp.minimum(m - lo, hi - m) <= AROUND * s  # where a range ends within the spread, the series does not hold
    narrow = (s <= NARROW) | (hi - lo <= 2 * AROUND) | (ends & (s <= 1.0))
    exact = jnp.stack(_by_codes(m, s, lo, hi))
    wide = away + smooth.slope * jnp.stack(_by_series(m, jnp.maximum(v, NARROW**2)))
    error = lax.stop_gradient(jnp.where(narrow, exact, wide) - away)
    return Converted(
        smooth.mean + step * error[0],
        smooth.variance + step**2 * error[1],
        smooth.slope + error[2],
        smooth.curve + error[3] / step,
    )


def shared(one: Residual, other: Residual, correlation: Array) -> Array:
    """Covariances of residuals, from the correlations of the values behind: equal values round alike.

    The second order of the Hermite series, and for the orders beyond it what is left of both variances times a
    correlation, which is that of the codes' first harmonics `exp(2 pi i z / step)` without their first two orders:
    with `a = (2 pi / step)^2`, `exp(-a (v + v' - 2 c) / 2) - (1 + a c + (a c)^2 / 2) exp(-a (v + v') / 2)` times the
    cosine of the means' distance, relative to its own diagonal. Each part is positive semidefinite.
    """
    scale = 2 * math.pi / one.step
    x, y = (scale**2 * r.variance for r in (one, other))
    both = correlation * safe_sqrt(x * y)
    left = jnp.exp(-jnp.maximum((x + y) / 2 - both, 0.0)) - (1 + both + both**2 / 2) * jnp.exp(-(x + y) / 2)
    own = safe_sqrt(_beyond_second(x) * _beyond_second(y))
    few = x * y < FEW**2
    alike = jnp.where(few, correlation**3, left / jnp.where(few, 1.0, own))
    second, first_left, other_left = correlation**2, *(_left(r) for r in (one, other))
    of_curves = one.curve * one.variance * other.curve * other.variance * second / 2
    return of_curves + safe_sqrt(first_left * other_left) * alike * jnp.cos(scale * (one.mean - other.mean))


def _left(residual: Residual) -> Array:
    """Variance of the orders beyond the second."""
    return jnp.maximum(residual.beyond - (residual.curve * residual.variance) ** 2 / 2, 0.0)


def _beyond_second(x: Array) -> Array:
    return 1.0 - (1.0 + x + x**2 / 2) * jnp.exp(-x)


def _by_codes(m: Array, s: Array, low: Array, high: Array) -> tuple[Array, Array, Array, Array]:
    """In steps: a sum over the nine codes around the mean, the outer ones with all that lies beyond."""
    middle = jnp.round(jnp.clip(m, jnp.minimum(low + AROUND, 0), jnp.maximum(high - AROUND, 0)))
    offsets = jnp.arange(-AROUND, AROUND + 1, dtype=m.dtype).reshape(-1, *(1,) * m.ndim)
    codes = jnp.clip(middle + offsets, low, high) - middle
    edges = (middle - m) + offsets[:-1] + 0.5
    score = jnp.clip(edges / jnp.where(s > 0, s, 1.0), -40.0, 40.0)
    # Halves are rounded to the even neighbour, as certain values are.
    even = jnp.round(m) <= middle + offsets[:-1]
    below = jnp.where(s > 0, ndtr(score), even.astype(m.dtype))
    above = jnp.where(s > 0, ndtr(-score), 1.0 - even.astype(m.dtype))
    density = jnp.where(s > 0, jnp.exp(-(score**2) / 2) / (math.sqrt(2 * math.pi) * jnp.where(s > 0, s, 1.0)), 0.0)
    jump = codes[1:] - codes[:-1]
    # E code = code_0 + sum of jumps times the chance of being above them, counted from the middle both ways.
    up = jnp.where(offsets[:-1] + 0.5 > 0, above, -below)
    first = codes[AROUND] + jnp.sum(jump * up, 0)
    away = codes - first
    chance = jnp.diff(below, axis=0, prepend=0.0, append=1.0)
    tail = -jnp.diff(above, axis=0, prepend=1.0, append=0.0)
    chance = jnp.where(offsets > 0, tail, chance)  # differences of small numbers, not of numbers near 1
    square = jnp.sum(jnp.maximum(chance, 0.0) * away**2, 0)
    curve = jnp.sum(jump * density * score, 0) / jnp.where(s > 0, s, 1.0)
    return middle + first, square, jnp.sum(jump * density, 0), curve


def _by_series(m: Array, v: Array) -> tuple[Array, Array, Array, Array]:
    """In steps: what rounding adds to mean, variance, slope and curve."""
    shift, square, slope, curve = jnp.zeros_like(m), jnp.full_like(m, 1 / 12), jnp.zeros_like(m), jnp.zeros_like(m)
    for n in range(1, TERMS + 1):
        size = (-1) ** n * jnp.exp(-2 * (math.pi * n) ** 2 * v)
        angle = 2 * math.pi * n * m
        shift += size * jnp.sin(angle) / (math.pi * n)
        square += size * jnp.cos(angle) / (math.pi * n) ** 2
        slope += 2 * size * jnp.cos(angle)
        curve -= 4 * math.pi * n * size * jnp.sin(angle)
    return shift, square + 2 * v * slope - shift**2, slope, curve
