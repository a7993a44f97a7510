"""Multi-head self-attention with relative positions after Transformer-XL (Dai et al. 2019, arXiv:1901.02860, 3.3).

The products of queries, keys and values are digital; the linear layers around them are weights to place. In
arXiv:2606.13379 it is `linear_pos`, driven by sinusoids of full amplitude, that overflows the converters.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from anaxon.models.conformer_sizes import ConformerSizes
from anaxon.models.dropout import dropout
from anaxon.numerics import quantise, safe_scale
from anaxon.types import Array

MASKED = -1e30  # a score whose weight is exactly zero, and finite: a row without keys has no NaN, nor has its gradient


def encodings(frames: int, width: int) -> Array:
    """Sinusoids of the relative positions `frames - 1` to `-(frames - 1)`, `[2 frames - 1, width]` float32.

    `sin(p / 10000^(2i / width))` in column 2i and the cosine of it in column 2i + 1 (Vaswani et al. 2017, section 3.5).
    """
    position = np.arange(frames - 1, -frames, -1.0)
    angle = position[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(-1, width)
    # Behind a barrier the compiler does not evaluate a converter's arithmetic on constants, seconds a layer at 30 s.
    return jax.lax.optimization_barrier(jnp.asarray(table, jnp.float32))


def shift(scores: Array) -> Array:
    """From scores of relative positions, `[..., frames, 2 frames - 1]`, to those of keys, `[..., frames, frames]`.

    Query i and key j are `i - j` apart, which is column `frames - 1 - i + j`: one pad and two reshapes move every row
    by one more (arXiv:1901.02860, appendix B).
    """
    *lead, frames, positions = scores.shape
    padded = jnp.pad(scores, [(0, 0)] * (scores.ndim - 1) + [(1, 0)])
    moved = padded.reshape(*lead, positions + 1, frames)[..., 1:, :]
    return moved.reshape(*lead, frames, positions)[..., :frames]


class RelativeAttention(nnx.Module):
    """Frames `[batch, frames, width]` attend to the valid ones of their utterance, `mask [batch, frames]`.

    The score of query i and key j is `((q_i + u) k_j + (q_i + v) P_(i-j)) / sqrt(width / heads)`, with `P` the
    encodings behind `linear_pos` ("transformer-xl") or as they are ("no-linear"), each head its own columns; without
    positions it is `q_i k_j / sqrt(width / heads)`.

    Paths: `qkv/kernel [width, 3 width]`, `out/kernel`, `linear_pos/kernel`, `u`, `v`.
    """

    def __init__(self, sizes: ConformerSizes, *, rngs: nnx.Rngs) -> None:
        width, self.heads = sizes.width, sizes.heads
        self.rate, self.score_bits = sizes.dropout, sizes.score_bits
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        if sizes.position != "none":
            start = nnx.initializers.xavier_uniform()
            self.u = nnx.Param(start(rngs.params(), (sizes.heads, width // sizes.heads)))
            self.v = nnx.Param(start(rngs.params(), (sizes.heads, width // sizes.heads)))
        through = sizes.position == "transformer-xl"
        self.linear_pos = nnx.data(nnx.Linear(width, width, use_bias=False, rngs=rngs) if through else None)

    def __call__(self, x: Array, mask: Array, positions: Array | None, key: Array | None = None) -> Array:
        """`positions` are `encodings` of as many frames, None without them; a key drops attention weights."""
        q, k, v = (rearrange(y, "b t (h d) -> b t h d", h=self.heads) for y in jnp.split(self.qkv(x), 3, axis=-1))
        if self.score_bits is not None:
            q, k = (quantised(y, mask, self.score_bits) for y in (q, k))
        scores = self._scores(q, k, positions) / np.sqrt(q.shape[-1])
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, MASKED), axis=-1)
        y = jnp.einsum("bhts,bshd->bthd", dropout(key, weights, self.rate), v)
        return self.out(rearrange(y, "b t h d -> b t (h d)"))

    def _scores(self, q: Array, k: Array, positions: Array | None) -> Array:
        """`[batch, heads, frames, frames]`, before the scale."""
        if positions is None:
            return jnp.einsum("bthd,bshd->bhts", q, k)
        p = positions if self.linear_pos is None else self.linear_pos(positions)
        p = rearrange(p, "r (h d) -> r h d", h=self.heads)
        content = jnp.einsum("bthd,bshd->bhts", q + self.u[...], k)
        return content + shift(jnp.einsum("bthd,rhd->bhtr", q + self.v[...], p))


def quantised(x: Array, mask: Array, bits: int) -> Array:
    """`x [batch, frames, heads, columns]` on a symmetric grid of `bits` that spans each utterance's largest value.

    One scale for each utterance, from its valid frames: what it gives does not depend on the others of its batch.
    """
    top = 2 ** (bits - 1) - 1
    largest = jnp.max(jnp.abs(x), axis=(1, 2, 3), keepdims=True, where=mask[..., None, None], initial=0.0)
    return quantise(x, jax.lax.stop_gradient(safe_scale(largest)) / top, -top, top)
