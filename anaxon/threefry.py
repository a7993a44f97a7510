"""The hash behind JAX's default keys, written out so that XLA fuses it with what consumes the bits.

Threefry-2x32 with 20 rounds (Salmon et al. 2011, doi:10.1145/2063384.2063405, section 4.1): the same words as
`jax.random.bits`, which on a CPU goes through memory after every four rounds and throws half of them away.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.types import Array

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def is_threefry(key: Array) -> bool:
    """Whether a typed key is of this generator."""
    return str(jax.random.key_impl(key)) in ("fry", "threefry2x32")


def hashed(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Two words of a typed threefry key for every counter, a pair of uint32 arrays of one shape."""
    data = jax.random.key_data(key)
    schedule = (data[0], data[1], data[0] ^ data[1] ^ PARITY)
    x, y = high + schedule[0], low + schedule[1]
    for i in range(5):
        for distance in ROTATIONS[i % 2]:
            x = x + y
            y = x ^ _rotated(y, distance)
        x = x + schedule[(i + 1) % 3]
        y = y + schedule[(i + 2) % 3] + np.uint32(i + 1)
    return x, y


def _rotated(x: Array, distance: int) -> Array:
    return (x << np.uint32(distance)) | (x >> np.uint32(32 - distance))


def counters(shape: tuple[int, ...]) -> Array:
    """The linear coordinate of every element, `[*shape]` uint32.

    Raises:
      ValueError: for 2**32 elements or more.
    """
    if math.prod(shape) >= 2**32:
        raise ValueError(f"shape: expected fewer than 2**32 draws of one key; got {shape}")
    return lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


def bits(key: Array, shape: tuple[int, ...]) -> Array:
    """`jax.random.bits(key, shape, "uint32")`, word for word."""
    partitionable = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    if not is_threefry(key) or not partitionable or math.prod(shape) >= 2**32:
        return jax.random.bits(key, shape, jnp.uint32)
    low = counters(shape)
    x, y = hashed(key, jnp.zeros_like(low), low)
    return x ^ y


def words(key: Array, count: int, shape: tuple[int, ...]) -> list[Array]:
    """`count` independent arrays `[*shape]` of uint32, two from each hash."""
    if not is_threefry(key):
        return [jax.random.bits(jax.random.fold_in(key, j), shape, jnp.uint32) for j in range(count)]
    low = counters(shape)
    pairs = [hashed(key, jnp.full_like(low, j), low) for j in range(-(-count // 2))]
    return [word for pair in pairs for word in pair][:count]


def stacked_words(key: Array, count: int, shape: tuple[int, ...]) -> Array:
    """The words of `words` as one array `[count, *shape]`, by a program that does not grow with their number."""
    if not is_threefry(key):
        return jnp.stack(words(key, count, shape))
    pairs = -(-count // 2)
    low = jnp.broadcast_to(counters(shape), (pairs, *shape))
    x, y = lax.optimization_barrier(hashed(key, lax.broadcasted_iota(jnp.uint32, low.shape, 0), low))
    return jnp.stack([x, y], 1).reshape(-1, *shape)[:count]
