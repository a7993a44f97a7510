"""The networks of the speech recognition job: trained in float, then quantisation-aware, kept in the cache."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.calibrate import calibrate
from anaxon.converter.dac import DAC
from anaxon.crossbar.mapping import Array as ArraySpec
from anaxon.data import cache
from anaxon.data.asr import Corpus
from anaxon.data.batches import Batches
from anaxon.device.ideal import IdealDevice
from anaxon.flax import functional
from anaxon.hardware import Hardware
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.models.conformer import Conformer, ConformerSizes
from anaxon.models.train_ctc import CtcTraining, Objective, ctc_loss, fit, plain
from anaxon.runs.asr_settings import FineTuning
from anaxon.training import (
    chip_loss,
    digital_loss,
    input_ranges,
    learned_ranges,
    min_max,
    moving_average,
    observed_loss,
    with_input_ranges,
    with_ranges,
)
from anaxon.types import PyTree, replace

PLACED = "blocks/.*kernel"
ROWS = 2**20  # without an ADC nothing is lost at the edges of tiles: one is enough


class Recogniser(NamedTuple):
    """A trained network.

    Attributes:
      fn: `fn(params, features [batch, frames, mels], lengths [batch]) -> (log_probs, lengths)`.
      params: its weights.
      ranges: input range of every placed weight, by path; empty for a float network.
      loss: of every epoch, `[epochs]`.
    """

    fn: Callable[..., Any]
    params: PyTree
    ranges: dict[str, Any]
    loss: np.ndarray


def untrained(sizes: ConformerSizes, seed: int) -> tuple[Callable[..., Any], PyTree]:
    """The function and the weights that training starts from."""
    return functional(Conformer(sizes, rngs=nnx.Rngs(seed)))


def batches_of(corpus: Corpus, training: CtcTraining) -> Batches:
    """Of the training split."""
    return Batches(corpus, corpus.train, frames_per_batch=training.frames_per_batch, count=training.shapes)


def trained(
    sizes: ConformerSizes, training: CtcTraining, corpus: Corpus, progress: bool, seed: int, tell: Any = None
) -> Recogniser:
    """The float network of one seed: trained, continued, or read from the cache.

    Raises:
      ValueError: for a damaged checkpoint, or a split without utterances.
    """
    training = dataclasses.replace(training, seed=seed)
    # Sums of shifted frames train faster on a CPU than the convolution that arrays take; the weights are the same.
    fn, _ = untrained(dataclasses.replace(sizes, depthwise="sums"), seed)
    params = untrained(sizes, seed)[1]
    where = _folder("float", corpus, sizes, training)
    name = f"training, float, seed {seed}"
    objective, batches = plain(digital_loss(fn, ctc_loss)), batches_of(corpus, training)
    with cache.locked(where):
        params, _, loss = fit(objective, params, (), batches, training, where, progress, tell, name)
    return Recogniser(untrained(sizes, seed)[0], params, {}, loss)


def _folder(kind: str, corpus: Corpus, *what: Any) -> Path:
    code = cache.fingerprint(corpus=corpus.checksum, what=[repr(w) for w in what])
    return cache.folder() / "models" / f"conformer-{kind}-{code}"


def perfect_cells(bits: int, activation_bits: int, like: ArraySpec) -> Hardware:
    """Hardware whose `analog` is the quantisation-aware forward pass: exact cells and sums behind quantisers.

    Weights get scales, and limits, as on the arrays `like` these.
    """
    array = ArraySpec(rows=ROWS, cols=ROWS, weight_bits=bits, cell_bits=max(1, bits - 1), scale=like.scale,
                      clip_sigma=like.clip_sigma)  # fmt: skip
    return Hardware(device=IdealDevice(), array=array, dac=DAC(bits=activation_bits))


def quantised(
    net: Recogniser,
    bits: int,
    tuning: FineTuning,
    training: CtcTraining,
    hardware: Hardware,
    corpus: Corpus,
    progress: bool,
    seed: int,
) -> Recogniser:
    """The network fine-tuned with weights of `bits` bits: trained, continued, or read from the cache.

    Raises:
      ValueError: for a damaged checkpoint.
    """
    training = dataclasses.replace(training, epochs=tuning.epochs, learning_rate=tuning.learning_rate, seed=seed,
                                   save_every=max(1, tuning.epochs // 3))  # fmt: skip
    cells = replace(hardware, adc=None) if tuning.chips else perfect_cells(bits, tuning.activation_bits, hardware.array)
    batches = batches_of(corpus, training)
    plan = _calibrated(net, cells, batches, seed)
    objective, start, carried = _objective(net, plan, tuning)
    where = _folder("quantised", corpus, tuning, training, repr(cells), net.loss.tolist(),
                    [s.path for s in plan.sites], _weights_mark(net.params))  # fmt: skip
    name = f"training, {bits}-bit weights, seed {seed}"
    with cache.locked(where):
        found, moved, loss = fit(objective, start, carried, batches, training, where, progress, name=name)
    if tuning.observer == "learned":
        ready = with_ranges(plan, found["ranges"])
        return Recogniser(net.fn, found["weights"], jax.device_get(input_ranges(ready)), loss)
    return Recogniser(net.fn, found, jax.device_get(moved), loss)


def _weights_mark(params: PyTree) -> int:
    return cache.crc(*(np.asarray(x) for x in jax.tree.leaves(params)))


def _calibrated(net: Recogniser, cells: Hardware, batches: Batches, seed: int) -> Plan:
    """The first ranges, from the first batch in order."""
    first = next(iter(batches.in_order()))
    inputs = (jnp.asarray(first.features), jnp.asarray(first.lengths))
    plan = place(net.fn, {PLACED: cells})(net.params, *inputs)
    return calibrate(net.fn)(jax.random.key(seed), plan, net.params, *inputs)


def _objective(net: Recogniser, plan: Plan, tuning: FineTuning) -> tuple[Objective, PyTree, PyTree]:
    """What to minimise, what is trained and what is carried."""
    if tuning.observer == "learned":

        def objective(trained: PyTree, *rest: Any) -> Any:
            return chip_loss(net.fn, ctc_loss, with_ranges(plan, trained["ranges"]))(trained["weights"], *rest)

        return plain(objective), {"weights": net.params, "ranges": learned_ranges(plan)}, ()
    observe = min_max if tuning.observer == "min-max" else moving_average()
    return observed_loss(net.fn, ctc_loss, plan, observe), net.params, input_ranges(plan)


def placed(net: Recogniser, rules: dict[str, Hardware], frames: int, mels: int) -> Plan:
    """The plan of one utterance of so many frames, with the ranges that training has found."""
    features, lengths = jax.ShapeDtypeStruct((1, frames, mels), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    plan = place(net.fn, rules)(net.params, features, lengths)
    return with_input_ranges(plan, {path: jnp.asarray(x) for path, x in net.ranges.items()})
