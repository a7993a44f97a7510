"""`calibrate`: ranges per site from data; a plan again, good for every chip."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.interpret.analog import observed
from anaxon.interpret.observe import by_path, ranges
from anaxon.interpret.plan import Plan, Ranges
from anaxon.interpret.program import check_weights, program
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree, replace

# How far an unfixed ADC range reaches beyond the largest column seen: other chips' columns are larger at times.
HEADROOM = 1.05


def calibrate(fn: Callable[..., Any]) -> Callable[..., Plan]:
    """Transforms `fn` into `(key, plan, params, *inputs) -> plan` with the ranges that these inputs need.

    A DAC's range becomes the absmax of what drove it. An ADC without a fixed full scale gets the largest column seen
    on one freshly programmed chip, with 5 % headroom; a fixed one stays, since it is the hardware's.
    """

    @jax.jit  # a call outside any trace would otherwise compile hundreds of small programs
    def measured(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> Plan:
        chip = program(fold_name(key, "calibration chip"), plan, params)
        _, stats = observed(fn, (ranges,), fold_name(key, "calibration read"), chip, None, *inputs)
        seen = by_path(stats)
        new = tuple(_ranges(plan, i, seen.get(site.path)) for i, site in enumerate(plan.sites))
        return replace(plan, ranges=new)

    def run(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> Plan:
        check_key(key)
        check_weights(plan, params)
        return measured(key, plan, params, *inputs)

    return run


def _ranges(plan: Plan, i: int, seen: dict[str, Array] | None) -> Ranges:
    if seen is None:
        return plan.ranges[i]
    adc = plan.of(plan.sites[i]).adc
    fixed = adc is None or adc.full_scale is not None
    column = None if fixed else jnp.maximum(seen["column"], 1e-12) * HEADROOM
    return Ranges(input=jnp.where(seen["input"] > 0, seen["input"], 1.0), column=column)
