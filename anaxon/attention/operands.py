"""What early termination accepts: checked operands, thresholds in the form of scores, broadcast leading axes."""

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention.integers import BITS, EXACT, LOW, Integers, Wide, is_wide, largest_score, saturated
from anaxon.attention.planes import FORMS, widest_plane
from anaxon.check import choice, integer
from anaxon.types import Array, ArrayLike, is_concrete

MARGINS = ("exact", "shifted")


def check_settings(bits: int, per_cycle: int, form: str, margin: str) -> None:
    """What is static.

    Raises:
      ValueError: for a width that is not simulated, or a kind that does not exist.
    """
    integer("bits", bits, *BITS)
    integer("per_cycle", per_cycle, 1, bits)
    choice("form", form, FORMS)
    choice("margin", margin, MARGINS)


def as_integers(name: str, value: ArrayLike, bits: int, form: str) -> Array:
    """An operand as int32, its range checked where it is known."""
    if not jnp.issubdtype(jnp.result_type(value), jnp.integer):
        raise TypeError(f"{name}: expected integers (see `quantised`); got {jnp.result_type(value)}")
    if np.ndim(value) < 2:
        raise ValueError(f"{name}: expected [..., positions, head_dim]; got shape {np.shape(value)}")
    top = 2 ** (bits - 1) - 1
    low = -top - (form == "two's complement")
    if is_concrete(value) and np.size(value):
        known = value if isinstance(value, jax.Array) else np.asarray(value)  # wherever it is already
        least, most = known.min(), known.max()
        if least < low or most > top:
            raise ValueError(f"{name}: expected {bits}-bit integers from {low} to {top}; got {least} to {most}")
    return jnp.asarray(value, jnp.int32)


def check_head(query: Array, key: Array, bits: int) -> None:
    """A dot product whose plane products are exact.

    Raises:
      ValueError: for heads that differ, and for one too long.
    """
    head_dim = query.shape[-1]
    if head_dim != key.shape[-1]:
        raise ValueError(f"key: expected head_dim {head_dim}, as of query; got {key.shape[-1]} of shape {key.shape}")
    if head_dim == 0 or widest_plane(head_dim, bits) < 1:
        most = 2 ** (EXACT - bits)
        raise ValueError(
            f"head_dim: expected 1 to {most} lanes, so that products of {bits}-bit queries with bit planes are exact "
            f"in float32 (up to 2**{EXACT}); got {head_dim}: fewer bits, or parts of the head whose scores are added"
        )


def as_threshold(threshold: ArrayLike | Wide, head_dim: int, bits: int) -> Integers:
    """A threshold in the form of the scores, within their range and one above it."""
    wide = is_wide(head_dim, bits)
    if isinstance(threshold, Wide):
        if not wide:
            raise ValueError(
                f"threshold: expected int32, which holds scores of {bits} bits and {head_dim} lanes; got a Wide"
            )
        return Wide(jnp.asarray(threshold.high, jnp.int32), jnp.asarray(threshold.low, jnp.int32))
    host = threshold if isinstance(threshold, jax.Array) else np.asarray(threshold)
    if not jnp.issubdtype(host.dtype, jnp.integer):
        raise TypeError(f"threshold: expected integers (see `integer_threshold`); got {host.dtype}")
    if isinstance(host, np.ndarray):
        return jax.tree.map(jnp.asarray, saturated(host, head_dim, bits))
    return _within(host, largest_score(head_dim, bits), wide)


def _within(threshold: Array, largest: int, wide: bool) -> Integers:
    """A device's integers of any width within the range of scores and one above it, as `saturated` has them."""
    x = threshold.astype(jnp.int32) if threshold.dtype.itemsize < 4 else threshold
    held = jnp.iinfo(x.dtype)
    x = jnp.clip(x, max(-largest, int(held.min)), min(largest + 1, int(held.max)))
    if not wide:
        return x.astype(jnp.int32)
    return Wide((x >> LOW).astype(jnp.int32), (x & (2**LOW - 1)).astype(jnp.int32))


def leading_axes(query: Array, key: Array, *pairwise: Array) -> tuple[int, ...]:
    """The broadcast leading axes; what is given pair by pair must fit `[..., q, k]`."""
    pairs = (query.shape[-2], key.shape[-2])
    try:
        lead = jnp.broadcast_shapes(query.shape[:-2], key.shape[:-2], *(x.shape[:-2] for x in pairwise))
        for x in pairwise:
            if jnp.broadcast_shapes(x.shape[-2:], pairs) != pairs:
                raise ValueError
    except ValueError:
        shapes = [x.shape for x in (query, key, *pairwise)]
        raise ValueError("query, key, threshold, where: expected [..., q, d], [..., k, d] and shapes that broadcast to "
                         f"[..., q, k]; got {shapes}") from None  # fmt: skip
    return lead


def led(x: Array, lead: tuple[int, ...]) -> Array:
    """With all leading axes; the last two stay as they are, a scalar gets two of size 1."""
    x = x.reshape((1,) * max(0, 2 - x.ndim) + x.shape)
    return jnp.broadcast_to(x, (*lead, *x.shape[-2:]))
