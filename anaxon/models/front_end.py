"""A VGG-like front end: 3x3 convolutions over frames and mels that leave a quarter of the frames, then a linear layer.

The channels 32-64-64-32 with pooling over time are those of arXiv:2505.24721; strides instead of pooling, and a
rectifier after every convolution, are choices made here.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.models.conformer_sizes import ConformerSizes
from anaxon.types import Array


def halved(frames: Array | int) -> Array | int:
    """Frames after one halving: an odd last frame counts as one."""
    return (frames + 1) // 2


def valid(lengths: Array, frames: int) -> Array:
    """`[batch, frames]`: which frames belong to the utterance."""
    return jnp.arange(frames) < lengths[:, None]


class FrontEnd(nnx.Module):
    """Features `[batch, frames, mels]` and lengths `[batch]` to `[batch, frames / 4, width]` and lengths.

    Frames behind an utterance's end are zero before every convolution, as they are behind the end of the array: what an
    utterance gives does not depend on how far it is padded.
    """

    def __init__(self, sizes: ConformerSizes, *, rngs: nnx.Rngs) -> None:
        channels = (1, *sizes.front_end)
        self.pooled, self.half = sizes.subsampling == "pool", len(sizes.front_end) // 2
        strides = [1 if self.pooled or (i + 1) % self.half else 2 for i in range(len(sizes.front_end))]
        self.convolutions = nnx.List(
            nnx.Conv(a, b, (3, 3), strides=s, padding=((1, 1), (1, 1)), rngs=rngs)
            for a, b, s in zip(channels[:-1], channels[1:], strides, strict=True)
        )
        mels = sizes.mels if self.pooled else int(halved(halved(sizes.mels)))
        self.linear = nnx.Linear(mels * channels[-1], sizes.width, rngs=rngs)

    def __call__(self, features: Array, lengths: Array) -> tuple[Array, Array]:
        """Lengths become `halved(halved(lengths))`."""
        x = _zero_padding(features[..., None], lengths)
        for i, convolution in enumerate(self.convolutions):
            x = jax.nn.relu(convolution(x))
            if (i + 1) % self.half == 0:
                x = _larger_of_two(_zero_padding(x, lengths)) if self.pooled else x
                lengths = jnp.asarray(halved(lengths))
            x = _zero_padding(x, lengths)
        return self.linear(x.reshape(*x.shape[:2], -1)), lengths


def _zero_padding(x: Array, lengths: Array) -> Array:
    """A selection and not a product: padding may hold anything, NaN too."""
    return jnp.where(valid(lengths, x.shape[1])[..., None, None], x, 0.0)


def _larger_of_two(x: Array) -> Array:
    """Max pooling over pairs of frames; after a rectifier a missing frame is a zero."""
    odd = x.shape[1] % 2
    x = jnp.pad(x, ((0, 0), (0, odd), (0, 0), (0, 0)))
    return jnp.maximum(x[:, 0::2], x[:, 1::2])
