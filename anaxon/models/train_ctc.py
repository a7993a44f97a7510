"""Training of a CTC recogniser on batches of similar length; a run continues from its checkpoint."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.progress import Progress

from anaxon.data.batches import Batch, Batches, prefetch
from anaxon.data.spec_augment import SpecAugment, mask
from anaxon.models import adamw, checkpoint
from anaxon.types import Array, PyTree

# (trained, carried, key, step, inputs, *targets) -> (loss, carried): `carried` is what the objective moves by itself.
Objective = Callable[..., tuple[Array, PyTree]]


@dataclasses.dataclass(frozen=True)
class CtcTraining:
    """AdamW, its rate rising linearly over the first `warm_up` of the steps and then falling as a cosine.

    `frames_per_batch` input frames, in `shapes` batch shapes; `clip_sigma` keeps every weight within that many standard
    deviations of its matrix, 0 is off: the largest weight sets a crossbar's scale, so outliers cost precision.

    Raises:
      ValueError: for a number out of range; the sentence names the field.
    """

    epochs: int = 24
    frames_per_batch: int = 6_000
    shapes: int = 3
    learning_rate: float = 2e-3
    warm_up: float = 0.2
    weight_decay: float = 1e-2
    gradient_norm: float = 1.0
    clip_sigma: float = 3.0
    seed: int = 0
    save_every: int = 4
    masks: SpecAugment = dataclasses.field(default_factory=SpecAugment)

    def __post_init__(self) -> None:
        adamw.check(self, ("epochs", "frames_per_batch", "shapes", "save_every"))
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"training.warm_up must be from 0 to 1; got {self.warm_up!r}")


class State(NamedTuple):
    """Of a training: `fingerprint` tells one run's checkpoints from another's."""

    trained: PyTree
    optimiser: optax.OptState
    carried: PyTree
    step: Array
    loss: Array  # [epochs], NaN where not yet trained
    fingerprint: Array


def ctc_loss(outputs: tuple[Array, Array], tokens: Array, token_lengths: Array) -> Array:
    """Negative log likelihood per token of the batch (Graves et al. 2006; optax), blank 0.

    Args:
      outputs: log probabilities `[batch, frames, vocabulary]` and lengths `[batch]`.
      tokens: `[batch, longest]`.
      token_lengths: `[batch]`; a row without frames or tokens does not count.
    """
    log_probs, lengths = outputs
    beyond = lambda size, n: (jnp.arange(size) >= n[:, None]).astype(jnp.float32)  # noqa: E731
    losses = optax.ctc_loss(
        log_probs, beyond(log_probs.shape[1], lengths), tokens, beyond(tokens.shape[1], token_lengths)
    )
    counts = (lengths > 0) & (token_lengths > 0)
    return jnp.sum(jnp.where(counts, losses, 0.0)) / jnp.maximum(1, jnp.sum(jnp.where(counts, token_lengths, 0)))


def plain(objective: Callable[..., Array]) -> Objective:
    """An objective of `anaxon.training` as one that carries nothing."""

    def carrying(trained: PyTree, carried: PyTree, *rest: Any) -> tuple[Array, PyTree]:
        return objective(trained, *rest), carried

    return carrying


def fit(
    objective: Objective,
    trained: PyTree,
    carried: PyTree,
    batches: Batches,
    config: CtcTraining = CtcTraining(),  # noqa: B008 - frozen
    folder: Path | str | None = None,
    progress: bool = True,
    on_epoch: Callable[[int, PyTree], None] | None = None,
    name: str = "training",
) -> tuple[PyTree, PyTree, np.ndarray]:
    """Trains, or fine-tunes.

    Args:
      objective: `(trained, carried, key, step, (features, lengths, dropout key), tokens, token_lengths) -> (loss,
        carried)`: `plain(digital_loss(fn, ctc_loss))`, or `observed_loss(fn, ctc_loss, plan)` for quantisation-aware
        training, where `carried` are the input ranges.
      trained: what gradients train; not changed.
      carried: what the objective moves.
      batches: of the training split.
      config: the schedule.
      folder: of the checkpoints, written every `save_every` epochs, or None. The next call continues there and ends
        with the same bits as one that was not interrupted. Each objective needs a folder of its own.
      progress: whether to show a bar.
      on_epoch: is told the epoch and what is trained after it; what it raises ends the training.
      name: of the bar.

    Returns:
      What was trained, what was carried, and the mean loss of every epoch `[epochs]`.

    Raises:
      ValueError: when the checkpoint is damaged or of another run.
      FloatingPointError: when the loss or a weight is no number any more; no checkpoint of such an epoch is written.
      OSError: when a checkpoint cannot be written.
    """
    optimiser = optimiser_of(config, len(batches))
    start = checkpoint.outline((trained, carried))
    mark = checkpoint.fingerprint(config, batches.shapes, len(batches), batches.checksum, start)
    state, first = checkpoint.newest(folder, fresh(trained, carried, optimiser, config.epochs, mark))
    run = jax.jit(partial(step, objective, optimiser, config), donate_argnums=0)
    with Progress(disable=not progress) as bar:
        task = bar.add_task(name, total=config.epochs * len(batches), completed=first * len(batches))
        for epoch in range(first, config.epochs):
            losses = []
            for batch in _ahead(batches.epoch(config.seed, epoch)):
                state, loss = run(state, batch)
                losses.append(loss)
                bar.advance(task)
            mean = float(np.mean(np.asarray(losses)))
            if not np.isfinite(mean + float(optax.global_norm(state.trained))):
                raise FloatingPointError(
                    f"{name}: loss or weights are not finite in epoch {epoch + 1}; the last checkpoint is of an epoch "
                    "before. Try a smaller training.learning_rate, or more bits"
                )
            state = state._replace(loss=state.loss.at[epoch].set(mean))
            bar.update(task, description=f"{name} (loss {mean:.3f})")
            if folder is not None and ((epoch + 1) % config.save_every == 0 or epoch + 1 == config.epochs):
                checkpoint.save(Path(folder), epoch + 1, state)
            if on_epoch is not None:
                on_epoch(epoch, state.trained)
    return state.trained, state.carried, np.asarray(state.loss)


def _ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches on the device before they are needed."""
    return prefetch(jax.device_put(batch) for batch in batches)


