"""Attention as the accelerator decides: integer queries and keys, integer thresholds, the survivors' exact scores.

Early termination keeps the pairs that whole dot products keep (theorem T2 of `attention.bitserial`), so a model whose
attentions are these has the quality that the hardware gives it. Values and weights stay floats.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon import attention
from anaxon.attention import bitserial, integers
from anaxon.models.attention_traces import attentions, valid_pairs
from anaxon.types import Array, ArrayLike


class IntegerAttention(nnx.Module):
    """An attention function for a `nnx.MultiHeadAttention`; a row that loses every score gives 0.

    Thresholds and steps are state, not parameters: models that differ in them are one program.
    """

    def __init__(
        self, threshold: ArrayLike, steps: tuple[float, float], *, head_dim: int, bits: int = 12
    ) -> None:  # fmt: skip
        """Of a float threshold [score], a scalar or `[heads]`, and steps of the integer queries and keys.

        Raises:
          ValueError: as `attention.integers.integer_threshold`.
        """
        cut = integers.integer_threshold(threshold, *steps, head_dim, bits)
        self.threshold = nnx.Variable(jax.tree.map(lambda x: jnp.asarray(x)[..., None, None], cut))
        self.steps = nnx.Variable(jnp.asarray(steps, jnp.float32))
        self.bits = bits

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        bias: Array | None = None,
        mask: Array | None = None,
        **options: Any,
    ) -> Array:
        """As `nnx.dot_product_attention` without dropout: `[..., length, heads, d]` each.

        Raises:
          ValueError: for a bias, which the front end has no input for.
        """
        if bias is not None:
            raise ValueError("bias: added to scores, which the bit-serial front end has no input for; got one")
        where = valid_pairs(query, key, mask, bool(options.get("is_causal")))
        steps = self.steps[...]
        q, k = (
            jnp.moveaxis(integers.quantised(x, s, self.bits), -2, -3) for x, s in zip((query, key), steps, strict=True)
        )
        cut = self.threshold.get_value()
        run = bitserial.terminate(q, k, cut, bits=self.bits, per_cycle=self.bits, where=where)
        x = as_float(run.scores) * (steps[0] * steps[1] / jnp.sqrt(1.0 * query.shape[-1]))
        return attention.weigh(attention.pruned_softmax(x, -jnp.inf, run.kept), value)


def as_float(scores: integers.Integers) -> Array:
    """Integer scores in float32, rounded where they have more than 24 bits."""
    if isinstance(scores, integers.Wide):
        return jnp.asarray(scores.high, jnp.float32) * 2.0**integers.LOW + jnp.asarray(scores.low, jnp.float32)
    return jnp.asarray(scores, jnp.float32)


def with_integers(
    model: nnx.Module, thresholds: Sequence[ArrayLike], steps: Sequence[tuple[float, float]], bits: int
) -> nnx.Module:
    """A copy of a model whose attentions decide on integers.

    Args:
      model: with `nnx.MultiHeadAttention`s, whose attention functions are replaced.
      thresholds: of each layer [score]; -inf prunes nothing.
      steps: of each layer's integer queries and keys.
      bits: of both.
    """
    copy = nnx.clone(model)
    for node, cut, step in zip(attentions(copy).values(), thresholds, steps, strict=True):
        node.attention_fn = nnx.data(IntegerAttention(cut, step, head_dim=node.head_dim, bits=bits))
    return copy
