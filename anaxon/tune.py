"""Hardware tuned for a network: windows of conductance by a geometric program, anything else by gradients.

Windows. With w the share of full scale that a weight (or a column of it) uses, the error of the results is
`sum_l a_l / w_l^2` to first order and the power `sum_l (A_l w_l + B_l w_l^2)`: posynomials, so that least error under
a power budget, and least power under an error budget, have one optimum each, at
`w_l^3 (A_l + 2 B_l w_l) = 2 a_l / lambda` with w_l limited to [lowest, 1]. One bisection for lambda, one for every w_l,
all side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.adc_ranges import changed
from anaxon.check import integer, number
from anaxon.device.gaussian import Gaussian
from anaxon.interpret.linearise import AT_ONCE, mean_result, sensitivities
from anaxon.interpret.plan import Plan
from anaxon.interpret.power import power
from anaxon.interpret.program import check_weights
from anaxon.interpret.sites import Site
from anaxon.types import Array, PyTree, is_concrete, pytree

LOWEST = 1e-3  # of a window: weights that nothing depends on
STEPS = 60  # of a bisection, of which each halves a logarithm


@pytree
class Trade:
    """What windows cost and bring, each a dict by path of arrays in the weight's shape (1 where common).

    Attributes:
      error: `a`, variance of the results at window 1.
      cells: `A`, power in the cells at window 1 [g_max v_max^2].
      amplifiers: `B`, power in the amplifiers at window 1.
      bias: mean squared error of the mean chip (rounded inputs, saturation), whatever the windows.
      spread: power in the amplifiers by the cells' deviations, whatever the windows.
    """

    error: dict[str, Array]
    cells: dict[str, Array]
    amplifiers: dict[str, Array]
    bias: Array
    spread: Array

    def __repr__(self) -> str:
        """A line for every weight, of its columns' sums: what one sees in a notebook."""
        known = lambda x: hasattr(x, "shape") and is_concrete(x)  # noqa: E731
        total = lambda x: f"{float(jnp.sum(x)):.4g}" if known(x) else "unknown"  # noqa: E731
        lines = [
            f"  {p}: error {total(a)}, cells {total(self.cells[p])}, amplifiers {total(self.amplifiers[p])}"
            for p, a in self.error.items()
        ]
        beside = f"bias {total(self.bias)}, spread {total(self.spread)}"
        return "\n".join([f"Trade at windows of 1, power in g_max v_max^2: {beside}", *lines])

    def error_at(self, windows: Mapping[str, Array | float]) -> Array:
        """Mean squared error to first order."""
        return sum((jnp.sum(a / jnp.asarray(windows[p]) ** 2) for p, a in self.error.items()), self.bias)

    def power_at(self, windows: Mapping[str, Array | float]) -> Array:
        """Power [g_max v_max^2] of an example, on the mean chip but for `spread`."""
        w = {p: jnp.asarray(windows[p]) for p in self.error}
        return sum((jnp.sum(self.cells[p] * w[p] + self.amplifiers[p] * w[p] ** 2) for p in w), self.spread)


def trade(
    fn: Callable[..., Array], per: Literal["site", "column"] = "site", at_once: int = AT_ONCE
) -> Callable[..., Trade]:
    """Transforms `fn` into `(plan, params, *inputs) -> Trade`, means over examples and results.

    Args:
      fn: the function that was placed, with one result `[batch, ...]`.
      per: a window for each weight, or for each column of it.
      at_once: backward passes side by side, as in `linearised`.

    Raises:
      ValueError: for noise that does not go as one over the square of the window (`sigma_rel`, `bandwidth`), which
        `minimise` can still tune; and as `power` and `linearised`.
    """
    if per not in ("site", "column"):
        raise ValueError(f"per: expected 'site' or 'column'; got {per!r}")
    # Made once: what they compile serves every call.
    slopes, drawn, centre, digital = sensitivities(fn, at_once), power(fn), mean_result(fn), jax.jit(fn)

    def run(plan: Plan, params: PyTree, *inputs: PyTree) -> Trade:
        check_weights(plan, params)
        sigma = {site.path: _sigma(plan, site) for site in plan.sites}
        whole = with_windows(plan, {s.path: None for s in plan.sites})
        error, draws = slopes(whole, params, *inputs), drawn(whole, params, *inputs)
        away = centre(whole, params, *inputs) - digital(params, *inputs)
        found = Trade(
            error=error,
            cells={p: draws[p].cells for p in error},
            amplifiers={p: draws[p].amplifiers for p in error},
            bias=jnp.mean(away**2),
            spread=sum((sigma[p] ** 2 * jnp.sum(draws[p].spread) for p in error), jnp.zeros(())),
        )
        return found if per == "column" else by_site(found)

    return run