def optimiser_of(config: CtcTraining, batches: int) -> optax.GradientTransformation:
    """The optimiser of a training on so many batches an epoch."""
    steps = config.epochs * batches
    return adamw.optimiser(config, steps, warm_up=round(config.warm_up * steps), b2=0.98)


def fresh(
    trained: PyTree, carried: PyTree, optimiser: optax.GradientTransformation, epochs: int, mark: int = 0
) -> State:
    """The state before the first step."""
    trained, carried = jax.tree.map(jnp.array, (trained, carried))  # copies: the state is donated
    loss = jnp.full(epochs, jnp.nan)
    return State(trained, optimiser.init(trained), carried, jnp.int32(0), loss, jnp.uint32(mark))


def step(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    config: CtcTraining,
    state: State,
    batch: Batch,
) -> tuple[State, Array]:
    """One step on one batch."""
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    mask_key, dropout_key, chip_key = jax.random.split(key, 3)
    lengths = jnp.asarray(batch.lengths)
    inputs = (mask(mask_key, jnp.asarray(batch.features), lengths, config.masks), lengths, dropout_key)

    def loss(trained: PyTree) -> tuple[Array, PyTree]:
        return objective(trained, state.carried, chip_key, state.step, inputs, batch.tokens, batch.token_lengths)

    (value, carried), grads = jax.value_and_grad(loss, has_aux=True)(state.trained)
    updates, moments = optimiser.update(grads, state.optimiser, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    return State(trained, moments, carried, state.step + 1, state.loss, state.fingerprint), value
