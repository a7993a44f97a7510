"""What a pruned model is worth and what it costs: quality on all test examples, hardware on traced ones."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.attention import accelerator, audit, bitserial, threshold
from anaxon.attention.audit import Case
from anaxon.check import require
from anaxon.flax import pruning
from anaxon.models.attention_traces import Trace, attentions, capture, padded, quantile_cuts
from anaxon.models.attention_traces import steps_of as traced_steps
from anaxon.models.integer_attention import with_integers
from anaxon.runs.attention_rivals import compared
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
    """A task's model compiled once for thresholds, weights and seeds of any value."""

    def __init__(self, task: Task, model: nnx.Module) -> None:
        self.task = task
        self._graphdef, _, self._rest = nnx.split(model, nnx.Param, ...)

    def measured(self, model: nnx.Module) -> Measured:
        """Quality and counts of the hard rule on the test split; padded rows count for neither."""
        params = nnx.state(model, nnx.Param)
        values, counts = [], []
        for batch in self.task.test:
            quality, found = _tested(params, self._rest, batch, graphdef=self._graphdef, quality=self.task.quality)
            values.append(np.asarray(quality)[batch.index >= 0])
            counts.append([[np.sum(c) for c in layer] for layer in found])  # rows of padding have no pairs
        return Measured(np.concatenate(values), *np.sum(counts, 0).T)

    def integers(self, model: nnx.Module, steps: list[tuple[float, float]], bits: int) -> np.ndarray:
        """Quality `[items]` with integer queries and keys, pruned by integer thresholds: what the hardware decides."""
        graphdef, state = nnx.split(with_integers(model, thresholds(model), steps, bits))
        run = partial(_of_integers, state, graphdef=graphdef, quality=self.task.quality)
        return np.concatenate([np.asarray(run(b))[b.index >= 0] for b in self.task.test])

    def traces(self, model: nnx.Module, batches: list[Batch]) -> list[list[Trace]]:
        """Queries, keys and values of every layer, batch by batch; rows of padding have no valid pair.

        Raises:
          ValueError: for attentions with a bias, or that are used more than once.
        """
        params = nnx.state(model, nnx.Param)
        found: list[list[Trace]] = [_traced(params, self._rest, b, graphdef=self._graphdef) for b in batches]
        if any(t.bias is not None for layers in found for t in layers):
            raise ValueError("model: adds a bias to its scores, which the bit-serial front end has no input for")
        return found


# One program for all seeds. Lists are in the order of layers: jit sorts dictionaries by name, "blocks/10" before
# "blocks/2".


@partial(jax.jit, static_argnames=("graphdef", "quality"))
def _tested(params: PyTree, rest: PyTree, batch: Batch, *, graphdef: nnx.GraphDef, quality: Callable) -> tuple:
    model = nnx.merge(graphdef, params, rest, copy=True)
    found = quality(model(*batch.inputs), jnp.asarray(batch.targets))
    counts = pruning(model).counts
    return found, [counts[f"{name}/attention_fn"] for name in attentions(model)]


@partial(jax.jit, static_argnames=("graphdef", "quality"))
def _of_integers(state: PyTree, batch: Batch, *, graphdef: nnx.GraphDef, quality: Callable) -> Array:
    return quality(nnx.merge(graphdef, state, copy=True)(*batch.inputs), jnp.asarray(batch.targets))


@partial(jax.jit, static_argnames="graphdef")
def _traced(params: PyTree, rest: PyTree, batch: Batch, *, graphdef: nnx.GraphDef) -> list[Trace]:
    model = nnx.merge(graphdef, params, rest, copy=True)
    found, names = capture(model)(params, *batch.inputs), list(attentions(model))
    require(len(found) == len(names), "model", f"{len(found)} uses of {len(names)} attentions", "one of each")
    valid = (jnp.asarray(batch.index) >= 0)[:, None, None, None]
    of = lambda t: t._replace(where=valid if t.where is None else t.where & valid)  # noqa: E731
    return [of(found[name]) for name in names]


def thresholds(model: nnx.Module) -> list[float]:
    """Of every layer, on the host."""
    return [float(m.threshold[...]) for m in pruned(model)]


def calibrated(bench: Bench, model: nnx.Module, rates: list[float]) -> np.ndarray:
    """Thresholds `[rates, layers]` that prune so much of the dense model's scores on training examples."""
    batches = [{str(i): t for i, t in enumerate(layers)} for layers in bench.traces(model, bench.task.ordered)]
    return np.stack(list(quantile_cuts(batches, np.asarray(rates)).values()), 1)


def steps_of(bench: Bench, model: nnx.Module, bits: int) -> list[tuple[float, float]]:
    """Steps of the integer queries and keys of every layer, from the largest of training examples."""
    return [traced_steps(traces, bits) for traces in zip(*bench.traces(model, bench.task.ordered), strict=True)]


