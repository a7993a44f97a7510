"""Input ranges that follow what training sees: the observers of quantisation-aware training.

With perfect cells (`IdealDevice`) `analog` *is* the quantisation-aware forward pass: symmetric weights of
`Array.weight_bits`, one scale per tensor or column, activations of `DAC.bits` over the input range of every weight.
An observer moves those ranges from step to step; "learned" ranges are parameters instead (`learned_ranges`). The
running minimum-maximum and its moving average are those of Jacob et al. 2018 (arXiv:1712.05877, section 3.1) and of
arXiv:2505.24721, symmetric about zero.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.interpret.analog import observed
from anaxon.interpret.observe import by_path
from anaxon.interpret.plan import Plan
from anaxon.interpret.program import program
from anaxon.interpret.reads import Reading
from anaxon.training.noise import scaled_noise
from anaxon.training.objectives import Schedule
from anaxon.types import Array, ArrayLike, PyTree, replace

Observe = Callable[[Array, Array], Array]  # (range so far, largest magnitude of this step) -> range
InputRanges = dict[str, Array]  # by path


def min_max(old: Array, seen: Array) -> Array:
    """The largest magnitude ever seen; it never shrinks."""
    return jnp.maximum(old, seen)


def moving_average(rate: float = 0.01) -> Observe:
    """`old + rate (seen - old)`.

    Raises:
      ValueError: for a rate that is not in (0, 1].
    """
    if not 0 < rate <= 1:
        raise ValueError(f"moving_average: expected a rate in (0, 1]; got {rate!r}")

    def observe(old: Array, seen: Array) -> Array:
        return old + rate * (seen - old)

    return observe


def input_ranges(plan: Plan) -> InputRanges:
    """The calibrated input range of every placed weight that is read [operand units].

    Raises:
      ValueError: for a plan that is not calibrated.
    """
    found = {}
    for site, ranges in zip(plan.sites, plan.ranges, strict=True):
        if plan.of(site).is_ideal or site.bias or not site.uses:
            continue
        if ranges.input is None:
            raise ValueError(f"plan: {site.path} has no range yet; expected a plan from `calibrate`")
        found[site.path] = jnp.asarray(ranges.input, jnp.float32)
    return found


def with_input_ranges(plan: Plan, ranges: InputRanges) -> Plan:
    """The plan with these input ranges."""
    new = [
        replace(r, input=ranges[s.path]) if s.path in ranges else r
        for s, r in zip(plan.sites, plan.ranges, strict=True)
    ]
    return replace(plan, ranges=tuple(new))


def observed_loss(
    fn: Callable[..., Any],
    loss: Callable[..., Array],
    plan: Plan,
    observe: Observe = min_max,
    schedule: Schedule | None = None,
) -> Callable[..., tuple[Array, InputRanges]]:
    """The objective on a chip of the plan, with ranges that an observer moves.

    Returns:
      `(params, ranges, key, step, inputs, *targets) -> (loss, ranges)`: the forward pass uses the ranges as they come,
      and returns them with what it has seen. No gradient reaches them. On perfect cells this is quantisation-aware
      training; on others every call programs a fresh chip, `schedule(step)` scales its noise (see `scaled_noise`).
    """

    def objective(
        params: PyTree, ranges: InputRanges, key: Array, step: ArrayLike, inputs: tuple, *targets: PyTree
    ) -> tuple[Array, InputRanges]:
        now = with_input_ranges(plan, jax.lax.stop_gradient(ranges))
        if schedule is not None:
            now = scaled_noise(now, schedule(jnp.asarray(step)))
        program_key, read_key = jax.random.split(key)
        chip = program(program_key, now, params)
        out, stats = observed(fn, (_largest,), read_key, chip, None, *inputs)
        seen = {path: jax.lax.stop_gradient(v["input"]) for path, v in by_path(stats).items()}
        return loss(out, *targets), {path: observe(old, seen[path]) for path, old in ranges.items()}

    return objective


def _largest(reading: Reading) -> dict[tuple[str, str], Array]:
    return {("max", "input"): reading.largest}
