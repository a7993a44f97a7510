"""The ramps of a chip: one column per activation and array, programmed once, its errors common to all its neurons."""

from math import prod

import jax
import jax.numpy as jnp

from anaxon.converter.ramp.convert import Comparators, comparators
from anaxon.converter.ramp.ramp import Ramp, design_of, sample
from anaxon.interpret.plan import LINEAR, Chip, Plan, Site
from anaxon.prng import fold_name
from anaxon.types import Array

Ramps = dict[tuple[int, str], Comparators]  # (group, activation) -> thresholds [arrays, K]


def ramps(chip: Chip) -> Ramps:
    """What the comparators of every shared array compare with, by (group of the plan's sites, activation).

    A ramp is a function of (chip key, first path of its array, activation, number of the array in a stack).
    """
    found = {}
    for group in sorted({s.group for s in chip.plan.sites if s.group is not None}):
        first = leader(chip.plan, group)
        ramp = chip.plan.of(first).activation
        if ramp is None:
            continue
        for kind in kinds(chip.plan, group):
            key = fold_name(fold_name(chip.key, first.path), f"ramp {kind}")
            found[group, kind] = _programmed(key, ramp, kind, stacked(first))
    return found


def leader(plan: Plan, group: int) -> Site:
    """The first weight of a shared array, whose name the array goes by."""
    members = [s for s in plan.sites if s.group == group]
    return next((s for s in members if not s.bias), members[0])


def kinds(plan: Plan, group: int) -> list[str]:
    """The activations that an array's ramps compute: of its columns, and of digital values in a second pass."""
    members = [s for s in plan.sites if s.group == group]
    ends = {kind for s in members for use in s.uses for kind, _ in use.conversions if kind != LINEAR}
    return sorted(ends | {f.name for s in members for f in s.passes})


def stacked(site: Site) -> int:
    """Arrays side by side that one weight stands on: its stack."""
    return prod(site.shape[a] for a in site.stack_axes)


def _programmed(key: Array, ramp: Ramp, kind: str, arrays: int) -> Comparators:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(arrays))
    thresholds = jax.vmap(lambda k: sample(k, ramp, kind))(keys)
    return comparators(thresholds, design_of(ramp, kind))


def array_number(site: Site, element: Array) -> Array:
    """Which array of the stack an element of the weight, by its number, stands on."""
    index = jnp.unravel_index(element, site.shape)
    number = jnp.zeros_like(element)
    for axis in site.stack_axes:
        number = number * site.shape[axis] + index[axis]
    return number
