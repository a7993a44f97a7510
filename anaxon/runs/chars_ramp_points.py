"""The points of the character job: converters at a resolution behind the gates, and the networks that run on them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.data import cache, characters
from anaxon.flax import functional
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.models.char_lm import CharLM, Forward, next_character, rows
from anaxon.models.train_characters import CharacterTraining, train_characters
from anaxon.prng import fold_name
from anaxon.runs.config import described
from anaxon.runs.converters import Kind, at_bits
from anaxon.runs.trainings import Ready, rising
from anaxon.training import Objective, chip_loss, digital_loss, learned_ranges, with_ranges
from anaxon.types import Array, ArrayLike, PyTree

if TYPE_CHECKING:
    from anaxon.runs.chars_ramp_settings import Settings

GATES = "cell/.*kernel"  # on the array; embedding, projection and readout stay digital, off the array
OnLoop = Callable[[float], None]
Measure = Callable[..., Plan]


class Point(NamedTuple):
    """One converter at one resolution."""

    kind: Kind
    bits: int

    @property
    def name(self) -> str:
        """For files and tables."""
        return f"{self.kind}-{self.bits}"


class Trained(NamedTuple):
    """What training left: parameters and the loss [bits per character] of every step."""

    params: PyTree
    loss: np.ndarray


def network(settings: "Settings", symbols: int) -> tuple[Forward, PyTree]:
    """The function and the weights that training starts from."""
    return functional(CharLM(symbols, settings.size.widths, rngs=nnx.Rngs(settings.seed)))


def planned(settings: "Settings", point: Point, symbols: int, batch: int, length: int) -> Plan:
    """The plan of a point, from shapes: the gates on one array of just their size."""
    size = settings.size
    hardware = at_bits(settings.hardware, point.kind, point.bits, size.rows, size.columns)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: CharLM(symbols, size.widths, rngs=nnx.Rngs(0))), nnx.Param)
    fn = lambda params, codes, state: nnx.merge(graph, params)(codes, state)  # noqa: E731
    state = jax.eval_shape(lambda: size.widths.state(batch))
    return place(fn, {GATES: hardware})(shapes, jax.ShapeDtypeStruct((batch, length), jnp.uint8), state)


def calibrated(settings: "Settings", measure: Measure, plan: Plan, params: PyTree, codes: np.ndarray) -> Plan:
    """The plan with the ranges that the first segment of every row of text `[n]` needs; `measure = calibrate(fn)`."""
    first = rows(codes, settings.size.batch)[:, : settings.size.length]
    state = settings.size.widths.state(settings.size.batch)
    key = fold_name(jax.random.key(settings.seed), "calibration")
    return jax.device_get(measure(key, plan, params, jnp.asarray(first), state))


def first_training(settings: "Settings", text: characters.Text, fn: Forward, start: PyTree, on_loop: OnLoop) -> Trained:
    """The float network; continues, or reads, what the cache holds of it."""
    objective = digital_loss(fn, next_character)
    return _train(settings, settings.first_training, text, text.train, objective, start, {"kind": "float"}, on_loop)


def more_training(settings: "Settings", text: characters.Text, fn: Forward, start: PyTree, on_loop: OnLoop) -> Trained:
    """The float network trained on, as long as those for chips are."""
    objective, codes = digital_loss(fn, next_character), continued(text.train, settings.first_training)
    return _train(settings, settings.more_training, text, codes, objective, start, {"kind": "float on"}, on_loop)


def aware_training(
    settings: "Settings", text: characters.Text, fn: Forward, ready: Ready, on_loop: OnLoop
) -> tuple[Trained, Ready]:
    """The network trained on for the chips of a calibrated plan, with its ranges."""
    training, plan = settings.more_training, ready.plan
    ranges = learned_ranges(plan)
    first = jnp.log(jnp.asarray(settings.aware.input_range, jnp.float32))  # a weak type would compile the steps twice
    ranges["input"] = dict.fromkeys(ranges["input"], first)
    schedule = rising(settings.aware.rise, training.steps)

    def objective(trained: PyTree, key: Array, step: ArrayLike, inputs: tuple, targets: Array) -> Any:
        on_chips = chip_loss(fn, next_character, with_ranges(plan, trained["ranges"]), schedule)
        return on_chips(trained["weights"], key, step, inputs, targets)

    hardware = [described(hw) for hw in plan.hardware]
    facts = {"kind": "aware", "hardware": hardware, "aware": dataclasses.asdict(settings.aware)}
    start, codes = {"weights": ready.params, "ranges": ranges}, continued(text.train, settings.first_training)
    params, loss = _train(settings, training, text, codes, objective, start, facts, on_loop)
    return Trained(params["weights"], loss), Ready(params["weights"], with_ranges(plan, params["ranges"]))


def continued(codes: np.ndarray, before: CharacterTraining) -> np.ndarray:
    """The text, each of its rows beginning where that training ended."""
    table = rows(codes, before.batch)
    segments = (table.shape[1] - 1) // before.length
    return np.roll(table, -(before.steps % segments) * before.length, axis=1).reshape(-1)


def _train(
    settings: "Settings",
    training: CharacterTraining,
    text: characters.Text,
    codes: np.ndarray,
    objective: Objective,
    start: PyTree,
    facts: dict[str, Any],
    on_loop: OnLoop,
) -> Trained:
    state = settings.size.widths.state(training.batch)
    where = _checkpoints(text, training, start, facts)
    params, loss = train_characters(
        objective, start, codes, state, training, where, progress=False, on_loop=on_loop
    )  # fmt: skip
    return Trained(jax.device_get(params), loss)


def _checkpoints(text: characters.Text, training: CharacterTraining, start: PyTree, facts: dict[str, Any]) -> Path:
    """The cache folder of this training's checkpoints."""
    leaves: Any = [np.asarray(x) for x in jax.tree.leaves(start)]
    code = cache.fingerprint(
        text=text.checksum, start=f"{cache.crc(*leaves):08x}", training=dataclasses.asdict(training), **facts
    )
    return cache.folder() / "models" / f"characters-{code}"
