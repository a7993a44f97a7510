"""Optax transformations that keep weights within what a crossbar resolves: its largest weight sets its scale."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from anaxon.types import Array, PyTree


def matrices(params: PyTree) -> PyTree:
    """A mask that is True on everything but vectors and scalars (biases, gains, learned ranges)."""
    return jax.tree.map(lambda w: jnp.ndim(w) > 1, params)


def clip_weights(limit: float, mask: Callable[[PyTree], PyTree] = matrices) -> optax.GradientTransformation:
    """After the step, |w| <= `limit`: the largest weight sets a crossbar's scale. Last in an `optax.chain`.

    Raises:
      ValueError: for a limit that is not positive, or (on update) without parameters.
    """
    if not limit > 0:
        raise ValueError(f"clip_weights: limit must be positive; got {limit!r}")
    return _bounded(lambda moved: limit, mask)


def keep_within(sigmas: float, mask: Callable[[PyTree], PyTree] = matrices) -> optax.GradientTransformation:
    """After the step, every matrix is clipped to `sigmas` of its standard deviation; 0 changes nothing.

    Raises:
      ValueError: for a negative number, or (on update) without parameters.
    """
    if not sigmas >= 0:
        raise ValueError(f"keep_within: sigmas must not be negative; got {sigmas!r}")
    return optax.identity() if sigmas == 0 else _bounded(lambda moved: sigmas * moved.std(), mask)


def _bounded(
    limit_of: Callable[[Array], Array | float], mask: Callable[[PyTree], PyTree]
) -> optax.GradientTransformation:
    """Updates that leave the masked weights within a limit, which is made from the moved weight."""

    def update(updates: PyTree, state: optax.OptState, params: PyTree = None) -> tuple[PyTree, optax.OptState]:
        if params is None:
            raise ValueError("update: this transformation needs the parameters: update(updates, state, params)")

        def bounded(chosen: bool, step: Array, w: Array) -> Array:
            limit = limit_of(w + step)
            return jnp.clip(w + step, -limit, limit) - w if chosen else step

        return jax.tree.map(bounded, mask(params), updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
