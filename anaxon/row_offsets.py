"""Known means of operands taken off the rows of an array, and added after conversion."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.adc_ranges import changed
from anaxon.calibrate import calibrate
from anaxon.interpret.analog import observed
from anaxon.interpret.observe import by_path
from anaxon.interpret.plan import LINEAR, Plan, Site
from anaxon.interpret.program import program
from anaxon.interpret.reads import Reading
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree


def without_offsets(fn: Callable[..., Any], paths: Sequence[str] | None = None) -> Callable[..., Plan]:
    """Transforms `fn` into `(key, plan, params, *inputs) -> plan` that takes the mean of operands off the rows.

    The mean of every row over the inputs seen is subtracted before the DAC, and its product with the weight added
    after conversion, which costs one addition an output. Where an operand is known beforehand, as positional encodings
    are, its mean is that of the length seen here: give the longest, since the encodings of other lengths have another.
    The input ranges become those of what is left.

    Args:
      fn: the function that was placed.
      paths: of the weights; all that end in linear ADCs, or have none, by default.

    Raises:
      ValueError: for a path whose columns end in a ramp: it computes the activation before anything can be added.
    """

    @jax.jit
    def measured(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Array]:
        chip = program(fold_name(key, "calibration chip"), plan, params)
        seen = by_path(observed(fn, (_row_sums,), fold_name(key, "calibration read"), chip, params, *inputs)[1])
        return {path: v["sum"] / jnp.maximum(v["vectors"], 1) for path, v in seen.items()}

    def run(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> Plan:
        chosen = _checked(plan, paths)
        means = measured(check_key(key), plan, params, *inputs)
        offsets = {s.path: _row_means(s, means[s.path]) for s in chosen}
        shifted = changed(plan, {path: {"offset": offset} for path, offset in offsets.items()})
        found = calibrate(fn)(key, shifted, params, *inputs)
        return changed(shifted, {s.path: {"input": found.ranges[plan.index(s.path)].input} for s in chosen})

    return run


def _checked(plan: Plan, paths: Sequence[str] | None) -> list[Site]:
    linear = lambda s: any(kind == LINEAR for u in s.uses for kind, _ in u.conversions)  # noqa: E731
    possible = {s.path: s for s in plan.sites if s.row_axes and linear(s) and not plan.of(s).is_ideal}
    odd = [path for path in paths or () if path not in possible]
    if odd:
        raise ValueError(
            f"paths: {odd[0]!r} is no weight whose whole rows end in a linear ADC; expected some of {list(possible)}"
        )
    return [possible[path] for path in paths or possible]


def _row_means(site: Site, means: Array) -> Array:
    """Of the weight's shape with extent 1 along its columns, where every read drives all of them alike.

    Whole where it does not: a convolution's groups have rows of their own, and so have columns read by themselves.
    """
    columns = [a for a in range(len(site.shape)) if a not in site.row_axes and a not in site.stack_axes]
    if any(use.cols < prod(site.shape[a] for a in columns) for use in site.uses):
        return means
    return means[tuple(slice(0, 1) if a in columns else slice(None) for a in range(len(site.shape)))]


def _row_sums(reading: Reading) -> dict[tuple[str, str], Array]:
    """The sum of every row's inputs and their number, at the weight's own elements."""
    if reading.kind != LINEAR or reading.weight.index is None:
        return {}
    index, site = reading.product.weight(reading.weight.index), reading.weight.site
    at = lambda x: jnp.zeros(reading.weight.elements).at[index].set(x).reshape(site.shape)  # noqa: E731
    total = jnp.sum(reading.operand, axis=1)[:, :, None]
    return {("sum", "sum"): at(total), ("sum", "vectors"): at(jnp.float32(reading.operand.shape[1]))}
