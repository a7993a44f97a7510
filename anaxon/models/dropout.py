"""Dropout as a function of a key."""

import jax
import jax.numpy as jnp

from anaxon.types import Array

LEVELS = 1 << 16  # of a half word: two masks from one draw, and a rate exact to 8e-6


def dropout(key: Array | None, x: Array, rate: float) -> Array:
    """Sets elements of `x` to zero with probability `rate` and divides the others by what remains; None does nothing.

    Srivastava et al. 2014, JMLR 15:1929, in the inverted form. `rate` is rounded to 1/65536.
    """
    dropped = round(rate * LEVELS)
    if key is None or dropped == 0:
        return x
    keep = jax.random.bits(key, x.shape, jnp.uint16) >= jnp.uint16(dropped)
    return jnp.where(keep, x * (LEVELS / (LEVELS - dropped)), 0.0)


def split(key: Array | None, count: int) -> list[Array | None]:
    """Keys for `count` parts of a network, all None without a key."""
    return [None] * count if key is None else list(jax.random.split(key, count))
