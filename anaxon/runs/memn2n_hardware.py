"""What a pruned memory network costs on the accelerator: hop by hop, one query a question against its memories."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.attention import accelerator, audit, bitserial, integers, kept, pruned_softmax
from anaxon.data.story_questions import Questions
from anaxon.models.memory_network import Hops, MemoryNetwork
from anaxon.models.train_memory import Params
from anaxon.runs.attention_settings import Design
from anaxon.types import Array

TOLD = ("pairs", "pruning_rate", "mean_cycles", "mean_bits", "cycles", "speed_up", "speed_up_pruning",
        "energy_ratio", "energy_ratio_pruning", "energy_ratio_termination")  # fmt: skip


class Ran(NamedTuple):
    """A hop: what its tile did, pairs by bits taken `[2, bits + 1]` (pruned, kept), and its audit."""

    counts: accelerator.Counts
    histogram: np.ndarray
    audit: audit.Sums


def hardware(model: MemoryNetwork, params: Params, known: Questions, asked: Questions, design: Design) -> dict:
    """Integer states and memories through early termination and the tile.

    Args:
      model: of these sizes; its weights do not matter.
      params: a pruned network's.
      known: questions that decide the steps of the integers.
      asked: questions that are traced.
      design: bits, tile and costs.

    Returns:
      `rows`: for every hop and "all" what `TOLD` names. `histogram`: pairs by key bits taken, of pruned and kept ones.
      `audit`: pairs compared with float64 products, wrong decisions, survivors with a wrong score, and the share of
      pairs on which integers and floats agree.
    """
    graphdef, _, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def read(params: Params, memories: Array, question: Array, valid: Array) -> Hops:
        state = nnx.State({name: nnx.Param(x) for name, x in params.items()})
        return nnx.merge(graphdef, state, rest, copy=True).read(memories, question, valid, pruned_softmax)[1]

    hops = lambda q: (read(params, *map(jnp.asarray, (q.memories, q.question, q.valid))), _where(q))  # noqa: E731
    steps = _steps(*hops(known), design.bits)
    found, where = hops(asked)
    runs = [_run(Hops(*(x[hop] for x in found)), where, float(params["threshold"][hop]), steps[hop], design)
            for hop in range(len(steps))]  # fmt: skip
    width, histogram = found.states.shape[-1], np.sum([r.histogram for r in runs], 0)
    kinds: dict[str, Any] = {"tile": design.tile, "costs": design.table.costs, "head": width}
    layers = [(hop + 1, r.counts) for hop, r in enumerate(runs)] + [("all", accelerator.joined(r.counts for r in runs))]
    rows = [accelerator.table(counts, **kinds, layer=name)[0] for name, counts in layers]
    return {
        "rows": [{"hop": r.layer} | {k: v for k, v in dataclasses.asdict(r).items() if k in TOLD} for r in rows],
        "histogram": {"pruned": histogram[0].tolist(), "kept": histogram[1].tolist()},
        "audit": audit.total(r.audit for r in runs).told(),
    }


def _where(asked: Questions) -> np.ndarray:
    """Valid memories `[n, memories]`."""
    return np.arange(asked.memories.shape[1]) < asked.valid[:, None]


def _steps(hops: Hops, where: np.ndarray, bits: int) -> list[tuple[float, float]]:
    """Of states and memories of every hop, from the largest there is."""
    step = lambda x: float(np.asarray(integers.step_of(x, bits)))  # noqa: E731
    top = (jnp.abs(hops.states).max((1, 2)), jnp.abs(jnp.where(where[..., None], hops.stored, 0.0)).max((1, 2, 3)))
    return [(step(q), step(k)) for q, k in zip(*top, strict=True)]


def _run(hop: Hops, where: np.ndarray, cut: float, steps: tuple[float, float], design: Design) -> Ran:
    """One hop `[n, ...]`; a question is an example with one head and one query."""
    query, key, valid = hop.states[:, None, None], hop.stored[:, :, None], where[:, None, None]
    width = hop.states.shape[-1]  # a memory network's scores have no 1 / sqrt(width), so its thresholds get it
    case = audit.decided(query, key, cut / float(np.sqrt(width)), steps, bits=design.bits, where=valid)
    cycles = bitserial.cycles_at(case.run.cycles, design.per_cycle)
    counts = accelerator.count(cycles, case.run.kept, design.tile, width)
    floats = kept(hop.scores, cut, where)[:, None, None]
    return Ran(counts, audit.histogram(case.run, design.bits), audit.audited(case, valid, floats))
