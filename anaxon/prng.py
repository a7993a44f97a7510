"""Indexed randomness: a draw is a function of a key and of where it is used, never of when.

Names are folded in by their CRC-32 (Python's `hash` differs between processes). Draws are functions of (key, linear
coordinate), so `vmap`, chunks and shards see the same bits. The `rbg` generators do not have this property under
`vmap` (every lane draws from the first key) and are refused.
"""

import zlib
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.special import ndtri

from anaxon import threefry
from anaxon.types import Array

HALF = 1 << 16  # number of codes of half a 32-bit word
# One table per distribution: HALF codes, then HALF codes that subdivide the lowest code, then the highest one.
TABLE_SIZE = 3 * HALF


def check_key(key: Array, name: str = "key") -> Array:
    """Returns `key` if it is one typed key of a counter-based generator.

    Raises:
      TypeError: for anything but a typed scalar key (`jax.random.key`).
      ValueError: for the `rbg` and `unsafe_rbg` generators.
    """
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"{name}: expected a typed key, jax.random.key(seed); got {_describe(key)}")
    if key.shape != ():
        raise TypeError(f"{name}: expected one key; got an array of keys of shape {key.shape} (use jax.vmap)")
    if "rbg" in str(jax.random.key_impl(key)):
        raise ValueError(f"{name}: the rbg generator draws the same bits for every lane of a vmap; use threefry2x32")
    return key


def _describe(x: object) -> str:
    shape = getattr(x, "shape", None)
    return type(x).__name__ if shape is None else f"{type(x).__name__} of shape {shape}, {getattr(x, 'dtype', '?')}"


def name_code(name: str) -> np.uint32:
    """What a name is folded in as."""
    return np.uint32(zlib.crc32(name.encode()))


def fold_name(key: Array, name: str) -> Array:
    """The key of a named thing, the same in every process."""
    return jax.random.fold_in(key, name_code(name))


def code_pairs(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Two independent uniform table codes `[*shape]` from one 32-bit word each: half the hashing of two draws.

    A code below 65536 is half a word. The two extreme codes are subdivided by the word's other half, which resolves
    the tails of a table to 2**-32. A code stays uniform; two codes of one word depend on each other only within those
    extreme cells (probability 3e-5).
    """
    word = threefry.bits(key, shape)
    high, low = word >> 16, word & 0xFFFF
    return _refine(high, low), _refine(low, high)


def _refine(code: Array, other: Array) -> Array:
    code = jnp.where(code == 0, HALF + other, jnp.where(code == HALF - 1, 2 * HALF + other, code))
    return code.astype(jnp.int32)


def codes(key: Array, shape: tuple[int, ...]) -> Array:
    """Independent uniform table codes `[*shape]`, two to a 32-bit word."""
    size = int(np.prod(shape))
    high, low = code_pairs(key, ((size + 1) // 2,))
    return jnp.concatenate([high, low])[:size].reshape(shape)


def probabilities() -> np.ndarray:
    """The mid-probability of every table code, `[TABLE_SIZE]` float64: evaluate a quantile function here."""
    middle = (np.arange(HALF) + 0.5) / HALF
    fine = (np.arange(HALF) + 0.5) / HALF**2
    return np.concatenate([middle, fine, 1.0 - fine[::-1]])


def lookup(table: Array, code: Array) -> Array:
    """`table[code]` for codes of `codes` or `code_pairs`; they are in range by construction."""
    return table.at[code].get(mode="promise_in_bounds")


@cache
def _normal_table() -> np.ndarray:
    """On the host: the first call may come from inside any trace."""
    lower = ndtri(probabilities()[: 2 * HALF])
    middle, fine = lower[:HALF], lower[HALF:]
    return np.concatenate([middle, fine, -fine[::-1]]).astype(np.float32)


def normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Standard normals `[*shape]` float32, quantised at 2**-16 of probability (2**-32 in the two extreme codes).

    Half the cost of `jax.random.normal` on a CPU, where hashing dominates: two normals from one 32-bit word.
    """
    return lookup(jnp.asarray(_normal_table()), codes(key, shape))


# Giles 2010, "Approximating the erfinv function", single precision: near the middle, and in the tails.
_MIDDLE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
           -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
         1.00167406, 2.83297682)  # fmt: skip


def normals(key: Array, count: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """`count` independent arrays `[*shape]` of standard normals, of the same distribution as `normal`.

    Four from each hash and no table: on a CPU XLA fuses them into what uses them, where they cost a sixth of those of
    `normal`. Ask for as many as stand side by side, such as the bit slices of a read.
    """
    here = partial(normals_side_by_side, count=count, shape=shape)
    return lax.platform_dependent(key, cpu=here, default=partial(normals_stacked, count=count, shape=shape))


def normals_side_by_side(key: Array, count: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """`normals` for a CPU, written out for each of them so that XLA fuses them with their consumers."""
    pairs = [(w >> 16, w & 0xFFFF) for w in threefry.words(key, -(-count // 2), shape)]
    return tuple(_quantile(*codes) for high, low in pairs for codes in ((high, low), (low, high)))[:count]


def normals_stacked(key: Array, count: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """`normals` for an accelerator: the same numbers by one program for all, which compiles faster."""
    words = threefry.stacked_words(key, -(-count // 2), shape)
    high, low = words >> 16, words & 0xFFFF
    drawn = _quantile(jnp.stack([high, low], 1), jnp.stack([low, high], 1))
    return tuple(lax.optimization_barrier(drawn.reshape(-1, *shape))[:count])


def _quantile(code: Array, other: Array) -> Array:
    """The normal at the middle of a 16-bit cell of probability; the two extreme cells are cut again by `other`.

    Right to 3e-6 up to 5.5 sigma, and to 4e-4 in what is left, whose probability is 4e-8.
    """
    number = code.astype(jnp.int32)
    fine = (other.astype(jnp.int32).astype(jnp.float32) + 0.5) * np.float32(2.0**-32)
    nearest = jnp.minimum(number, HALF - 1 - number)  # from the nearer end
    tail = jnp.where(nearest == 0, fine, (nearest.astype(jnp.float32) + 0.5) * np.float32(2.0**-16))
    w = -jnp.log(4 * tail * (1 - tail))
    scale = jnp.where(w < 5, _polynomial(_MIDDLE, w - 2.5), _polynomial(_TAIL, jnp.sqrt(w) - 3))
    return jnp.where(number < HALF // 2, -1.0, 1.0) * np.float32(np.sqrt(2)) * scale * (1 - 2 * tail)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    total = jnp.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total = total * x + np.float32(c)
    return total
