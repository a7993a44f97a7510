"""Training of memory networks: without softmax, with it, with learned thresholds, and at last under the hard rule."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from anaxon.attention import Softmax, kept, pruned_softmax, quantile_threshold
from anaxon.check import integer, number
from anaxon.data.story_questions import Questions, first
from anaxon.models.memory_network import dense, linear, smooth_l0, soft
from anaxon.types import Array

Network = Callable[..., tuple[Array, Array]]  # (params, memories, question, valid, softmax=...)
Params = dict[str, Array]
Batch = tuple[Array, ...]  # memories, question, valid, answer
Loss = Callable[[Params, Batch, Array], Array]  # (params, batch, penalty)
OnEpoch = Callable[[Params], None]
START = 0.05  # share of the scores that thresholds prune where they begin to learn
FINE_TUNING = 0.5  # of the first learning rate, once thresholds learn
AT_ONCE = 500  # questions that are answered side by side


@dataclasses.dataclass(frozen=True)
class MemoryTraining:
    """Adam with a cosine schedule in every part.

    Attributes:
      linear: epochs without softmax.
      dense: epochs with it.
      pruning: epochs in which thresholds learn beside the weights.
      settling: epochs under the hard rule, the thresholds fixed.
      batch: questions.
      learning_rate: of the first two parts; half of it later.
      threshold_rate: of the thresholds [score a step].
      gradient_norm: above which gradients are scaled down.
      sharpness: of the soft threshold [1 / score].
      band: distance from its edge within which L0 sees scores [score].
      seed: of the order of questions.
    """

    linear: int = 6
    dense: int = 16
    pruning: int = 20
    settling: int = 6
    batch: int = 64
    learning_rate: float = 1e-2
    threshold_rate: float = 4e-2
    gradient_norm: float = 1.0
    sharpness: float = 5.0
    band: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("linear", "dense", "pruning", "settling", "batch"):
            integer(f"training.{name}", getattr(self, name), 1, 10**6)
        integer("training.seed", self.seed, 0, 2**31 - 1)
        for name in ("learning_rate", "threshold_rate", "gradient_norm", "sharpness", "band"):
            number(f"training.{name}", getattr(self, name), "a number > 0", low=0.0, open_low=True)

    @property
    def epochs_dense(self) -> int:
        """Of the unpruned network."""
        return self.linear + self.dense

    @property
    def epochs_pruned(self) -> int:
        """Of learning one set of thresholds."""
        return self.pruning + self.settling


class History(NamedTuple):
    """Before learning and after each of its epochs: thresholds, and the share of memories that the hard rule keeps of
    some questions that are trained on, both `[epochs + 1, hops]`."""

    thresholds: np.ndarray
    share: np.ndarray


def fit_dense(
    fn: Network, params: Params, data: Questions, config: MemoryTraining, on_epoch: OnEpoch = lambda _: None
) -> Params:
    """The unpruned network, trained; `on_epoch` is told its parameters after every epoch."""
    rates = config.learning_rate, 0.0, 0.0
    params = _part(plain(fn, linear), params, data, config, config.linear, rates, 0, on_epoch)
    return _part(plain(fn, dense), params, data, config, config.dense, rates, 1, on_epoch)


def fit_longer(
    fn: Network, params: Params, data: Questions, config: MemoryTraining, on_epoch: OnEpoch = lambda _: None
) -> Params:
    """The dense network trained on, unpruned, for as long as thresholds learn: what pruned ones are compared with."""
    rates = FINE_TUNING * config.learning_rate, 0.0, 0.0
    for part, epochs in ((2, config.pruning), (3, config.settling)):
        params = _part(plain(fn, dense), params, data, config, epochs, rates, part, on_epoch)
    return params


def fit_pruned(
    fn: Network,
    params: Params,
    data: Questions,
    config: MemoryTraining,
    penalty: float,
    on_epoch: OnEpoch = lambda _: None,
) -> tuple[Params, History]:
    """From the dense network: thresholds learned with the weights, the loss `cross entropy + penalty * mean L0`.

    Returns:
      Parameters for the hard rule, and how they became so.
    """
    params = {**params, "threshold": starting_thresholds(fn, params, data)}
    some = first(data, AT_ONCE)
    history: list[tuple[np.ndarray, np.ndarray]] = []

    def note(now: Params) -> None:
        share = answered(fn, now, some, pruned_softmax)[1].sum(1) / some.valid.sum()
        history.append((np.asarray(now["threshold"]), share))

    def after(now: Params) -> None:
        note(now)
        on_epoch(now)

    note(params)

    slow = FINE_TUNING * config.learning_rate
    learning, settled = (slow, config.threshold_rate, penalty), (slow, 0.0, 0.0)
    loss = penalised(fn, config.sharpness, config.band)
    params = _part(loss, params, data, config, config.pruning, learning, 2, after)
    params = _part(plain(fn, pruned_softmax), params, data, config, config.settling, settled, 3, on_epoch)
    return params, History(*map(np.stack, zip(*history, strict=True)))


@cache  # the same function for the same arguments: it is part of what is compiled
def plain(fn: Network, weigh: Softmax) -> Loss:
    """Cross entropy of the answers."""

    def loss(params: Params, batch: Batch, penalty: Array) -> Array:
        del penalty
        return _cross_entropy(fn(params, *batch[:3], softmax=weigh)[0], batch)

    return loss


@cache
def penalised(fn: Network, sharpness: float, band: float) -> Loss:
    """Cross entropy behind soft thresholds, and the share of memories that is kept, mean over hops."""
    weigh = partial(soft, sharpness=sharpness)

    def loss(params: Params, batch: Batch, penalty: Array) -> Array:
        logits, scores = fn(params, *batch[:3], softmax=weigh)
        where = jnp.arange(scores.shape[-1]) < batch[2][:, None]
        share = jax.vmap(lambda x, threshold: smooth_l0(x, threshold, where, band))
        return _cross_entropy(logits, batch) + penalty * jnp.mean(share(scores, params["threshold"]))

    return loss


def _cross_entropy(logits: Array, batch: Batch) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[3]).mean()


def starting_thresholds(fn: Network, params: Params, data: Questions) -> Array:
    """Per hop, where a small share of the dense network's scores is pruned: learning has something to see."""
    batch = _batch(data, slice(AT_ONCE))
    scores = np.asarray(_read(fn, params, batch, dense)[1])
    where = np.arange(scores.shape[-1]) < np.asarray(batch[2])[:, None]
    return jnp.asarray([quantile_threshold(x, START, where) for x in scores])


