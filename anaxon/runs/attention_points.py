"""What a pruned model is worth and what it costs: quality on all test examples, hardware on traced ones."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.attention import accelerator, bitserial, integers, rivals, threshold
from anaxon.attention.rival_costs import outcomes
from anaxon.flax import pruning
from anaxon.models.attention_traces import Trace, capture, quantile_cuts
from anaxon.runs.attention_settings import Settings
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
        self.task = task

        def run(params: PyTree, batch: Batch) -> tuple[Array, dict[str, threshold.Counts]]:
            copy = nnx.merge(graphdef, params, rest, copy=True)
            quality = task.quality(copy(*batch.inputs), jnp.asarray(batch.targets))
            return quality, pruning(copy).counts

        self._run, self._traces = jax.jit(run), jax.jit(capture(model))

    def measured(self, model: nnx.Module) -> Measured:
        """Quality and counts of the hard rule on the test split; padded rows count for neither."""
        params = nnx.state(model, nnx.Param)
        values, counts = [], []
        for batch in self.task.test:
            quality, found = self._run(params, batch)
            values.append(np.asarray(quality)[batch.index >= 0])
            counts.append([[np.sum(c) for c in layer] for layer in found.values()])  # rows of padding have no pairs
        return Measured(np.concatenate(values), *np.sum(counts, 0).T)

    def traces(self, model: nnx.Module, batches: list[Batch]) -> list[list[Trace]]:
        """Queries, keys and values of every layer, batch by batch, without rows of padding."""
        params = nnx.state(model, nnx.Param)
        found = [(b.index >= 0, self._traces(params, *b.inputs)) for b in batches]
        if any(t.bias is not None for _, layers in found for t in layers.values()):
            raise ValueError("model: adds a bias to its scores, which the bit-serial front end has no input for")
        return [[jax.tree.map(lambda x, v=valid: x[v], t) for t in layers.values()] for valid, layers in found]


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
      rows: of the account, layer by layer (each head, each bucket of lengths) and of all layers, as dictionaries.
      sweep: all layers for several bits a cycle and units.
      rivals: other ways of pruning on the same queries and keys.
      histogram: pairs by key bits taken, `{"pruned": [bits], "kept": [bits]}`, at one bit a cycle.
      audit: pairs compared with float64 products, wrong decisions, survivors whose score is not the exact one, and the
        share of pairs on which integers and floats agree.
    """

    rows: list[dict[str, Any]]
    sweep: list[dict[str, Any]]
    rivals: list[dict[str, Any]]
    histogram: dict[str, list[int]]
    audit: dict[str, float]


def hardware(bench: Bench, model: nnx.Module, settings: Settings, whole: bool) -> Hardware:
    """Integer queries and keys of test examples through early termination and the tile.

    `whole` adds the sweep and the other ways of pruning, on one batch of the traced examples, of middle length.
    """
    design, tile = settings.accelerator, settings.accelerator.tile
    steps = steps_of(bench, model, design.bits)
    cuts = [float(m.threshold[...]) for m in pruned(model)]
    layers = list(zip(*bench.traces(model, _some(bench.task.test, settings.study.traced)), strict=True))
    costs, head = design.table.costs, layers[0][0].query.shape[-1]
    kinds, every, histogram = {"tile": tile, "costs": costs, "head": head}, [], np.zeros((2, design.bits + 1), np.int64)
    rows, audit, middle, batch = [], np.zeros(4), [], len(layers[0]) // 2  # batches are in the order of lengths
    for i, traces in enumerate(layers):
        runs = [_terminated(t, cuts[i], steps[i], design.bits) for t in traces]
        counts = [
            accelerator.count(bitserial.cycles_at(r.cycles, tile.per_cycle), r.kept, tile, head) for r, *_ in runs
        ]
        rows += accelerator.table(accelerator.joined(counts), **kinds, layer=i)
        every += counts
        middle.append(runs[batch])
        for run, *checked in runs:
            for k, group in enumerate((run.cycles * ~run.kept, run.cycles * run.kept)):
                histogram[k] += np.bincount(np.asarray(group).ravel(), minlength=design.bits + 1)
            valid = int(np.sum(np.asarray(run.cycles) > 0))
            audit += (valid, *checked)
    rows += accelerator.table(accelerator.joined(every), **kinds, layer="all")[:1]
    histogram[:, 0] = 0  # masked pairs
    cycles, kept = (jnp.concatenate([getattr(r, n) for r, *_ in middle]) for n in ("cycles", "kept"))
    swept = accelerator.sweep(cycles, kept, **kinds, layer="all") if whole else []
    return Hardware(
        rows=[dataclasses.asdict(r) for r in rows],
        sweep=[dataclasses.asdict(r) for r in swept],
        rivals=_rivals([t[batch] for t in layers], [r for r, *_ in middle], steps, settings, head) if whole else [],
        histogram={"pruned": histogram[0].tolist(), "kept": histogram[1].tolist()},
        audit={"pairs": audit[0], "wrong": audit[1], "wrong_scores": audit[2], "agree": audit[3] / max(audit[0], 1)},
    )


