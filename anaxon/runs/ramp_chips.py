"""What chips answer: networks of several trainings on the same chips, in one compiled program."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.ensemble import ensemble
from anaxon.interpret.analog import analog
from anaxon.interpret.program import program
from anaxon.prng import fold_name
from anaxon.runs.chips import chip_keys, chip_mesh
from anaxon.runs.network import Network
from anaxon.runs.ramp_points import Ready
from anaxon.types import Array, PyTree, replace


def answers(
    seed: int,
    network: Network,
    trainings: Sequence[Ready],
    features: np.ndarray,
    chips: int,
    path: Path,
    progress: bool = True,
    chunk: int | None = None,
) -> np.ndarray:
    """Classes `[chips, trainings, clips]` uint8 that freshly programmed chips give to features `[clips, ...]`.

    Chip i has the same key for every training: differences between them are paired. Finished chunks are kept in `path`.
    """
    plan = trainings[0].plan
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[(t.params, t.plan.ranges) for t in trainings])

    def one(key: Array) -> Array:
        def on_chip(trained: tuple[PyTree, PyTree]) -> Array:
            params, ranges = trained
            chip = program(fold_name(key, "program"), replace(plan, ranges=ranges), params)
            logits = analog(network.fn)(fold_name(key, "read"), chip, jnp.asarray(features))
            return logits.argmax(-1).astype(jnp.uint8)

        return jax.lax.map(on_chip, stacked)

    mesh = chip_mesh()
    chunk = chunk or 10 * (mesh.size if mesh is not None else 1)
    return ensemble(one, chip_keys(seed, chips), chunk=chunk, mesh=mesh, progress=progress, path=path)
