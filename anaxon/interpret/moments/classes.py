"""What a Gaussian prediction of logits says about classes."""

import jax
import jax.numpy as jnp

from anaxon.numerics import contract
from anaxon.prng import check_key, normal
from anaxon.types import Array, is_concrete


def class_chances(key: Array, mean: Array, covariance: Array, draws: int = 4096) -> Array:
    """The chance of every class to have the largest logit, over chips and reads: `[batch, classes]`.

    By `draws` of the normal distribution that `predict` gives, the same for all examples; the standard error of a
    chance is below `0.5 / sqrt(draws)`.

    Args:
      key: of the draws.
      mean: `[batch, classes]`.
      covariance: `[batch, classes, classes]`, positive semidefinite up to rounding.

    Raises:
      ValueError: for other shapes.
    """
    if mean.ndim != 2 or covariance.shape != (*mean.shape, mean.shape[-1]):
        raise ValueError(
            f"class_chances: expected a mean `[batch, classes]` and a covariance `[batch, classes, classes]`; got "
            f"{mean.shape} and {covariance.shape}"
        )
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
      labels: `[batch]`, integers.

    Raises:
      ValueError: for other shapes, and labels that are no classes.
    """
    if mean.ndim != 2 or covariance.shape != mean.shape * 2:
        raise ValueError(
            "accuracy_draws: expected a mean `[batch, classes]` and the covariance of `joint`, `[batch, classes, "
            "batch, classes]` (that of `predict` is each example's own); "
            f"got {mean.shape} and {covariance.shape}"
        )
    labels = jnp.asarray(labels)
    if labels.shape != mean.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels: expected integers of shape {mean.shape[:1]}; got {labels.dtype.name} of shape {labels.shape}"
        )
    if is_concrete(labels) and not bool(jnp.all((labels >= 0) & (labels < mean.shape[1]))):
        raise ValueError(f"labels: expected 0 to {mean.shape[1] - 1}; got {int(labels.min())} to {int(labels.max())}")
    value, vectors = jnp.linalg.eigh(covariance.reshape(mean.size, mean.size))
    root = vectors * jnp.sqrt(jnp.maximum(value, 0.0))
    away = contract(normal(check_key(key), (draws, mean.size)), root, (((1,), (1,)), ((), ())))
    return (jnp.argmax(mean + away.reshape(draws, *mean.shape), -1) == labels).mean(1)
