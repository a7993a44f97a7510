"""Bit-serial early termination: a dot product stops as soon as its score is certain to stay below the threshold.

The key is read B bits a cycle, most significant first; after cycle t an upper bound of the score is known (spec 2.1):
`U_t = P_t + R_t A` with the partial sum P_t, the largest unseen remainder of a lane `R_t = 2**(M - m(t)) - 1`, and A
the sum of |q| over the lanes whose unseen bits add. A pair is pruned after the first cycle with `U_t < Th`; a survivor
takes all T cycles and its score is exact. The mechanism is LeOPArd's (Li et al., ISCA 2022, arXiv 2204.03227).

Since U_t never rises (theorem T3), a pair takes `1 + sum_{t < T} [U_t >= Th]` cycles, and those of any B follow from
B = 1: `t_B = ceil(t_1 / B)` (T8). All U_t are products of the query with bit planes of the key: no pair is walked
through.
"""

import math
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr

from anaxon.attention.gpu import capability
from anaxon.attention.integers import BITS, LOW, Integers, Wide, added, at_least, is_wide, zeros
from anaxon.attention.operands import MARGINS, as_integers, as_threshold, check_head, check_settings, leading_axes, led
from anaxon.attention.planes import FORMS, known_bits, plane, plane_product, schedule, signs, widest_plane
from anaxon.check import integer
from anaxon.types import Array, ArrayLike, pytree


@pytree
class Terminated:
    """What early termination did with every pair of a query and a key.

    Attributes:
      kept: whether the score reached the threshold, `[..., q, k]` bool.
      scores: exact integer scores, pruned ones too; int32, or `Wide` where `integers.is_wide`.
      cycles: from 1 to `ceil(bits / per_cycle)`, int32; 0 of a pair that is masked.
    """

    kept: Array
    scores: Integers
    cycles: Array


def terminate(
    query: ArrayLike,
    key: ArrayLike,
    threshold: ArrayLike | Wide,
    *,
    bits: int = 12,
    per_cycle: int = 2,
    form: str = "sign-magnitude",
    margin: str = "exact",
    where: ArrayLike | None = None,
) -> Terminated:
    """Survivors, exact scores and cycles of every pair.

    Args:
      query: integers `[..., q, d]` within `+-(2**(bits - 1) - 1)`, in two's complement also `-2**(bits - 1)`; checked
        where they are concrete.
      key: integers of the same range, `[..., k, d]`; leading axes broadcast.
      threshold: the smallest integer score to keep (see `integer_threshold`), broadcastable to `[..., q, k]`: one for
        each head is `[heads, 1, 1]`.
      bits: of query and key, 4 to 16, sign included.
      per_cycle: key bits a cycle, 1 to `bits`; the first cycle's include the sign.
      form: of the key. "sign-magnitude": A sums |q| over lanes of like sign; "two's complement": over positive q, so
        that the margin depends on the query only (PADE, arXiv 2512.14322).
      margin: "exact", or "shifted": `2**(M - m(t)) A`, one shift a cycle in hardware, looser and as safe.
      where: pairs that count, broadcastable to `[..., q, k]`; the others are not kept and take no cycle.

    Raises:
      ValueError: for operands whose plane products would not be exact, shapes that do not fit, integers out of range.
      TypeError: for what is not integer.
    """
    check_settings(bits, per_cycle, form, margin)
    q, k = as_integers("query", query, bits, form), as_integers("key", key, bits, form)
    check_head(q, k, bits)
    th = as_threshold(threshold, q.shape[-1], bits)
    mask = jnp.asarray(True if where is None else where, bool)
    lead = leading_axes(q, k, jax.tree.leaves(th)[0], mask)
    return _terminate((q, k, th, mask), lead=lead, bits=bits, per_cycle=per_cycle, form=form, margin=margin)


def bounds(
    query: ArrayLike,
    key: ArrayLike,
    *,
    bits: int = 12,
    per_cycle: int = 2,
    form: str = "sign-magnitude",
    margin: str = "exact",
) -> tuple[Integers, Integers]:
    """Upper and lower bounds of every score after every cycle, `[cycles, ..., q, k]` each: for adaptive thresholds.

    `L_t = P_t - R_t (|q|_1 - A)`, so `U_t - L_t = R_t |q|_1`; after the last cycle both are the score. They take the
    memory of all cycles: for small cases. Arguments and errors as of `terminate`.
    """
    check_settings(bits, per_cycle, form, margin)
    q, k = as_integers("query", query, bits, form), as_integers("key", key, bits, form)
    check_head(q, k, bits)
    return _bounds((q, k), lead=leading_axes(q, k), bits=bits, per_cycle=per_cycle, form=form, margin=margin)


