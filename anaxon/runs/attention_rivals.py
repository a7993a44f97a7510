"""Other ways of pruning on the traces of a point: each layer at about the share of pairs that its threshold keeps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention import bitserial, integers, rivals
from anaxon.attention.audit import Case
from anaxon.attention.rival_costs import outcomes
from anaxon.attention.rivals import Selection
from anaxon.runs.attention_settings import Design
from anaxon.types import Array


def compared(layers: Sequence[Sequence[Case]], design: Design, head: int) -> list[dict[str, Any]]:
    """A row for each way, all layers and batches together; none where scores need more than 32 bits.

    Beside the costs it has `dropped`: the dense softmax's weight that is pruned, mean over rows; the bound of the
    output's error is twice that times the largest value.
    """
    if any(isinstance(case.run.scores, integers.Wide) for cases in layers for case in cases):
        return []
    found: dict[str, list[Selection]] = {}
    dropped: dict[str, list[tuple[float, int]]] = {}
    for cases in layers:
        for mode, several in _layer(cases, design).items():
            found.setdefault(mode, []).extend(several)
            lost = [_dropped(case, s.kept) for case, s in zip(cases, several, strict=True)]
            dropped.setdefault(mode, []).extend((float(x), int(n)) for x, n in lost)
    share = {mode: sum(x for x, _ in each) / max(sum(n for _, n in each), 1) for mode, each in dropped.items()}
    rows = outcomes(found, design.tile, design.table.costs, head)
    return [dataclasses.asdict(row) | {"dropped": share[row.mode]} for row in rows]


def _layer(cases: Sequence[Case], design: Design) -> dict[str, list[Selection]]:
    """The selections of every batch, with one rule for a layer."""
    bits, settled = design.bits, {"bits": design.bits, "per_cycle": design.per_cycle}
    masked = [(case, case.run.cycles > 0) for case in cases]
    pairs = max(1, sum(int(jnp.sum(valid)) for _, valid in masked))
    share = sum(int(jnp.sum(case.run.kept)) for case in cases) / pairs
    margin = float(np.quantile(np.concatenate([_gaps(_narrow(c.run.scores), valid) for c, valid in masked]), share))

    likely = [np.asarray(_likely(c.query, c.key, c.unit, valid, bits=bits))[np.asarray(valid)] for c, valid in masked]
    bar = float(np.quantile(np.concatenate(likely), 1 - share, method="lower"))

    def adaptive(case: Case, valid: Array) -> Selection:
        upper, lower = map(_narrow, bitserial.bounds(case.query, case.key, **settled, form="two's complement"))
        return rivals.adaptive(upper, lower, margin, valid, **settled)

    return {
        "learned": [_own(case.run, design) for case in cases],
        "top_k": [rivals.top_k(_narrow(c.run.scores), max(share, 1e-3), valid, bits=bits) for c, valid in masked],
        "predicted": [
            rivals.predicted(c.query, c.key, c.unit, valid, bits=bits, probability=bar) for c, valid in masked
        ],
        "adaptive": [adaptive(*each) for each in masked],
    }


def _narrow(scores: integers.Integers) -> Array:
    """Integers of 32 bits."""
    if isinstance(scores, integers.Wide):
        raise TypeError("scores: expected int32; got a Wide")
    return scores


def _own(run: bitserial.Terminated, design: Design) -> Selection:
    """Of single bits a cycle, what the design takes."""
    cycles = bitserial.cycles_at(run.cycles, design.per_cycle)
    return Selection(run.kept, jnp.minimum(cycles * design.per_cycle, design.bits), cycles)


def _gaps(scores: Array, valid: Array) -> np.ndarray:
    """How far scores are below their row's largest, of valid pairs."""
    row = jnp.max(jnp.where(valid, scores, jnp.iinfo(jnp.int32).min), -1, keepdims=True)
    return np.asarray((row - scores).astype(jnp.float32))[np.asarray(valid)]


_likely = jax.jit(rivals.probabilities, static_argnames="bits")


@jax.jit
def _dropped(case: Case, kept: Array) -> tuple[Array, Array]:
    """Weights of the dense softmax that are not kept, summed over rows, and how many rows there are."""
    valid = case.run.cycles > 0
    weights = jax.nn.softmax(_narrow(case.run.scores).astype(jnp.float32) * case.unit, -1, where=valid)
    return jnp.sum(jnp.where(valid & ~kept, weights, 0.0)), jnp.sum(jnp.any(valid, -1))
