"""Small convolutional networks whose every operation `predict` follows: no normalisation, average pooling."""

import dataclasses

import jax.numpy as jnp
from flax import nnx

from anaxon.check import integer
from anaxon.types import Array

POOLED = (0, 1, 3)  # layers whose result is halved in both directions: 28, 14, 7, 3


@dataclasses.dataclass(frozen=True)
class Channels:
    """Widths of the convolutions.

    Raises:
      ValueError: unless there are five.
    """

    channels: tuple[int, ...] = (4, 8, 16, 16, 16)

    def __post_init__(self) -> None:
        if len(self.channels) != 5:
            raise ValueError(f"model.channels: expected five numbers; got {list(self.channels)}")
        for n in self.channels:
            integer("model.channels", n, 1, 256)


class ConvNet(nnx.Module):
    """Five 3x3 convolutions with ReLU, three average poolings, and a dense layer."""

    def __init__(self, config: Channels, classes: int = 10, *, rngs: nnx.Rngs) -> None:
        widths = (1, *config.channels)
        self.convs = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in zip(widths, widths[1:], strict=False)])
        self.dense = nnx.Linear(9 * widths[-1], classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Logits `[batch, classes]` of pictures `[batch, 28, 28]`."""
        x = x[..., None]
        for i, conv in enumerate(self.convs):
            x = nnx.relu(conv(x))
            x = nnx.avg_pool(x, (2, 2), (2, 2)) if i in POOLED else x
        return self.dense(x.reshape(x.shape[0], -1))


class ResidualNet(nnx.Module):
    """The same size with skips around the convolutions that keep their width (by zeros where channels are added)."""

    def __init__(self, config: Channels, classes: int = 10, *, rngs: nnx.Rngs) -> None:
        self.plain = ConvNet(config, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Logits `[batch, classes]` of pictures `[batch, 28, 28]`."""
        x = x[..., None]
        for i, conv in enumerate(self.plain.convs):
            y = nnx.relu(conv(x))
            more = y.shape[-1] - x.shape[-1]
            x = y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more))) if more >= 0 and i else y
            x = nnx.avg_pool(x, (2, 2), (2, 2)) if i in POOLED else x
        return self.plain.dense(x.reshape(x.shape[0], -1))


NETWORKS = {"plain": ConvNet, "residual": ResidualNet}
