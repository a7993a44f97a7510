"""Training of a small classifier with optax: an epoch is one compiled scan, a run continues from its checkpoint."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.progress import Progress

from anaxon.models import adamw, checkpoint
from anaxon.models.regularise import TrainingNoise, augment
from anaxon.training import Objective, disturbed_loss
from anaxon.types import Array, PyTree


class Examples(Protocol):
    """Anything with features `[n, frames, mels]` and labels `[n]`."""

    @property
    def features(self) -> np.ndarray:
        """`[n, frames, mels]`."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """`[n]`."""
        ...


@dataclasses.dataclass(frozen=True)
class Training:
    """AdamW with a warmed-up cosine schedule, and the noise of training.

    `clip_sigma` keeps every weight within that many standard deviations of its matrix, 0 is off: the largest weight
    sets a crossbar's scale, so outliers cost precision. `smoothing` is that of the labels.

    Raises:
      ValueError: for a number out of range; the sentence names the field.
    """

    epochs: int = 45
    batch: int = 100
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    gradient_norm: float = 1.0
    smoothing: float = 0.1
    clip_sigma: float = 2.5
    noise: TrainingNoise = dataclasses.field(default_factory=TrainingNoise)
    seed: int = 0
    save_every: int = 9

    def __post_init__(self) -> None:
        adamw.check(self, ("epochs", "batch", "save_every"))
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"training.smoothing must be in [0, 1); got {self.smoothing!r}")


class _State(NamedTuple):
    params: PyTree
    optimiser: optax.OptState
    loss: Array  # [epochs], NaN where not yet trained
    accuracy: Array  # [epochs] on the validation split
    fingerprint: Array


def fit(
    fn: Callable[[PyTree, Array], Array],
    params: PyTree,
    train: Examples,
    validation: Examples,
    config: Training = Training(),  # noqa: B008 - frozen
    folder: Path | str | None = None,
    progress: bool = True,
    objective: Objective | None = None,
    on_epoch: Callable[[float], None] | None = None,
) -> tuple[PyTree, dict[str, np.ndarray]]:
    """Trains, or fine-tunes, the parameters of a classifier.

    Args:
      fn: `fn(params, features [batch, frames, mels]) -> logits [batch, classes]`, for the validation accuracy.
      params: to start from; not changed.
      train, validation: examples.
      config: the schedule, and how features are disturbed.
      folder: of the checkpoints, written every `save_every` epochs, or None. The next call continues there and ends
        with the same bits as one that was not interrupted. Each objective needs a folder of its own.
      progress: whether to show a bar.
      objective: what to minimise, a function of labels: `training.chip_loss(fn, cross_entropy(), plan)` trains on
        freshly programmed chips. By default `fn` with Gaussian noise of `config.noise.weight` on its weights.
      on_epoch: is told the validation accuracy after every epoch; what it raises ends the training.

    Returns:
      The trained parameters and the history: `loss` and validation `accuracy`, `[epochs]` each.

    Raises:
      ValueError: when there are fewer examples than a batch, or the checkpoint is damaged or of another run.
      OSError: when a checkpoint cannot be written.
    """
    if len(train.labels) < config.batch:
        raise ValueError(f"training.batch is {config.batch}, but there are only {len(train.labels)} training examples")
    objective = objective or disturbed_loss(fn, cross_entropy(config.smoothing), config.noise.weight)
    steps = config.epochs * (len(train.labels) // config.batch)
    optimiser = adamw.optimiser(config, steps, warm_up=steps // 20)
    state, first = checkpoint.newest(folder, _fresh(params, optimiser, config, train))
    data = [jnp.asarray(a) for a in (train.features, train.labels, validation.features, validation.labels)]
    step = jax.jit(partial(_epoch, fn, objective, optimiser, config), donate_argnums=0)
    with Progress(disable=not progress) as bar:
        task = bar.add_task("training", total=config.epochs, completed=first)
        for epoch in range(first, config.epochs):
            state = step(state, epoch, *data)
            if folder is not None and ((epoch + 1) % config.save_every == 0 or epoch + 1 == config.epochs):
                checkpoint.save(Path(folder), epoch + 1, state)
            accuracy = float(state.accuracy[epoch])
            bar.update(task, advance=1, description=f"training (validation {accuracy:.1%})")
            if on_epoch is not None:
                on_epoch(accuracy)
    return state.params, {"loss": np.asarray(state.loss), "accuracy": np.asarray(state.accuracy)}


def cross_entropy(smoothing: float = 0.0) -> Callable[[Array, Array], Array]:
    """The mean cross entropy of logits `[batch, classes]` and labels `[batch]`, smoothed."""

    def loss(logits: Array, labels: Array) -> Array:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean()

    return loss


def _fresh(params: PyTree, optimiser: optax.GradientTransformation, config: Training, train: Examples) -> _State:
    """The state before the first epoch."""
    empty = jnp.full(config.epochs, jnp.nan)
    mark = checkpoint.fingerprint(np.asarray(train.labels), np.asarray(train.features[:64]), config, params)
    params = jax.tree.map(jnp.array, params)  # copies: the state is donated
    return _State(params, optimiser.init(params), empty, empty.copy(), jnp.uint32(mark))


def _epoch(
    fn: Callable[[PyTree, Array], Array],
    objective: Objective,
    optimiser: optax.GradientTransformation,
    config: Training,
    state: _State,
    epoch: Array,
    features: Array,
    labels: Array,
    check_features: Array,
    check_labels: Array,
) -> _State:
    """One pass over the training split in a random order, and the validation accuracy after it."""
    order_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), epoch))
    batches = len(labels) // config.batch
    order = jax.random.permutation(order_key, len(labels))[: batches * config.batch].reshape(batches, config.batch)

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        (params, moments), (number, rows, key) = carry, inputs
        loss = partial(_loss, objective, config, key, number, features[rows], labels[rows])
        loss, grads = jax.value_and_grad(loss)(params)
        updates, moments = optimiser.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    inputs = (epoch * batches + jnp.arange(batches), order, jax.random.split(noise_key, batches))
    (params, moments), loss = jax.lax.scan(step, (state.params, state.optimiser), inputs)
    hits = (fn(params, check_features).argmax(-1) == check_labels).mean()
    return _State(params, moments, state.loss.at[epoch].set(loss.mean()), state.accuracy.at[epoch].set(hits),
                  state.fingerprint)  # fmt: skip


def _loss(
    objective: Objective, config: Training, key: Array, step: Array, features: Array, labels: Array, params: PyTree
) -> Array:
    """The objective on augmented features."""
    weight_key, input_key = jax.random.split(key)
    return objective(params, weight_key, step, (augment(input_key, features, config.noise),), labels)
