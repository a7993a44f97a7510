"""What training disturbs so that the network bears other speakers, and how much noise its weights get."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from anaxon.types import Array


@dataclasses.dataclass(frozen=True)
class TrainingNoise:
    """Noise while training; 0 is off everywhere.

    `weight`: Gaussian noise on every weight matrix, relative to its largest weight (see `training.disturb_weights`).
    `level`: Gaussian change of loudness, in feature units. `shift`: largest shift in frames. `time_mask`, `mel_mask`:
    largest masked stretch in frames and bands (SpecAugment, Park et al. 2019, arXiv:1904.08779, section 2).

    Raises:
      ValueError: for a negative number.
    """

    weight: float = 0.02
    level: float = 0.2
    shift: int = 3
    time_mask: int = 4
    mel_mask: int = 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value >= 0:
                raise ValueError(f"training.noise.{field.name} must not be negative; got {value!r}")


@partial(jax.jit, static_argnames="noise")
def augment(key: Array, features: Array, noise: TrainingNoise) -> Array:
    """Features `[batch, frames, mels]` shifted in time, changed in level, and masked with zeros (the mean)."""
    batch, frames, mels = features.shape
    u = jax.random.uniform(key, (6, batch, 1))
    shift = _below(u[0], 2 * noise.shift + 1) - noise.shift
    source = jnp.clip(jnp.arange(frames) - shift, 0, frames - 1)  # the edge frame is repeated
    features = jnp.take_along_axis(features, source[..., None], axis=1)
    features = features + noise.level * ndtri(jnp.maximum(u[1], 1e-7))[..., None]
    keep = _outside(u[2:4], frames, noise.time_mask)[:, :, None] & _outside(u[4:6], mels, noise.mel_mask)[:, None, :]
    return features * keep


def _below(u: Array, count: Array | int) -> Array:
    """Whole numbers 0 ... count - 1 from uniforms in [0, 1)."""
    return jnp.minimum((u * count).astype(jnp.int32), count - 1)


def _outside(u: Array, size: int, widest: int) -> Array:
    """Mask `[batch, size]` that is False on one stretch of 0 to `widest` places, from uniforms `[2, batch, 1]`."""
    width = _below(u[0], min(widest, size) + 1)
    start = _below(u[1], size - width + 1)
    place = jnp.arange(size)
    return (place < start) | (place >= start + width)
