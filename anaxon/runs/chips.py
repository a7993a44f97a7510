"""A network on an ensemble of chips: what is measured on each of them."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from anaxon.calibrate import calibrate
from anaxon.device.ideal import IdealDevice
from anaxon.ensemble import ensemble
from anaxon.interpret.analog import analog
from anaxon.interpret.observe import observe
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.interpret.program import program
from anaxon.prng import fold_name
from anaxon.runs.network import Network
from anaxon.types import Array, replace


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """How many chips, tested on what.

    Attributes:
      chips: programmed and read on the panel.
      panel: test clips that every chip hears, the same number of each class.
      full_test_chips: the first so many chips also hear the whole test set, to check the panel.
      calibration: training clips that fix the ranges of the converters.
      chunk: chips between two writes to the disk.

    Raises:
      ValueError: for a number out of range.
    """

    chips: int = 1000
    panel: int = 200
    full_test_chips: int = 20
    calibration: int = 500
    chunk: int = 20

    def __post_init__(self) -> None:
        least = {"chips": 2, "panel": 24, "full_test_chips": 2, "calibration": 1, "chunk": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"ensemble.{name} must be a whole number, {low} or more; got {getattr(self, name)!r}")
        if self.full_test_chips > self.chips:
            raise ValueError(
                f"ensemble.full_test_chips: at most ensemble.chips = {self.chips}; got {self.full_test_chips}"
            )


class Panel(NamedTuple):
    """What the chips did on the panel: a row a chip.

    `classes` `[chips, clips]` uint8, the answers; `error`, `saturation` `[chips]` by the path of the weight.
    """

    classes: np.ndarray
    error: dict[str, np.ndarray]
    saturation: dict[str, np.ndarray]


def chip_keys(seed: int, count: int) -> Array:
    """Keys `[count]`; chip i is the same however many there are."""
    key = fold_name(jax.random.key(seed), "chips")
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))


def calibrated(seed: int, plan: Plan, network: Network, features: np.ndarray) -> Plan:
    """The plan with the ranges that these features need."""
    key = fold_name(jax.random.key(seed), "calibration")
    ranges = jax.jit(lambda params, x: calibrate(network.fn)(key, plan, params, x).ranges)
    return replace(plan, ranges=ranges(network.params, jnp.asarray(features)))


def quantised_classes(seed: int, plan: Plan, network: Network, calibration: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Answers `[n]` of the same arrays and converters with perfect cells: what the bits alone cost."""
    perfect = replace(
        plan,
        hardware=tuple(h if h.is_ideal else replace(h, device=IdealDevice()) for h in plan.hardware),
        ranges=tuple(type(r)() for r in plan.ranges),
    )
    perfect = calibrated(seed, perfect, network, calibration)

    def answers(params: Array, x: Array) -> Array:
        key = jax.random.key(seed)
        return analog(network.fn)(key, program(key, perfect, params), x).argmax(-1)

    return np.asarray(jax.jit(answers)(network.params, jnp.asarray(test)))


def on_panel(
    seed: int, settings: Ensemble, plan: Plan, network: Network, features: np.ndarray, path: Path, progress: bool
) -> Panel:
    """Every chip, programmed once and read on the panel; finished chunks are kept in `path`."""

    def one(key: Array) -> tuple:
        chip = program(fold_name(key, "program"), plan, network.params)
        logits, layers = observe(network.fn)(fold_name(key, "read"), chip, network.params, jnp.asarray(features))
        seen = {name: (layer.error, layer.saturation) for name, layer in layers.items()}
        return logits.argmax(-1).astype(jnp.uint8), seen

    keys, mesh = chip_keys(seed, settings.chips), chip_mesh()
    classes, seen = ensemble(one, keys, chunk=settings.chunk, mesh=mesh, progress=progress, path=path)
    return Panel(classes, {k: e for k, (e, _) in seen.items()}, {k: s for k, (_, s) in seen.items()})


def on_everything(
    seed: int, settings: Ensemble, plan: Plan, network: Network, features: np.ndarray, path: Path, progress: bool
) -> np.ndarray:
    """The answers `[chips, n]` of the first chips of the panel, programmed alike and read anew on other features."""

    def one(key: Array) -> Array:
        chip = program(fold_name(key, "program"), plan, network.params)
        logits = analog(network.fn)(fold_name(key, "read everything"), chip, jnp.asarray(features))
        return logits.argmax(-1).astype(jnp.uint8)

    keys, mesh = chip_keys(seed, settings.full_test_chips), chip_mesh()
    chunk = mesh.size if mesh is not None else 1
    return ensemble(one, keys, chunk=chunk, mesh=mesh, progress=progress, path=path)


def chip_mesh() -> Mesh | None:
    """All devices, where there are several."""
    devices = jax.local_devices()
    return Mesh(np.array(devices), ("chips",)) if len(devices) > 1 else None


def placed(network: Network, hardware: object, features: np.ndarray) -> Plan:
    """The plan of the network on one kind of hardware."""
    return place(network.fn, hardware)(network.params, jax.ShapeDtypeStruct((1, *features.shape[1:]), np.float32))  # type: ignore[arg-type]
