"""Windows refined by gradients through the moments: from the geometric program's, under the same budget of power."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

from anaxon import tune
from anaxon.interpret.moments import predict
from anaxon.interpret.plan import Plan
from anaxon.runs.error_measures import Panel
from anaxon.runs.error_networks import Placed, at_sigma
from anaxon.types import Array

RATE = 0.03  # of Adam, on the logits of windows
BOUNDS = (0.5 * tune.LOWEST, 1.5)  # around every window that the geometric program gives

Windows = dict[str, Array]


def refined(
    net: Placed, sigma: float, panel: Panel, given: tune.Trade, start: Windows, budget: float, steps: int
) -> tuple[Windows, dict[str, Any]]:
    """Windows of layers, and what the optimiser saw: the objective before every step, and its seconds.

    First order, over all pictures of `given`, is corrected by what the moments differ from it on the panel's pictures:
    these are few, and must not decide what many can.

    Args:
      net: the network.
      sigma: of a cell.
      panel: pictures that the moments follow.
      given: the trade of layers on all pictures.
      start: windows.
      budget: power [g_max v_max^2].
      steps: of the optimiser.
    """
    plan = at_sigma(net.plan, sigma)
    few = tune.trade(net.fn)(plan, net.params, panel.x)
    moments = predict(net.fn)

    @jax.checkpoint
    def of_picture(windows: Windows, x: Array, exact: Array) -> Array:
        mean, covariance = moments(tune.with_windows(plan, windows), net.params, x[None])
        return jnp.mean(jnp.diagonal(covariance[0]) + (mean[0] - exact) ** 2)

    @jax.jit
    def error(windows: Windows) -> Array:
        found = jax.lax.map(lambda picture: of_picture(windows, *picture), (panel.x, panel.exact))
        return given.error_at(windows) + jnp.mean(found) - few.error_at(windows)

    clock = time.perf_counter()
    at = lambda plan: within(given, windows_of(plan), budget)  # noqa: E731
    wide = tune.with_windows(plan, start)
    best, seen = tune.minimise(lambda plan: error(at(plan)), wide, {"ranges/*/window": BOUNDS}, optax.adam(RATE), steps)
    return at(best), {"objective": seen.tolist(), "seconds": time.perf_counter() - clock}


def windows_of(plan: Plan) -> Windows:
    """Of a plan that has one for every weight."""
    return {s.path: jnp.asarray(r.window) for s, r in zip(plan.sites, plan.ranges, strict=True)}


def within(given: tune.Trade, windows: Windows, budget: float) -> Windows:
    """Windows in the same proportion that draw `budget`, none above 1 (where they would be, they draw less)."""
    a = sum(jnp.sum(given.cells[p] * w) for p, w in windows.items())
    b = sum(jnp.sum(given.amplifiers[p] * w**2) for p, w in windows.items())
    left = budget - given.spread
    scale = 2 * left / (a + jnp.sqrt(a**2 + 4 * b * left))
    return {p: jnp.clip(scale * w, tune.LOWEST, 1.0) for p, w in windows.items()}
