"""`calibrate`: ranges per site from data; a plan again, good for every chip."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.interpret.analog import observed
from anaxon.interpret.observe import by_path, ranges
from anaxon.interpret.plan import LINEAR, Plan, Ranges
from anaxon.interpret.program import check_weights, program
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree, is_concrete, replace

# How far an unfixed ADC range reaches beyond the largest column seen: other chips' columns are larger at times.
HEADROOM = 1.05


def calibrate(fn: Callable[..., Any]) -> Callable[..., Plan]:
    """Transforms `fn` into `(key, plan, params, *inputs) -> plan` with the ranges that these inputs need.

    A DAC's range becomes the absmax of what drove it. An ADC without a fixed full scale gets the largest column seen
    on one freshly programmed chip, with 5 % headroom; a fixed one stays, since it is the hardware's, and so does what
    the plan has set in its place.
    """

    def seen(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> Plan:
        chip = program(fold_name(key, "calibration chip"), plan, params)
        _, stats = observed(fn, (ranges,), fold_name(key, "calibration read"), chip, None, *inputs)
        found = by_path(stats)
        new = tuple(_ranges(plan, i, found.get(site.path)) for i, site in enumerate(plan.sites))
        return replace(plan, ranges=new)

    @jax.jit  # a call outside any trace would otherwise compile hundreds of small programs
    def measured(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> Plan:
        # On a shared array the input ranges decide the weights' scales, and those the columns: look at these again.
        first = seen(key, plan, params, *inputs)
        return seen(key, first, params, *inputs) if _needs_columns(plan) else first

    def run(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> Plan:
        check_key(key)
        check_weights(plan, params)
        _check_inputs(inputs)
        return measured(key, plan, params, *inputs)

    return run


def _check_inputs(inputs: PyTree) -> None:
    """Ranges from no data, or from data that are not finite, would be wrong without a sign of it."""
    for i, x in enumerate(jax.tree.leaves(inputs)):
        if not is_concrete(x) or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            continue
        if jnp.size(x) == 0 or not np.all(np.isfinite(np.asarray(x, np.float32))):
            what = "none" if jnp.size(x) == 0 else "values that are not finite"
            raise ValueError(f"calibrate: expected finite data in input {i}, shape {jnp.shape(x)}; got {what}")


def _needs_columns(plan: Plan) -> bool:
    """Whether a column of an array that several weights share ends in an ADC whose range is still open."""
    shared = [s for s in plan.sites if s.group is not None and not s.bias]
    ends = [(kind, plan.of(s).adc) for s in shared for use in s.uses for kind, _ in use.conversions]
    return any(kind == LINEAR and adc is not None and adc.full_scale is None for kind, adc in ends)


def _ranges(plan: Plan, i: int, seen: dict[str, Array] | None) -> Ranges:
    if seen is None:
        return plan.ranges[i]
    adc = plan.of(plan.sites[i]).adc
    fixed = adc is None or adc.full_scale is not None
    column = plan.ranges[i].column if fixed else jnp.maximum(seen["column"], 1e-12) * HEADROOM
    return replace(plan.ranges[i], input=jnp.where(seen["input"] > 0, seen["input"], 1.0), column=column)
