"""Where an ADC's bits go: its range against its precision, layer by layer or array by array, chosen from data.

A linear ADC of b bits spends them on a range of `+-2**(range_bits - 1)` column units and steps of
`2**-(b - range_bits)`. Columns larger than the range saturate, columns much smaller than it are coarse. Doubling the
range at the same bits doubles the step, which is half the gain before the converter: every choice here is a power of
two, and none costs energy per conversion. (That some layers need another split than the rest is the finding of Hilmes
et al., arXiv 2606.13379; the automatic choices are ours.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.check import integer, require
from anaxon.converter.adc import ADC
from anaxon.crossbar.array import array_sums
from anaxon.interpret.analog import observed
from anaxon.interpret.components import Components, load_components
from anaxon.interpret.cost import adc_energy
from anaxon.interpret.counts import count
from anaxon.interpret.observe import by_path, exact_output
from anaxon.interpret.plan import LINEAR, Plan, Site
from anaxon.interpret.program import check_weights, mapped, program
from anaxon.interpret.reads import Reading
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree, pytree, replace, static

GAINS = tuple(range(-4, 6))  # exponents of two: how much wider than the hardware's own range


@pytree
class Sweep:
    """What one weight's ADC would have done at every range, on one chip and one set of inputs.

    Attributes:
      error: `[len(bits), len(GAINS)]` relative error of the layer's output, to the digital product with its weights as
        they are mapped: their own quantisation is no matter of ranges.
      arrays: `[len(bits), len(GAINS), S, G, T, K]` summed squared conversion error of each physical array (slice,
        stack, row tile, column tile) [column units squared].
      bits: resolutions tried.
    """

    error: Array
    arrays: Array
    bits: tuple[int, ...] = static()

    def best(self, bits: int) -> int:
        """The exponent of the range with the smallest error at this resolution.

        Raises:
          ValueError: for a resolution that was not tried.
        """
        return GAINS[int(np.argmin(np.asarray(self.error)[self.level(bits)]))]

    def level(self, bits: int) -> int:
        """The position of a resolution.

        Raises:
          ValueError: for one that was not tried.
        """
        if bits not in self.bits:
            raise ValueError(f"sweeps: they have tried ADCs of {self.bits} bits; the plan's have {bits}")
        return self.bits.index(bits)


def sweep_ranges(fn: Callable[..., Any], bits: Sequence[int] = (8,)) -> Callable[..., dict[str, Sweep]]:
    """Transforms `fn` into `(key, plan, params, *inputs) -> {path: Sweep}`: every range at every resolution.

    One chip is programmed and read once; every conversion of it is repeated with each range. The layers before a layer
    convert as the plan says, so sweep again after a choice if they matter.

    Raises:
      ValueError: for resolutions that are not whole numbers from 1 to 16 in ascending order, and for a weight whose
        ADC has no fixed range to start from (its range is `calibrate`'s).
    """
    sizes = tuple(bits)
    for size in sizes:
        integer("bits", size, 1, 16)
    require(len(sizes) > 0 and list(sizes) == sorted(set(sizes)), "bits", sizes, "resolutions in ascending order")

    @jax.jit
    def measured(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Sweep]:
        chip = program(fold_name(key, "calibration chip"), plan, params)
        exact = mapped(plan, params)
        seen = observed(fn, (_observer(sizes),), fold_name(key, "calibration read"), chip, exact, *inputs)[1]
        tiny = jnp.finfo(jnp.float32).tiny
        return {
            path: Sweep(error=jnp.sqrt(v["error"] / jnp.maximum(v["signal"], tiny)), arrays=v["arrays"], bits=sizes)
            for path, v in by_path(seen).items()
        }

    def run(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Sweep]:
        check_key(key)
        check_weights(plan, params)
        for site in converted(plan):
            fixed_range(plan, site)
        return measured(key, plan, params, *inputs)

    return run


def converted(plan: Plan) -> list[Site]:
    """The sites whose columns end in linear ADCs."""
    ends = [(s, {kind for u in s.uses for kind, _ in u.conversions}) for s in plan.sites]
    return [s for s, kinds in ends if LINEAR in kinds and plan.of(s).adc is not None]


def fixed_range(plan: Plan, site: Site) -> float | Array:
    """The hardware's own ADC range of a site [column units].

    Raises:
      ValueError: where the range is not fixed by the hardware.
    """
    adc = plan.of(site).adc
    if adc is None or adc.full_scale is None:
        raise ValueError(f"{site.path}: its ADC's range follows the columns; expected ADC.bits(...) or a full_scale")
    return adc.full_scale


def _observer(sizes: tuple[int, ...]) -> Callable[[Reading], dict[tuple[str, str], Array]]:
    """Errors of a reading at every resolution and range."""

    def observer(reading: Reading) -> dict[tuple[str, str], Array]:
        if reading.kind != LINEAR or reading.weight.hardware.adc is None:
            return {}
        exact, cols, z = exact_output(reading), reading.weight.hardware.array.cols, reading.columns
        own = jnp.asarray(reading.weight.hardware.adc.full_scale, jnp.float32)

        def one(at: tuple[Array, Array]) -> tuple[Array, Array]:
            steps, gain = at
            limit = own * gain
            # Any resolution as one program: the step follows from the number of steps.
            adc = replace(reading.weight.hardware.adc, full_scale=limit, step=limit / steps)
            lost = adc.convert(z, limit) - z
            return jnp.sum((reading.through(adc, limit) - exact) ** 2), array_sums(lost**2, cols)

        grid = [(codes(reading.weight.hardware.adc, b), 2.0**g) for b in sizes for g in GAINS]
        error, arrays = jax.lax.map(one, tuple(jnp.asarray(x, jnp.float32) for x in zip(*grid, strict=True)))
        shape = (len(sizes), len(GAINS))
        return {
            ("sum", "error"): error.reshape(shape),
            ("sum", "arrays"): arrays.reshape(*shape, *arrays.shape[1:]),
            ("sum", "signal"): jnp.sum(exact**2),
        }

    return observer


def with_full_scales(plan: Plan, full_scale: Mapping[str, float | Array]) -> Plan:
    """The plan with other ADC ranges for some weights, `{path: range [column units]}`, at the bits they have.

    A range is one number or one for each physical array (see `Ranges.column`).

    Raises:
      KeyError: for a weight that is not placed.
    """
    return changed(plan, {path: {"column": jnp.asarray(limit, jnp.float32)} for path, limit in full_scale.items()})


def with_adcs(plan: Plan, adcs: Mapping[str, ADC]) -> Plan:
    """The plan with other ADCs for some weights, `{path: ADC}`; ranges set for the old ones are forgotten.

    Raises:
      KeyError: for a weight that is not placed.
    """
    hardware, sites, ranges = list(plan.hardware), list(plan.sites), list(plan.ranges)
    made: dict[tuple, int] = {}
    for path, adc in adcs.items():
        i = plan.index(path)
        site = sites[i]
        kind = (site.hardware, repr(adc))
        if kind not in made:
            made[kind] = len(hardware)
            hardware.append(replace(plan.of(site), adc=adc))
        sites[i] = replace(site, hardware=made[kind])
        ranges[i] = replace(ranges[i], column=None, step=None)
    return _compacted(replace(plan, hardware=tuple(hardware), sites=tuple(sites), ranges=tuple(ranges)))


def _compacted(plan: Plan) -> Plan:
    """Without hardware that no site uses."""
    used = sorted({s.hardware for s in plan.sites})
    number = {old: new for new, old in enumerate(used)}
    sites = tuple(replace(s, hardware=number[s.hardware]) for s in plan.sites)
    return replace(plan, hardware=tuple(plan.hardware[i] for i in used), sites=sites)


def split_by_layer(plan: Plan, sweeps: Mapping[str, Sweep]) -> Plan:
    """Every layer's range at its own bits, by the smallest error of its output: exhaustive, one choice a layer."""
    chosen = {}
    for site in _of(plan, sweeps):
        bits = plan.of(site).adc.total_bits  # type: ignore[union-attr]
        chosen[site.path] = fixed_range(plan, site) * 2.0 ** sweeps[site.path].best(bits)
    return with_full_scales(plan, chosen)


def gain_by_array(plan: Plan, sweeps: Mapping[str, Sweep]) -> Plan:
    """A power-of-two gain for every physical array, by the smallest squared error of its own conversions."""
    chosen = {}
    for site in _of(plan, sweeps):
        sweep = sweeps[site.path]
        own = np.asarray(sweep.arrays)[sweep.level(plan.of(site).adc.total_bits)]  # type: ignore[union-attr]
        chosen[site.path] = fixed_range(plan, site) * 2.0 ** np.asarray(GAINS)[own.argmin(0)]
    return with_full_scales(plan, chosen)


def _of(plan: Plan, sweeps: Mapping[str, Any]) -> Iterable[Site]:
    return (s for s in converted(plan) if s.path in sweeps)


def allocate(plan: Plan, sweeps: Mapping[str, Sweep], components: Components | str | None = None) -> Plan:
    """Bits and range of every layer's ADC under one budget: the conversion energy that the plan spends now.

    Minimises the sum over layers of the squared relative error of their outputs. Each step buys the bit, or the several
    bits where one alone does not help, that lower it most per joule; the last step that cannot be paid is what it may
    lie above the optimum, and never above the plan's own bits. `E(bits)` grows faster than linearly: at equal energy
    the mean bits per conversion are not more.

    Args:
      plan: its ADCs say what may be spent.
      sweeps: from `sweep_ranges(fn, bits)` at all resolutions that may be chosen.
      components: prices of a conversion; by default `cmos32`.

    Raises:
      ValueError: where even the lowest resolution of all layers costs more than the budget.
    """
    table = components if isinstance(components, Components) else load_components(components)
    sites = list(_of(plan, sweeps))
    reads = {s.path: count(plan, s, lambda hw, n: 0).linear_conversions for s in sites}
    now = {s.path: cast(ADC, plan.of(s).adc).total_bits for s in sites}
    price = {p: [reads[p] * adc_energy(b, table) for b in sweeps[p].bits] for p in reads}
    error = {p: list(np.asarray(sweeps[p].error, np.float64).min(1) ** 2) for p in reads}
    budget = sum(reads[p] * adc_energy(now[p], table) for p in reads)
    levels = _bought(price, error, budget)
    if all(now[p] in sweeps[p].bits for p in now):
        kept = {p: sweeps[p].bits.index(now[p]) for p in now}
        levels = min(levels, kept, key=lambda at: sum(error[p][i] for p, i in at.items()))
    return with_adcs(plan, {s.path: _resolved(plan, s, sweeps[s.path], levels[s.path]) for s in sites})


def _bought(price: Mapping[str, list[float]], error: Mapping[str, list[float]], budget: float) -> dict[str, int]:
    """The level of every layer; `price` [J] and `error` have one entry a level, the cheapest first."""
    level = dict.fromkeys(price, 0)
    left = budget - sum(p[0] for p in price.values())
    if left < 0:
        raise ValueError(f"bits: the lowest resolution everywhere costs {budget - left:.3g} J, the plan {budget:.3g} J")
    while True:
        steps = [
            ((error[p][at] - error[p][to]) / (price[p][to] - price[p][at]), p, to)
            for p, at in level.items()
            for to in range(at + 1, len(price[p]))
            if price[p][to] - price[p][at] <= left
        ]
        gain, path, to = max(steps, default=(0.0, "", 0))
        if gain <= 0:
            return level
        left -= price[path][to] - price[path][level[path]]
        level[path] = to


def _resolved(plan: Plan, site: Site, sweep: Sweep, level: int) -> ADC:
    """The site's converter with other bits, over the best range at these."""
    bits = sweep.bits[level]
    adc, limit = cast(ADC, plan.of(site).adc), float(fixed_range(plan, site)) * 2.0 ** sweep.best(bits)
    steps = codes(adc, bits)
    return replace(adc, full_scale=limit, step=limit / steps, steps=steps, total_bits=bits)


def codes(adc: ADC, bits: int) -> int:
    """Codes on each side of zero at a resolution: `ADC.bits` has one more than the symmetric `ADC.uniform`."""
    return max(1, 2 ** (bits - 1) - (adc.step is None))


def changed(plan: Plan, changes: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan with some fields of the ranges of some sites changed."""
    new = list(plan.ranges)
    for path, fields in changes.items():
        i = plan.index(path)
        new[i] = replace(new[i], **fields)
    return replace(plan, ranges=tuple(new))
