"""What a pruned model is worth and what it costs: quality on all test examples, hardware on traced ones."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.attention import accelerator, bitserial, integers, threshold
from anaxon.check import require
from anaxon.flax import pruning
from anaxon.models.attention_traces import Trace, attentions, capture, padded, quantile_cuts
from anaxon.models.integer_attention import with_integers
from anaxon.runs.attention_rivals import Case, compared
from anaxon.runs.attention_settings import Design, Settings
from anaxon.runs.attention_tasks import Batch, Task
from anaxon.runs.attention_training import pruned
from anaxon.types import Array, PyTree


class Measured(NamedTuple):
    """Of all test examples: quality `[items]`; by layer valid pairs, kept ones, rows and emptied rows `[layers]`."""

    quality: np.ndarray
    pairs: np.ndarray
    kept: np.ndarray
    rows: np.ndarray
    emptied: np.ndarray

    @property
    def pruning_rate(self) -> float:
        """The mean over layers."""
        return float(np.mean(1 - self.kept / np.maximum(self.pairs, 1)))


class Bench:
    """A task's model compiled once for thresholds and weights of any value."""

    def __init__(self, task: Task, model: nnx.Module) -> None:
        graphdef, _, rest = nnx.split(model, nnx.Param, ...)
        self.task, operands, order = task, capture(model), list(attentions(model))

        def run(params: PyTree, batch: Batch) -> tuple[Array, list[threshold.Counts]]:
            copy = nnx.merge(graphdef, params, rest, copy=True)
            quality = task.quality(copy(*batch.inputs), jnp.asarray(batch.targets))
            counts = pruning(copy).counts
            return quality, [counts[f"{name}/attention_fn"] for name in order]

        def traces(params: PyTree, *inputs: Array) -> list[Trace]:
            found = operands(params, *inputs)
            require(len(found) == len(order), "model", f"{len(found)} uses of {len(order)} attentions", "one of each")
            return [found[name] for name in order]

        # lists in the order of layers: jit sorts dictionaries by name, "blocks/10" before "blocks/2"
        self._run, self._traces = jax.jit(run), jax.jit(traces)
        self._integers = jax.jit(self._of_integers, static_argnums=0)

    def measured(self, model: nnx.Module) -> Measured:
        """Quality and counts of the hard rule on the test split; padded rows count for neither."""
        params = nnx.state(model, nnx.Param)
        values, counts = [], []
        for batch in self.task.test:
            quality, found = self._run(params, batch)
            values.append(np.asarray(quality)[batch.index >= 0])
            counts.append([[np.sum(c) for c in layer] for layer in found])  # rows of padding have no pairs
        return Measured(np.concatenate(values), *np.sum(counts, 0).T)

    def integers(self, model: nnx.Module, steps: list[tuple[float, float]], bits: int) -> np.ndarray:
        """Quality `[items]` with integer queries and keys, pruned by integer thresholds: what the hardware decides."""
        graphdef, state = nnx.split(with_integers(model, thresholds(model), steps, bits))
        found = [np.asarray(self._integers(graphdef, state, b))[b.index >= 0] for b in self.task.test]
        return np.concatenate(found)

    def _of_integers(self, graphdef: nnx.GraphDef, state: PyTree, batch: Batch) -> Array:
        return self.task.quality(nnx.merge(graphdef, state, copy=True)(*batch.inputs), jnp.asarray(batch.targets))

    def traces(self, model: nnx.Module, batches: list[Batch]) -> list[list[Trace]]:
        """Queries, keys and values of every layer, batch by batch, without rows of padding."""
        params = nnx.state(model, nnx.Param)
        found = [(b.index >= 0, self._traces(params, *b.inputs)) for b in batches]
        if any(t.bias is not None for _, layers in found for t in layers):
            raise ValueError("model: adds a bias to its scores, which the bit-serial front end has no input for")
        return [[jax.tree.map(lambda x, v=valid: x[v], t) for t in layers] for valid, layers in found]


