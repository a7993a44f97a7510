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
from anaxon.runs.error_measures import Panel, chip_results, panel_of
from anaxon.runs.error_networks import Placed, at_sigma
from anaxon.types import Array

# name: what it is; the first is what the others are compared with
CHOICES = {
    "uniform": "one conductance for a unit of weight in all layers",
    "tensor": "one window for all: each layer's largest weight at the same conductance",
    "layer": "a window for each layer, least error",
    "column": "a window for each column, least error",
}

Windows = dict[str, Array]


def chosen(net: Placed, sigma: float, split: Split, count: int, budgets: tuple[float, ...]) -> dict[str, Any]:
    """Windows for every budget and choice, with predicted error and power; and the seconds that choosing took."""
    plan, x = at_sigma(net.plan, sigma), jnp.asarray(split.features[:count])
    start = time.perf_counter()
    by_column = jax.block_until_ready(tune.trade(net.fn, "column")(plan, net.params, x))
    by_layer = tune.by_site(by_column)
    measured = time.perf_counter() - start
    full = float(by_layer.power_at(dict.fromkeys(by_layer.error, 1.0)))
    largest = largest_weights(net)
    rows, windows, out_of_reach, start = [], {}, [], time.perf_counter()
    for share in budgets:
        try:
            found = {
                "uniform": tune.uniform(by_layer, share * full, largest),
                "tensor": tune.uniform(by_layer, share * full),
                "layer": tune.least_error(by_layer, share * full),
                "column": tune.least_error(by_column, share * full),
            }
        except ValueError as error:
            out_of_reach.append(f"{share:.0%} of full power: {error}")
            continue
        for name, w in found.items():
            given = by_column if name == "column" else by_layer
            windows[f"{share:g}/{name}"] = w
            rows.append({"budget": share, "choice": name, "predicted": float(given.error_at(w)),
                         "power": float(given.power_at(w)),
                         "largest": float(max(v.max() for v in w.values()))})  # fmt: skip
    if not rows:
        raise ValueError(f"study.budgets: none is within reach; {out_of_reach[0]}")
    solved = time.perf_counter() - start
    return {"rows": rows, "windows": windows, "full_power": full, "out_of_reach": out_of_reach,
            "seconds": {"sensitivities": measured, "windows": solved / len(budgets)}}  # fmt: skip


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
    """Mean squared error and accuracy of every chip, `[chips]` each, by choice: the same normal scores for all."""
    panel = panel_of(net, split, count)
    plan = at_sigma(net.plan, sigma)
    wide = {k: _by_column(plan, w) for k, w in windows.items()}
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *wide.values())

    def one(key: Array) -> dict[str, Array]:
        return jax.lax.map(lambda w: _result(key, net, tune.with_windows(plan, w), panel), stacked)

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
