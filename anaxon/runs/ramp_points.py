"""The points of a comparison of converters: an array's converter at a resolution, and training that knows of it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from anaxon.calibrate import calibrate
from anaxon.data import cache
from anaxon.data.keywords import Corpus
from anaxon.hardware import Hardware
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.models import train
from anaxon.prng import fold_name
from anaxon.runs.config import described
from anaxon.runs.converters import Kind, at_bits
from anaxon.runs.network import Network
from anaxon.runs.trainings import Ready, rising
from anaxon.training import chip_loss, digital_loss, learned_ranges, with_ranges
from anaxon.types import Array, ArrayLike, PyTree

GATES = "lstm/.*"  # what stands on the array; the output layer is digital, as on the published chip


class Point(NamedTuple):
    """One converter at one resolution behind the gates of one network."""

    hidden: int
    kind: Kind
    bits: int

    @property
    def name(self) -> str:
        """For files and tables."""
        return f"{self.hidden}-{self.kind}-{self.bits}"


@dataclasses.dataclass(frozen=True)
class Aware:
    """Noise-aware training from the weights of the digital network, on a freshly programmed chip at every step.

    All noise of the plan grows linearly from nothing to its full size over the first `rise` of the steps; the input
    ranges (and those of linear converters) are learned. A share `teacher` of the target are the answers of the digital
    network itself (Hinton et al. 2015, arXiv:1503.02531), the rest the labels. `epochs` are those of the run's size.

    Raises:
      ValueError: for a number out of range.
    """

    learning_rate: float = 3e-3
    rise: float = 0.33
    teacher: float = 0.5

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"aware.learning_rate must be positive; got {self.learning_rate!r}")
        for name in ("rise", "teacher"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"aware.{name} must be from 0 to 1; got {getattr(self, name)!r}")


def planned(point: Point, hardware: Hardware, fn: Callable, params: PyTree, clip: jax.ShapeDtypeStruct) -> Plan:
    """The plan of a point: the gates on one array of just their size, from shapes."""
    gates = {"lstm/.*kernel": at_bits(hardware, point.kind, point.bits, 1 << 16, 4 * point.hidden)}
    rows = sum(s.rows for s in place(fn, gates)(params, clip).sites)
    return place(fn, {GATES: at_bits(hardware, point.kind, point.bits, rows, 4 * point.hidden)})(params, clip)


def calibrated(seed: int, plan: Plan, network: Network, features: np.ndarray) -> Plan:
    """The plan with the ranges that these features need in the digital network's weights."""
    key = fold_name(jax.random.key(seed), "calibration")
    return calibrate(network.fn)(key, plan, network.params, jnp.asarray(features))


def aware_training(
    network: Network,
    plan: Plan,
    corpus: Corpus,
    training: train.Training,
    aware: Aware,
    on_epoch: Callable[[float], None],
) -> Ready:
    """Trains on for the chips of a calibrated plan; continues, or reads, what the cache holds of it."""
    steps = training.epochs * (len(corpus.train.labels) // training.batch)
    schedule, loss = rising(aware.rise, steps), _taught(training, aware)

    def objective(trained: PyTree, key: Array, step: ArrayLike, inputs: tuple, labels: Array) -> Array:
        on_chips = chip_loss(network.fn, loss, with_ranges(plan, trained["ranges"]), schedule)
        return on_chips(trained["weights"], key, step, inputs, labels, network.fn(network.params, *inputs))

    start = {"weights": network.params, "ranges": learned_ranges(plan)}
    digital = lambda trained, x: network.fn(trained["weights"], x)  # noqa: E731
    where = _checkpoints(network, plan, corpus, training, aware)
    trained, _ = train.fit(digital, start, corpus.train, corpus.validation, training, where, False, objective, on_epoch)
    trained = jax.device_get(trained)
    return Ready(trained["weights"], jax.device_get(with_ranges(plan, trained["ranges"])))


def further_training(
    network: Network, corpus: Corpus, training: train.Training, aware: Aware, on_epoch: Callable[[float], None]
) -> Network:
    """The digital network trained on just as `aware_training` does, but without chips: what further training is worth.

    Its history goes on from the network's.
    """
    on_numbers = digital_loss(network.fn, _taught(training, aware))

    def objective(params: PyTree, key: Array, step: ArrayLike, inputs: tuple, labels: Array) -> Array:
        return on_numbers(params, key, step, inputs, labels, network.fn(network.params, *inputs))

    where = _checkpoints(network, None, corpus, training, aware)
    params, history = train.fit(
        network.fn, network.params, corpus.train, corpus.validation, training, where, False, objective, on_epoch
    )
    whole = {name: np.concatenate([network.history[name], history[name]]) for name in history}
    return Network(network.fn, jax.device_get(params), whole)


def _taught(training: train.Training, aware: Aware) -> Callable[[Array, Array, Array], Array]:
    """The loss of logits, labels and the logits of the digital network."""
    to_labels = train.cross_entropy(training.smoothing)

    def loss(logits: Array, labels: Array, taught: Array) -> Array:
        to_teacher = optax.softmax_cross_entropy(logits, jax.nn.softmax(taught)).mean()
        return aware.teacher * to_teacher + (1 - aware.teacher) * to_labels(logits, labels)

    return loss


def _checkpoints(network: Network, plan: Plan | None, corpus: Corpus, training: train.Training, aware: Aware) -> Path:
    weights: Any = [np.asarray(x) for x in jax.tree.leaves((network.params, plan.ranges if plan else ()))]
    code = cache.fingerprint(
        corpus=corpus.checksum,
        start=f"{cache.crc(*weights):08x}",
        hardware=[described(hw) for hw in plan.hardware] if plan else [],
        training=dataclasses.asdict(training),
        aware=dataclasses.asdict(aware),
    )
    return cache.folder() / "models" / f"keyword-aware-{code}"