def _sigma(plan: Plan, site: Site) -> Array:
    """Of the cells; the geometric program is right for noise in units of full scale alone."""
    cells = plan.of(site).cells
    if plan.of(site).is_ideal:
        return jnp.zeros(())
    if not isinstance(cells, Gaussian):
        raise ValueError(f"{site.path}: windows are chosen for Gaussian cells, use `minimise`; got {cells!r}")
    relative = cells.sigma_rel is not None and not (is_concrete(cells.sigma_rel) and np.all(cells.sigma_rel == 0))
    if relative or cells.bandwidth is not None:
        raise ValueError(
            f"{site.path}: expected noise in units of full scale (sigma, read_sigma), which alone goes as one over the "
            f"square of a window; got sigma_rel = {cells.sigma_rel}, bandwidth = {cells.bandwidth}: use `minimise`"
        )
    return jnp.asarray(cells.sigma, jnp.float32)


def by_site(given: Trade) -> Trade:
    """The trade of columns as that of whole weights."""
    return jax.tree.map(lambda x: jnp.sum(x, keepdims=True), given)


def with_windows(plan: Plan, windows: Mapping[str, Array | float | None]) -> Plan:
    """The plan with windows; chips of it must be programmed anew.

    Raises:
      ValueError: for a number that is not above 0, or what is no dict by path.
    """
    if not isinstance(windows, Mapping):
        raise ValueError(f"windows: expected a dict by the weights' paths; got {windows!r}")
    for path, window in windows.items():
        number(f"windows[{path!r}]", window, "a share of full scale above 0, or None", low=0.0, open_low=True)
    return changed(plan, {path: {"window": w if w is None else jnp.asarray(w)} for path, w in windows.items()})


def uniform(given: Trade, power_budget: float, relative: Mapping[str, float] | None = None) -> dict[str, Array]:
    """The same window everywhere that draws a given power.

    Args:
      given: costs and gains.
      power_budget: [g_max v_max^2].
      relative: windows in proportion to these instead, none above 1 (one conductance for a unit of weight: the largest
        weight of each site, relative to that of all).

    Raises:
      ValueError: for a budget that such windows do not reach; it says what they reach.
    """
    share = {p: jnp.full_like(a, 1.0 if relative is None else relative[p]) for p, a in given.error.items()}
    top = 1.0 / max(float(r.max()) for r in share.values())
    least, most = (float(_power(given, _in_proportion(share, w))) for w in (LOWEST, top))
    _feasible(power_budget, least, most)
    return _uniform(given, share, top, power_budget)


def least_error(given: Trade, power_budget: float, highest: float = 1.0) -> dict[str, Array]:
    """Windows of least error within a power budget [g_max v_max^2].

    Args:
      given: costs and gains.
      power_budget: [g_max v_max^2].
      highest: of a window. Chips have none above 1; what they would be there tells what full scale costs.

    Raises:
      ValueError: for a budget below the power of the smallest windows; it says how much that is.
    """
    lowest = {p: jnp.full_like(a, LOWEST) for p, a in given.error.items()}
    number("highest", highest, "a number above 0", low=0.0, open_low=True)
    full = {p: jnp.where(a > 0, highest, LOWEST) for p, a in given.error.items()}
    _feasible(power_budget, float(_power(given, lowest)), float("inf"))
    return full if float(_power(given, full)) <= power_budget else _at_power(given, power_budget, jnp.float32(highest))


