"""A training step of a small Conformer with quantised weights and inputs, beside the float step.

Both are whole steps of `anaxon.models.train_ctc`: SpecAugment, forward, CTC, backward, AdamW. The quantised one moves
its input ranges with a running minimum and maximum. The float one is that of the speech job, which sums shifted frames
in the depthwise convolution; a row says what that is worth.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.calibrate import calibrate
from anaxon.crossbar.mapping import Array
from anaxon.data.batches import Batch
from anaxon.flax import functional
from anaxon.interpret.place import place
from anaxon.models import train_ctc
from anaxon.models.conformer import Conformer, ConformerSizes
from anaxon.runs.asr_networks import PLACED, perfect_cells
from anaxon.training import digital_loss, input_ranges, observed_loss

from .measure import in_turns, row

LIMIT = 1.5
SIZES = {"4 blocks of 96": (ConformerSizes(), 9, 320)}
TINY = {
    "1 block of 16": (ConformerSizes(width=16, heads=2, feed_forward=32, blocks=1, kernel=3, front_end=(2, 2)), 2, 64)
}


def rows(quick: bool) -> list[dict[str, Any]]:
    """Two rows for each size and weight resolution."""
    sizes, resolutions, rounds = (TINY, (4,), 2) if quick else (SIZES, (4, 8), 9)
    return [r for name, size in sizes.items() for bits in resolutions for r in _rows(name, size, bits, rounds)]


def _rows(name: str, size: tuple[ConformerSizes, int, int], bits: int, rounds: int) -> list[dict[str, Any]]:
    sizes, utterances, frames = size
    fn, params = functional(Conformer(sizes, rngs=nnx.Rngs(0)))
    batch = _batch(utterances, frames, sizes)
    inputs = batch.features, batch.lengths
    plan = place(fn, {PLACED: perfect_cells(bits, 8, Array())})(params, *inputs)
    plan = calibrate(fn)(jax.random.key(0), plan, params, *inputs)
    loss = train_ctc.ctc_loss
    sums, _ = functional(Conformer(dataclasses.replace(sizes, depthwise="sums"), rngs=nnx.Rngs(0)))
    kinds = {
        "quantised": (observed_loss(fn, loss, plan), input_ranges(plan)),
        "float": (train_ctc.plain(digital_loss(sums, loss)), ()),
        "float, convolution": (train_ctc.plain(digital_loss(fn, loss)), ()),
    }
    times = in_turns({kind: _stepping(*what, params, batch) for kind, what in kinds.items()}, rounds)
    title = f"Conformer, {name}, {utterances} utterances of {frames / 100:g} s: one training step, ms"
    float_ = ("float", times["float"])
    quantised = row(title, f"{bits}-bit weights, 8-bit inputs", ("quantised", times["quantised"]), float_, limit=LIMIT)
    by_convolution = ("depthwise by convolution", times["float, convolution"])
    return [quantised, row(title, "float, depthwise as sums", float_, by_convolution)]


def _batch(utterances: int, frames: int, sizes: ConformerSizes) -> Batch:
    key = jax.random.key(1)
    return Batch(
        features=jax.random.normal(key, (utterances, frames, sizes.mels)),
        lengths=jnp.full(utterances, frames, jnp.int32),
        tokens=jax.random.randint(key, (utterances, frames // 16), 1, sizes.vocabulary),
        token_lengths=jnp.full(utterances, frames // 16, jnp.int32),
        index=jnp.arange(utterances, dtype=jnp.int32),
    )


def _stepping(objective: Any, carried: Any, params: Any, batch: Batch) -> Any:
    """One step from the same state, again and again."""
    config = train_ctc.CtcTraining()
    optimiser = train_ctc.optimiser_of(config, 100)
    state = train_ctc.fresh(params, carried, optimiser, config.epochs)
    step = jax.jit(partial(train_ctc.step, objective, optimiser, config))
    return lambda: step(state, batch)
