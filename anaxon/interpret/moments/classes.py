"""What a Gaussian prediction of logits says about classes."""

import jax
import jax.numpy as jnp

from anaxon.numerics import contract
from anaxon.prng import check_key, normal
from anaxon.types import Array


def class_chances(key: Array, mean: Array, covariance: Array, draws: int = 4096) -> Array:
    """The chance of every class to have the largest logit, over chips and reads: `[batch, classes]`.

    By `draws` of the normal distribution that `predict` gives, the same for all examples; the standard error of a
    chance is below `0.5 / sqrt(draws)`.

    Args:
      key: of the draws.
      mean: `[batch, classes]`.
      covariance: `[batch, classes, classes]`, positive semidefinite up to rounding.
    """
    value, vectors = jnp.linalg.eigh(covariance)
    root = vectors * jnp.sqrt(jnp.maximum(value, 0.0))[:, None, :]
    z = normal(check_key(key), (draws, mean.shape[-1]))
    logits = mean[:, None] + jnp.einsum("bij,dj->bdi", root, z)
    return jax.nn.one_hot(jnp.argmax(logits, -1), mean.shape[-1]).mean(1)


def accuracy_draws(key: Array, mean: Array, covariance: Array, labels: Array, draws: int = 4096) -> Array:
    """Accuracies of chips `[draws]`, of the normal distribution that `joint` gives for the logits of all examples.

    Args:
      key: of the draws.
      mean: `[batch, classes]`.
      covariance: `[batch, classes, batch, classes]`.
      labels: `[batch]`.
    """
    value, vectors = jnp.linalg.eigh(covariance.reshape(mean.size, mean.size))
    root = vectors * jnp.sqrt(jnp.maximum(value, 0.0))
    away = contract(normal(check_key(key), (draws, mean.size)), root, (((1,), (1,)), ((), ())))
    return (jnp.argmax(mean + away.reshape(draws, *mean.shape), -1) == labels).mean(1)
