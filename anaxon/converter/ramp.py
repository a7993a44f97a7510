"""The ramp ADC that computes an activation: a counter of nonlinear thresholds instead of a linear code.

A column's voltage is compared with a ramp whose levels are `V_k = g^-1(y_k)`; the number of levels passed is the code
of `g(z)` (Yang et al., Nat. Commun. 2025, 10.1038/s41467-025-56254-6). Here: ideal thresholds, one shared ramp.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from anaxon.check import integer
from anaxon.types import Array, pytree, static

# name: (function, inverse, lowest output, highest output)
_ACTIVATIONS: dict[str, tuple[Callable, Callable, float, float]] = {
    "logistic": (jax.nn.sigmoid, lambda y: jnp.log(y / (1 - y)), 0.0, 1.0),
    "tanh": (jnp.tanh, jnp.arctanh, -1.0, 1.0),
}
_MARK = "anaxon_activation_"


@pytree
class Ramp:
    """A ramp converter: `2**bits` output codes of the activation that a column reaches.

    Attributes:
      bits: output resolution, 2..8.
    """

    bits: int = static(default=5)

    def __post_init__(self) -> None:
        integer("Ramp.bits", self.bits, 2, 8)


def activation(fn: Callable, *, inverse: Callable, low: float, high: float, name: str | None = None) -> Callable:
    """Marks a monotone increasing elementwise `fn` as one that a ramp ADC may compute; it runs unchanged elsewhere.

    Args:
      fn: elementwise function, differentiable.
      inverse: its inverse on (low, high).
      low: infimum of its output.
      high: supremum of its output.
      name: how tables call it; the function's own name by default.
    """
    name = name or getattr(fn, "__name__", "activation")
    _ACTIVATIONS[name] = (fn, inverse, low, high)

    def marked(z: Array) -> Array:
        return fn(z)

    marked.__name__ = marked.__qualname__ = _MARK + name
    return jax.jit(marked)


def marked_name(jit_name: str) -> str | None:
    """The activation's name if a jitted call was marked by `activation`."""
    return jit_name.removeprefix(_MARK) if jit_name.startswith(_MARK) else None


def is_known(name: str) -> bool:
    """Whether a ramp can compute the activation of this name."""
    return name in _ACTIVATIONS


def thresholds(name: str, bits: int) -> Array:
    """Levels `[2**bits - 1]` of the ramp in the activation's input units: the edges between output codes."""
    _, inverse, low, high = _ACTIVATIONS[name]
    count = 2**bits
    return inverse(low + (high - low) * jnp.arange(1, count, dtype=jnp.float32) / count)


def reconstruct(name: str, bits: int, code: Array) -> Array:
    """The output of a code: the middle of its interval."""
    _, _, low, high = _ACTIVATIONS[name]
    return low + (high - low) * (code + 0.5) / 2**bits


def convert(name: str, ramp: Ramp, z: Array) -> Array:
    """`g(z)` as the counter gives it, the shape of `z`; its gradient is that of `g` (a surrogate)."""
    fn = _ACTIVATIONS[name][0]
    code = jnp.searchsorted(thresholds(name, ramp.bits), jax.lax.stop_gradient(z), side="right", method="compare_all")
    exact = fn(z)
    return exact + jax.lax.stop_gradient(reconstruct(name, ramp.bits, code).astype(z.dtype) - exact)
