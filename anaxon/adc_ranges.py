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

from anaxon.converter.adc import ADC
from anaxon.crossbar.array import array_sums
from anaxon.interpret.analog import observed
from anaxon.interpret.components import Components, load_components
from anaxon.interpret.cost import adc_energy
from anaxon.interpret.counts import count
from anaxon.interpret.observe import by_path, exact_output
from anaxon.interpret.plan import LINEAR, Plan, Site
from anaxon.interpret.program import check_weights, program
from anaxon.interpret.reads import Reading
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree, pytree, replace, static

GAINS = tuple(range(-4, 6))  # exponents of two: how much wider than the hardware's own range


@pytree
class Sweep:
    """What one weight's ADC would have done at every range, on one chip and one set of inputs.

    Attributes:
      error: `[len(bits), len(GAINS)]` relative error of the layer's output, to the digital product.
      arrays: `[len(bits), len(GAINS), S, G, T, K]` summed squared conversion error of each physical array (slice,
        stack, row tile, column tile) [column units squared].
      bits: resolutions tried.
    """

    error: Array
    arrays: Array
    bits: tuple[int, ...] = static()

    def best(self, bits: int) -> int:
        """The exponent of the range with the smallest error at this resolution."""
        return GAINS[int(np.argmin(np.asarray(self.error)[self.bits.index(bits)]))]


def sweep_ranges(fn: Callable[..., Any], bits: Sequence[int] = (8,)) -> Callable[..., dict[str, Sweep]]:
    """Transforms `fn` into `(key, plan, params, *inputs) -> {path: Sweep}`: every range at every resolution.

    One chip is programmed and read once; every conversion of it is repeated with each range. The layers before a layer
    convert as the plan says, so sweep again after a choice if they matter.

    Raises:
      ValueError: for a weight whose ADC has no fixed range to start from (its range is `calibrate`'s), or no ADC.
    """
    sizes = tuple(bits)

    @jax.jit
    def measured(key: Array, plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Sweep]:
        chip = program(fold_name(key, "calibration chip"), plan, params)
        seen = observed(fn, (_observer(sizes),), fold_name(key, "calibration read"), chip, params, *inputs)[1]
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
            adc = ADC(full_scale=limit, step=limit / steps)
            lost = adc.convert(z, limit) - z
            return jnp.sum((reading.through(adc, limit) - exact) ** 2), array_sums(lost**2, cols)

        grid = [(2.0 ** (b - 1), 2.0**g) for b in sizes for g in GAINS]
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
        ranges[i] = replace(ranges[i], column=None)
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
        own = np.asarray(sweep.arrays)[sweep.bits.index(plan.of(site).adc.total_bits)]  # type: ignore[union-attr]
        chosen[site.path] = fixed_range(plan, site) * 2.0 ** np.asarray(GAINS)[own.argmin(0)]
    return with_full_scales(plan, chosen)


def _of(plan: Plan, sweeps: Mapping[str, Any]) -> Iterable[Site]:
    return (s for s in converted(plan) if s.path in sweeps)


def allocate(plan: Plan, sweeps: Mapping[str, Sweep], components: Components | str | None = None) -> Plan:
    """Bits and range of every layer's ADC under one budget: the conversion energy that the plan spends now.

    Minimises the sum over layers of the squared relative error of their outputs; each step buys the bit that lowers
    it most per joule (the error falls by less with every bit and a bit costs more, so greedy steps end within one step
    of the optimum). `E(bits)` grows faster than linearly: at equal energy the mean bits per conversion are not more.

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
    price = lambda s, b: reads[s.path] * adc_energy(b, table)  # noqa: E731
    budget = sum(price(s, plan.of(s).adc.total_bits) for s in sites)  # type: ignore[union-attr]
    error = {s.path: np.asarray(sweeps[s.path].error, np.float64).min(1) ** 2 for s in sites}
    level = {s.path: 0 for s in sites}
    spent = sum(price(s, sweeps[s.path].bits[0]) for s in sites)
    if spent > budget:
        raise ValueError(f"bits: the lowest resolution everywhere costs {spent:.3g} J, the plan {budget:.3g} J")
    while (step := _next(sites, sweeps, error, level, price, budget - spent)) is not None:
        site, extra = step
        level[site.path] += 1
        spent += extra
    adcs: dict[str, ADC] = {}
    for s in sites:
        bits = sweeps[s.path].bits[level[s.path]]
        limit = float(fixed_range(plan, s)) * 2.0 ** sweeps[s.path].best(bits)
        steps = 2 ** (bits - 1)
        adcs[s.path] = replace(
            cast(ADC, plan.of(s).adc),
            full_scale=limit,
            step=limit / steps,
            steps=steps,
            total_bits=bits,
        )
    return with_adcs(plan, adcs)


def _next(
    sites: list[Site],
    sweeps: Mapping[str, Sweep],
    error: Mapping[str, np.ndarray],
    level: Mapping[str, int],
    price: Callable[[Site, int], float],
    left: float,
) -> tuple[Site, float] | None:
    """The bit that lowers the error most per joule among those that can still be paid, and its price."""
    best, choice = 0.0, None
    for s in sites:
        bits, at = sweeps[s.path].bits, level[s.path]
        if at + 1 == len(bits):
            continue
        extra = price(s, bits[at + 1]) - price(s, bits[at])
        gain = (error[s.path][at] - error[s.path][at + 1]) / extra
        if extra <= left and gain > best:
            best, choice = gain, (s, extra)
    return choice


def changed(plan: Plan, changes: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan with some fields of the ranges of some sites changed."""
    new = list(plan.ranges)
    for path, fields in changes.items():
        i = plan.index(path)
        new[i] = replace(new[i], **fields)
    return replace(plan, ranges=tuple(new))
