"""Dropout as a function of a key."""

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.types import Array

LEVELS = 1 << 8  # of a quarter word: hashing is what masks cost, so four come from one draw


def dropout(key: Array | None, x: Array, rate: float) -> Array:
    """Sets elements of `x` to zero with probability `rate` and divides the others by what remains; None does nothing.

    Srivastava et al. 2014, JMLR 15:1929, in the inverted form. `rate` is rounded to 1/256, and the division knows it.
    """
    dropped = round(rate * LEVELS)
    if key is None or dropped == 0:
        return x
    keep = _codes(key, x.shape) >= dropped
    return jnp.where(keep, x * (LEVELS / (LEVELS - dropped)), 0.0)


def _codes(key: Array, shape: tuple[int, ...]) -> Array:
    """Uniform whole numbers below 256, `[*shape]`, four to a 32-bit word."""
    size = int(np.prod(shape))
    word = jax.random.bits(key, (-(-size // 4),), jnp.uint32)
    codes = jnp.concatenate([(word >> bit) & 0xFF for bit in (0, 8, 16, 24)])
    return codes[:size].reshape(shape)


def split(key: Array | None, count: int) -> list[Array | None]:
    """Keys for `count` parts of a network, all None without a key."""
    return [None] * count if key is None else list(jax.random.split(key, count))