def least_power(given: Trade, error_budget: float) -> dict[str, Array]:
    """Windows of least power within an error budget.

    Raises:
      ValueError: for a budget below the error of full windows; it says how much that is.
    """
    full = {p: jnp.where(a > 0, 1.0, LOWEST) for p, a in given.error.items()}
    least = float(given.error_at(full))
    if not error_budget >= least:  # NaN, too
        raise ValueError(
            f"error_budget: the least feasible is {least:.4g}, with all windows full; got {error_budget:.4g}"
        )
    return _at_error(given, jnp.float32(error_budget))


def _feasible(budget: float, least: float, most: float) -> None:
    if not isfinite(budget):
        raise ValueError(f"power_budget: expected a number; got {budget}")
    if budget < least:
        raise ValueError(f"power_budget: the least feasible is {least:.4g} g_max v_max^2; got {budget:.4g}")
    if budget > most:
        raise ValueError(f"power_budget: full windows draw {most:.4g} g_max v_max^2; got {budget:.4g}, which is more")


# Compiled once for a network's shapes, whatever the budget.
_power = jax.jit(Trade.power_at)


def _in_proportion(share: dict[str, Array], w: Array | float) -> dict[str, Array]:
    return {p: jnp.maximum(w * r, LOWEST) for p, r in share.items()}


@jax.jit
def _uniform(given: Trade, share: dict[str, Array], top: Array, budget: Array) -> dict[str, Array]:
    w = _bisect(lambda w: given.power_at(_in_proportion(share, w)) < budget, LOWEST, top)
    return _in_proportion(share, w)


@jax.jit
def _at_power(given: Trade, budget: Array, highest: Array) -> dict[str, Array]:
    at = lambda x: _windows(given, x, highest)  # noqa: E731
    return at(_bisect(lambda x: given.power_at(at(x)) > budget, 1e-30, 1e30))


@jax.jit
def _at_error(given: Trade, budget: Array) -> dict[str, Array]:
    at = lambda x: _windows(given, x, jnp.float32(1.0))  # noqa: E731
    return at(_bisect(lambda x: given.error_at(at(x)) < budget, 1e-30, 1e30))


def _windows(given: Trade, price: Array, highest: Array) -> dict[str, Array]:
    """Where `w^3 (A + 2 B w) = 2 a / price`, limited to [LOWEST, highest]; the left side rises with w."""

    def one(a: Array, cells: Array, amplifiers: Array) -> Array:
        low = LOWEST * jnp.ones_like(a)
        return _bisect(lambda w: w**3 * (cells + 2 * amplifiers * w) * price < 2 * a, low, highest)

    return jax.tree.map(one, given.error, given.cells, given.amplifiers)


def _bisect(below: Callable[[Array], Array], low: Any, high: Any) -> Array:
    """Where a condition that holds for small values ends, on a logarithmic scale; elementwise."""
    low, high = jnp.log(jnp.asarray(low, jnp.float32)), jnp.log(jnp.asarray(high, jnp.float32))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        smaller = below(jnp.exp(middle))
        return jnp.where(smaller, middle, low), jnp.where(smaller, high, middle)

    low, high = jax.lax.fori_loop(0, STEPS, halve, (low, jnp.broadcast_to(high, jnp.shape(low))))
    return jnp.exp(high)