class Hardware(NamedTuple):
    """A point on the accelerator.

    Attributes:
      rows: of the account as dictionaries: layer by layer each head and each bucket of lengths, and of all layers
        (`layer` "all") together each bucket.
      mapping: how a head stands on the tile's lanes.
      sweep: all layers and `study.swept` examples for several bits a cycle and units.
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

    `whole` adds the sweep and the other ways of pruning, on fewer of them.
    """
    design, study = settings.accelerator, settings.study
    layers = _layers(bench, model, study.traced)
    kinds = {"tile": design.tile, "costs": design.table.costs, "head": layers[0][0].query.shape[-1]}
    rules = list(zip(thresholds(model), steps, strict=True))
    found = [_part(batch, rules, design) for batch in zip(*layers, strict=True)]
    few = zip(*_layers(bench, model, min(study.swept, study.traced)), strict=True) if whole else ()
    cases = [_cases(batch, rules, design.bits) for batch in few]
    pruned_pairs, kept_pairs = np.sum([part.histogram for part in found], 0).tolist()
    return Hardware(
        rows=_rows(accelerator.joined(part.counts for part in found), len(layers), kinds),
        mapping=design.tile.mapping(kinds["head"]),
        sweep=_swept(cases, kinds) if whole else [],
        rivals=compared(list(zip(*cases, strict=True)), design, kinds["head"]) if whole else [],
        histogram={"pruned": pruned_pairs, "kept": kept_pairs},
        audit=audit.total(part.audit for part in found).told(),
    )


def _layers(bench: Bench, model: nnx.Module, count: int) -> list[list[Trace]]:
    """Of each layer, traced test examples in a few batches; an accelerator takes more of them at once."""
    batches = some(bench.task.test, count)
    traced = [[jax.tree.map(lambda x, b=b: x[b.index >= 0], t) for t in layers]
              for b, layers in zip(batches, bench.traces(model, batches), strict=True)]  # fmt: skip
    most = 2**22 if jax.default_backend() == "cpu" else 2**24
    return [padded(layer, most) for layer in zip(*traced, strict=True)]


class Part(NamedTuple):
    """All layers of a batch: counts `[example, layers * heads]`, pairs `[2, bits + 1]`."""

    counts: accelerator.Counts
    histogram: np.ndarray
    audit: audit.Sums


Rules = list[tuple[float, tuple[float, float]]]  # of every layer: the threshold, and steps of queries and keys


def _cases(batch: Sequence[Trace], rules: Rules, bits: int) -> list[Case]:
    """One batch through all layers."""
    return [
        audit.decided(trace.query, trace.key, cut, step, bits=bits, where=trace.where)
        for trace, (cut, step) in zip(batch, rules, strict=True)
    ]


def _part(batch: Sequence[Trace], rules: Rules, design: Design) -> Part:
    """What is counted of a batch: nothing of the size of its pairs stays."""
    cases = _cases(batch, rules, design.bits)
    sums = [
        audit.audited(case, trace.where, _by_floats(trace.query, trace.key, cut, trace.where))
        for case, trace, (cut, _) in zip(cases, batch, rules, strict=True)
    ]
    cycles, kept = _beside(cases)
    counts = accelerator.count(
        bitserial.cycles_at(cycles, design.per_cycle), kept, design.tile, cases[0].query.shape[-1]
    )
    pairs = np.sum([audit.histogram(case.run, design.bits) for case in cases], 0)
    return Part(counts, pairs, audit.total(sums))


@jax.jit
def _by_floats(query: Array, key: Array, cut: Array, where: Array | None) -> Array:
    """What the hard rule keeps, `[batch, heads, q, k]`."""
    return threshold.kept(threshold.scores(query, key), cut, where)


def _beside(cases: Sequence[Case]) -> tuple[Array, Array]:
    """Cycles and survivors at one bit a cycle, `[example, layers * heads, q, k]`: layers are so many more heads."""
    return tuple(jnp.concatenate([getattr(case.run, n) for case in cases], 1) for n in ("cycles", "kept"))  # type: ignore[return-value]


def _rows(counts: accelerator.Counts, layers: int, kinds: dict[str, Any]) -> list[dict[str, Any]]:
    of_layer = zip(*(np.split(x, layers, axis=1) for x in counts), strict=True)
    rows = [r for i, x in enumerate(of_layer) for r in accelerator.table(accelerator.Counts(*x), **kinds, layer=i)]
    rows += [r for r in accelerator.table(counts, **kinds, layer="all") if r.head is None]
    return [dataclasses.asdict(r) for r in rows]


def _swept(cases: list[list[Case]], kinds: dict[str, Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(r) for r in accelerator.sweep([*map(_beside, cases)], **kinds, layer="all")]


def some(batches: list[Batch], count: int) -> list[Batch]:
    """Examples from everywhere in the test split; a batch keeps its shape, what is not taken becomes padding."""
    places = [(i, row) for i, b in enumerate(batches) for row in np.flatnonzero(b.index >= 0)]
    chosen = [places[n] for n in np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(int))]
    rows = {i: [row for j, row in chosen if j == i] for i, _ in chosen}
    taken = lambda b, take: np.where(np.isin(np.arange(len(b.index)), take), b.index, -1)  # noqa: E731
    return [batches[i]._replace(index=taken(batches[i], take)) for i, take in rows.items()]
