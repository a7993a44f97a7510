"""The queries, keys and values of every attention of a model, as hardware that prunes would see them.

Any Flax NNX model with `nnx.MultiHeadAttention` will do, whatever its attention functions; it is not changed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon import attention
from anaxon.types import Array, PyTree


class Trace(NamedTuple):
    """One call of an attention: `[..., length, heads, d]`, and what broadcasts against `[..., heads, q, k]`."""

    query: Array
    key: Array
    value: Array
    bias: Array | None
    where: Array | None


class Traced(nnx.Module):
    """An attention function that stores its operands as `nnx.Intermediate` and passes them on to another."""

    def __init__(self, attention_fn: Callable[..., Array]) -> None:
        self.attention_fn = attention_fn
        self.operands: nnx.Intermediate[tuple[Trace, ...]] = nnx.Intermediate(())

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        bias: Array | None = None,
        mask: Array | None = None,
        **options: Any,
    ) -> Array:
        """As `nnx.dot_product_attention`; a causal option becomes part of what is stored."""
        where = _pairs(query, key, mask, bool(options.get("is_causal")))
        self.operands.set_value((*self.operands.get_value(), Trace(query, key, value, bias, where)))
        extra = {} if bias is None else {"bias": bias}
        return self.attention_fn(query, key, value, mask=mask, **extra, **options)


def capture(model: nnx.Module) -> Callable[..., dict[str, Trace]]:
    """A pure `traces(params, *inputs)` beside `functional(model)`, with the same parameters: a `Trace` per attention.

    Queries, keys and values are `[batch, length, heads, head]`, before any scale (`attention.scores` has it); `where`,
    `[batch, 1 or heads, queries, keys]` bool, is true where a query and a key both are valid. The names are paths of
    the attentions, `blocks/0/attention`, in order; the second use of one has `#2` behind it. For `jax.jit`; `analog`
    runs it on a chip.

    Raises:
      ValueError: for a model without an `nnx.MultiHeadAttention`.
    """
    graphdef, _, rest = nnx.split(model, nnx.Param, ...)
    attentions(model)

    def traces(params: PyTree, *inputs: Any, **options: Any) -> dict[str, Trace]:
        copy = nnx.merge(graphdef, params, rest, copy=True)
        taps = {path: Traced(node.attention_fn) for path, node in attentions(copy).items()}
        for path, node in attentions(copy).items():
            node.attention_fn = nnx.data(taps[path])
        copy(*inputs, **options)
        return {f"{path}#{use}" if use > 1 else path: operands
                for path, tap in taps.items() for use, operands in enumerate(tap.operands.get_value(), 1)}  # fmt: skip

    return traces


def quantile_cuts(
    batches: Sequence[Mapping[str, Trace]], rate: float | np.ndarray, *, per_head: bool = False
) -> dict[str, np.ndarray]:
    """By path, the thresholds that prune a share of what was traced; the uses of one attention count together.

    Args:
      batches: of `capture`.
      rate, per_head: as those of `attention.quantile_threshold`, which says what is raised, too.
    """
    found: dict[str, list[tuple[Array, Array | None]]] = {}
    for batch in batches:
        for name, t in batch.items():
            x = attention.scores(t.query, t.key, bias=t.bias)
            found.setdefault(name.split("#")[0], []).append((x, t.where))
    cut = lambda x, where: attention.quantile_threshold(x, rate, where, per_head=per_head)  # noqa: E731
    return {path: cut(*map(list, zip(*pairs, strict=True))) for path, pairs in found.items()}


def attentions(model: nnx.Module) -> dict[str, nnx.MultiHeadAttention]:
    """By path, layers in the order of their numbers."""
    found = [(path, node) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.MultiHeadAttention)]
    if not found:
        raise ValueError(f"model: {type(model).__name__} has no nnx.MultiHeadAttention, so there is nothing to trace")
    found.sort(key=lambda pair: [(isinstance(part, str), part) for part in pair[0]])
    return {"/".join(map(str, path)): node for path, node in found}


def _pairs(query: Array, key: Array, mask: Array | None, causal: bool) -> Array:
    """True where both are valid; all pairs without a mask."""
    (*lead, queries, _, _), keys = query.shape, key.shape[-3]
    where = jnp.ones((*lead, 1, queries, keys), bool) if mask is None else mask.astype(bool)
    return where & jnp.tri(queries, keys, dtype=bool) if causal else where
