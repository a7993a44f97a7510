"""The ramp conversion of bit lines, and of digital values in a second pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.converter.ramp.convert import Comparators, convert, convert_by_row
from anaxon.converter.ramp.ramp import read_noise
from anaxon.hardware import Hardware
from anaxon.interpret.lines import Line, Part
from anaxon.interpret.ramps import array_number, stacked
from anaxon.prng import fold_name
from anaxon.types import Array, replace


@dataclass(frozen=True)
class RampArray:
    """The array that a line belongs to.

    Attributes:
      group: of the plan's sites.
      hardware: theirs.
      number: of the array in its stack, `[G]` for the products side by side in one read; None where there is one array.
      key: of the read, for the noise of this pass.
    """

    group: int
    hardware: Hardware
    number: Array | None
    key: Array


def array_of(line: Line) -> RampArray:
    """The array of a line: that of its first read."""
    read = _first(line)
    site = read.weight.site
    if stacked(site) == 1:
        return RampArray(site.group, line.hardware, None, read.key)
    heads = read.product.weight(read.weight.index)[:, 0, 0]
    return RampArray(site.group, line.hardware, array_number(site, heads), read.key)


def _first(line: Line) -> Any:
    """The first single read of a line that is not a bias row's."""
    reads = [next(part.members())[0] for part in line.parts]
    return next((r for r in reads if not r.weight.site.bias), reads[0])


def common_range(line: Line) -> Array | None:
    """The range all rows are driven over; None where each weight of the array has its own, which its scale makes up."""
    parts: tuple[Part, ...] = line.parts
    members = [read for part in parts for read, _, _ in part.members()]
    if all(r.weight.site.bias or r.weight.ranges.input is not None for r in members):
        return None
    return jnp.max(jnp.stack([part.root.input_range() for part in parts]))


def convert_line(comparing: Comparators, line: Line, array: RampArray, z: Array) -> Array:
    """The currents `z` of a line through its ramp, the shape of `z`."""
    ramp = array.hardware.activation
    assert ramp is not None
    many = array.number is not None and array.number.size > 1
    if ramp.read_sigma is None and not many:
        return convert(_single(comparing, array), z)
    groups, vectors = _first(line).product.sizes[:2]
    number = jnp.zeros(groups, jnp.int32) if array.number is None else array.number
    if ramp.read_sigma is None:
        return convert_by_row(comparing, _spread(line, jnp.broadcast_to(number[:, None], (groups, vectors))), z)
    # Every vector is a pass of its own over the ramp: its devices are read anew.
    noise = read_noise(_noise_key(array, comparing, "line"), ramp, comparing.design, (groups, vectors))
    levels = (comparing.thresholds[number][:, None] + noise).reshape(groups * vectors, -1)
    row = jnp.arange(groups * vectors, dtype=jnp.int32).reshape(groups, vectors)
    return convert_by_row(replace(comparing, thresholds=levels, guide=None, totals=None), _spread(line, row), z)


def _single(comparing: Comparators, array: RampArray) -> Comparators:
    return comparing.of(0 if array.number is None else array.number[0])


def _spread(line: Line, value: Array) -> Array:
    """A number for each product and vector `[G, M]`, at every element of the line."""
    part = next(p for p in line.parts if next(p.members())[0] is _first(line))
    product, root = _first(line).product, part.root
    whole = product.assemble(jnp.broadcast_to(value[:, :, None], (*value.shape, product.sizes[3])))
    if root.axis is not None:
        shape = (*root.shape[: root.axis], part.hi - part.lo, *root.shape[root.axis + 1 :])
        whole = jnp.broadcast_to(jax.lax.slice_in_dim(whole, 0, 1, axis=root.axis), shape)
    return part.through(whole)


def takes_digital(hardware: Hardware) -> bool:
    """Whether its ramps also convert values that are digital already."""
    return hardware.activation is not None and hardware.activation.digital == "ramp"


def convert_digital(comparing: Comparators, array: RampArray, value: Array) -> Array:
    """A digital value, driven over the ramp's own range and converted as a column would be; the shape of `value`.

    The driver's range is that of the ramp as designed, one step beyond its outer levels: both end codes are reached.
    """
    ramp, single = array.hardware.activation, _single(comparing, array)
    x, dac = jnp.asarray(value).astype(jnp.float32), array.hardware.dac
    if dac is not None:
        levels = jnp.asarray(comparing.design.thresholds, jnp.float32)
        reach = jnp.maximum(jnp.abs(2 * levels[0] - levels[1]), jnp.abs(2 * levels[-1] - levels[-2]))
        x = dac.encode(x, reach) * reach
    if ramp is None or ramp.read_sigma is None:
        return convert(single, x).astype(value.dtype)
    # One pass for each vector: the values along the last axis are converted side by side.
    x = jnp.atleast_1d(x)
    passes = math.prod(x.shape[:-1])
    noise = read_noise(_noise_key(array, comparing, "second pass"), ramp, comparing.design, (passes,))
    row = jnp.broadcast_to(jnp.arange(passes, dtype=jnp.int32).reshape(*x.shape[:-1], 1), x.shape)
    noisy = replace(single, thresholds=single.thresholds + noise, guide=None, totals=None)
    return convert_by_row(noisy, row, x).astype(value.dtype).reshape(value.shape)


def _noise_key(array: RampArray, comparing: Comparators, what: str) -> Array:
    """Ramps of two activations are two columns, with noise of their own."""
    return fold_name(array.key, f"{what} {comparing.design.activation} ramp read noise")
