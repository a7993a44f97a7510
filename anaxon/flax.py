"""From Flax NNX models to the `(function, parameters)` that anaxon takes; attention that prunes itself, as a module."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon import attention
from anaxon.check import require
from anaxon.models.attention_traces import Trace, attentions, capture, quantile_cuts, valid_pairs
from anaxon.types import Array, ArrayLike, PyTree


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


class PrunedAttention(nnx.Module):
    """Attention with a learned threshold, as `attention_fn` of a `nnx.MultiHeadAttention`; one instance per layer.

    The threshold is an `nnx.Param`, so it trains and is stored with the weights; `model.set_attributes(hard=True)` goes
    from the soft threshold of training to the hard rule. Each call sows `nnx.Intermediate`s, which `pruning` takes out
    of the model again: `counts`, in the soft mode `l0`. So a model with it is compiled by
    `nnx.jit` or as `functional(model)`; Flax refuses a `jax.jit` over a model from outside.

    Source: Li et al., ISCA 2022, arXiv 2204.03227; formulas and open choices in `anaxon.attention.threshold`.

    Attributes:
      threshold: [score]: a scalar or `[heads]`.
      hard: whether the hard rule decides.
      sharpness, slope: of the soft threshold and of L0; smaller ones give small models more scores with a gradient.
    """

    def __init__(
        self,
        threshold: ArrayLike = 0.0,
        *,
        heads: int | None = None,
        hard: bool = False,
        sharpness: float = attention.SHARPNESS,
        slope: float = attention.SLOPE,
    ):
        """A scalar threshold, or one for each of `heads`.

        Raises:
          ValueError: for a threshold that is NaN, or neither a scalar nor `[heads]`.
        """
        initial = np.asarray(threshold, np.float32)
        require(not np.isnan(initial).any(), "PrunedAttention.threshold", threshold, "numbers, not NaN")
        fits = initial.shape in ((), (heads,)) or (heads is None and initial.ndim == 1)
        require(fits, "PrunedAttention.threshold", f"shape {initial.shape}", f"a scalar or [heads], heads = {heads}")
        self.threshold = nnx.Param(jnp.asarray(initial if heads is None else np.broadcast_to(initial, heads)))
        self.hard = hard
        self.sharpness, self.slope = sharpness, slope

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        bias: Array | None = None,
        mask: Array | None = None,
        broadcast_dropout: bool = True,
        dropout_rng: Array | None = None,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        dtype: Any = None,
        precision: jax.lax.PrecisionLike = None,
        module: nnx.Module | None = None,
        is_causal: bool = False,
    ) -> Array:
        """What `nnx.dot_product_attention` takes and returns; a row without a valid pair gives 0, not the mean."""
        dtype = dtype or jnp.result_type(query, key, value)
        query, key, value = (jnp.asarray(a, dtype) for a in (query, key, value))
        x = attention.scores(query, key, bias=bias, precision=precision)
        where = valid_pairs(query, key, mask, is_causal)
        self._report(x, where)
        weights = self._softmax()(x, self._threshold(x), where)
        if module is not None:
            module.sow(nnx.Intermediate, "attention_weights", weights)
        if not deterministic and dropout_rate > 0.0:
            shape = weights.shape[-2:] if broadcast_dropout else weights.shape
            stay = jax.random.bernoulli(_key(dropout_rng), 1.0 - dropout_rate, shape)
            weights = jnp.where(stay, weights / (1.0 - dropout_rate), 0.0)
        return attention.weigh(weights, value, precision=precision)

    def _softmax(self) -> attention.Softmax:
        return attention.pruned_softmax if self.hard else partial(attention.soft_softmax, sharpness=self.sharpness)

    def _threshold(self, x: Array) -> Array:
        threshold = self.threshold[...]
        heads = x.shape[-3]
        require(threshold.shape in ((), (heads,)), "PrunedAttention.threshold", f"shape {threshold.shape}",
                f"a scalar or one for each of {heads} heads")  # fmt: skip
        return threshold[..., None, None] if threshold.ndim else threshold

    def _report(self, x: Array, where: Array | None) -> None:
        threshold = self._threshold(x)
        self._sow("counts", attention.count(x, threshold, where))
        if not self.hard:
            self._sow("l0", attention.l0(x, threshold, sharpness=self.sharpness, slope=self.slope, where=where))

    def _sow(self, name: str, value: Any) -> None:
        if hasattr(self, "__captures__"):  # inside `nnx.capture`, outside which newer versions of Flax warn of `sow`
            self.sow(nnx.Intermediate, name, value)
        else:
            before = getattr(self, name).get_value() if hasattr(self, name) else ()
            setattr(self, name, nnx.Intermediate((*before, value)))


class Pruning(NamedTuple):
    """What the `PrunedAttention`s of a model did since the last look.

    Attributes:
      l0: the regulariser, mean over layers (a layer that is used twice is two); None if all were hard.
      counts: by the module's path (what leaves `jax.jit` is sorted by name, `blocks/10` before `blocks/2`);
        `attention.Counts` of `[uses, heads]`.
    """

    l0: Array | None
    counts: dict[str, attention.Counts]


def pruning(model: nnx.Module) -> Pruning:
    """Takes out of a model what its `PrunedAttention`s have sown; call it after each forward pass, in the loss too.

    Left in, intermediates would pile up from step to step and the loss would average over steps past.

    Raises:
      ValueError: for a model without `PrunedAttention`, or one that was not called since.
    """
    modules = _pruned(model)
    sown = {path: {n: v.get_value() for n, v in nnx.pop(m, nnx.Intermediate).items()} for path, m in modules.items()}
    sown = {path: found for path, found in sown.items() if "counts" in found}
    require(len(sown) > 0, "model", "no counts", "a model that was called since the last look")
    shares = [jnp.ravel(share) for found in sown.values() for share in found.get("l0", ())]
    counts = {path: jax.tree.map(lambda *c: jnp.stack(c), *found["counts"]) for path, found in sown.items()}
    return Pruning(jnp.mean(jnp.concatenate(shares)) if shares else None, counts)


def calibrate_pruning(model: nnx.Module, batches: Iterable[tuple], rate: float) -> None:
    """Sets the thresholds so that each prunes a share of the dense model's valid scores, without training.

    Args:
      model: with `PrunedAttention`s; each threshold keeps its shape, one per layer or per head; one that several
        attentions share is of all their scores together.
      batches: tuples of the model's inputs.
      rate: share of the pairs to prune, 0 to 1. The deployed model's own rates differ by what pruning of the layers
        before does to the scores.

    Raises:
      ValueError: as `attention.quantile_threshold` and `pruning`, and without a batch.
    """
    dense = nnx.clone(model)
    for module in _pruned(dense).values():
        module.threshold[...], module.hard = jnp.full_like(module.threshold[...], -jnp.inf), True
    traced, params = jax.jit(capture(dense)), nnx.state(dense, nnx.Param)
    found = [traced(params, *batch) for batch in batches]
    require(len(found) > 0, "batches", "none", "at least one tuple of the model's inputs")
    shared: dict[int, list[str]] = {}
    for path, node in attentions(model).items():
        shared.setdefault(id(node.attention_fn), []).append(path)
    for path, node in attentions(model).items():
        module = node.attention_fn
        if isinstance(module, PrunedAttention) and path == shared[id(module)][0]:
            own = [_traced(batch, dict.fromkeys(shared[id(module)], path)) for batch in found]
            cut = quantile_cuts(own, rate, per_head=module.threshold[...].ndim > 0)[path]
            module.threshold[...] = jnp.asarray(cut)


def _traced(batch: dict[str, Trace], names: Mapping[str, str]) -> dict[str, Trace]:
    """All uses of the attentions named, as uses of one."""
    return {f"{names[path]}#{name}": trace for name, trace in batch.items() if (path := name.split("#")[0]) in names}


def _pruned(model: nnx.Module) -> dict[str, PrunedAttention]:
    found = {
        "/".join(map(str, path)): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, PrunedAttention)
    }
    require(len(found) > 0, "model", type(model).__name__, "a model with a PrunedAttention as an attention_fn")
    return found


def _key(rng: Array | None) -> Array:
    require(rng is not None, "dropout_rng", rng, "a key where dropout_rate > 0 and deterministic=False")
    assert rng is not None
    return rng
