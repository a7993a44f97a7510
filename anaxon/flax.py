"""From Flax NNX models to the `(function, parameters)` that anaxon takes."""

from collections.abc import Callable, Mapping
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


def fold_batch_norms(model: nnx.Module, pairs: Mapping[str, str]) -> nnx.Module:
    """A copy of a model whose batch norms are folded into the layers before them and have become identities.

    In evaluation mode it computes what `model` does, with one scale and shift fewer per pair, so that the crossbar
    holds the folded weight. Fold before `functional` and `place`.

    Args:
      model: any NNX model in evaluation mode.
      pairs: paths (attributes and indices joined by `/`) of layers to the paths of the norms that follow them.

    Raises:
      ValueError: for a path that leads to no such layer, or features that differ.
    """
    model = nnx.clone(model)
    for layer_path, norm_path in pairs.items():
        layer, norm = _at(model, layer_path, "kernel"), _at(model, norm_path, "mean")
        bias = None if layer.bias is None else layer.bias[...]
        kernel, bias = fold_batch_norm(layer.kernel[...], bias, norm)
        layer.kernel = nnx.Param(kernel)
        _become_identity(layer, norm, bias)
    return model


def _become_identity(layer: Any, norm: Any, bias: Any) -> None:
    """The norm passes its input on; it keeps the shift of a layer that has no bias of its own."""
    ones, zeros = jnp.ones_like(norm.mean[...]), jnp.zeros_like(norm.mean[...])
    norm.mean, norm.var = nnx.BatchStat(zeros), nnx.BatchStat(ones - norm.epsilon)
    if norm.scale is not None:
        norm.scale = nnx.Param(ones)
    if layer.bias is not None:
        layer.bias = nnx.Param(bias)
    elif norm.bias is not None:
        norm.bias = nnx.Param(bias)
        return
    else:
        norm.mean = nnx.BatchStat(-bias)
    if norm.bias is not None:
        norm.bias = nnx.Param(zeros)


def _at(model: Any, path: str, attribute: str) -> Any:
    node = model
    for name in path.split("/"):
        node = node[int(name)] if name.isdigit() else getattr(node, name, None)
        if node is None:
            break
    if not hasattr(node, attribute):
        raise ValueError(
            f"fold_batch_norms: {path!r} leads to no layer with a {attribute!r}; got {type(node).__name__}"
        )
    return node


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
