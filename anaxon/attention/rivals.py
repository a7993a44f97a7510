"""Other ways of pruning attention, on the same scores: what they keep, and what of each key they read.

Top-k of a row (SpAtten, Wang et al., HPCA 2021); a low-precision predictor (Sanger, Lu et al., MICRO 2021); bounds that
adapt to the row (PADE, arXiv 2512.14322; BitStopper, arXiv 2512.06457). They stand for the ideas, not for the machines:
no cascade over layers, no out-of-order fetches, no memory off the chip.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.check import integer, number, require
from anaxon.types import Array, ArrayLike, is_concrete


class Selection(NamedTuple):
    """What a way of pruning did with each pair, `[..., q, k]`.

    Attributes:
      kept: survivors.
      bits: of the key's elements that were read for the pair, in all; 0 where masked.
      cycles: of a bit-serial unit; 0 where masked. A whole dot product for those that are not bit-serial is 1.
    """

    kept: Array
    bits: Array
    cycles: Array


def top_k(scores: Array, share: float, valid: Array | None = None, *, bits: int = 12) -> Selection:
    """Keeps the largest scores of each row, after all were computed in full.

    Args:
      scores: `[..., q, k]`, integer or float.
      share: of a row's valid pairs that is kept, rounded up; above 0, to 1.
      valid: `[..., q, k]`; all pairs if not given.
      bits: of a key's element.

    Raises:
      ValueError: for a share outside (0, 1].
    """
    number("share", share, "a number above 0, to 1", low=0.0, open_low=True)
    require(share <= 1, "share", share, "a number above 0, to 1")
    valid = jnp.ones(scores.shape, bool) if valid is None else jnp.broadcast_to(valid, scores.shape)
    order = jnp.lexsort((-scores, ~valid), axis=-1)  # of equal scores the first key's stays
    rank = jnp.argsort(order, axis=-1)
    keep = jnp.ceil(share * valid.sum(-1, keepdims=True) - 1e-5)
    whole = valid.astype(jnp.int32)
    return Selection(valid & (rank < keep), bits * whole, whole)


def predicted(
    query: Array,
    key: Array,
    scale: float,
    valid: Array | None = None,
    *,
    bits: int = 12,
    predictor_bits: int = 4,
    probability: float = 2e-3,
) -> Selection:
    """Keeps pairs whose softmax of low-precision scores exceeds a probability; these are read again in full.

    Sanger's rule: 2e-3 for question answering and language models, 2e-2 for GLUE. Its rows are not normalised here.

    Args:
      query: integers of `bits`, `[..., q, d]`.
      key: integers of `bits`, `[..., k, d]`.
      scale: of an integer score, `s_q s_k / sqrt(d)`.
      valid: `[..., q, k]`; all pairs if not given.
      bits: of an element.
      predictor_bits: of an element in the predictor: the largest integer becomes its largest one, rounded.
      probability: above which a pair stays.
    """
    number("probability", probability, "a number >= 0", low=0.0)
    likely = probabilities(query, key, scale, valid, bits=bits, predictor_bits=predictor_bits)
    valid = jnp.ones(likely.shape, bool) if valid is None else jnp.broadcast_to(valid, likely.shape)
    kept = valid & (likely > probability)
    whole = valid.astype(jnp.int32)
    return Selection(kept, predictor_bits * whole + bits * kept, whole)


def probabilities(
    query: Array,
    key: Array,
    scale: float | Array,
    valid: Array | None = None,
    *,
    bits: int = 12,
    predictor_bits: int = 4,
) -> Array:
    """The softmax of low-precision scores, by which `predicted` decides; its arguments, 0 where masked."""
    integer("predictor_bits", predictor_bits, 2, min(bits, 8))
    step = (2 ** (bits - 1) - 1) / (2 ** (predictor_bits - 1) - 1)
    low = (jnp.round(x.astype(jnp.float32) / step) for x in (query, key))
    scores = scale * step**2 * jnp.einsum("...qd,...kd->...qk", *low, precision="highest")
    valid = jnp.ones(scores.shape, bool) if valid is None else jnp.broadcast_to(valid, scores.shape)
    return jax.nn.softmax(scores, -1, where=valid)


def adaptive(
    upper: Array,
    lower: Array,
    margin: ArrayLike,
    valid: Array | None = None,
    *,
    bits: int = 12,
    per_cycle: int = 2,
) -> Selection:
    """Prunes a pair once its upper bound is below the row's largest lower bound less a margin.

    All pairs of a row take a plane at a time. What survives the last one is exactly `S >= max S - margin`.

    Args:
      upper: U after every cycle, `[cycles, ..., q, k]` int32, of `bitserial.bounds`; PADE's are of two's complement,
        whose margins depend on the query only.
      lower: L after every cycle, likewise.
      margin: in integer scores, at least 0; one for all or broadcastable to `[..., q, 1]`. Concrete ones count in 64
        bits; 2**30 - 64 is the largest.
      valid: `[..., q, k]`; all pairs if not given.
      bits: of an element.
      per_cycle: bits B of a key's element in a cycle.

    Raises:
      ValueError: for bounds of other shapes or of another number of cycles, and for a margin that is NaN.
    """
    integer("bits", bits, 2, 16)
    integer("per_cycle", per_cycle, 1, bits)
    steps = math.ceil(bits / per_cycle)
    require(upper.shape == lower.shape, "lower", lower.shape, f"the shape of upper, {upper.shape}")
    require(len(upper) == steps, "upper", f"{len(upper)} cycles", f"T = {steps} cycles first, [cycles, ..., q, k]")
    slack = _slack(margin)
    valid = jnp.ones(upper.shape[1:], bool) if valid is None else jnp.broadcast_to(valid, upper.shape[1:])
    bar = jnp.max(jnp.where(valid, lower, -(2**30)), -1, keepdims=True)
    alive = valid & (upper >= bar - slack)  # once false it stays so: U falls, and the bar rises
    cycles = jnp.where(valid, 1 + jnp.sum(alive[:-1], 0), 0).astype(jnp.int32)
    return Selection(alive[-1], jnp.minimum(cycles * per_cycle, bits), cycles)


def _slack(margin: ArrayLike) -> Array:
    """A margin as an integer, for scores are integers; of the host's numbers in 64 bits, for float32 ends at 2**24."""
    most = 2**30 - 64  # bars less a slack stay within 31 bits
    if is_concrete(margin):
        known = np.asarray(margin, None if np.issubdtype(np.asarray(margin).dtype, np.integer) else np.float64)
        require(not np.any(np.isnan(known)), "margin", margin, "numbers >= 0")
        return jnp.asarray(np.clip(np.floor(known), 0, most).astype(np.int32))
    traced = jnp.asarray(margin)
    if jnp.issubdtype(traced.dtype, jnp.integer):
        return jnp.clip(traced.astype(jnp.int32), 0, most)
    return jnp.floor(jnp.clip(traced.astype(jnp.result_type(traced.dtype, jnp.float32)), 0, most)).astype(jnp.int32)
