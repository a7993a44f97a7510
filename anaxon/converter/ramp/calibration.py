"""Calibration of a programmed ramp by its bias devices, and the choice among redundant columns.

One-point calibration measures the ramp and sets the bias so that the centre is exact; the random walk of the
programming errors then runs both ways from the centre. The paper shows its effect (Yang et al., Nat. Commun. 16:1136,
Fig. 3a) and not its procedure: points and programming orders here are models.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from anaxon.converter.ramp.column import Distribution, bias_devices, bias_ratio, errors, largest_step
from anaxon.converter.ramp.design import Design
from anaxon.converter.ramp.linearity import inl
from anaxon.prng import fold_name
from anaxon.types import Array, ArrayLike, is_concrete

Calibration = Literal["none", "one-point", "two-point"]
BiasOrder = Literal["exact", "sequential", "blind"]


def calibrated(design: Design, thresholds: Array, calibration: Calibration) -> Array:
    """Thresholds `[..., K]` in z after calibration against the design's."""
    return {"none": lambda _, v: v, "one-point": one_point, "two-point": two_point}[calibration](design, thresholds)


def one_point(design: Design, thresholds: Array) -> Array:
    """Shifts a ramp `[..., K]` so that its centre is exact: code P/2; in "centres" the middle of two."""
    ideal = jnp.asarray(design.thresholds, jnp.float32)
    shift = _centre(design, ideal) - _centre(design, thresholds)
    return thresholds + shift[..., None]


def _centre(design: Design, thresholds: Array) -> Array:
    count = thresholds.shape[-1]
    middle = count // 2
    if design.convention == "centres" and count == design.codes - 1:
        return 0.5 * (thresholds[..., middle] + thresholds[..., middle + 1])
    return thresholds[..., middle]


def two_point(design: Design, thresholds: Array) -> Array:
    """Shifts and stretches a ramp `[..., K]` so that the thresholds at a quarter and three quarters are exact.

    The stretch is the ramp's read voltage or step time. A ramp whose two points coincide is only shifted.
    """
    ideal = jnp.asarray(design.thresholds, jnp.float32)
    count = ideal.shape[0]
    i, j = count // 4, count - 1 - count // 4
    measured = thresholds[..., j] - thresholds[..., i]
    flat = measured <= 0
    stretch = jnp.where(flat, 1.0, (ideal[j] - ideal[i]) / jnp.where(flat, 1.0, measured))
    return ideal[i] + stretch[..., None] * (thresholds - thresholds[..., i : i + 1])


def bias_error(
    key: Array,
    design: Design,
    order: BiasOrder,
    *,
    sigma: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    distribution: Distribution = "normal",
) -> Array:
    """Shift of the whole ramp in z `[]` that the bias devices' own programming errors leave.

    Args:
      order: "exact" leaves none; "sequential" sets them one by one, each absorbing what is left, so the last one's
        error remains; "blind" sets all at once, and all their errors remain.
    """
    if order == "exact":
        return jnp.zeros(())
    most = 1 if order == "sequential" else _most_bias_devices(design)
    drawn = errors(fold_name(key, "bias"), (most,), sigma=sigma, tolerance=tolerance, distribution=distribution)
    if drawn is None:
        return jnp.zeros(())
    count = jnp.maximum(jnp.ceil(bias_ratio(design) - 1e-6), 1.0)
    there = jnp.arange(most) < count
    return jnp.sum(jnp.where(there, drawn, 0.0)) * jnp.asarray(largest_step(design), jnp.float32)


def _most_bias_devices(design: Design) -> int:
    """A bound that is static: the count itself, or for a traced range that of a linear ramp."""
    if is_concrete(design.start, design.thresholds):
        return max(1, bias_devices(design).count)
    return design.codes


def best(design: Design, thresholds: Array) -> Array:
    """Of R measured columns `[R, K]` the one with the smallest largest |INL_out|, `[K]`."""
    worst = jnp.max(jnp.abs(inl(design, thresholds)), axis=-1)
    return jax.lax.dynamic_index_in_dim(thresholds, jnp.argmin(worst), keepdims=False)
