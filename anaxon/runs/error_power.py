"""The power of programmed chips: cells and amplifiers of every layer, beside what `power_over_chips` expects."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon import statistics
from anaxon.ensemble import ensemble
from anaxon.interpret.power import power_of_chip
from anaxon.interpret.program import program
from anaxon.prng import fold_name
from anaxon.runs.error_measures import Panel, Point, at
from anaxon.runs.error_networks import Placed
from anaxon.types import Array, replace

PARTS = ("cells", "amplifiers")


def sampled(
    net: Placed, panel: Panel, point: Point, chips: int, seed: int, path: Path, progress: bool
) -> dict[str, np.ndarray]:
    """Of every chip and layer, `[chips]` by `cells/PATH` and `amplifiers/PATH` [g_max v_max^2 an example]."""
    plan = at(net.plan, point)
    singly = tuple(replace(hw, device=replace(hw.cells, sigma_rel=0.0)) for hw in plan.hardware)  # both cells of a pair
    plan = replace(plan, hardware=singly)
    measured = power_of_chip(net.fn)

    def one(key: Array) -> dict[str, Array]:
        drawn = measured(key, program(key, plan, net.params), net.params, panel.x)
        return {f"{part}/{p}": jnp.sum(getattr(found, part)) for p, found in drawn.items() for part in PARTS}

    keys = jax.random.split(fold_name(jax.random.key(seed), "power of chips"), chips)
    return ensemble(one, keys, path=path, progress=progress)


def beside(expected: dict[str, dict[str, float]], chips: dict[str, np.ndarray]) -> dict[str, Any]:
    """For every layer, and for `all`, both parts: expected, and the mean over chips."""
    rows: dict[str, Any] = {}
    for part in PARTS:
        for path in expected:
            rows.setdefault(path, {})[part] = _line(expected[path][part], chips[f"{part}/{path}"])
        whole = sum(chips[f"{part}/{path}"] for path in expected)
        rows.setdefault("all", {})[part] = _line(sum(x[part] for x in expected.values()), np.asarray(whole))
    return rows


def _line(expected: float, values: np.ndarray) -> dict[str, Any]:
    return {"predicted": expected, "sampled": statistics.mean_over(values, "chips").as_json()}
