# %% [markdown]
# # Pruning in memory on a real model: what do cells cost, and what does recomputing the survivors save?
# `python experiments/in_memory_pruning.py [--texts 300]`: sentences through all-MiniLM-L6-v2 with a linear classifier
# on its embeddings. In every layer and head the high 4 of 8 bits of the keys stand on a crossbar, programmed anew for
# every sentence, and comparators decide at a threshold that prunes three quarters of the training scores.

# %%
import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.progress import track

import anaxon as ax
from anaxon import attention, in_memory
from anaxon.attention import integers
from anaxon.data import minilm, texts, token_batches
from anaxon.in_memory import Comparator, HighBits
from anaxon.models import classify
from anaxon.models.attention_traces import Trace, capture, quantile_cuts, steps_of
from anaxon.report import markdown
from anaxon.runs.attention_paired import paired
from anaxon.types import Array

FORM, COMPARATOR = HighBits(bits=8, kept=4), Comparator(noise=1e-3, offset_sigma=2e-3)
RATE, LOST, TOKENS = 0.75, 0.01, 1024  # share pruned, share of survivors that a guard band may lose, tokens a batch
SENTENCES, RESAMPLES = 4, 2000  # that a guard band is predicted from; of the intervals
ARRAY, DAC = ax.Array(rows=32, weight_bits=None), ax.DAC(bits=4)
CELLS = {
    "exact cells": ax.Hardware(device=ax.IdealDevice(), array=ARRAY, dac=DAC),
    "Gaussian, 2 %": ax.Hardware(device=ax.Gaussian(sigma=0.02), array=ARRAY, dac=DAC),
    "VCM, binary slices": ax.Hardware(device=ax.VCM(), array=ax.Array(rows=32, weight_bits=4), dac=DAC),
}
See = Callable[[Array, Array, Array], Array]  # keys of chips, queries, keys -> what comparators see
Decide = Callable[[Array, Array, int, int], tuple[Array, Array]]  # queries, keys, layer, batch -> passed, scores


class Settled:
    """Thresholds and steps of every layer, from training sentences."""

    def __init__(self, traces: list[dict[str, Trace]]) -> None:
        self.cuts = [float(c) for c in quantile_cuts(traces, RATE).values()]
        self.steps = [steps_of([t[name] for t in traces], FORM.bits) for name in traces[0]]
        self.unit = [q * k / 32**0.5 for q, k in self.steps]
        self.level = [cut / unit for cut, unit in zip(self.cuts, self.unit, strict=True)]

    def integers(self, x: Array, layer: int, side: int) -> Array:
        """`[batch, length, heads, d]` as `[batch, heads, length, d]` of 8 bits."""
        return jnp.moveaxis(integers.quantised(x, self.steps[layer][side], FORM.bits), 1, 2).astype(jnp.float32)


class InMemory(nnx.Module):
    """An attention function whose pairs `decide` decides, and exact scores again where `recompute`; it notes losses."""

    def __init__(self, settled: Settled, layer: int, decide: Decide, recompute: bool) -> None:
        self.settled, self.layer, self.decide, self.recompute = settled, layer, decide, recompute
        self.batch = 0  # its number, so that every batch has its own chips
        self.shares: nnx.Intermediate[Array] = nnx.Intermediate(jnp.zeros(4))

    def __call__(self, query: Array, key: Array, value: Array, mask: Array | None = None, **options: object) -> Array:
        q, k = (self.settled.integers(x, self.layer, side) for side, x in enumerate((query, key)))
        where = jnp.ones((1, 1, 1, 1), bool) if mask is None else mask.astype(bool)
        where = jnp.broadcast_to(where, (*q.shape[:-1], k.shape[-2]))
        passed, scores = self.decide(q, k, self.layer, self.batch)
        right = (jnp.einsum("bhqd,bhkd->bhqk", q, k) >= self.settled.level[self.layer]) & where
        counts = (where, right, right & ~passed, passed & where & ~right)
        self.shares.set_value(jnp.stack([jnp.sum(c, dtype=jnp.float32) for c in counts]))
        kept = passed & (right if self.recompute else where)
        weights = attention.pruned_softmax(scores * self.settled.unit[self.layer], -jnp.inf, kept)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def on_crossbars(settled: Settled, see: See, exact_scores: bool, guards: list[tuple[Array, ...]]) -> Decide:
    """Keys programmed for every sentence and head; `guards` are slope, offset and band of every layer and head."""

    def decide(q: Array, k: Array, layer: int, batch: int) -> tuple[Array, Array]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(layer), batch), q.shape[:2])
        exact, found = jnp.einsum("bhqd,bhkd->bhqk", q, k, precision="highest"), see(keys, q, k)
        slope, offset, band = guards[layer]
        passed = found >= slope * settled.level[layer] + offset - band
        return passed, exact if exact_scores else (found - offset) / slope

    return decide


def seen_by(hardware: ax.Hardware) -> See:
    """What comparators see, `[batch, heads, queries, keys]`, of keys programmed with a chip key each."""

    def one(key: Array, q: Array, k: Array) -> Array:
        plan, params = in_memory.placed(hardware, k, FORM)
        programming, reading = jax.random.split(key)
        return in_memory.seen(reading, ax.program(programming, plan, params), q, FORM, COMPARATOR)

    return jax.jit(jax.vmap(jax.vmap(one)))


def exactly(settled: Settled) -> Decide:
    """Digital decisions of 8-bit operands."""

    def decide(q: Array, k: Array, layer: int, batch: int) -> tuple[Array, Array]:
        exact = jnp.einsum("bhqd,bhkd->bhqk", q, k, precision="highest")
        return exact >= settled.level[layer], exact

    return decide


