"""What training disturbs so that the network bears other speakers and analog weights."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import ndtri

from anaxon.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class TrainingNoise:
    """Noise while training; 0 is off everywhere.

    `weight`: Gaussian noise on every weight matrix, relative to its largest weight (Joshi et al. 2020,
    doi:10.1038/s41467-020-16108-9, eq. 1). `level`: Gaussian change of loudness, in feature units. `shift`: largest
    shift in frames. `time_mask`, `mel_mask`: largest masked stretch in frames and bands (SpecAugment, Park et al.
    2019, arXiv:1904.08779, section 2).

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


def disturb_weights(key: Array, params: PyTree, noise: TrainingNoise) -> PyTree:
    """`params` with fresh Gaussian noise on every matrix; vectors (biases) stay."""
    if noise.weight == 0:
        return params
    matrices = [w for w in jax.tree.leaves(params) if w.ndim > 1]
    # One draw for all: every call of the generator in a scan costs 0.4 s of compile time on a CPU.
    normals = jax.random.normal(key, (sum(w.size for w in matrices),))
    ends = np.cumsum([w.size for w in matrices])
    pieces = iter(jnp.split(normals, ends[:-1]))

    def disturbed(w: Array) -> Array:
        if w.ndim < 2:
            return w
        scale = noise.weight * jax.lax.stop_gradient(jnp.abs(w).max())
        return w + scale * next(pieces).reshape(w.shape).astype(w.dtype)

    return jax.tree.map(disturbed, params)


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


def keep_within(sigmas: float) -> optax.GradientTransformation:
    """After the step, every matrix is clipped to `sigmas` of its standard deviation; 0 changes nothing."""
    if sigmas == 0:
        return optax.identity()

    def update(updates: PyTree, state: optax.OptState, params: PyTree = None) -> tuple[PyTree, optax.OptState]:
        def bounded(step: Array, w: Array) -> Array:
            limit = sigmas * (w + step).std()
            return jnp.clip(w + step, -limit, limit) - w if w.ndim > 1 else step

        return jax.tree.map(bounded, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
