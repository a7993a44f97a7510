"""Attention that prunes itself: scores below a learned threshold are dropped before the softmax.

Li, Ghodrati, Yazdanbakhsh, Esmaeilzadeh, Kang: "Accelerating Attention through Gradient-Based Learned Runtime
Pruning", ISCA 2022, arXiv 2204.03227. A score `x = q k / sqrt(d)` is kept where `x >= Th`, a tie, too. Training uses

    f(x) = x tanh(s (x - Th))  where x >= Th,   c tanh(s (x - Th))  where x < Th          (the soft threshold)
    L0   = mean of sigmoid(k (f(x) + c - alpha))                                          (the share of pairs kept)

with s = 10, c = 1000, k = 100, alpha = 1. What the paper leaves open is settled so:

- L0 is the mean over the valid pairs of a layer, and the loss takes its mean over layers; it looks at f(x), not at x.
- A threshold belongs to a layer or to each of its heads; whatever broadcasts against `[batch, heads, q, k]` does.
- The hard rule uses Th itself, though L0 counts a pair as pruned only below `Th - edge()`: the pairs between have soft
  weight exp(f) = 0 already.
- A row whose valid scores are all pruned gives the output 0 and is counted, and gives 0 in training, too.
- Th < 0 is allowed, though f is not monotone there: f(Th) = 0 > Th, and kept negative scores turn the gradient round.
- Masked pairs (causal, padding) are in no mean, count or quantile. A mask that hides padded keys only leaves the
  queries of padded positions valid: give one that hides both (`nnx.make_attention_mask`) where numbers are to be right.
- An additive bias is part of the score that is compared.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.check import require
from anaxon.types import Array, ArrayLike

SHARPNESS, FLOOR = 10.0, 1000.0  # s and c of the soft threshold
SLOPE, ALPHA = 100.0, 1.0  # k and alpha of L0
Softmax = Callable[[Array, ArrayLike, ArrayLike | None], Array]


class Counts(NamedTuple):
    """Of one attention, head by head: `[heads]` int32, summed over batch, queries and keys.

    Attributes:
      pairs: valid ones.
      kept: valid pairs whose score reaches the threshold.
      rows: queries with at least one valid pair.
      emptied: those of them that keep none.
    """

    pairs: Array
    kept: Array
    rows: Array
    emptied: Array

    @property
    def pruning_rate(self) -> Array:
        """The share of valid pairs that is dropped, over all heads."""
        total = jnp.sum(jnp.asarray(self.pairs, jnp.float32))
        dropped = jnp.asarray(self.pairs, jnp.float32) - jnp.asarray(self.kept, jnp.float32)
        return jnp.sum(dropped) / jnp.maximum(total, 1.0)


def soft_threshold(x: ArrayLike, threshold: ArrayLike, *, sharpness: float = SHARPNESS, floor: float = FLOOR) -> Array:
    """`x` where it is kept and `-floor` where it is pruned, differentiable in score and threshold; at least float32.

    Continuous at the threshold with the value 0; kept scores shrink by `tanh(sharpness (x - Th))`, 0.3 above by 0.5 %.
    Source: the module's; `s` is the sharpness [1 / score], `c` the floor.
    """
    x, threshold = _wide(x), _wide(threshold)
    # a product with an unselected infinite score (a mask that was added) would have the gradient 0 * inf
    return jnp.where(x >= threshold, jnp.where(x >= threshold, x, 0.0), floor) * jnp.tanh(sharpness * (x - threshold))


def l0(
    x: ArrayLike,
    threshold: ArrayLike,
    *,
    sharpness: float = SHARPNESS,
    floor: float = FLOOR,
    slope: float = SLOPE,
    alpha: float = ALPHA,
    where: ArrayLike | None = None,
) -> Array:
    """The differentiable share of valid pairs that are kept: a scalar, 0 where no pair is valid.

    Only scores within about `2 / (slope sharpness alpha)` score units around `threshold - edge()` have a gradient.

    Args:
      x: scores `[batch, heads, q, k]`.
      threshold: broadcasts against the scores.
      sharpness, floor: those of `soft_threshold`.
      slope, alpha: of the sigmoid: a pair counts as pruned once `f < alpha - floor`.
      where: valid pairs, broadcasts against the scores; None: all.
    """
    x = _wide(x)
    valid = _valid(x, where)
    x = jnp.where(valid, x, 0.0)
    # c + c tanh(u) = 2 c sigmoid(2 u) without cancellation; of kept scores it is at least c, where the sigmoid is 1
    lifted = 2 * floor * jax.nn.sigmoid(2 * sharpness * (x - _wide(threshold)))
    shares = jax.nn.sigmoid(slope * (lifted - alpha))
    return jnp.sum(jnp.where(valid, shares, 0.0)) / jnp.maximum(jnp.sum(valid, dtype=x.dtype), 1.0)


def edge(*, sharpness: float = SHARPNESS, floor: float = FLOOR, alpha: float = ALPHA) -> float:
    """How far below the threshold L0 sees a pair as half pruned: `atanh(1 - alpha / floor) / sharpness` [score]."""
    return math.atanh(1 - alpha / floor) / sharpness


def kept(x: ArrayLike, threshold: ArrayLike, where: ArrayLike | None = None) -> Array:
    """The hard rule `x >= Th` of valid pairs, as booleans in the shape of the scores; what is NaN stays, and shows."""
    x = _wide(x)
    return ~(x < _wide(threshold)) & _valid(x, where)


def pruned_softmax(x: ArrayLike, threshold: ArrayLike, where: ArrayLike | None = None) -> Array:
    """The hard mode: weights over the survivors of each row, 0 elsewhere; a row without survivors is 0.

    Scores `[batch, heads, q, k]`. It has a gradient for the scores and none for the threshold.
    """
    return _softmax(_wide(x), kept(x, threshold, where))


def soft_softmax(
    x: ArrayLike,
    threshold: ArrayLike,
    where: ArrayLike | None = None,
    *,
    sharpness: float = SHARPNESS,
    floor: float = FLOOR,
) -> Array:
    """The training mode: weights over the valid pairs of each row, of the scores behind the soft threshold.

    A weight of `exp(-floor / 2)`, which nothing that is kept can notice, goes to no pair at all: a row whose scores
    are all pruned gives 0 as it will when deployed, where the softmax alone would give its largest score or the mean.
    (Of a row whose largest score is less than 0.055 below the threshold this is not so yet: its f is above -floor / 2.)
    """
    x = _wide(x)
    valid = _valid(x, where)
    soft = soft_threshold(jnp.where(valid, x, 0.0), threshold, sharpness=sharpness, floor=floor)
    return _softmax(soft, valid, -floor / 2)


def count(x: ArrayLike, threshold: ArrayLike, where: ArrayLike | None = None) -> Counts:
    """What the hard rule keeps of scores `[batch, heads, q, k]`; further leading axes are batches, too."""
    x = _wide(x)
    valid = _valid(x, where)
    keep = kept(x, threshold, where)
    rows, filled = jnp.any(valid, -1), jnp.any(keep, -1)
    of_heads = lambda a, axis: jnp.sum(a, [i for i in range(a.ndim) if i - a.ndim != axis], dtype=jnp.int32)  # noqa: E731
    return Counts(of_heads(valid, -3), of_heads(keep, -3), of_heads(rows, -2), of_heads(rows & ~filled, -2))


def scores(query: Array, key: Array, *, bias: Array | None = None, precision: lax.PrecisionLike = None) -> Array:
    """Scaled scores `q k / sqrt(d) + bias`, `[..., heads, q, k]` in at least float32.

    Args:
      query: `[..., q, heads, d]`.
      key: `[..., k, heads, d]`; fewer heads that divide those of the query are shared by neighbours.
      bias: broadcasts against the scores.
      precision: of the product.

    Raises:
      ValueError: for depths or heads that do not fit.
    """
    require(query.shape[-1] == key.shape[-1], "key", key.shape, f"the query's depth, {query.shape[-1]}")
    key = _shared(key, query.shape[-2], "key")
    wide = jnp.promote_types(jnp.float32, jnp.result_type(query, key))
    product = jnp.einsum("...qhd,...khd->...hqk", query, key, precision=precision, preferred_element_type=wide)
    product = product / math.sqrt(query.shape[-1])
    return product if bias is None else product + bias


def weigh(weights: Array, value: Array, *, precision: lax.PrecisionLike = None) -> Array:
    """Outputs `[..., q, heads, d]` of weights `[..., heads, q, k]` and values `[..., k, heads, d]`, in their type."""
    value = _shared(value, weights.shape[-3], "value")
    return jnp.einsum("...hqk,...khd->...qhd", weights.astype(value.dtype), value, precision=precision)


def pruned(
    query: Array,
    key: Array,
    value: Array,
    threshold: ArrayLike,
    *,
    where: ArrayLike | None = None,
    bias: Array | None = None,
    softmax: Softmax = pruned_softmax,
    precision: lax.PrecisionLike = None,
) -> tuple[Array, Counts]:
    """Attention that drops scores below a threshold, and what it dropped.

    Args:
      query: `[..., q, heads, d]`, as in Flax and `jax.nn.dot_product_attention`.
      key: `[..., k, heads, d]`.
      value: `[..., k, heads, d]`.
      threshold: [score]; broadcasts against `[..., heads, q, k]`.
      where: valid pairs, broadcasts likewise; None: all.
      bias: added to the scores before they are compared.
      softmax: `pruned_softmax` (the hard rule) or `soft_softmax` (training); the counts are of the hard rule.
      precision: of the products.

    Returns:
      Outputs `[..., q, heads, d]`, and `Counts`.
    """
    x = scores(query, key, bias=bias, precision=precision)
    return weigh(softmax(x, threshold, where), value, precision=precision), count(x, threshold, where)


def quantile_threshold(
    x: ArrayLike | Sequence[ArrayLike],
    rate: ArrayLike,
    where: ArrayLike | Sequence[ArrayLike | None] | None = None,
    *,
    per_head: bool = False,
) -> np.ndarray:
    """The threshold that prunes a given share of the valid scores, without training.

    Exact: of n distinct scores the hard rule prunes `round(rate n)`; scores equal to the threshold are kept. Scores on
    an accelerator are sorted there; the result is on the host.

    Args:
      x: scores `[batch, heads, q, k]`, or a list of such, of any lengths.
      rate: share(s) to prune, 0 to 1.
      where: valid pairs, broadcasts against the scores; a list beside a list.
      per_head: a threshold for each head instead of one for all.

    Returns:
      Float32 `[*rate.shape]`, and with `per_head` `[*rate.shape, heads]`.

    Raises:
      ValueError: for a rate out of range, masks that are not one for each array, no valid score, or one that is NaN.
    """
    rates = np.asarray(rate, np.float64)
    require(np.all((rates >= 0) & (rates <= 1)), "rate", rate, "shares from 0 to 1")
    arrays = [_placed(a) for a in (x if isinstance(x, list | tuple) else [x])]
    masks: list[Any] = list(where) if isinstance(where, list | tuple) else [where] * len(arrays)
    require(len(masks) == len(arrays), "where", f"{len(masks)} masks", f"one for each of {len(arrays)} arrays")
    require(len(arrays) > 0, "x", "no scores", "at least one array")
    pairs = [(a, _mask(a, m)) for a, m in zip(arrays, masks, strict=True)]
    if not per_head:
        return _cut(pairs, rates)
    heads = range(np.shape(arrays[0])[-3])
    return np.stack([_cut([(a[..., h, :, :], m[..., h, :, :]) for a, m in pairs], rates) for h in heads], -1)


Masked = list[tuple[Any, Any]]  # scores, and whether each is valid


def _cut(pairs: Masked, rates: np.ndarray) -> np.ndarray:
    size = sum(int(m.sum()) for _, m in pairs)
    require(size > 0, "where", "no valid score", "at least one")
    ranks = np.floor(rates * size + 0.5).astype(np.int64)
    places = np.append(np.minimum(ranks, size - 1), size - 1)
    found = _in_order(pairs, places)
    require(not np.isnan(found).any(), "x", "NaN", "scores that are numbers")
    above = np.nextafter(found[-1], np.float32(np.inf))  # where nothing is to be kept
    return np.where(ranks == size, above, found[:-1].reshape(ranks.shape)).astype(np.float32)


def _in_order(pairs: Masked, places: np.ndarray) -> np.ndarray:
    """Of all valid scores, those that would be at `places` if they were sorted; NaN, which is last, at the last."""
    if all(isinstance(x, np.ndarray) for pair in pairs for x in pair):
        return np.partition(np.concatenate([a[m] for a, m in pairs]), np.unique(places))[places]
    total = sum(a.size for a, _ in pairs)
    require(total < 2**31, "x", f"{total} pairs", "fewer than 2**31 of them on an accelerator")
    ordered, broken = sorted_on_device(pairs)
    return np.full(len(places), np.nan, np.float32) if bool(broken) else np.asarray(ordered[places])


@jax.jit
def sorted_on_device(pairs: Masked) -> tuple[Array, Array]:
    """All scores, what is not valid behind them, and whether a valid one is NaN: an accelerator sorts fast."""
    flat = jnp.concatenate([jnp.where(m, a, jnp.inf).ravel() for a, m in pairs])
    return jnp.sort(flat), jnp.any(jnp.isnan(flat))


def _placed(x: ArrayLike) -> Any:
    """Float32 where it is: a CPU's arrays on the host."""
    if isinstance(x, jax.Array) and all(d.platform != "cpu" for d in x.devices()):
        return jnp.asarray(x, jnp.float32)
    return np.asarray(x, np.float32)


