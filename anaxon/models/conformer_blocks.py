"""The modules of a Conformer block (Gulati et al. 2020, arXiv:2005.08100, section 2), each without its residual."""

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.models.conformer_sizes import ConformerSizes
from anaxon.models.dropout import dropout, split
from anaxon.models.relative_attention import RelativeAttention
from anaxon.types import Array

EPSILON = 1e-5  # of the norms


class FeedForward(nnx.Module):
    """Norm, `up`, swish, `down`: `[batch, frames, width]` to the same."""

    def __init__(self, sizes: ConformerSizes, *, rngs: nnx.Rngs) -> None:
        self.rate = sizes.dropout
        self.norm = nnx.LayerNorm(sizes.width, epsilon=EPSILON, rngs=rngs)
        self.up = nnx.Linear(sizes.width, sizes.feed_forward, rngs=rngs)
        self.down = nnx.Linear(sizes.feed_forward, sizes.width, rngs=rngs)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """A key drops hidden units."""
        return self.down(dropout(key, jax.nn.silu(self.up(self.norm(x))), self.rate))


class ShiftedSums(nnx.Conv):
    """A depthwise convolution over time as a sum of shifted frames; XLA's own is slow on a CPU, above all backwards."""

    def __call__(self, inputs: Array) -> Array:
        """`[batch, frames, width]`, padded with zeros on both sides."""
        taps, frames = self.kernel[...][:, 0], inputs.shape[1]
        x = jnp.pad(inputs, ((0, 0), (len(taps) // 2, len(taps) // 2), (0, 0)))
        y = jnp.zeros_like(inputs)
        for i, tap in enumerate(taps):
            y = y + x[:, i : i + frames] * tap
        return y if self.bias is None else y + self.bias[...]


class Convolution(nnx.Module):
    """Norm, pointwise with a gated linear unit, depthwise over time, norm, swish, pointwise.

    Frames of padding are zero before the depthwise convolution, like those beyond the array's ends.
    """

    def __init__(self, sizes: ConformerSizes, *, rngs: nnx.Rngs) -> None:
        width = sizes.width
        self.norm = nnx.LayerNorm(width, epsilon=EPSILON, rngs=rngs)
        self.pointwise_in = nnx.Linear(width, 2 * width, rngs=rngs)
        conv = ShiftedSums if sizes.depthwise == "sums" else nnx.Conv
        self.depthwise = conv(width, width, (sizes.kernel,), feature_group_count=width, rngs=rngs)
        kind = nnx.BatchNorm if sizes.norm == "batch" else nnx.LayerNorm
        self.channel_norm: nnx.BatchNorm | nnx.LayerNorm = kind(width, epsilon=EPSILON, rngs=rngs)
        self.pointwise_out = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: Array, mask: Array, key: Array | None = None) -> Array:
        """`mask [batch, frames]`; with a key a batch norm takes the batch's statistics and updates its own."""
        x = jax.nn.glu(self.pointwise_in(self.norm(x)))
        x = self.depthwise(jnp.where(mask[..., None], x, 0.0))
        return self.pointwise_out(jax.nn.silu(self._normed(x, mask, key)))

    def _normed(self, x: Array, mask: Array, key: Array | None) -> Array:
        if isinstance(self.channel_norm, nnx.BatchNorm):
            return self.channel_norm(x, use_running_average=key is None, mask=mask[..., None])
        return self.channel_norm(x)


class Block(nnx.Module):
    """Modules in their configured order, each added to its input, and a norm: `[batch, frames, width]` to the same.

    Paths: `ff1`, `ff2` (in order), `attention` with its `attention_norm`, `convolution`, `norm`.
    """

    def __init__(self, sizes: ConformerSizes, *, rngs: nnx.Rngs) -> None:
        self.rate, self.names = sizes.dropout, _names(sizes.modules)
        self.step = 1.0 / max(1, sizes.modules.count("ff"))
        kinds = {"ff1": FeedForward, "ff2": FeedForward, "attention": RelativeAttention, "convolution": Convolution}
        for name in self.names:
            setattr(self, name, kinds[name](sizes, rngs=rngs))
        if "attention" in self.names:
            self.attention_norm = nnx.LayerNorm(sizes.width, epsilon=EPSILON, rngs=rngs)
        self.norm = nnx.LayerNorm(sizes.width, epsilon=EPSILON, rngs=rngs)

    def __call__(self, x: Array, mask: Array, positions: Array | None, key: Array | None = None) -> Array:
        """A key turns dropout on, inside the modules and before each sum."""
        for name, k in zip(self.names, split(key, len(self.names)), strict=True):
            inner, outer = split(k, 2)
            x = x + dropout(outer, self._module(name, x, mask, positions, inner), self.rate)
        return self.norm(x)

    def _module(self, name: str, x: Array, mask: Array, positions: Array | None, key: Array | None) -> Array:
        module = getattr(self, name)
        if name == "attention":
            return module(self.attention_norm(x), mask, positions, key)
        return module(x, mask, key) if name == "convolution" else self.step * module(x, key)


def _names(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Attribute names of modules: the two feed-forward ones are numbered."""
    names = {"mhsa": "attention", "conv": "convolution"}
    return tuple(names.get(m) or f"ff{modules[: i + 1].count('ff')}" for i, m in enumerate(modules))
