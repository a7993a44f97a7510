"""The physical ramp: memristors switched on one at a time, each adding its conductance to the ramp.

    V_k = V_start + (max dV / G_max) sum_{i<=k} G_i,      G_i = G_max dV_i / max dV

so a device's error shifts every later threshold: a random walk. Conductances here are relative to g_max.
"""

from math import ceil
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.converter.ramp.design import Design
from anaxon.prng import fold_name, normal
from anaxon.types import Array, ArrayLike

Distribution = Literal["normal", "truncated", "uniform"]


class Bias(NamedTuple):
    """The devices that bring the ramp to its start, applied before it.

    Attributes:
      count: number of devices.
      conductance: of each, relative to g_max.
      sign: polarity of their read voltage, +1, -1 or 0.
    """

    count: int
    conductance: float
    sign: int


def conductances(design: Design) -> Any:
    """Targets of the ramp devices relative to g_max, `[D]`: the largest step is 1."""
    return design.increments / largest_step(design)


def largest_step(design: Design) -> Any:
    """What a device at g_max adds to the ramp, in units of z."""
    return design.increments.max()


def bias_ratio(design: Design) -> Any:
    """Bias conductance that reaches the start of the ramp, in units of g_max."""
    return abs(design.start) / largest_step(design)


def bias_devices(design: Design) -> Bias:
    """How many bias devices the start of a concrete design needs, all alike."""
    ratio = float(bias_ratio(design))
    count = ceil(ratio - 1e-6)
    return Bias(count, ratio / count if count else 0.0, int(np.sign(np.asarray(design.start))))


def program(
    key: Array,
    target: ArrayLike,
    *,
    sigma: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    distribution: Distribution = "normal",
    p_off: ArrayLike | None = None,
    p_on: ArrayLike | None = None,
    g_min: ArrayLike = 0.0,
) -> Array:
    """Programmed conductances relative to g_max, the shape of `target`; never below `g_min`.

    Args:
      key: of the column.
      target: relative to g_max.
      sigma: std of "normal" and "truncated" errors, relative to g_max; None programs exactly.
      tolerance: largest error of "truncated" and "uniform", relative to g_max: write-verify stops inside it.
      distribution: "normal", "truncated" (a normal error redrawn until it is within the tolerance) or "uniform".
      p_off, p_on: probabilities of a device stuck at g_min and at g_max.
      g_min: smallest conductance, relative to g_max.
    """
    target = jnp.asarray(target, jnp.float32)
    error = errors(key, target.shape, sigma=sigma, tolerance=tolerance, distribution=distribution)
    g = target if error is None else jnp.maximum(target + error, g_min)
    g = jnp.maximum(g, g_min)
    if p_off is None and p_on is None:
        return g
    u = jax.random.uniform(fold_name(key, "stuck"), target.shape)
    g = g if p_off is None else jnp.where(u < p_off, jnp.asarray(g_min, g.dtype), g)
    return g if p_on is None else jnp.where(u >= 1 - jnp.asarray(p_on), jnp.ones_like(g), g)


def errors(
    key: Array,
    shape: tuple[int, ...],
    *,
    sigma: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    distribution: Distribution = "normal",
) -> Array | None:
    """Programming errors relative to g_max, `[*shape]`; None where there are none."""
    key = fold_name(key, "programming")
    if distribution == "uniform" and tolerance is not None:
        return jnp.asarray(tolerance) * jax.random.uniform(key, shape, minval=-1.0)
    if distribution == "uniform" or sigma is None:
        return None
    if distribution == "normal" or tolerance is None:
        return jnp.asarray(sigma) * normal(key, shape)
    # At sigma 0 the bound is far out and the error 0, as it should be.
    bound = jnp.asarray(tolerance) / jnp.maximum(sigma, 1e-30)
    return jnp.asarray(sigma) * jax.random.truncated_normal(key, -bound, bound, shape)


def thresholds_of(design: Design, g: ArrayLike, start_error: ArrayLike = 0.0) -> Array:
    """Thresholds `[..., K]` in z of ramps with conductances `g` `[..., D]` relative to g_max.

    Written as the design plus what the deviations add up to, so a column without errors has the design's thresholds
    exactly. They are in order, with ties: a ramp cannot run backwards.

    Args:
      start_error: shift of the whole ramp in z, `[...]`.

    Raises:
      ValueError: for another number of devices than the design's.
    """
    target = jnp.asarray(conductances(design), jnp.float32)
    if jnp.shape(g)[-1:] != target.shape:
        raise ValueError(
            f"thresholds_of: {design.activation} at {design.bits} bits has {target.shape[0]} ramp devices; got "
            f"conductances of shape {jnp.shape(g)}"
        )
    g = jnp.asarray(g, jnp.float32)
    levels = jnp.asarray(design.levels, jnp.float32) + _walk(design, g - target)
    return _counted(design, _forwards(levels, g)) + jnp.asarray(start_error)[..., None]


def _walk(design: Design, deviation: Array) -> Array:
    """What the devices' deviations `[..., D]` add to the ramp's levels `[..., D + 1]` in z; the first is the start."""
    walk = jnp.cumsum(deviation, axis=-1) * jnp.asarray(largest_step(design), jnp.float32)
    return jnp.concatenate([jnp.zeros_like(walk[..., :1]), walk], axis=-1)


def _forwards(levels: Array, g: Array) -> Array:
    """Levels that rounding has neither put out of order nor apart: a device without conductance makes no step."""
    steps = jnp.arange(1, g.shape[-1] + 1)
    last = jax.lax.cummax(jnp.where(g > 0, steps, 0), axis=g.ndim - 1)
    last = jnp.concatenate([jnp.zeros_like(last[..., :1]), last], axis=-1)
    return jnp.take_along_axis(jax.lax.cummax(levels, axis=levels.ndim - 1), last, axis=-1)


def _counted(design: Design, levels: Array) -> Array:
    """Of the ramp's levels `[..., D + 1]` those at which the counter steps, `[..., K]`."""
    first = 1 if design.convention == "range" else 0
    return levels[..., first : first + jnp.shape(design.thresholds)[0]]


def read_walk(key: Array, design: Design, sigma: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Read noise of one ramp pass each, `[*shape, K]` in z: every device conducts for one step of the pass.

    The bias devices conduct too and shift the pass as a whole.

    Args:
      sigma: std of a device's conductance from read to read, relative to g_max.
    """
    steps = normal(fold_name(key, "ramp read"), (*shape, jnp.shape(conductances(design))[0]))
    bias = normal(fold_name(key, "bias read"), (*shape, 1)) * jnp.sqrt(jnp.ceil(bias_ratio(design) - 1e-6))
    unit = jnp.asarray(largest_step(design), jnp.float32)
    return jnp.asarray(sigma) * (_counted(design, _walk(design, steps)) + unit * bias)
