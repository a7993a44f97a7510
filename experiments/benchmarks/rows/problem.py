"""The layer that the groups share: one weight, one batch, one way to score a chip."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import anaxon as ax
from anaxon.interpret.plan import Plan

from .measure import ON_CPU, over


class Layer(NamedTuple):
    """Weight `[size, size]`, inputs `[batch, size]`, their exact product, and the keys of the chips of one call."""

    weight: jax.Array
    x: jax.Array
    exact: jax.Array
    keys: jax.Array

    @property
    def sizes(self) -> str:
        """For the row's name."""
        return f"{self.weight.shape[0]}x{self.weight.shape[1]}, batch {self.x.shape[0]}"


def layer(quick: bool, chips: int = 16) -> Layer:
    """512x512 and batch 64 on a CPU, 2048x2048 and batch 256 elsewhere; normal weights and inputs."""
    size, batch = (64, 8) if quick else (512, 64) if ON_CPU else (2048, 256)
    weight = 0.04 * jax.random.normal(jax.random.key(0), (size, size))
    x = jax.random.normal(jax.random.key(1), (batch, size))
    keys = jax.random.split(jax.random.key(2), min(chips, 4) if quick else chips)
    return Layer(weight, x, jnp.matmul(x, weight, precision="highest"), keys)


Normal = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def matmul(weight: jax.Array, x: jax.Array) -> jax.Array:
    """The network that is placed."""
    return x @ weight


def squared_error(y: jax.Array, exact: jax.Array) -> jax.Array:
    """What a chip returns: relative to the exact product, so that alternatives can be checked to simulate the same."""
    return jnp.sum((y - exact) ** 2) / jnp.sum(exact**2)


def planned(hardware: ax.Hardware, it: Layer) -> Plan:
    """A calibrated plan."""
    plan = ax.place(matmul, hardware)(it.weight, it.x)
    return ax.calibrate(matmul)(jax.random.key(3), plan, it.weight, it.x)


def chips(plan: Plan, it: Layer) -> jax.Array:
    """Relative squared errors `[chips]` of freshly programmed chips, through anaxon's public functions."""

    def one(key: jax.Array) -> jax.Array:
        program_key, read_key = jax.random.split(key)
        chip = ax.program(program_key, plan, it.weight)
        return squared_error(ax.analog(matmul)(read_key, chip, it.x), it.exact)

    return over(one, it.keys)


def same_error(errors: dict[str, jax.Array], it: Layer) -> dict[str, float]:
    """Root of each alternative's mean squared error; they must agree, or something else was simulated.

    Raises:
      RuntimeError: where they differ by more than 1 % and 5 standard deviations of a root over n normal errors.
    """
    roots = {name: float(jnp.sqrt(jnp.mean(e))) for name, e in errors.items()}
    outputs = it.exact.size * min(jnp.size(e) for e in errors.values())
    if max(roots.values()) > (1.01 + 5 / outputs**0.5) * min(roots.values()):
        raise RuntimeError(f"the alternatives do not simulate the same: relative errors {roots}")
    return roots