def _mask(x: Any, where: ArrayLike | None) -> Any:
    of = np if isinstance(x, np.ndarray) else jnp
    return of.broadcast_to(of.asarray(True if where is None else where).astype(bool), x.shape)


def _softmax(x: Array, where: Array, sink: float = -math.inf) -> Array:
    """Over the last axis, of the pairs named and a score that belongs to none; a row without any is 0."""
    top = lax.stop_gradient(jnp.max(jnp.where(where, x, -jnp.inf), -1, keepdims=True, initial=sink))
    top = jnp.where(jnp.isneginf(top), 0.0, top)  # NaN stays, and shows
    powers = jnp.where(where, jnp.exp(jnp.where(where, x - top, 0.0)), 0.0)
    total = jnp.sum(powers, -1, keepdims=True) + jnp.exp(sink - top)
    return powers / jnp.where(total == 0, 1.0, total)


def _shared(x: Array, heads: int, name: str) -> Array:
    """Keys or values of as many heads as there are queries."""
    own = x.shape[-2]
    require(own > 0 and heads % own == 0, f"{name} heads", own, f"a divisor of the query's {heads}")
    return x if own == heads else jnp.repeat(x, heads // own, axis=-2)


def _wide(x: ArrayLike) -> Array:
    """At least float32: 1000 tanh(u) in half precision has steps of 0.5."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(jnp.float32, x.dtype))


def _valid(x: Array, where: ArrayLike | None) -> Array:
    return jnp.broadcast_to(True if where is None else jnp.asarray(where).astype(bool), x.shape)
