"""What to minimise: the same loss of a function as it is, with noise on its weights, or on freshly programmed chips."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.interpret.analog import analog
from anaxon.interpret.plan import Plan
from anaxon.interpret.program import program
from anaxon.training.noise import disturb_weights, scaled_noise
from anaxon.types import Array, ArrayLike, PyTree

Schedule = Callable[[Array], ArrayLike]  # any optax schedule: the step to a number
Objective = Callable[..., Any]  # (params, key, step, inputs, *targets)


def digital_loss(fn: Callable[..., Any], loss: Callable[..., Any]) -> Objective:
    """The objective of the function as it is; `key` and `step` are not used."""

    def objective(params: PyTree, key: Array, step: ArrayLike, inputs: tuple, *targets: PyTree) -> Any:
        del key, step
        return loss(fn(params, *_tuple(inputs)), *targets)

    return objective


def disturbed_loss(
    fn: Callable[..., Any], loss: Callable[..., Any], sigma: float, schedule: Schedule | None = None
) -> Objective:
    """The objective with Gaussian noise on every weight matrix: see `disturb_weights`; `schedule(step)` scales it."""

    def objective(params: PyTree, key: Array, step: ArrayLike, inputs: tuple, *targets: PyTree) -> Any:
        now = sigma if schedule is None else sigma * schedule(jnp.asarray(step))
        return loss(fn(disturb_weights(key, params, now), *_tuple(inputs)), *targets)

    return objective


def chip_loss(
    fn: Callable[..., Any], loss: Callable[..., Any], plan: Plan, schedule: Schedule | None = None
) -> Objective:
    """The objective on a chip that is programmed anew, and read with fresh noise, at every call.

    Gradients are straight through the converters and the programming, so that they train `params`; with
    `plan = with_ranges(plan, ranges)` inside a function of `ranges` they train the ranges too.

    Args:
      fn: the function that was placed.
      loss: of `fn`'s outputs and the targets.
      plan: its plan; calibrated, if the ranges are not to follow each batch.
      schedule: scales every noise of the plan by `schedule(step)` (see `scaled_noise`); None leaves them as they are.
    """

    def objective(params: PyTree, key: Array, step: ArrayLike, inputs: tuple, *targets: PyTree) -> Any:
        noisy = plan if schedule is None else scaled_noise(plan, schedule(jnp.asarray(step)))
        program_key, read_key = jax.random.split(key)
        chip = program(program_key, noisy, params)
        return loss(analog(fn)(read_key, chip, *_tuple(inputs)), *targets)

    return objective


def _tuple(inputs: Any) -> tuple:
    if not isinstance(inputs, tuple):
        raise TypeError(
            f"inputs: expected the tuple of the function's inputs, such as (x,); got {type(inputs).__name__}"
        )
    return inputs