def answered(fn: Network, params: Params, data: Questions, softmax: Softmax) -> tuple[np.ndarray, np.ndarray]:
    """Whether each question is answered rightly, `[n]`, and the memories that the hard rule keeps, `[hops, n]`."""
    hits, counts = [], []
    for at in range(0, len(data), AT_ONCE):
        batch = _batch(data, slice(at, at + AT_ONCE))
        logits, scores = _read(fn, params, batch, softmax)
        where = np.arange(scores.shape[-1]) < np.asarray(batch[2])[:, None]
        keep = kept(scores, params["threshold"][:, None, None], where)
        hits.append(np.argmax(np.asarray(logits), -1) == np.asarray(batch[3]))
        counts.append(np.sum(np.asarray(keep), -1))
    return np.concatenate(hits), np.concatenate(counts, -1)


@partial(jax.jit, static_argnames=("fn", "softmax"))
def _read(fn: Network, params: Params, batch: Batch, softmax: Softmax) -> tuple[Array, Array]:
    return fn(params, *batch[:3], softmax=softmax)


def _batch(data: Questions, rows: slice) -> Batch:
    return tuple(jnp.asarray(x[rows]) for x in (data.memories, data.question, data.valid, data.answer))


def _part(
    loss: Loss,
    params: Params,
    data: Questions,
    config: MemoryTraining,
    epochs: int,
    rates: tuple[float, float, float],
    part: int,
    on_epoch: OnEpoch,
) -> Params:
    """Some epochs of one loss with moments of their own; `rates` are those of weights, thresholds, and the penalty."""
    batch = min(config.batch, len(data))
    steps = len(data) // batch
    state = optax.scale_by_adam().init(params)
    rng = np.random.default_rng((config.seed, part))
    everything = _batch(data, slice(None))
    for epoch in range(epochs):
        order = jnp.asarray(rng.permutation(len(data))[: steps * batch].reshape(steps, batch))
        progress = jnp.asarray([epoch * steps, epochs * steps], jnp.float32)
        numbers = jnp.asarray([*rates, config.gradient_norm], jnp.float32)
        params, state = _epoch(loss, params, state, everything, order, numbers, progress)
        on_epoch(params)
    return params


@partial(jax.jit, static_argnames=("loss",))
def _epoch(
    loss: Loss, params: Params, state: optax.OptState, data: Batch, order: Array, numbers: Array, progress: Array
) -> tuple[Params, optax.OptState]:
    """All batches of an epoch; `progress` is `[steps before, steps of the part]`."""
    rate, threshold_rate, penalty, gradient_norm = numbers

    def step(carry: tuple, rows: Array) -> tuple[tuple, None]:
        params, state, i = carry
        grads = jax.grad(loss)(params, tuple(x[rows] for x in data), penalty)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for name, g in grads.items() if name != "threshold"))
        largest = jnp.minimum(1.0, gradient_norm / jnp.maximum(norm, 1e-12))
        clipped = {name: largest * g for name, g in grads.items()}
        # a memory that is needed and slips below its threshold has a slope of thousands: its direction is enough
        clipped["threshold"] = jnp.clip(grads["threshold"], -penalty, penalty)
        moves, state = optax.scale_by_adam().update(clipped, state)
        fall = 0.5 * (1 + jnp.cos(jnp.pi * i / progress[1]))
        rates = {name: fall * (threshold_rate if name == "threshold" else rate) for name in params}
        params = jax.tree.map(lambda x, r, m: x - r * m, params, rates, moves)
        return (params, state, i + 1), None

    (params, state, _), _ = jax.lax.scan(step, (params, state, progress[0]), order)
    return params, state