def cycles_at(cycles_1: ArrayLike, per_cycle: int) -> Array:
    """Cycles at any bits per cycle from those at one: `ceil(t_1 / B)`, exact for every pair (theorem T8)."""
    integer("per_cycle", per_cycle, 1, BITS[1])
    return -(-jnp.asarray(cycles_1) // per_cycle)


def expected_cycles(
    scores: ArrayLike | Wide,
    threshold: ArrayLike | Wide,
    query_norm1: ArrayLike,
    query_norm2: ArrayLike,
    *,
    bits: int = 12,
    per_cycle: int = 2,
) -> Array:
    """Expected cycles of every pair without its bit planes, `[..., q, k]`: for large models.

    `1 + sum_{t < T} Phi((S - Th + R_t |q|_1 / 2) / (R_t |q|_2 / sqrt(12)))`: unseen bits are taken as uniform
    (spec 2.3). The mean over many pairs is within 0.5 % of the simulation.

    Args:
      scores: `[..., q, k]` in the integer unit `s_q s_k`, before the division by `sqrt(d)`; `Wide` ones, too.
      threshold: in the same unit, broadcastable to the scores.
      query_norm1: sum of |q| of the integer query, `[..., q]`.
      query_norm2: its Euclidean norm, `[..., q]`.
      bits: as of `terminate`.
      per_cycle: likewise.
    """
    check_settings(bits, per_cycle, FORMS[0], MARGINS[0])
    over = _over(scores, threshold)
    norm1, norm2 = (jnp.asarray(norm, over.dtype)[..., None] for norm in (query_norm1, query_norm2))
    cycles = jnp.ones(jnp.broadcast_shapes(over.shape, norm1.shape), over.dtype)
    for known in known_bits(bits, per_cycle)[:-1]:
        unseen = 2 ** (bits - 1 - known) - 1
        spread = unseen * norm2 / math.sqrt(12)
        score = (over + unseen * norm1 / 2) / jnp.where(spread > 0, spread, 1.0)
        cycles += jnp.where(spread > 0, ndtr(score), over >= 0)
    return cycles


def _over(scores: ArrayLike | Wide, threshold: ArrayLike | Wide) -> Array:
    """By how much scores exceed a threshold; two `Wide`s subtract half by half, exact near the threshold."""
    if isinstance(scores, Wide) and isinstance(threshold, Wide):
        halves = [jnp.asarray(x) - jnp.asarray(y) for x, y in zip(scores, threshold, strict=True)]
        return _as_float(Wide(*halves))
    return _as_float(scores) - _as_float(threshold)


def _as_float(x: ArrayLike | Wide) -> Array:
    """In the default precision."""
    high, low = x if isinstance(x, Wide) else (0, x)
    return jnp.asarray(high, jnp.result_type(float)) * 2**LOW + jnp.asarray(low, jnp.result_type(float))


@partial(jax.jit, static_argnames=("lead", "bits", "per_cycle", "form", "margin"))
def _terminate(operands: tuple, *, lead: tuple[int, ...], **settings) -> Terminated:
    """On a CPU head by head, so that products stay in the cache; on an accelerator all at once, in half precision.

    NVIDIA GPUs have a kernel for most operands.
    """

    def batch(*operands: Array, dtype: jnp.dtype) -> Terminated:
        return _pairs(*operands, **settings, dtype=dtype)

    def heads(*operands: Array) -> Terminated:
        return lax.map(lambda head: batch(*head, dtype=jnp.float32), operands)

    whole, half = (partial(batch, dtype=dtype) for dtype in (jnp.float32, jnp.float16))
    operands = jax.tree.map(lambda x: lax.collapse(led(x, lead)[None], 0, len(lead) + 1), operands)
    cuda = partial(fused, **settings) if _has_kernel(operands[0], operands[1], settings["bits"]) else half
    found = lax.platform_dependent(*operands, cpu=heads, cuda=cuda, rocm=half, default=whole)
    return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), found)


