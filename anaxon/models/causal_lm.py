"""A small causal transformer over characters in plain Flax NNX: GPT-2's architecture, trained here.

Radford et al. 2019, "Language models are unsupervised multitask learners": norms before the sums, learned positions,
GELU by tanh, the readout tied to the embedding.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.check import integer, require
from anaxon.models.vit import PictureBlock
from anaxon.types import Array


@dataclasses.dataclass(frozen=True)
class CausalSizes:
    """Widths and depths.

    Attributes:
      context: characters of a sequence.
      width: of a token.
      heads: of the attention; they divide `width`.
      blocks: how many.
      feed_forward: hidden width.

    Raises:
      ValueError: for a size out of range, or two that do not fit.
    """

    context: int = 128
    width: int = 128
    heads: int = 4
    blocks: int = 4
    feed_forward: int = 512

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            integer(f"model.{field.name}", getattr(self, field.name), 1, 4096)
        require(self.width % self.heads == 0, "model.heads", self.heads, f"a divisor of model.width={self.width}")


class CausalBlock(PictureBlock):
    """A token attends to itself and those before it."""

    def __call__(self, x: Array) -> Array:
        """`[batch, tokens, width]` to the same."""
        mask = nnx.make_causal_mask(x[..., 0], dtype=bool)
        x = x + self.attention(self.attention_norm(x), mask=mask)
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


class CausalLM(nnx.Module):
    """Codes `[batch, characters]` to logits of the next one, `[batch, characters, symbols]`.

    `attention_fns(block)` is a block's attention function. Paths: `embed/embedding [symbols, width]`,
    `positions [context, width]`, `blocks/0` ... (see `PictureBlock`), `norm`.
    """

    def __init__(
        self,
        sizes: CausalSizes,
        symbols: int,
        attention_fns: Callable[[int], Callable[..., Array]] | None = None,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        function_of = attention_fns or (lambda _: nnx.dot_product_attention)
        self.embed = nnx.Embed(symbols, sizes.width, embedding_init=nnx.initializers.normal(0.02), rngs=rngs)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (sizes.context, sizes.width)))
        self.blocks = nnx.List([CausalBlock(sizes, function_of(i), rngs=rngs) for i in range(sizes.blocks)])
        self.norm = nnx.LayerNorm(sizes.width, rngs=rngs)

    def __call__(self, codes: Array) -> Array:
        """Logits; code t is predicted by those before it."""
        x = self.embed(codes.astype(jnp.int32)) + self.positions[: codes.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(self.norm(x))
