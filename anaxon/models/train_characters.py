"""Truncated backpropagation through a text: many steps are one compiled loop, a run continues from its checkpoint."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.progress import Progress

from anaxon.models import adamw, checkpoint
from anaxon.models.char_lm import State, rows
from anaxon.training import Objective
from anaxon.types import Array, PyTree

LOOP = 10  # steps between two moves of the progress bar


@dataclasses.dataclass(frozen=True)
class CharacterTraining:
    """AdamW with a warmed-up cosine schedule on segments of `length` characters of `batch` places in the text at once.

    The defaults suit a small network (32 embedding, 192 hidden, 64 projection); a large one needs a smaller learning
    rate. `clip_sigma` keeps every weight within that many standard deviations of its matrix, 0 is off. A checkpoint is
    written every `save_every` steps.

    Raises:
      ValueError: for a number out of range; the sentence names the field.
    """

    steps: int = 1200
    batch: int = 32
    length: int = 64
    learning_rate: float = 2e-2
    weight_decay: float = 1e-2
    gradient_norm: float = 1.0
    clip_sigma: float = 3.0
    seed: int = 0
    save_every: int = 250

    def __post_init__(self) -> None:
        adamw.check(self, ("steps", "batch", "length", "save_every"))


class _State(NamedTuple):
    params: PyTree
    optimiser: optax.OptState
    state: State  # of the network, carried from segment to segment
    loss: Array  # [steps], NaN where not yet trained
    fingerprint: Array


def train_characters(
    objective: Objective,
    params: PyTree,
    codes: np.ndarray,
    state: State,
    config: CharacterTraining = CharacterTraining(),  # noqa: B008 - frozen
    folder: Path | str | None = None,
    progress: bool = True,
    optimiser: optax.GradientTransformation | None = None,
    on_loop: Callable[[float], None] | None = None,
) -> tuple[PyTree, np.ndarray]:
    """Trains, or fine-tunes, `params` on a text.

    The text is cut into `batch` rows that are read side by side, segment after segment; the network's state is carried
    along and set back to `state` where the rows start again. `objective(params, key, step, (inputs, state), targets)`
    returns the loss and the state after: `training.digital_loss(fn, char_lm.next_character)` trains the function as
    it is, `training.chip_loss(fn, char_lm.next_character, plan)` on freshly programmed chips. `params` may be any tree
    that the objective takes, such as weights and learned ranges.

    Args:
      objective: what to minimise.
      params: to start from; not changed.
      codes: the text, `[n]`.
      state: the network's state before the first character, for `config.batch` rows.
      config: the schedule.
      folder: of the checkpoints, or None. The next call continues there and ends with the same bits as one that was
        not interrupted. Each objective needs a folder of its own.
      progress: whether to show a bar.
      optimiser: another than that of `optimiser_of(config)`.
      on_loop: is told the loss after every `LOOP` steps or fewer; what it raises ends the training.

    Returns:
      The trained parameters and the loss of every step `[steps]`.

    Raises:
      ValueError: for too short a text, a state of another batch, or a checkpoint that is damaged or of another run.
      OSError: when a checkpoint cannot be written.
    """
    text = jnp.asarray(_text(codes, state, config))
    optimiser = optimiser or optimiser_of(config)
    now, saved = checkpoint.newest(folder, _fresh(params, optimiser, text, state, config))
    first = min(saved * config.save_every, config.steps)
    run = jax.jit(partial(_steps, objective, optimiser, config), donate_argnums=0)
    with Progress(disable=not progress) as bar:
        task = bar.add_task("training", total=config.steps, completed=first)
        while first < config.steps:
            last = min(first + LOOP, _next_save(first, config), config.steps)
            now = run(now, first, last, text, state)
            bar.update(task, completed=last, description=f"training ({float(now.loss[last - 1]):.3f})")
            if folder is not None and last == _next_save(first, config):
                checkpoint.save(Path(folder), -(-last // config.save_every), now)
            first = last
            if on_loop is not None:
                on_loop(float(now.loss[last - 1]))
    return now.params, np.asarray(now.loss)


def optimiser_of(config: CharacterTraining) -> optax.GradientTransformation:
    """The optimiser of a training, its rate rising over a twentieth of the steps."""
    return adamw.optimiser(config, config.steps, warm_up=config.steps // 20)


def _text(codes: np.ndarray, state: State, config: CharacterTraining) -> np.ndarray:
    """The rows of the text, `[batch, n]`, checked."""
    held = {x.shape[0] for x in jax.tree.leaves(state)}
    if held != {config.batch}:
        raise ValueError(f"state: expected the state of training.batch = {config.batch} rows; got {sorted(held)}")
    needed = config.batch * (config.length + 1)
    if len(codes) < needed:
        raise ValueError(f"codes: {config.batch} rows of training.length = {config.length} need {needed:,} characters; "
                         f"got {len(codes):,}")  # fmt: skip
    return rows(np.asarray(codes), config.batch)


def _next_save(step: int, config: CharacterTraining) -> int:
    return min((step // config.save_every + 1) * config.save_every, config.steps)


def _fresh(
    params: PyTree, optimiser: optax.GradientTransformation, text: Array, state: State, config: CharacterTraining
) -> _State:
    """The state before the first step."""
    mark = checkpoint.fingerprint(config, params, text)
    copies = jax.tree.map(jnp.array, (params, state))  # the state is donated
    loss = jnp.full(config.steps, jnp.nan)
    return _State(copies[0], optimiser.init(copies[0]), copies[1], loss, jnp.uint32(mark))


def _steps(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    config: CharacterTraining,
    now: _State,
    first: Array,
    last: Array,
    text: Array,
    zero: State,
) -> _State:
    """Steps `first` to `last`, both traced: one program for any number of them."""
    key, segments = jax.random.key(config.seed), (text.shape[1] - 1) // config.length

    def step(i: Array, now: _State) -> _State:
        place = i % segments
        piece = jax.lax.dynamic_slice_in_dim(text, place * config.length, config.length + 1, axis=1)
        state = jax.tree.map(lambda s, z: jnp.where(place == 0, z, s), now.state, zero)
        loss = partial(_loss, objective, jax.random.fold_in(key, i), i, piece, state)
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(now.params)
        updates, moments = optimiser.update(grads, now.optimiser, now.params)
        params = optax.apply_updates(now.params, updates)
        return _State(params, moments, state, now.loss.at[i].set(value), now.fingerprint)

    return jax.lax.fori_loop(first, last, step, now)


def _loss(
    objective: Objective, key: Array, step: Array, piece: Array, state: State, params: PyTree
) -> tuple[Array, State]:
    return objective(params, key, step, (piece[:, :-1], state), piece[:, 1:])
