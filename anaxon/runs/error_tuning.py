"""Windows at equal power: one conductance scale for all, one window for all, by layer, by column; sampled."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon import tune
from anaxon.data.images import Split
from anaxon.ensemble import ensemble
from anaxon.interpret import paths
from anaxon.interpret.plan import Plan
from anaxon.prng import fold_name
from anaxon.runs import error_refine
from anaxon.runs.error_measures import Panel, chip_results, panel_of
from anaxon.runs.error_networks import Placed, at_sigma
from anaxon.runs.error_settings import Study
from anaxon.types import Array

# name: what it is; the first is what the others are compared with
CHOICES = {
    "uniform": "one conductance for a unit of weight in all layers",
    "tensor": "one window for all: each layer's largest weight at the same conductance",
    "layer": "a window for each layer, least error",
    "column": "a window for each column, least error",
    "refined": "a window for each layer, refined by gradients through the moments",
    "layer, no box": "a window for each layer, also above full scale, where that is less error",
    "column, no box": "a window for each column, also above full scale, where that is less error",
}
WIDEST = 100.0  # of a window without the box

Windows = dict[str, Array]


def chosen(net: Placed, split: Split, study: Study) -> dict[str, Any]:
    """Windows for every budget and choice, with predicted error and power; and the seconds that choosing took."""
    plan, x = at_sigma(net.plan, study.sigma), jnp.asarray(split.features[: study.tuned_images])
    start = time.perf_counter()
    by_column = jax.block_until_ready(tune.trade(net.fn, "column")(plan, net.params, x))
    by_layer = tune.by_site(by_column)
    measured = time.perf_counter() - start
    full = float(by_layer.power_at(dict.fromkeys(by_layer.error, 1.0)))
    largest = largest_weights(net)
    found, out_of_reach, start = {}, [], time.perf_counter()
    for share in study.budgets:
        try:
            found[share] = _of_budget(by_layer, by_column, share * full, largest)
        except ValueError as error:
            out_of_reach.append(f"{share:.0%} of full power: {error}")
    if not found:
        raise ValueError(f"study.budgets: none is within reach; {out_of_reach[0]}")
    solved = time.perf_counter() - start
    told = None
    if study.refined_budget in found:
        panel, budget = panel_of(net, split, study.refined_images), study.refined_budget * full
        here = found[study.refined_budget]
        here["refined"], told = error_refine.refined(net, study.sigma, panel, by_layer, here["layer"], budget,
                                                     study.refined_steps)  # fmt: skip
    rows = [_row(share, name, by_column if name.startswith("column") else by_layer, w)
            for share, choices in found.items() for name, w in choices.items()]  # fmt: skip
    windows = {f"{share:g}/{name}": w for share, choices in found.items() for name, w in choices.items()}
    return {"rows": rows, "windows": windows, "full_power": full, "out_of_reach": out_of_reach,
            "refined": told,
            "seconds": {"sensitivities": measured, "windows": solved / len(study.budgets)}}  # fmt: skip


def _of_budget(
    by_layer: tune.Trade, by_column: tune.Trade, budget: float, largest: dict[str, float]
) -> dict[str, Windows]:
    """By choice; without the box only where it binds."""
    found = {
        "uniform": tune.uniform(by_layer, budget, largest),
        "tensor": tune.uniform(by_layer, budget),
        "layer": tune.least_error(by_layer, budget),
        "column": tune.least_error(by_column, budget),
    }
    for name, given in (("layer", by_layer), ("column", by_column)):
        free = tune.least_error(given, budget, WIDEST)
        if widest(free) > 1:
            found[f"{name}, no box"] = free
    return found


def widest(windows: Windows) -> float:
    """The largest of all windows."""
    return float(max(w.max() for w in windows.values()))


def _row(share: float, name: str, given: tune.Trade, windows: Windows) -> dict[str, Any]:
    return {"budget": share, "choice": name, "predicted": float(given.error_at(windows)),
            "power": float(given.power_at(windows)), "largest": widest(windows)}  # fmt: skip


def largest_weights(net: Placed) -> dict[str, float]:
    """The largest weight of every site, relative to that of all: windows of one conductance for a unit of weight."""
    names, leaves, _ = paths.flatten(net.params)
    weights = {n: float(jnp.max(jnp.abs(x))) for n, x in zip(names, leaves, strict=True)}
    placed = {s.path: weights[s.path] for s in net.plan.sites}
    return {p: v / max(placed.values()) for p, v in placed.items()}


def sampled(
    net: Placed, sigma: float, split: Split, count: int, windows: dict[str, Windows], chips: int, seed: int, path: Path,
    progress: bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Mean squared error and accuracy of every chip, `[chips]` each, by choice: the same normal scores for all.

    Windows above 1 are those of a device of so much larger a full scale: all windows relative to it, and sigma, too.
    """
    panel = panel_of(net, split, count)
    scales = {k: max(1.0, widest(w)) for k, w in windows.items()}
    wide = {k: _by_column(net.plan, {p: v / scales[k] for p, v in w.items()}) for k, w in windows.items()}
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *wide.values())
    sigmas = jnp.asarray([sigma / scales[k] for k in windows], jnp.float32)

    def one(key: Array) -> dict[str, Array]:
        def result(point: tuple[Array, Windows]) -> dict[str, Array]:
            return _result(key, net, tune.with_windows(at_sigma(net.plan, point[0]), point[1]), panel)

        return jax.lax.map(result, (sigmas, stacked))

    keys = jax.random.split(fold_name(jax.random.key(seed), "tuned chips"), chips)
    found = ensemble(one, keys, path=path, progress=progress)
    return {f"{what}/{k}": found[what][:, i] for what in found for i, k in enumerate(windows)}


def _result(key: Array, net: Placed, plan: Plan, panel: Panel) -> dict[str, Array]:
    found = chip_results(key, net, plan, panel)
    return {"error": found["error"].mean(), "accuracy": found["hit"].mean()}


def _by_column(plan: Plan, windows: Windows) -> Windows:
    """Every choice in the shape of a window for each column, so that one program samples all."""
    shape = {s.path: tuple(1 if a in s.row_axes else n for a, n in enumerate(s.shape)) for s in plan.sites}
    return {p: jnp.broadcast_to(w, shape[p]) for p, w in windows.items()}
