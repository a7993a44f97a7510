"""From weights to cells: scale, signed levels, bit slices, differential pairs, tiles.

A weight `w` is held as `scale * level`, `level` in [-n, n] with `n = 2**(weight_bits-1) - 1`; its magnitude is cut into
slices of `cell_bits`, least significant first, and each slice is a differential pair: the positive cell carries a
positive weight's slice, the negative cell a negative one's. With `weight_bits=None` a weight is one analog pair.
(2 * (weight_bits - 1) binary cells per weight: Rossenbach et al., arXiv 2505.24721.)
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from anaxon import types
from anaxon.check import choice, integer, numbers
from anaxon.numerics import absmax, clip, quantise, safe_scale
from anaxon.types import pytree, static


@pytree
class Array:
    """A physical array and how weights map onto it.

    Attributes:
      rows: word lines of one array; a taller weight takes several (their sums are digital).
      cols: bit lines of one array.
      weight_bits: bits of a weight including its sign, 2..16; None for one analog pair per weight.
      cell_bits: bits held by one cell.
      scale: one weight scale per "tensor" or per "column"; always one per stack index.
      clip_sigma: weights are limited to this many standard deviations before scaling; None for no limit.
      bidirectional: whether the array can be driven from its columns too (needed to differentiate inside `fn`).
    """

    rows: int = static(default=128)
    cols: int = static(default=128)
    weight_bits: int | None = static(default=4)
    cell_bits: int = static(default=1)
    scale: Literal["tensor", "column"] = static(default="tensor")
    clip_sigma: float | types.Array | None = None
    bidirectional: bool = static(default=False)

    def __post_init__(self) -> None:
        integer("Array.rows", self.rows, 1, 2**20)
        integer("Array.cols", self.cols, 1, 2**20)
        if self.weight_bits is not None:
            integer("Array.weight_bits", self.weight_bits, 2, 16)
        integer("Array.cell_bits", self.cell_bits, 1, 8)
        choice("Array.scale", self.scale, ("tensor", "column"))
        numbers(self, ("clip_sigma",), "a number > 0, or None", low=0.0, open_low=True)
        if not isinstance(self.bidirectional, bool):
            raise TypeError(f"Array.bidirectional: expected True or False; got {self.bidirectional!r}")

    @property
    def slices(self) -> int:
        """Pairs per weight."""
        return 1 if self.weight_bits is None else -(-(self.weight_bits - 1) // self.cell_bits)

    @property
    def max_level(self) -> float:
        """The largest level of a weight."""
        return 1.0 if self.weight_bits is None else 2.0 ** (self.weight_bits - 1) - 1

    @property
    def cell_levels(self) -> int:
        """The largest level of one cell."""
        return 1 if self.weight_bits is None else 2**self.cell_bits - 1

    @property
    def significance(self) -> np.ndarray:
        """What a fully-on pair of each slice is worth in weight levels, `[slices]`, least significant first."""
        return self.cell_levels * 2.0 ** (self.cell_bits * np.arange(self.slices))

    def tiles(self, rows: int) -> int:
        """Arrays above each other that hold `rows` rows."""
        return -(-rows // self.rows)


def weight_scale(array: Array, weight: types.Array, shared_axes: tuple[int, ...]) -> types.Array:
    """The weight of one level, broadcastable to the weight: absmax over `shared_axes` / max level."""
    return safe_scale(absmax(clipped(array, weight, shared_axes), shared_axes, True)) / array.max_level


def clipped(array: Array, weight: types.Array, shared_axes: tuple[int, ...]) -> types.Array:
    """The weight limited to `clip_sigma` standard deviations of the values that share its scale."""
    if array.clip_sigma is None:
        return weight
    limit = array.clip_sigma * jnp.std(weight, axis=shared_axes, keepdims=True)
    return clip(weight, -limit, limit)


def mapped_weight(array: Array, weight: types.Array, scale: types.Array) -> types.Array:
    """The weight that perfect cells would hold, the shape of `weight`: its levels times their scale."""
    n = array.max_level
    if array.weight_bits is None:
        return scale * clip(weight / scale, -jnp.ones_like(scale), jnp.ones_like(scale))
    return scale * quantise(weight / scale, jnp.float32(1.0), -n, n)


def cell_targets(array: Array, weight: types.Array, scale: types.Array) -> types.Array:
    """Targets `[2, slices, *weight]` in [0, 1] for the positive and negative cells of every slice.

    Straight-through: a level's gradient reaches the slices in proportion to their significance, on the polarity that
    holds the weight, so that the recombined sum has gradient 1 (as long as no slice's converter saturates: slices that
    saturate differently have no common slope).
    """
    n = array.max_level
    if array.weight_bits is None:
        level = clip(weight / scale, -jnp.ones_like(scale), jnp.ones_like(scale))[None]
        return jnp.stack([jnp.where(level > 0, level, 0.0), jnp.where(level > 0, 0.0, -level)])
    level = quantise(weight / scale, jnp.float32(1.0), -n, n)
    magnitude = jnp.abs(stop_gradient(level)).astype(jnp.int32)
    shape = (array.slices,) + (1,) * weight.ndim
    shifts = (array.cell_bits * np.arange(array.slices, dtype=np.int32)).reshape(shape)
    digits = ((magnitude >> shifts) & array.cell_levels).astype(jnp.float32) / array.cell_levels
    worth = array.significance
    share = (worth / np.sum(worth**2)).astype(np.float32).reshape(shape)
    moves = share * (level - stop_gradient(level))
    positive = stop_gradient(level) >= 0
    return jnp.stack([jnp.where(positive, digits + moves, 0.0), jnp.where(positive, 0.0, digits - moves)])