def thresholds(model: nnx.Module) -> list[float]:
    """Of every layer, on the host."""
    return [float(m.threshold[...]) for m in pruned(model)]


def calibrated(bench: Bench, model: nnx.Module, rates: list[float]) -> np.ndarray:
    """Thresholds `[rates, layers]` that prune so much of the dense model's scores on training examples."""
    batches = [{str(i): t for i, t in enumerate(layers)} for layers in bench.traces(model, bench.task.ordered)]
    return np.stack(list(quantile_cuts(batches, np.asarray(rates)).values()), 1)


def steps_of(bench: Bench, model: nnx.Module, bits: int) -> list[tuple[float, float]]:
    """Steps of the integer queries and keys of every layer, from the largest of training examples."""
    found = []
    for traces in zip(*bench.traces(model, bench.task.ordered), strict=True):
        top = lambda name, axis, t=traces: max(_largest(getattr(x, name), x.where, axis) for x in t)  # noqa: E731
        step = lambda name, axis, top=top: float(np.asarray(integers.step_of(top(name, axis), bits)))  # noqa: E731
        found.append((step("query", -1), step("key", -2)))
    return found


def _largest(x: Array, where: Array, axis: int) -> float:
    """Of valid tokens `[batch, length, heads, d]`; `where [batch, 1 or heads, q, k]`."""
    valid = jnp.any(where, (1, axis))[..., None, None]
    return float(jnp.max(jnp.where(valid, jnp.abs(x), 0.0)))


class Hardware(NamedTuple):
    """A point on the accelerator.

    Attributes:
      rows: of the account as dictionaries: layer by layer each head and each bucket of lengths, and of all layers
        (`layer` "all") together each bucket.
      mapping: how a head stands on the tile's lanes.
      sweep: all layers and traced examples for several bits a cycle and units.
      rivals: other ways of pruning on the same queries and keys.
      histogram: pairs by key bits taken, `{"pruned": [bits], "kept": [bits]}`, at one bit a cycle.
      audit: pairs compared with float64 products, wrong decisions, survivors whose score is not the exact one, and the
        share of pairs on which integers and floats agree.
    """

    rows: list[dict[str, Any]]
    mapping: str
    sweep: list[dict[str, Any]]
    rivals: list[dict[str, Any]]
    histogram: dict[str, list[int]]
    audit: dict[str, float]


def hardware(
    bench: Bench, model: nnx.Module, steps: list[tuple[float, float]], settings: Settings, whole: bool
) -> Hardware:  # fmt: skip
    """Integer queries and keys of traced test examples through early termination and the tile.

    `whole` adds the sweep and the other ways of pruning.
    """
    design = settings.accelerator
    traces = zip(*bench.traces(model, _some(bench.task.test, settings.study.traced)), strict=True)
    layers = [padded(batches) for batches in traces]
    found = [
        [_terminated(t, cut, step, design.bits) for t in batches]
        for batches, cut, step in zip(layers, thresholds(model), steps, strict=True)
    ]
    cases = [[case for case, _ in batches] for batches in found]
    runs = _beside(cases)
    kinds = {"tile": design.tile, "costs": design.table.costs, "head": layers[0][0].query.shape[-1]}
    return Hardware(
        rows=_rows(runs, len(layers), kinds),
        mapping=design.tile.mapping(kinds["head"]),
        sweep=[dataclasses.asdict(r) for r in accelerator.sweep(runs, **kinds, layer="all")] if whole else [],
        rivals=compared(cases, design, kinds["head"]) if whole else [],
        histogram=_histogram(runs, design),
        audit=_audited([checked for batches in found for _, checked in batches]),
    )


def _beside(cases: list[list[Case]]) -> list[tuple[Array, Array]]:
    """Cycles and survivors at one bit a cycle, `[example, layers * heads, q, k]`: layers are so many more heads."""
    batches = ([case.run for case in batch] for batch in zip(*cases, strict=True))
    return [tuple(jnp.concatenate([getattr(r, n) for r in runs], 1) for n in ("cycles", "kept")) for runs in batches]  # type: ignore[misc]


