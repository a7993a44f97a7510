"""Networks of several trainings on the same chips, and how their noise rises: what the ramp jobs have in common."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from anaxon.ensemble import ensemble
from anaxon.interpret.plan import Chip, Plan
from anaxon.interpret.program import program
from anaxon.prng import fold_name
from anaxon.runs.chips import chip_keys, chip_mesh
from anaxon.types import Array, PyTree, replace


class Ready(NamedTuple):
    """A network that is ready to be programmed: its weights and a plan with all ranges."""

    params: PyTree
    plan: Plan


def rising(rise: float, steps: int) -> optax.Schedule:
    """A factor for the noise: from 0 to 1 over the first `rise` of the steps, 1 from there on."""
    return optax.linear_schedule(0.0, 1.0, max(1, round(rise * steps)))


def on_chips(
    seed: int,
    read: Callable[[Array, Chip], Array],
    trainings: Sequence[Ready],
    chips: int,
    path: Path,
    progress: bool = True,
    per_device: int = 10,
) -> np.ndarray:
    """What `read(key, chip)` gives on freshly programmed chips, `[chips, trainings, ...]`, in one compiled program.

    Chip i has the same key for every training: differences between them are paired. Finished chunks, of `per_device`
    chips for each device, are kept in `path`.
    """
    plan = trainings[0].plan
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[(t.params, t.plan.ranges) for t in trainings])

    def one(key: Array) -> Array:
        def on_chip(trained: tuple[PyTree, PyTree]) -> Array:
            params, ranges = trained
            chip = program(fold_name(key, "program"), replace(plan, ranges=ranges), params)
            return read(fold_name(key, "read"), chip)

        return jax.lax.map(on_chip, stacked)

    mesh = chip_mesh()
    chunk = per_device * (mesh.size if mesh is not None else 1)
    return ensemble(one, chip_keys(seed, chips), chunk=chunk, mesh=mesh, progress=progress, path=path)
