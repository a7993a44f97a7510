"""Mean and variance of what a pair of cells contributes to its column, for interpreters that do not sample chips.

A device that knows them in closed form has a method `moments(target) -> PairMoments`. Any other device is asked by
programming: for every level that its cells hold, `SAMPLES` pairs with a fixed key; the error of a standard deviation is
then 1 / sqrt(2 SAMPLES) = 0.4 % for Gaussian cells. Nothing else in the interpreters knows a device.
"""

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.device.cell import Device
from anaxon.types import Array, pytree

SAMPLES = 2**15
LEVELS = 33  # on each polarity, between which a continuous target is interpolated


@pytree
class PairMoments:
    """Moments of differential pairs over chips; all arrays `[1, S, *W]` (a leading axis where cells have polarity).

    Attributes:
      mean: of every term of `Device.response`.
      covariance: of terms a and b, as `covariance[a][b]`.
      noise: means of the terms of `Device.noise_response`.
    """

    mean: tuple[Array, ...]
    covariance: tuple[tuple[Array, ...], ...]
    noise: tuple[Array, ...]


def pair_moments(device: Device, target: Array, levels: int | None) -> PairMoments:
    """Moments of the pairs that `program` makes of a target `[2, S, *W]`.

    Args:
      device: any device.
      target: in [0, 1], at most one cell of a pair above 0.
      levels: the highest level of a cell whose targets are the multiples of `1 / levels`; None for any target.
    """
    known = getattr(device, "moments", None)
    found = None if known is None else known(target)
    return _sampled(device, target, LEVELS if levels is None else levels) if found is None else found


def _sampled(device: Device, target: Array, levels: int) -> PairMoments:
    """By programming pairs of every level, and linear interpolation between levels."""
    grid = jnp.asarray(np.arange(-levels, levels + 1) / levels, jnp.float32)
    wanted = jnp.broadcast_to(grid[:, None], (grid.size, SAMPLES))[None]
    cells = device.program(jax.random.key(0), jnp.stack([jnp.maximum(wanted, 0.0), jnp.maximum(-wanted, 0.0)]))
    terms = [r[0] for r in device.response(cells)]
    centred = [r - jnp.mean(r, -1, keepdims=True) for r in terms]
    noise = [jnp.broadcast_to(o, (1, *wanted.shape[1:]))[0] for o in device.noise_response(cells)]
    signed = target[:1] - target[1:]
    at = lambda table: interpolated(signed, jnp.mean(table, -1))  # noqa: E731
    return PairMoments(
        mean=tuple(at(r) for r in terms),
        covariance=tuple(tuple(at(a * b) for b in centred) for a in centred),
        noise=tuple(at(o) for o in noise),
    )


def interpolated(x: Array, table: Array) -> Array:
    """A table over a uniform grid of [-1, 1] at `x`, linear in between, with its slope as the gradient."""
    last = table.shape[0] - 1
    position = jnp.clip((x + 1.0) * (last / 2), 0.0, last)
    index = jnp.minimum(jnp.floor(jax.lax.stop_gradient(position) + 1e-4).astype(jnp.int32), last - 1)
    left, right = table[index], table[index + 1]
    return left + (position - index) * (right - left)
