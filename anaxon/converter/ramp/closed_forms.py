"""Activations whose inverse is known in closed form, and the turning ones that networks use.

Inverses are float64 NumPy on NumPy outputs and JAX on JAX outputs, so that a designer gets exact numbers and a learned
range a gradient. Where `log`, `arctanh` or `expm1` meets its pole the ramp has left the function's range.
"""

from collections.abc import Callable
from math import inf
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al., NeurIPS 2017
LEAK = 0.01  # slope of `jax.nn.leaky_relu` below zero


class Form(NamedTuple):
    """One activation.

    Attributes:
      fn: in JAX, elementwise.
      domain: inputs between which the ramp of a finite range runs.
      limits: outputs at -inf and +inf; None where they grow without bound.
      inverse: input of an output; None where the function turns.
      exact: `fn` in float64 NumPy.
      strict: inputs between which the function is not flat.
    """

    fn: Callable[[Any], Any]
    domain: tuple[float, float]
    limits: tuple[float | None, float | None]
    inverse: Callable[[Any], Any] | None = None
    exact: Callable[[Any], Any] | None = None
    strict: tuple[float, float] = (-inf, inf)


def _module(y: Any) -> ModuleType:
    return jnp if isinstance(y, jax.Array) else np


def _logit(y: Any) -> Any:
    return _module(y).log(y / (1 - y))


def _arctanh(y: Any) -> Any:
    return _module(y).arctanh(y)


def _inverse_softplus(y: Any) -> Any:
    """`ln(e^y - 1)`, written so that large outputs do not overflow."""
    m = _module(y)
    return y + m.log(-m.expm1(-y))


def _inverse_log_sigmoid(y: Any) -> Any:
    return -_inverse_softplus(-y)


def _inverse_softsign(y: Any) -> Any:
    return y / (1 - _module(y).abs(y))


def _inverse_elu(y: Any, scale: float = 1.0, alpha: float = 1.0) -> Any:
    m, v = _module(y), y / scale
    return m.where(v >= 0, v, m.log1p(m.minimum(v, 0.0) / alpha))


def _inverse_selu(y: Any) -> Any:
    return _inverse_elu(y, SELU_SCALE, SELU_ALPHA)


def _selu(x: Any) -> Any:
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))


def _inverse_leaky(y: Any) -> Any:
    return _module(y).where(y >= 0, y, y / LEAK)


def _erfinv(y: Any) -> Any:
    return jax.scipy.special.erfinv(y) if isinstance(y, jax.Array) else scipy.special.erfinv(y)


def _identity(y: Any) -> Any:
    return y


def _log(y: Any) -> Any:
    return _module(y).log(y)


def _gelu_exact(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


def _symmetric(x: float) -> tuple[float, float]:
    return -x, x


FORMS: dict[str, Form] = {
    "logistic": Form(jax.nn.sigmoid, _symmetric(4.0), (0.0, 1.0), _logit, scipy.special.expit),
    "tanh": Form(jnp.tanh, _symmetric(2.0), (-1.0, 1.0), _arctanh, np.tanh),
    "softplus": Form(jax.nn.softplus, _symmetric(4.0), (0.0, None), _inverse_softplus, lambda x: np.logaddexp(0.0, x)),
    "log_sigmoid": Form(
        jax.nn.log_sigmoid, _symmetric(4.0), (None, 0.0), _inverse_log_sigmoid, lambda x: -np.logaddexp(0.0, -x)
    ),
    "softsign": Form(jax.nn.soft_sign, _symmetric(4.0), (-1.0, 1.0), _inverse_softsign, lambda x: x / (1 + np.abs(x))),
    "elu": Form(
        jax.nn.elu,
        _symmetric(3.0),
        (-1.0, None),
        _inverse_elu,
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    ),
    "selu": Form(jax.nn.selu, _symmetric(3.0), (-SELU_SCALE * SELU_ALPHA, None), _inverse_selu, _selu),
    "exp": Form(jnp.exp, _symmetric(2.0), (0.0, None), _log, np.exp),
    "erf": Form(jax.scipy.special.erf, _symmetric(1.5), (-1.0, 1.0), _erfinv, scipy.special.erf),
    "linear": Form(jax.nn.identity, _symmetric(4.0), (None, None), _identity, _identity),
    "leaky_relu": Form(
        jax.nn.leaky_relu, _symmetric(4.0), (None, None), _inverse_leaky, lambda x: np.where(x >= 0, x, LEAK * x)
    ),
    "relu": Form(jax.nn.relu, (0.0, 4.0), (0.0, None), _identity, lambda x: np.maximum(x, 0.0), (0.0, inf)),
    "relu6": Form(jax.nn.relu6, (0.0, 6.0), (0.0, 6.0), _identity, lambda x: np.clip(x, 0.0, 6.0), (0.0, 6.0)),
    "hard_tanh": Form(
        jax.nn.hard_tanh, _symmetric(1.0), (-1.0, 1.0), _identity, lambda x: np.clip(x, -1.0, 1.0), _symmetric(1.0)
    ),
    "hard_sigmoid": Form(
        jax.nn.hard_sigmoid,
        _symmetric(3.0),
        (0.0, 1.0),
        lambda y: 6 * y - 3,
        lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0),
        _symmetric(3.0),
    ),
    "gelu": Form(_gelu_exact, _symmetric(4.0), (0.0, None)),
    "gelu_tanh": Form(jax.nn.gelu, _symmetric(4.0), (0.0, None)),
    "silu": Form(jax.nn.silu, _symmetric(4.0), (0.0, None)),
    "mish": Form(jax.nn.mish, _symmetric(4.0), (0.0, None)),
    "hard_silu": Form(jax.nn.hard_silu, _symmetric(4.0), (0.0, None)),
}

ALIASES = {
    "sigmoid": "logistic",
    "identity": "linear",
    "swish": "silu",
    "hard_swish": "hard_silu",
    "celu": "elu",
    "soft_sign": "softsign",
}

# What a user may hand over instead of a name.
FUNCTIONS: dict[Any, str] = {form.fn: name for name, form in FORMS.items()} | {
    jax.lax.logistic: "logistic",
    jax.lax.tanh: "tanh",
    jax.nn.tanh: "tanh",
    np.tanh: "tanh",
    jax.lax.exp: "exp",
    jax.lax.erf: "erf",
}
