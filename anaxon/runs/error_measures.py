"""The error of a network's results on chips: predicted, to first order, and of many sampled chips."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.data.images import Split
from anaxon.ensemble import ensemble
from anaxon.interpret.analog import analog
from anaxon.interpret.joint import joint
from anaxon.interpret.linearise import linearised
from anaxon.interpret.moments import accuracy_draws, class_chances
from anaxon.interpret.plan import Plan
from anaxon.interpret.power import power_over_chips
from anaxon.interpret.program import program
from anaxon.prng import fold_name
from anaxon.runs.error_networks import Placed, at_sigma
from anaxon.tune import with_windows
from anaxon.types import Array

HALF_WIDTH, Z = 0.02, 1.96  # of the interval that sampling is timed for
BATCH = 1024  # chips at once on an accelerator: fewer leave it idle


class Point(NamedTuple):
    """Where errors are compared: the deviation of a cell, and the window of all weights."""

    sigma: float
    window: float = 1.0


def at(plan: Plan, point: Point) -> Plan:
    """The plan at a point."""
    return with_windows(at_sigma(plan, point.sigma), {s.path: jnp.float32(point.window) for s in plan.sites})


class Panel(NamedTuple):
    """Pictures that are followed, and the digital results: `[n, 28, 28]`, `[n]`, `[n, classes]`."""

    x: Array
    labels: Array
    exact: Array


def panel_of(net: Placed, split: Split, count: int) -> Panel:
    """The first pictures of a split."""
    x = jnp.asarray(split.features[:count])
    return Panel(x, jnp.asarray(split.labels[:count]), jax.jit(net.fn)(net.params, x))


def followed(
    net: Placed, panel: Panel, points: tuple[Point, ...], seed: int, shown: tuple[Point, ...]
) -> list[dict[str, Any]]:
    """Predicted and first-order error at every point, `[n]` arrays by picture; seconds without compiling.

    Only at the points of `shown` are the classes followed to first order, too: how accuracies vary over chips.
    """
    by_slopes, together = jax.jit(linearised(net.fn)), joint(net.fn)  # few milliseconds of dispatch
    by_moments, compiling = compiled(power_over_chips(net.fn), at(net.plan, points[0]), net.params, panel.x)
    key = fold_name(jax.random.key(seed), "classes")
    found = []
    for point in points:
        plan = at(net.plan, point)
        (mean, covariance, drawn), seconds, _ = timed(lambda plan=plan: by_moments(plan, net.params, panel.x), 1)
        spread, *quick = timed(lambda plan=plan: by_slopes(plan, net.params, panel.x), 2 - bool(found))
        chances = class_chances(key, mean, covariance)
        variance = jnp.diagonal(covariance, axis1=1, axis2=2)
        line = {
            "sigma": point.sigma,
            "window": point.window,
            "predicted": np.asarray((variance + (mean - panel.exact) ** 2).mean(1)),
            "linearised": np.asarray((spread.variance + (spread.mean - panel.exact) ** 2).mean(1)),
            "bias": float(((spread.mean - panel.exact) ** 2).mean()),
            "chance": np.asarray(jnp.take_along_axis(chances, panel.labels[:, None], 1)[:, 0]),
            "flip": 1 - np.asarray(jnp.take_along_axis(chances, panel.exact.argmax(-1)[:, None], 1)[:, 0]),
            "cells": {p: float(v.mean()) for p, v in spread.cells.items()},
            "reads": {p: float(v.mean()) for p, v in spread.reads.items()},
            "power": {p: {"cells": float(d.cells.sum()), "amplifiers": float(d.amplifiers_at(point.sigma))}
                      for p, d in drawn.items()},
            "seconds": {"predict": seconds, "predict_first": compiling + seconds, "linearised": quick[0],
                        "linearised_first": quick[1]},
        }  # fmt: skip
        if point in shown:
            hits = accuracy_draws(key, *together(plan, net.params, panel.x), panel.labels)
            line["spread"] = float(jnp.std(hits))
        found.append(line)
    return found


def compiled(fn: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float]:
    """A function compiled for arguments like these, and the seconds that it took."""
    start = time.perf_counter()
    return jax.jit(fn).lower(*args).compile(), time.perf_counter() - start


def timed(call: Callable[[], Any], calls: int = 4) -> tuple[Any, float, float]:
    """The result, the median seconds of all calls but the first where there are more, and those of the first."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return result, float(np.median(seconds[1:] or seconds)), seconds[0]


def sampled(
    net: Placed, panel: Panel, points: tuple[Point, ...], chips: int, seed: int, path: Path, progress: bool
) -> dict[str, np.ndarray]:
    """Squared error, hits and flips of every chip, point and picture `[chips, points, n]`, and the results' moments.

    One chip has the same normal scores at every point.
    """
    values = jax.tree.map(lambda *x: jnp.asarray(x, jnp.float32), *points)

    def one(key: Array) -> dict[str, Array]:
        return jax.lax.map(lambda point: chip_results(key, net, at(net.plan, point), panel), values)

    keys = jax.random.split(fold_name(jax.random.key(seed), "chips"), chips)
    return ensemble(one, keys, path=path, progress=progress)


def chip_results(key: Array, net: Placed, plan: Plan, panel: Panel) -> dict[str, Array]:
    """One chip: mean squared error, hit and flip of every picture, and its deviation from the digital results."""
    programming, reading = jax.random.split(key)
    y = analog(net.fn)(reading, program(programming, plan, net.params), panel.x)
    away, kind = y - panel.exact, y.argmax(-1)
    return {"error": (away**2).mean(-1), "hit": kind == panel.labels, "flip": kind != panel.exact.argmax(-1),
            "away": away.astype(jnp.float32)}  # fmt: skip


def kurtosis(away: np.ndarray) -> float:
    """Excess kurtosis of the results over chips `[chips, n, classes]`, the mean over pictures and classes.

    0 for normal results; where products of many layers' errors matter it grows, and `predict` misses their tails.
    """
    centred = away - away.mean(0)
    variance = np.maximum((centred**2).mean(0), np.finfo(np.float64).tiny)
    return float(np.mean((centred**4).mean(0) / variance**2) - 3.0)


def seconds_to_sample(net: Placed, panel: Panel, sigma: float, error: np.ndarray) -> dict[str, float]:
    """What our own ensemble takes for a 95 % half-width of 2 % of the mean squared error, compiling left out.

    Args:
      error: of the pilot's chips, `[chips]`.
    """
    plan = at_sigma(net.plan, sigma)
    one = lambda key: chip_results(key, net, plan, panel)["error"].mean()  # noqa: E731
    on_cpu = jax.default_backend() == "cpu"
    many, chips = ((lambda keys: jax.lax.map(one, keys)), 32) if on_cpu else (jax.vmap(one), BATCH)
    keys = jax.random.split(jax.random.key(0), chips)
    run, single = jax.jit(many), jax.jit(one)
    _, seconds, first = timed(lambda: run(keys))
    _, naive, _ = timed(lambda: [float(single(k)) for k in keys[:8]])
    needed = float((Z * error.std(ddof=1) / (HALF_WIDTH * error.mean())) ** 2)
    return {"chips": needed, "chip": seconds / chips, "seconds": needed * seconds / chips,
            "first": first - seconds, "naive": needed * naive / 8}  # fmt: skip