def _gap(scores: Array, valid: Array, share: float) -> float:
    """How far below its row's largest a score may be, for a share of all pairs to be kept."""
    row = jnp.max(jnp.where(valid, scores, jnp.iinfo(jnp.int32).min), -1, keepdims=True)
    gaps = np.asarray((row - scores).astype(jnp.float32))[np.asarray(valid)]
    return float(np.quantile(gaps, share))


def _at_share(select: Callable[[float], rivals.Selection], share: float, valid: Array) -> rivals.Selection:
    """The selection whose probability keeps about a share of the pairs; it keeps fewer the larger that is."""
    low, high = -12.0, 0.0  # powers of ten
    for _ in range(12):
        middle = (low + high) / 2
        kept = float(jnp.sum(select(10.0**middle).kept) / jnp.maximum(jnp.sum(valid), 1))
        low, high = (middle, high) if kept > share else (low, middle)
    return select(10.0**low)


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


def _terminated(
    trace: Trace, cut: float, steps: tuple[float, float], bits: int
) -> tuple[bitserial.Terminated, int, int, int]:
    """At one bit a cycle; wrong decisions and scores against float64, pairs on which float scores decide alike."""
    q, k = _integers(trace, steps, bits)
    head = q.shape[-1]
    level = integers.integer_threshold(cut, *steps, head, bits)
    where = np.broadcast_to(np.asarray(trace.where), (*q.shape[:-1], k.shape[-2]))
    run = bitserial.terminate(q, k, level, bits=bits, per_cycle=1, where=where)
    exact = np.matmul(np.asarray(q, np.float64), np.swapaxes(np.asarray(k, np.float64), -1, -2))
    right = (exact * (steps[0] * steps[1] / np.sqrt(head)) >= cut) & where
    floats = np.asarray(threshold.kept(threshold.scores(trace.query, trace.key), cut, trace.where))
    kept = np.asarray(run.kept)
    scores = run.scores.to_int64() if isinstance(run.scores, integers.Wide) else np.asarray(run.scores)
    wrong_scores = int(np.sum((scores != exact) & kept))
    return run, int(np.sum(kept != right)), wrong_scores, int(np.sum((kept == floats) & where))


def _rivals(
    traces: list[Trace],
    runs: list[bitserial.Terminated],
    steps: list[tuple[float, float]],
    settings: Settings,
    head: int,
) -> list[dict[str, Any]]:
    """Top-k, a 4-bit predictor, and bounds that adapt to the row, on the middle layer, each at about the same share."""
    design, i = settings.accelerator, len(traces) // 2
    q, k = _integers(traces[i], steps[i], design.bits)
    run, valid = runs[i], runs[i].cycles > 0
    scale = steps[i][0] * steps[i][1] / np.sqrt(head)
    share = float(jnp.sum(run.kept) / jnp.maximum(jnp.sum(valid), 1))
    settled = {"bits": design.bits, "per_cycle": design.per_cycle}
    upper, lower = bitserial.bounds(q, k, **settled, form="two's complement")
    if isinstance(run.scores, integers.Wide) or isinstance(upper, integers.Wide) or isinstance(lower, integers.Wide):
        return []  # scores beyond 32 bits: the others' sums are not made for them
    cycles = bitserial.cycles_at(run.cycles, design.per_cycle)
    bits = jnp.minimum(cycles * design.per_cycle, design.bits)
    found = {
        "learned": rivals.Selection(run.kept, bits, cycles),
        "top_k": rivals.top_k(run.scores, max(share, 1e-3), valid, bits=design.bits),
        "predicted": _at_share(lambda p: rivals.predicted(q, k, float(scale), valid, bits=design.bits, probability=p),
                               share, valid),
        "adaptive": rivals.adaptive(upper, lower, _gap(run.scores, valid, share), valid, **settled),
    }  # fmt: skip
    return [{"layer": i} | dataclasses.asdict(o) for o in outcomes(found, design.tile, design.table.costs, head)]
