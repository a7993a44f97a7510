"""From Flax NNX models to the `(function, parameters)` that anaxon takes."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx

from anaxon.types import PyTree


def functional(model: nnx.Module) -> tuple[Callable[..., Any], PyTree]:
    """A pure `fn(params, *inputs)` and its parameters, from any NNX model.

    The rest of the model's state (statistics, RNG streams) is held fixed; each call works on a copy of it.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def fn(params: PyTree, *inputs: Any, **kwargs: Any) -> Any:
        return nnx.merge(graphdef, params, rest, copy=True)(*inputs, **kwargs)

    return fn, params


def fold_batch_norm(
    kernel: Any, bias: Any, norm: nnx.BatchNorm, *, column_axis: int = -1
) -> tuple[jnp.ndarray, jnp.ndarray]:
    """The kernel and bias of a layer that does what `norm(layer(x))` does in evaluation mode.

    Args:
      kernel: the layer's weight; its columns (output features) lie along `column_axis`.
      bias: `[features]`, or None.
      norm: the batch norm that follows, with its running statistics.
      column_axis: of the kernel.

    Returns:
      `(kernel, bias)`: `kernel * g`, `(bias - mean) * g + beta`, with `g = gamma / sqrt(var + eps)`.

    Raises:
      ValueError: if the numbers of features differ.
    """
    mean, var = (jnp.asarray(v[...]) for v in (norm.mean, norm.var))
    kernel = jnp.asarray(kernel)
    features = kernel.shape[column_axis]
    if features != mean.size:
        raise ValueError(f"fold_batch_norm: the kernel has {features} features, the norm {mean.size}; they must match")
    gain = 1.0 / jnp.sqrt(var + norm.epsilon)
    if norm.scale is not None:
        gain = gain * norm.scale[...]
    shape = [1] * kernel.ndim
    shape[column_axis] = -1
    shift = (0.0 if bias is None else jnp.asarray(bias)) - mean
    new_bias = shift * gain + (0.0 if norm.bias is None else norm.bias[...])
    return kernel * gain.reshape(shape), new_bias
