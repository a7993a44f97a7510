"""Training of the attention jobs: the dense model, then its weights together with the thresholds."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.progress import Progress

from anaxon.data import cache
from anaxon.flax import PrunedAttention, pruning
from anaxon.models import checkpoint
from anaxon.models.attention_traces import attentions
from anaxon.runs.attention_settings import Learning
from anaxon.runs.attention_tasks import Batch, Task
from anaxon.types import Array, PyTree

DENSE, LONGER, LEARNED = "dense", "longer", "learned"


class State(NamedTuple):
    """Of a training; the history has a row a step, `[steps]` and `[steps, layers]`."""

    params: PyTree
    optimiser: optax.OptState
    loss: Array
    share: Array
    thresholds: Array
    fingerprint: Array


class Trained(NamedTuple):
    """A model that decides by the hard rule, and its loss, share of kept pairs (L0) and thresholds step by step."""

    model: nnx.Module
    loss: np.ndarray
    share: np.ndarray
    thresholds: np.ndarray


def pruned(model: nnx.Module) -> list[PrunedAttention]:
    """The attention functions of a model, layer by layer."""
    return [node.attention_fn for node in attentions(model).values()]  # type: ignore[misc]


def with_thresholds(model: nnx.Module, values: np.ndarray, hard: bool = True) -> nnx.Module:
    """A copy with a threshold for each layer, `[layers]`."""
    model = nnx.clone(model)
    for module, value in zip(pruned(model), values, strict=True):
        module.threshold[...] = jnp.asarray(value, jnp.float32)
        module.hard = hard
    return model


def dense(task: Task, learning: Learning, seed: int, progress: bool) -> Trained:
    """The model without thresholds, as good as its training makes it."""
    return _fit(task, task.model, learning, DENSE, 0.0, seed, progress)


def longer(task: Task, model: nnx.Module, learning: Learning, seed: int, progress: bool) -> Trained:
    """The dense model trained on as a learned one is, without thresholds: what learned points are compared with."""
    return _fit(task, model, learning, LONGER, 0.0, seed, progress)


def learned(
    task: Task, model: nnx.Module, start: np.ndarray, penalty: float, learning: Learning, seed: int, progress: bool
) -> Trained:
    """Weights and thresholds together, from the dense model and where calibration puts the thresholds, `[layers]`."""
    return _fit(task, with_thresholds(model, start, hard=False), learning, LEARNED, penalty, seed, progress)


def _fit(
    task: Task, model: nnx.Module, learning: Learning, phase: str, penalty: float, seed: int, progress: bool
) -> Trained:
    epochs = learning.dense_epochs if phase == DENSE else learning.epochs
    graphdef, params, frozen, rest = nnx.split(model, task.trained, nnx.Param, ...)
    count = sum(1 for _ in task.epoch(np.random.default_rng(0)))
    finite = jax.tree.map(lambda x: jnp.nan_to_num(x, neginf=0.0), params)
    facts = (phase, learning, penalty, seed, task.name, repr(task.facts), checkpoint.outline(finite))
    mark = checkpoint.fingerprint(*facts)
    folder = cache.folder() / "models" / f"attention-{task.name}-{phase}-{mark:08x}"
    state, first = checkpoint.newest(folder, _fresh(params, epochs * count, len(pruned(model)), mark))
    rates = _rates(learning, phase, max(1, epochs * count))
    with Progress(disable=not progress) as bar:
        shown = bar.add_task(f"{task.name}: {phase}", total=epochs * count, completed=first * count)
        for epoch in range(first, epochs):
            for i, batch in enumerate(_batches(task, seed, epoch)):
                number = epoch * count + i
                state = _step(
                    state, frozen, rest, number, rates[number], penalty, batch, graphdef=graphdef, loss=task.loss
                )
                bar.advance(shown)
            _check(state, phase, epoch, count)
            checkpoint.save(Path(folder), epoch + 1, state)
    final = nnx.merge(graphdef, state.params, frozen, rest)
    for module in pruned(final):
        module.hard = True
    return Trained(final, *(np.asarray(x) for x in (state.loss, state.share, state.thresholds)))


def _batches(task: Task, seed: int, epoch: int) -> Iterator[Batch]:
    yield from task.epoch(np.random.default_rng([seed, epoch]))


def _fresh(params: PyTree, steps: int, layers: int, mark: int) -> State:
    nothing = lambda *shape: jnp.full((steps, *shape), jnp.nan)  # noqa: E731
    own = jax.tree.map(jnp.copy, params)  # a step takes over the buffers
    return State(own, OPTIMISER.init(own), nothing(), nothing(), nothing(layers), jnp.uint32(mark))


def _kinds(params: PyTree) -> PyTree:
    """What each parameter is."""
    kind = lambda path, _: "thresholds" if "threshold" in map(_name, path) else "weights"  # noqa: E731
    return jax.tree_util.tree_map_with_path(kind, params)


def _name(key: object) -> str:
    return str(getattr(key, "key", getattr(key, "name", key)))


# AdamW for the weights, Adam for the thresholds; rates are a step's arguments, so that all trainings are one program.
OPTIMISER = optax.multi_transform(
    {
        "weights": optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(0.01)),
        "thresholds": optax.scale_by_adam(),
    },
    _kinds,
)


def _rates(learning: Learning, phase: str, steps: int) -> np.ndarray:
    """Of weights and thresholds `[steps, 2]`: the first rises over a tenth of the steps, both fall to 0."""
    peak = learning.dense_rate if phase == DENSE else learning.learning_rate
    weights = optax.warmup_cosine_decay_schedule(0.0, peak, max(1, steps // 10), max(2, steps))
    thresholds = optax.cosine_decay_schedule(learning.threshold_rate if phase == LEARNED else 0.0, steps)
    number = jnp.arange(steps)
    return np.stack([np.broadcast_to(weights(number), steps), np.broadcast_to(thresholds(number), steps)], 1)


@partial(jax.jit, static_argnames=("graphdef", "loss"), donate_argnames="state")
def _step(
    state: State,
    frozen: PyTree,
    rest: PyTree,
    number: Array,
    rates: Array,
    penalty: Array,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef,
    loss: Callable[[Array, Array], Array],
) -> State:
    def objective(params: PyTree) -> tuple[Array, tuple[Array, Array, Array]]:
        model = nnx.merge(graphdef, params, frozen, rest, copy=True)
        each = loss(model(*batch.inputs), jnp.asarray(batch.targets))
        found, valid = pruning(model), jnp.asarray(batch.index) >= 0
        mean = jnp.sum(jnp.where(valid, each, 0.0)) / jnp.maximum(jnp.sum(valid), 1)
        share = jnp.float32(1.0) if found.l0 is None else found.l0
        return mean + penalty * share, (mean, share, jnp.stack([m.threshold[...] for m in pruned(model)]))

    grads, (mean, share, thresholds) = jax.grad(objective, has_aux=True)(state.params)
    updates, moved = OPTIMISER.update(grads, state.optimiser, state.params)
    rate = {"weights": rates[0], "thresholds": rates[1]}
    scaled = jax.tree.map(lambda u, kind: -rate[kind] * u, updates, _kinds(updates))
    return state._replace(
        params=optax.apply_updates(state.params, scaled),
        optimiser=moved,
        loss=state.loss.at[number].set(mean),
        share=state.share.at[number].set(share),
        thresholds=state.thresholds.at[number].set(thresholds),
    )


def _check(state: State, phase: str, epoch: int, count: int) -> None:
    last = np.asarray(state.loss[epoch * count : (epoch + 1) * count])
    if not np.isfinite(last).all():
        raise FloatingPointError(
            f"{phase}: the loss is not finite in epoch {epoch + 1}; try a smaller training.learning_rate or "
            "training.threshold_rate"
        )
