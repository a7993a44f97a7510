"""A small transformer for pictures in plain Flax NNX: patches, blocks with norms before them, the mean, one layer.

Dosovitskiy et al. 2021, arXiv:2010.11929, with the mean of all tokens in the place of a class token.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
from flax import nnx

from anaxon.check import integer, require
from anaxon.types import Array

AttentionFns = Callable[[int], Callable[..., Array]]
SIDE = 28  # of a picture


@dataclasses.dataclass(frozen=True)
class PictureSizes:
    """Widths and depths.

    Attributes:
      width: of a token.
      heads: of the attention; they divide `width`.
      blocks: how many.
      feed_forward: hidden width.
      patch: side of a patch; it divides 28.

    Raises:
      ValueError: for a size out of range, or two that do not fit.
    """

    width: int = 32
    heads: int = 4
    blocks: int = 2
    feed_forward: int = 64
    patch: int = 4

    def __post_init__(self) -> None:
        for name in ("width", "heads", "blocks", "feed_forward"):
            integer(f"model.{name}", getattr(self, name), 1, 4096)
        integer("model.patch", self.patch, 1, SIDE)
        require(SIDE % self.patch == 0, "model.patch", self.patch, f"a divisor of {SIDE}")
        require(self.width % self.heads == 0, "model.heads", self.heads, f"a divisor of model.width={self.width}")

    @property
    def tokens(self) -> int:
        """Patches of a picture."""
        return (SIDE // self.patch) ** 2


class BlockSizes(Protocol):
    """What a block asks of a model's sizes."""

    @property
    def width(self) -> int:
        """Of a token."""
        ...

    @property
    def heads(self) -> int:
        """Of the attention."""
        ...

    @property
    def feed_forward(self) -> int:
        """Hidden width."""
        ...


class PictureBlock(nnx.Module):
    """Attention and a feed-forward pair, each behind a norm and added to its input: `[batch, tokens, width]` to it.

    Paths: `attention/{query,key,value}/kernel [width, heads, head]`, `attention/out/kernel [heads, head, width]`,
    `attention_norm`, `norm`, `up`, `down`.
    """

    def __init__(self, sizes: BlockSizes, attention_fn: Callable[..., Array], *, rngs: nnx.Rngs) -> None:
        self.attention_norm = nnx.LayerNorm(sizes.width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            sizes.heads, sizes.width, attention_fn=attention_fn, decode=False, rngs=rngs, keep_rngs=False
        )
        self.norm = nnx.LayerNorm(sizes.width, rngs=rngs)
        self.up = nnx.Linear(sizes.width, sizes.feed_forward, rngs=rngs)
        self.down = nnx.Linear(sizes.feed_forward, sizes.width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """All tokens attend to all."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


class PictureTransformer(nnx.Module):
    """Pictures `[batch, 28, 28]` to logits `[batch, classes]`.

    `attention_fns(block)` is a block's attention function, in place of `nnx.dot_product_attention`: an `nnx.Module`
    there, such as `anaxon.flax.PrunedAttention`, is part of the model with its parameters.

    Paths: `embed/kernel [patch, patch, 1, width]`, `positions [tokens, width]`, `blocks/0` ... (see `PictureBlock`),
    `norm`, `dense`.
    """

    def __init__(
        self,
        sizes: PictureSizes = PictureSizes(),  # noqa: B008 - frozen
        classes: int = 10,
        attention_fns: AttentionFns | None = None,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        function_of = attention_fns or (lambda _: nnx.dot_product_attention)
        side = (sizes.patch, sizes.patch)
        self.embed = nnx.Conv(1, sizes.width, side, strides=side, padding="VALID", rngs=rngs)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (sizes.tokens, sizes.width)))
        self.blocks = nnx.List([PictureBlock(sizes, function_of(i), rngs=rngs) for i in range(sizes.blocks)])
        self.norm = nnx.LayerNorm(sizes.width, rngs=rngs)
        self.dense = nnx.Linear(sizes.width, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Logits."""
        x = self.embed(x[..., None])
        x = x.reshape(x.shape[0], -1, x.shape[-1]) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.dense(self.norm(x).mean(axis=1))
