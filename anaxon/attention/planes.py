"""Bit planes of a key and their products with a query, exact in floating point.

A key of b bits is a sign and M = b - 1 magnitude bits, most significant first; B bits are read a cycle, the sign among
the first (spec 2.1). A product of a query with w bits of a key is an integer of at most `d 2**(b - 1) 2**w`: up to
2**24 every partial sum of it is exact in float32, in whatever order it is added.
"""

import math
from collections.abc import Iterator

import jax.numpy as jnp
from jax import lax

from anaxon.attention.integers import EXACT
from anaxon.numerics import contract
from anaxon.types import Array

FORMS = ("sign-magnitude", "two's complement")
MANTISSA = {jnp.dtype(jnp.float32): 24, jnp.dtype(jnp.float16): 11}  # integers up to 2**this are exact


def known_bits(bits: int, per_cycle: int) -> tuple[int, ...]:
    """Magnitude bits known after each cycle: `m(t) = min(M, t B - 1)`, T of them."""
    return tuple(min(bits - 1, t * per_cycle - 1) for t in range(1, math.ceil(bits / per_cycle) + 1))


def pieces(first: int, last: int, widest: int) -> Iterator[tuple[int, int]]:
    """Magnitude bits `first .. last` cut into planes whose products are exact."""
    for start in range(first, last, widest):
        yield start, min(start + widest, last)


def schedule(bits: int, per_cycle: int, form: str, widest: int) -> tuple[tuple[tuple[tuple[int, int], ...], int], ...]:
    """Of every cycle: the planes that it reads, `(first, last)` each, and the magnitude bits that are then unseen."""
    ends = known_bits(bits, per_cycle)
    starts = (first_bit(form), *ends[:-1])
    return tuple((tuple(pieces(*span, widest)), bits - 1 - span[1]) for span in zip(starts, ends, strict=True))


def widest_plane(head_dim: int, bits: int) -> int:
    """Bits of a plane that is exact in half precision and its product in float32: 0 where there is none."""
    return min(MANTISSA[jnp.dtype(jnp.float16)], max(0, EXACT - (bits - 1) - math.ceil(math.log2(head_dim))))


def first_bit(form: str) -> int:
    """Where a key's planes begin: two's complement has the sign as a bit before the magnitude's, which subtracts."""
    return 0 if form == "sign-magnitude" else -1


def plane(key: Array, form: str, bits: int, first: int, last: int) -> Array:
    """Bits `first .. last` of a key as integers `[..., k, d]`; in sign-magnitude form they have its sign."""
    mask, shift = 2 ** (last - first) - 1, bits - 1 - last
    if form == "sign-magnitude":
        return signs(key) * ((jnp.abs(key) >> shift) & mask)
    return key >> shift if first < 0 else (key >> shift) & mask


def signs(key: Array) -> Array:
    """1 and -1; 0 has the sign +."""
    return jnp.where(key < 0, -1, 1)


def plane_product(query: Array, plane: Array, bits: int, dtype: jnp.dtype) -> Array:
    """`query [..., q, d]` times `plane [..., k, d]` transposed, int32 `[..., q, k]`, on units for `dtype`."""
    parts = _lanes(query, bits, MANTISSA[jnp.dtype(dtype)])
    left = jnp.concatenate([part.astype(dtype) for part in parts], -1)
    right = jnp.concatenate([plane.astype(dtype)] * len(parts), -1)
    batch = tuple(range(query.ndim - 2))
    dimensions = (((query.ndim - 1,), (query.ndim - 1,)), (batch, batch))
    if dtype == jnp.float32:
        return contract(left, right, dimensions).astype(jnp.int32)
    return lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32).astype(jnp.int32)


def _lanes(query: Array, bits: int, mantissa: int) -> list[Array]:
    """A query as a sum of integers that the mantissa holds: one of up to 12 bits in half precision, else two."""
    spare = bits - 1 - mantissa
    if spare <= 0:
        return [query]
    low = query & (2**spare - 1)
    return [query - low, low]