def fused(
    query: Array,
    key: Array,
    threshold: Array,
    mask: Array,
    *,
    bits: int,
    per_cycle: int,
    form: str,
    margin: str,
    interpret: bool = False,
) -> Terminated:
    """`terminate` of operands `[heads, ., .]` as one GPU kernel; interpreted, it runs anywhere."""
    from anaxon.kernels import termination  # it takes a while to import

    kept, scores, cycles = termination.terminated(
        query,
        key,
        threshold,
        mask,
        bits=bits,
        schedule=schedule(bits, per_cycle, form, termination.widest(bits)),
        plane=partial(plane, form=form, bits=bits),
        signs=signs if form == FORMS[0] else None,
        exact=margin == MARGINS[0],
        interpret=interpret,
    )
    return Terminated(kept=kept, scores=scores, cycles=cycles)


def _has_kernel(query: Array, key: Array, bits: int) -> bool:
    """Whether the kernel takes these operands, and this process has a GPU and a jax to run it."""
    if (found := capability()) is None:
        return False
    from anaxon.kernels import termination

    return termination.takes(query.shape, key.shape, bits, found) and not is_wide(query.shape[-1], bits)


@partial(jax.jit, static_argnames=("lead", "bits", "per_cycle", "form", "margin"))
def _bounds(operands: tuple, *, lead: tuple[int, ...], bits: int, per_cycle: int, form: str, margin: str) -> tuple:
    """Every cycle's bounds, one behind the other."""
    query, key = (led(x, lead) for x in operands)
    rising, falling = _margins(query, key, form, bits, jnp.float32)
    sums = list(_partial_sums(query, key, bits, per_cycle, form, jnp.float32))
    sides = ([_moved(total, side, left, margin) for total, left in sums] for side in (rising, -falling))
    return tuple(jax.tree.map(lambda *cycles: jnp.stack(cycles), *side) for side in sides)


def _pairs(
    query: Array,
    key: Array,
    threshold: Integers,
    mask: Array,
    *,
    bits: int,
    per_cycle: int,
    form: str,
    margin: str,
    dtype: jnp.dtype,
) -> Terminated:
    """All pairs of one head, or of a batch of them."""
    rising, _ = _margins(query, key, form, bits, dtype)
    *early, (scores, _) = _partial_sums(query, key, bits, per_cycle, form, dtype)
    cycles = jnp.ones((*query.shape[:-1], key.shape[-2]), jnp.int32)
    for total, left in early:
        cycles += at_least(_moved(total, rising, left, margin), threshold).astype(jnp.int32)
    return Terminated(kept=at_least(scores, threshold) & mask, scores=scores, cycles=jnp.where(mask, cycles, 0))


def _partial_sums(
    query: Array, key: Array, bits: int, per_cycle: int, form: str, dtype: jnp.dtype
) -> Iterator[tuple[Integers, int]]:
    """`P_t` and how many magnitude bits are still unseen, cycle by cycle; the last `P_t` is the score."""
    head_dim = query.shape[-1]
    total = zeros((*query.shape[:-1], key.shape[-2]), is_wide(head_dim, bits))
    for planes, unseen in schedule(bits, per_cycle, form, widest_plane(head_dim, bits)):
        for first, last in planes:
            product = plane_product(query, plane(key, form, bits, first, last), bits, dtype)
            total = added(total, product, bits - 1 - last)
        yield total, unseen


def _margins(query: Array, key: Array, form: str, bits: int, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Sums of |q| over the lanes whose unseen bits add to the score, and over those where they subtract."""
    norm = jnp.sum(jnp.abs(query), -1, dtype=jnp.int32)[..., None]
    if form == "sign-magnitude":
        rising = (norm + plane_product(query, signs(key), bits, dtype)) >> 1
    else:
        rising = jnp.sum(jnp.maximum(query, 0), -1, dtype=jnp.int32)[..., None]
    return rising, norm - rising


def _moved(total: Integers, margin_sum: Array, left: int, margin: str) -> Integers:
    """`P_t` and its margin: `(2**left - 1) A`, or `2**left A` where that is not worth a subtraction."""
    if left == 0:
        return total
    moved = added(total, margin_sum, left)
    return moved if margin == "shifted" else added(moved, -margin_sum, 0)
