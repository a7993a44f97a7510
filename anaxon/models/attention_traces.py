"""The queries, keys and values of every attention of a model, as hardware that prunes would see them.

Any Flax NNX model with `nnx.MultiHeadAttention` will do, whatever its attention functions; it is not changed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon import attention
from anaxon.attention import integers
from anaxon.check import require
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
        where = valid_pairs(query, key, mask, bool(options.get("is_causal")))
        self.operands.set_value((*self.operands.get_value(), Trace(query, key, value, bias, where)))
        extra = {} if bias is None else {"bias": bias}
        return self.attention_fn(query, key, value, mask=mask, **extra, **options)


def capture(model: nnx.Module) -> Callable[..., dict[str, Trace]]:
    """A pure `traces(params, *inputs)` beside `functional(model)`, with the same parameters: a `Trace` per attention.

    Queries, keys and values are `[batch, length, heads, head]`, before any scale (`attention.scores` has it); `where`,
    `[batch, 1 or heads, queries, keys]` bool, is true where a query and a key both are valid. The names are paths of
    the attentions, `blocks/0/attention`, in order; the second use of one has `#2` behind it. For `jax.jit`, which
    sorts a dictionary by name (`blocks/10` before `blocks/2`): go by names, not by places. `analog` runs it on a chip.

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


def padded(batches: Sequence[Trace], most: int = 2**22) -> list[Trace]:
    """Batches of similar lengths as one, so that what follows compiles few programs.

    Args:
      batches: of one attention, `[batch, length, heads, d]` without a bias; every result covers the same examples for
        every attention of a model.
      most: pairs of a result, unless one example has more.

    Returns:
      The same examples, their order changed by length; padding is false in `where`.

    Raises:
      ValueError: for attentions with a bias.
    """
    groups: dict[int, list[Trace]] = {}
    for t in batches:
        groups.setdefault((max(t.query.shape[1], t.key.shape[1]) - 1).bit_length(), []).append(t)
    found = []
    for group in groups.values():
        q, k = (max(getattr(t, name).shape[1] for t in group) for name in ("query", "key"))
        whole = jax.tree.map(lambda *x: jnp.concatenate(x), *(_lengthened(t, q, k) for t in group))
        step = max(1, most // (q * k * whole.query.shape[2]))
        found += [
            jax.tree.map(lambda x, part=slice(i, i + step): x[part], whole) for i in range(0, len(whole.query), step)
        ]
    return found


def _lengthened(trace: Trace, queries: int, keys: int) -> Trace:
    """Padded behind to so many queries and keys."""
    require(trace.bias is None, "batches", "a bias", "attentions without one")
    longer = lambda x, n: jnp.pad(x, [(0, 0), (0, n - x.shape[1]), (0, 0), (0, 0)])  # noqa: E731
    lengths = trace.query.shape[1], trace.key.shape[1]
    heads = 1 if trace.where is None else trace.where.shape[1]
    where = jnp.broadcast_to(True if trace.where is None else trace.where, (len(trace.query), heads, *lengths))
    where = jnp.pad(where, [(0, 0), (0, 0), (0, queries - lengths[0]), (0, keys - lengths[1])])
    return Trace(longer(trace.query, queries), longer(trace.key, keys), longer(trace.value, keys), None, where)


def quantile_cuts(
    batches: Sequence[Mapping[str, Trace]], rate: float | np.ndarray, *, per_head: bool = False
) -> dict[str, np.ndarray]:
    """By path, the thresholds that prune a share of what was traced; the uses of one attention count together.

    Args:
      batches: of `capture`.
      rate, per_head: as those of `attention.quantile_threshold`, which says what is raised, too.
    """
    found: dict[str, list[Trace]] = {}
    for batch in batches:
        for name, t in batch.items():
            found.setdefault(name.split("#")[0], []).append(t)

    def cut(traces: list[Trace]) -> np.ndarray:  # scores of one attention at a time
        x = [_scores(t.query, t.key, t.bias) for t in traces]
        return attention.quantile_threshold(x, rate, [t.where for t in traces], per_head=per_head)

    return {path: cut(traces) for path, traces in found.items()}


@jax.jit
def _scores(query: Array, key: Array, bias: Array | None) -> Array:
    return attention.scores(query, key, bias=bias)


def steps_of(traces: Sequence[Trace], bits: int) -> tuple[float, float]:
    """Steps of `bits`-bit integer queries and keys of one attention, from the largest of its valid tokens: on the host.

    A token is valid that belongs to a valid pair; what stands at padding decides nothing.
    """
    tops = np.max(jax.device_get([_largest(t.query, t.key, t.where) for t in traces]), 0)
    return tuple(float(np.asarray(integers.step_of(top, bits))) for top in tops)  # type: ignore[return-value]


@jax.jit
def _largest(query: Array, key: Array, where: Array | None) -> tuple[Array, Array]:
    """Of `[batch, length, heads, d]`; `where [batch, 1 or heads, q, k]` has the other side's tokens along an axis."""

    def largest(x: Array, other: int) -> Array:
        valid = True if where is None else jnp.any(where, (1, other))[..., None, None]
        return jnp.max(jnp.where(valid, jnp.abs(x), 0.0))

    return largest(query, -1), largest(key, -2)


def attentions(model: nnx.Module) -> dict[str, nnx.MultiHeadAttention]:
    """By path, layers in the order of their numbers."""
    found = [(path, node) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.MultiHeadAttention)]
    if not found:
        raise ValueError(f"model: {type(model).__name__} has no nnx.MultiHeadAttention, so there is nothing to trace")
    found.sort(key=lambda pair: [(isinstance(part, str), part) for part in pair[0]])
    return {"/".join(map(str, path)): node for path, node in found}


def valid_pairs(query: Array, key: Array, mask: Array | None, causal: bool) -> Array:
    """True where both are valid, from Flax's masks (numbers or booleans); all pairs without one."""
    (*lead, queries, _, _), keys = query.shape, key.shape[-3]
    where = jnp.ones((*lead, 1, queries, keys), bool) if mask is None else jnp.asarray(mask).astype(bool)
    return where & jnp.tri(queries, keys, dtype=bool) if causal else where
