"""What training disturbs so that the network bears other speakers and analog weights."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

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
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))

    def disturbed(key: Array, w: Array) -> Array:
        scale = noise.weight * jax.lax.stop_gradient(jnp.abs(w).max())
        return w + scale * jax.random.normal(key, w.shape, w.dtype)

    return tree.unflatten([disturbed(k, w) if w.ndim > 1 else w for k, w in zip(keys, leaves, strict=True)])


def augment(key: Array, features: Array, noise: TrainingNoise) -> Array:
    """Features `[batch, frames, mels]` shifted in time, changed in level, and masked with zeros (the mean)."""
    keys = jax.random.split(key, 4)
    batch, frames, mels = features.shape
    shift = jax.random.randint(keys[0], (batch, 1), -noise.shift, noise.shift + 1)
    source = jnp.clip(jnp.arange(frames) - shift, 0, frames - 1)  # the edge frame is repeated
    features = jnp.take_along_axis(features, source[..., None], axis=1)
    features = features + noise.level * jax.random.normal(keys[1], (batch, 1, 1))
    keep = _outside(keys[2], batch, frames, noise.time_mask)[:, :, None]
    return features * (keep & _outside(keys[3], batch, mels, noise.mel_mask)[:, None, :])


def _outside(key: Array, batch: int, size: int, widest: int) -> Array:
    """Mask `[batch, size]` that is False on one random stretch of 0 to `widest` places."""
    width_key, start_key = jax.random.split(key)
    width = jax.random.randint(width_key, (batch, 1), 0, widest + 1)
    start = jax.random.randint(start_key, (batch, 1), 0, size - width + 1)
    place = jnp.arange(size)
    return (place < start) | (place >= start + width)


def keep_within(sigmas: float) -> optax.GradientTransformation:
    """After the step, every matrix is clipped to `sigmas` of its standard deviation; 0 changes nothing."""
    if sigmas == 0:
        return optax.identity()

    def update(updates: PyTree, state: optax.OptState, params: PyTree) -> tuple[PyTree, optax.OptState]:
        def bounded(step: Array, w: Array) -> Array:
            limit = sigmas * (w + step).std()
            return jnp.clip(w + step, -limit, limit) - w if w.ndim > 1 else step

        return jax.tree.map(bounded, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
