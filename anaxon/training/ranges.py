"""Converter ranges as parameters that training learns beside the weights.

The gradient to a range is that of `anaxon.numerics.quantise`: inside the range the one of learned step sizes (Esser et
al. 2020, arXiv:1902.08153, eq. 3), outside that of clipping.
"""

import jax.numpy as jnp

from anaxon.interpret.plan import LINEAR, Plan, Site
from anaxon.types import Array, ArrayLike, PyTree, replace


def learned_ranges(plan: Plan) -> PyTree:
    """The plan's ranges as parameters to train: logarithms, so that every step keeps them positive.

    Returns:
      `{"input": {path: ...}, "column": {path: ...}, "span": {rule: ...}}`: the DAC range of every site [operand
      units], the full scale of its linear ADC [column units] unless the hardware fixes it, and the span of each
      rule's ramp [pre-activation units] where one is set.

    Raises:
      ValueError: for a plan that is not calibrated.
    """
    inputs, columns = {}, {}
    for site, ranges in zip(plan.sites, plan.ranges, strict=True):
        if plan.of(site).is_ideal or site.bias or not site.uses:
            continue
        if ranges.input is None:
            raise ValueError(f"plan: {site.path} has no range yet; expected a plan from `calibrate`")
        inputs[site.path] = _log(ranges.input)
        if ranges.column is not None and _is_linear(site):
            columns[site.path] = _log(ranges.column)
    ramps = {str(i): getattr(hw.activation, "span", None) for i, hw in enumerate(plan.hardware)}
    spans = {i: _log(span) for i, span in ramps.items() if span is not None}
    return {"input": inputs, "column": columns, "span": spans}


def _log(value: ArrayLike) -> Array:
    return jnp.log(jnp.asarray(value, jnp.float32))


def _is_linear(site: Site) -> bool:
    return any(kind == LINEAR for use in site.uses for kind, _ in use.conversions)


def with_ranges(plan: Plan, ranges: PyTree) -> Plan:
    """The plan with the ranges of a tree from `learned_ranges`; the gradient to the tree is that of the converters.

    Raises:
      ValueError: for a range of a weight that the plan does not place.
    """
    odd = {*ranges["input"], *ranges["column"]} - {site.path for site in plan.sites}
    if odd:
        raise ValueError(f"ranges: {min(odd)} is no weight of this plan; expected the tree that learned_ranges made")
    new = list(plan.ranges)
    for field in ("input", "column"):
        for path, log in ranges[field].items():
            i = plan.index(path)
            new[i] = replace(new[i], **{field: jnp.exp(log)})
    hardware = list(plan.hardware)
    for i, log in ((int(i), log) for i, log in ranges["span"].items()):
        hardware[i] = replace(hardware[i], activation=replace(hardware[i].activation, span=jnp.exp(log)))
    return replace(plan, ranges=tuple(new), hardware=tuple(hardware))