def _rows(runs: list[tuple[Array, Array]], layers: int, kinds: dict[str, Any]) -> list[dict[str, Any]]:
    tile, head = kinds["tile"], kinds["head"]
    counts = accelerator.joined(
        accelerator.count(bitserial.cycles_at(cycles, tile.per_cycle), kept, tile, head) for cycles, kept in runs
    )
    of_layer = zip(*(np.split(x, layers, axis=1) for x in counts), strict=True)
    rows = [r for i, x in enumerate(of_layer) for r in accelerator.table(accelerator.Counts(*x), **kinds, layer=i)]
    rows += [r for r in accelerator.table(counts, **kinds, layer="all") if r.head is None]
    return [dataclasses.asdict(r) for r in rows]


def _histogram(runs: list[tuple[Array, Array]], design: Design) -> dict[str, list[int]]:
    """Pairs by the bits that they take; masked ones count nowhere."""
    found = np.zeros((2, design.bits + 1), np.int64)
    for cycles, kept in (map(np.asarray, run) for run in runs):
        for k, group in enumerate((cycles * ~kept, cycles * kept)):
            found[k] += np.bincount(group.ravel(), minlength=design.bits + 1)
    found[:, 0] = 0
    return {"pruned": found[0].tolist(), "kept": found[1].tolist()}


def _audited(checked: list[tuple[int, ...]]) -> dict[str, float]:
    pairs, wrong, scores, alike = (float(x) for x in np.sum(checked, 0))
    return {"pairs": pairs, "wrong": wrong, "wrong_scores": scores, "agree": alike / max(pairs, 1)}


def _some(batches: list[Batch], count: int) -> list[Batch]:
    """Examples from everywhere in the test split, as they are spread over its batches."""
    places = [(i, row) for i, b in enumerate(batches) for row in np.flatnonzero(b.index >= 0)]
    chosen = [places[n] for n in np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(int))]
    rows = {i: np.array([row for j, row in chosen if j == i]) for i, _ in chosen}
    part = lambda b, take: Batch(tuple(x[take] for x in b.inputs), b.targets[take], b.index[take])  # noqa: E731
    return [part(batches[i], take) for i, take in rows.items()]


def _integers(trace: Trace, steps: tuple[float, float], bits: int) -> tuple[Array, Array]:
    """Queries and keys `[batch, heads, length, d]`."""
    sides = zip((trace.query, trace.key), steps, strict=True)
    return tuple(jnp.moveaxis(integers.quantised(x, step, bits), 1, 2) for x, step in sides)  # type: ignore[return-value]


def _terminated(trace: Trace, cut: float, steps: tuple[float, float], bits: int) -> tuple[Case, tuple[int, ...]]:
    """At one bit a cycle; valid pairs, wrong decisions and scores by float64, pairs on which floats decide alike."""
    q, k = _integers(trace, steps, bits)
    head = q.shape[-1]
    level = integers.integer_threshold(cut, *steps, head, bits)
    where = np.broadcast_to(np.asarray(trace.where), (*q.shape[:-1], k.shape[-2]))
    run = bitserial.terminate(q, k, level, bits=bits, per_cycle=1, where=where)
    exact = np.matmul(np.asarray(q, np.float64), np.swapaxes(np.asarray(k, np.float64), -1, -2))
    unit = steps[0] * steps[1] / np.sqrt(head)
    right = (exact * unit >= cut) & where
    floats = np.asarray(threshold.kept(threshold.scores(trace.query, trace.key), cut, trace.where))
    kept = np.asarray(run.kept)
    scores = run.scores.to_int64() if isinstance(run.scores, integers.Wide) else np.asarray(run.scores)
    each = where, kept != right, (scores != exact) & kept, (kept == floats) & where
    pairs, wrong, wrong_scores, alike = (int(np.sum(x)) for x in each)
    return Case(q, k, float(unit), run), (pairs, wrong, wrong_scores, alike)