def minimise(
    objective: Callable[[Plan], Array], plan: Plan, free: Mapping[str, tuple[float, float]], optimiser: Any, steps: int
) -> tuple[Plan, np.ndarray]:
    """Descends any differentiable objective of a plan along some of its numbers, each within its bounds.

    Args:
      objective: of `predict`, `linearised`, `cost`, `power` or sampled chips with fixed keys; one number.
      plan: where to start.
      free: pattern of a leaf's name (`ranges/3/window`, `hardware/0/device/sigma`; `*` for any) to (low, high). The
        bounds are approached by a logistic map and never reached.
      optimiser: an optax gradient transformation.
      steps: of it.

    Returns:
      The plan with the smallest objective seen, and the objective before every step, `[steps + 1]`.

    Raises:
      ValueError: for a pattern that matches no number, a start beyond the bounds, steps that are no count, or an
        objective that is not finite, or not one number.
      TypeError: for what is no optimiser.
    """
    integer("steps", steps, 0, 2**31)
    if not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise TypeError(f"optimiser: expected an optax gradient transformation; got {optimiser!r}")
    leaves, treedef, chosen = _chosen(plan, free)
    start = {i: _logit((leaves[i] - low) / (high - low)) for i, (low, high) in chosen.items()}

    def plan_of(state: dict[int, Array]) -> Plan:
        new = list(leaves)
        for i, (low, high) in chosen.items():
            new[i] = low + (high - low) * jax.nn.sigmoid(state[i])
        return treedef.unflatten(new)

    @jax.jit
    def step(state: dict[int, Array], memory: Any) -> tuple[Array, dict[int, Array], Any]:
        value, slopes = jax.value_and_grad(lambda s: objective(plan_of(s)))(state)
        updates, memory = optimiser.update(slopes, memory, state)
        return value, jax.tree.map(jnp.add, state, updates), memory

    result = jax.eval_shape(objective, plan_of(start))
    if getattr(result, "shape", None) != ():
        raise ValueError(f"objective: expected one number; got {jax.tree.map(lambda x: x.shape, result)}")
    state, memory, seen, best = start, optimiser.init(start), [], start
    for _ in range(steps + 1):
        value, after, memory = step(state, memory)
        seen.append(float(value))
        if not np.isfinite(seen[-1]):
            told = "is {} at the start" if len(seen) == 1 else "became {} after {} steps; try smaller ones"
            raise ValueError(f"objective: {told.format(seen[-1], len(seen) - 1)}")
        best = state if seen[-1] <= min(seen) else best
        state = after
    return plan_of(best), np.asarray(seen)


def _logit(share: Array) -> Array:
    return jnp.log(share) - jnp.log1p(-share)


Bounds = tuple[float, float]


def _chosen(plan: Plan, free: Mapping[str, Bounds]) -> tuple[list[Any], Any, dict[int, Bounds]]:
    """Leaves of a plan, and which of them are free within what bounds."""

    found, treedef = jax.tree_util.tree_flatten_with_path(plan)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
    leaves = [x for _, x in found]
    chosen: dict[int, Bounds] = {}
    for pattern, bounds in free.items():
        matching = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not matching:
            hint = " (windows come `with_windows`)" if "window" in pattern else ""
            raise ValueError(f"free: {pattern!r} matches no number of the plan{hint}; there are {names}")
        if not (isinstance(bounds, tuple | list) and len(bounds) == 2 and bounds[0] < bounds[1]):
            raise ValueError(f"free: {pattern!r}: expected bounds (low, high) with low below high; got {bounds!r}")
        chosen |= dict.fromkeys(matching, bounds)
    for i, (low, high) in chosen.items():
        leaves[i] = _number(names[i], leaves[i])
        if not bool(jnp.all((leaves[i] > low) & (leaves[i] < high))):
            start = np.array2string(np.asarray(leaves[i]), precision=4)
            raise ValueError(f"free: {names[i]} starts at {start}, not within ({low:g}, {high:g})")
    return leaves, treedef, chosen


def _number(name: str, leaf: Any) -> Array:
    """A leaf that can move; those that do not stay what they are."""
    found = jnp.asarray(leaf, jnp.float32) if type(leaf) in (float, int) else jnp.asarray(leaf)
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise TypeError(f"free: {name} is {found.dtype.name}; expected a floating-point number")
    return found