def guarded(settled: Settled, hardware: ax.Hardware, traces: dict[str, Trace]) -> list[tuple[Array, ...]]:
    """Slope, offset and guard band of each layer, `[heads, 1, 1]`, predicted from valid tokens of a few sentences."""

    def of_head(q: Array, k: Array) -> tuple[in_memory.Error, Array]:
        error = in_memory.predicted_error(*in_memory.placed(hardware, k, FORM), q, k, FORM, COMPARATOR)
        return error, jnp.ravel(in_memory.exact_scores(q, k, FORM.bits))

    predicted, found = jax.jit(jax.vmap(of_head)), []
    for layer, trace in enumerate(traces.values()):
        q, k = (settled.integers(x, layer, side) for side, x in enumerate((trace.query, trace.key)))
        lengths = np.asarray(jnp.any(trace.where, (1, 2))).sum(-1)
        some = np.flatnonzero(lengths)[:SENTENCES]  # the other rows are padding
        errors, exact = zip(
            *(predicted(q[i, :, :n], k[i, :, :n]) for i, n in zip(some, lengths[some], strict=True)), strict=True
        )
        mean = lambda values: jnp.mean(jnp.stack(values), 0)  # noqa: E731
        error = in_memory.Error(slope=mean([e.slope for e in errors]), offset=mean([e.offset for e in errors]),
                                sigma=jnp.sqrt(mean([e.sigma**2 for e in errors])))  # fmt: skip
        kappa = jax.vmap(lambda e, x, at=settled.level[layer]: in_memory.guard_band(e, x, at, LOST))(
            error, jnp.concatenate(exact, -1)
        )
        found.append(tuple(x[:, None, None] for x in (error.slope, error.offset, kappa * error.sigma)))
    return found


def measured(
    model: nnx.Module, settled: Settled, decide: Decide, recompute: bool, batches: list, labels: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Hits by sentence; shares of pairs that pass the comparators, of survivors lost, of pairs that pass in vain."""
    for layer, block in enumerate(model.encoder.blocks):
        block.attention.attention_fn = nnx.data(InMemory(settled, layer, decide, recompute))
    hits, total = [], np.zeros(4)
    for number, batch in enumerate(track(batches, "sentences", transient=True)):
        real = batch.index >= 0
        for block in model.encoder.blocks:
            block.attention.attention_fn.batch = number
        logits = model(batch.tokens[real], batch.mask[real])  # operation by operation: crossbars are compiled alone
        hits.append(np.asarray(logits).argmax(-1) == labels[batch.index[real]])
        total += sum(np.asarray(b.attention.attention_fn.shares.get_value(), np.float64) for b in model.encoder.blocks)
    pairs, right, lost, extra = total
    return np.concatenate(hits), [f"{(right - lost + extra) / pairs:.1%}", f"{lost / right:.2%}",
                                  f"{extra / (right - lost + extra):.1%}"]  # fmt: skip


def row(told: tuple[str, ...], hits: np.ndarray, shares: list[str], dense: np.ndarray) -> list[str]:
    """With the difference to nothing pruned, on the same sentences."""
    found = paired([1.0 * hits - dense], RESAMPLES)
    low, high = (100 * x for x in found["ci95"])
    return [*told, f"{hits.mean():.1%}", f"{100 * found['mean']:+.1f} [{low:+.1f}, {high:+.1f}]", *shares]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--texts", type=int, default=300, help="test sentences")
    count, start = options.parse_args().texts, time.perf_counter()
    data = texts.load(texts.TextData("movies", None, 1000, count))
    train, test = (minilm.tokenise(split.texts, 64) for split in (data.train, data.test))
    encoder = minilm.encoder()
    params, traced = nnx.state(encoder, nnx.Param), jax.jit(capture(encoder))
    some = [traced(params, b.tokens, b.mask) for b in token_batches.in_order(train[:64], TOKENS)]
    settled = Settled(some)
    vectors = classify.outputs(jax.jit(lambda p, *x: nnx.merge(nnx.graphdef(encoder), p)(*x)), params, train, TOKENS)
    head = classify.logistic_head(vectors, data.train.labels, 2)
    batches, labels = list(token_batches.in_order(test, TOKENS)), data.test.labels
    found = []
    tell = lambda *told, decide, again=True: found.append((told, *measured(  # noqa: E731
        classify.Classifier(minilm.encoder(), head), settled, decide, again, batches, labels)))  # fmt: skip
    tell(
        "digital, nothing pruned",
        "",
        decide=lambda q, k, i, n: (jnp.bool_(True), exactly(settled)(q, k, i, n)[1]),
        again=False,
    )
    tell("digital, pruned", "", decide=exactly(settled))
    for name, hardware in CELLS.items():
        see, guards = seen_by(hardware), guarded(settled, hardware, some[-1])
        bare = [(slope, offset, 0.0) for slope, offset, _ in guards]
        tell(name, "recomputed", decide=on_crossbars(settled, see, True, bare))
        tell(name, "recomputed, guard band", decide=on_crossbars(settled, see, True, guards))
        tell(name, "as seen", decide=on_crossbars(settled, see, False, bare), again=False)
    print(f"{jax.local_devices()[0].device_kind}, jax {jax.__version__}, {count} sentences, "
          f"{time.perf_counter() - start:.0f} s\n")  # fmt: skip
    print(
        markdown.table(
            [
                "cells",
                "survivors' scores",
                "accuracy",
                "difference in points, 95 %",
                "pairs passed",
                "survivors lost",
                "passed in vain",
            ],
            [row(*each, dense=found[0][1]) for each in found],
        )
    )


if __name__ == "__main__":
    main()
