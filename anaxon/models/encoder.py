"""A sentence encoder in plain Flax NNX: the BERT architecture, mean pooling, unit length.

Devlin et al. 2019, arXiv:1810.04805 (norms behind the sums, GELU by the error function); pooling of sentence encoders
after Reimers and Gurevych 2019, arXiv:1908.10084. One block for all layers is ALBERT (Lan et al. 2020,
arXiv:1909.11942, without its factorised embeddings).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.check import integer, number, require
from anaxon.numerics import safe_sqrt
from anaxon.types import Array

AttentionFns = Callable[[int], Callable[..., Array]]


@dataclasses.dataclass(frozen=True)
class EncoderSizes:
    """Widths and depths; the defaults are those of all-MiniLM-L6-v2.

    Attributes:
      vocabulary: of the tokens.
      positions: the longest sequence.
      types: of segments; single sentences are of type 0.
      width: of the residual stream.
      heads: of the attention; they divide `width`.
      feed_forward: hidden width.
      layers: how many.
      epsilon: of the norms.
      shared: one block's weights for all layers; each layer still has an attention function of its own.

    Raises:
      ValueError: for a size out of range, or two that do not fit.
    """

    vocabulary: int = 30522
    positions: int = 512
    types: int = 2
    width: int = 384
    heads: int = 12
    feed_forward: int = 1536
    layers: int = 6
    epsilon: float = 1e-12
    shared: bool = False

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "types", "width", "heads", "feed_forward", "layers"):
            integer(f"model.{name}", getattr(self, name), 1, 1 << 20)
        number("model.epsilon", self.epsilon, "a number, 0 or more", low=0)
        require(self.width % self.heads == 0, "model.heads", self.heads, f"a divisor of model.width={self.width}")
        require(isinstance(self.shared, bool), "model.shared", repr(self.shared), "true or false")


class Embeddings(nnx.Module):
    """Word, position and type vectors, summed and normed: tokens `[batch, length]` to `[batch, length, width]`.

    Paths: `word/embedding [vocabulary, width]`, `position/embedding`, `type/embedding`, `norm`.
    """

    def __init__(self, sizes: EncoderSizes, *, rngs: nnx.Rngs) -> None:
        self.word = nnx.Embed(sizes.vocabulary, sizes.width, rngs=rngs)
        self.position = nnx.Embed(sizes.positions, sizes.width, rngs=rngs)
        self.type = nnx.Embed(sizes.types, sizes.width, rngs=rngs)
        self.norm = _norm(sizes, rngs)

    def __call__(self, tokens: Array) -> Array:
        """All of type 0."""
        x = self.word(tokens) + self.position.embedding[: tokens.shape[1]] + self.type.embedding[0]
        return self.norm(x)


class Block(nnx.Module):
    """Attention, then a feed-forward pair, each added to its input and normed: `[batch, length, width]` to the same.

    Paths: `attention/{query,key,value}/kernel [width, heads, head]`, `attention/out/kernel [heads, head, width]`,
    `attention_norm`, `up`, `down`, `norm`.
    """

    def __init__(self, sizes: EncoderSizes, attention_fn: Callable[..., Array], *, rngs: nnx.Rngs) -> None:
        width = sizes.width
        self.attention = nnx.MultiHeadAttention(
            sizes.heads, width, attention_fn=attention_fn, decode=False, rngs=rngs, keep_rngs=False
        )
        self.attention_norm = _norm(sizes, rngs)
        self.up = nnx.Linear(width, sizes.feed_forward, rngs=rngs)
        self.down = nnx.Linear(sizes.feed_forward, width, rngs=rngs)
        self.norm = _norm(sizes, rngs)

    def __call__(self, x: Array, pairs: Array) -> Array:
        """`pairs [batch, 1, length, length]` of queries and keys that both are valid tokens."""
        x = self.attention_norm(x + self.attention(x, mask=pairs))
        return self.norm(x + self.down(jax.nn.gelu(self.up(x), approximate=False)))

    def share(self, other: "Block") -> None:
        """Takes over all weights of another block; the attention function stays its own."""
        for name in ("query", "key", "value", "out"):
            setattr(self.attention, name, getattr(other.attention, name))
        for name in ("attention_norm", "up", "down", "norm"):
            setattr(self, name, getattr(other, name))


class Encoder(nnx.Module):
    """Tokens and their mask, `[batch, length]` each, to embeddings of unit length, `[batch, width]`.

    A sentence gives the same whatever its padding, which is where the mask is false, and the others of its batch.
    `attention_fns(layer)` is a layer's attention function, in place of `nnx.dot_product_attention`: an `nnx.Module`
    there, such as `anaxon.flax.PrunedAttention`, is part of the model with its parameters.

    Paths: `embeddings`, `blocks/0` ... (see `Block`); shared weights are those of `blocks/0`.
    """

    def __init__(
        self, sizes: EncoderSizes = EncoderSizes(), attention_fns: AttentionFns | None = None, *, rngs: nnx.Rngs
    ) -> None:  # fmt: skip
        self.positions = sizes.positions
        self.embeddings = Embeddings(sizes, rngs=rngs)
        of_layer = attention_fns or (lambda layer: nnx.dot_product_attention)
        self.blocks = nnx.List(Block(sizes, of_layer(i), rngs=rngs) for i in range(sizes.layers))
        if sizes.shared:
            for block in self.blocks[1:]:
                block.share(self.blocks[0])

    def __call__(self, tokens: Array, mask: Array) -> Array:
        """The mean over valid tokens, at unit length; 0 for a row without any.

        Raises:
          ValueError: for shapes that do not fit.
        """
        return pooled(self.states(tokens, mask), mask)

    def states(self, tokens: Array, mask: Array) -> Array:
        """What the last block gives, `[batch, length, width]`; finite and without meaning at padding."""
        if tokens.ndim != 2 or tokens.shape[1] > self.positions:
            raise ValueError(f"tokens: expected [batch, length <= {self.positions}]; got {tokens.shape}")
        if mask.shape != tokens.shape:
            raise ValueError(f"mask: expected one value per token, {tokens.shape}; got {mask.shape}")
        x, mask = self.embeddings(tokens), mask.astype(bool)
        pairs = nnx.make_attention_mask(mask, mask, jnp.logical_and, dtype=bool)
        for block in self.blocks:
            x = block(x, pairs)
        return x


def pooled(states: Array, mask: Array) -> Array:
    """The mean of valid states at unit length: `[batch, length, width]` to `[batch, width]`."""
    weights = mask.astype(states.dtype)
    mean = jnp.einsum("blw,bl->bw", states, weights) / jnp.maximum(weights.sum(1, keepdims=True), 1.0)
    return mean / jnp.maximum(safe_sqrt(jnp.sum(mean**2, axis=-1, keepdims=True)), 1e-12)


def _norm(sizes: EncoderSizes, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(sizes.width, epsilon=sizes.epsilon, use_fast_variance=False, rngs=rngs)
