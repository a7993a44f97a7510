"""`cost`: what one call of the function costs on a plan's hardware: energy, latency and area, site by site.

Counts follow from shapes (`counts`), prices from a component table (`components`). Energy is differentiable with
respect to the plan's numbers that it depends on: row voltages and conductances.
"""

from math import ceil
from pathlib import Path

from anaxon.crossbar.array import EXACT_DAC
from anaxon.hardware import Hardware
from anaxon.interpret.bill import Bill, Energy, SiteBill
from anaxon.interpret.components import Components, load_components
from anaxon.interpret.counts import Counts, count, ending
from anaxon.interpret.plan import Plan, Site, Use


def cost(plan: Plan, components: Components | str | Path | None = None) -> Bill:
    """Prices a plan.

    Args:
      plan: from `place`; its shapes say what one call is.
      components: a component table, its file or its name; by default `cmos32`.

    Returns:
      The bill of one call of the function at the traced shapes. A loop of unknown length counts as one turn.
    """
    table = components if isinstance(components, Components) else load_components(components)
    sites = tuple(_site(plan, site, table) for site in plan.sites)
    return Bill(sites=sites, functions=_functions(plan, table), components=table.name)


def _functions(plan: Plan, table: Components) -> SiteBill:
    """The digital units beside the arrays that compute activations: a few of them take a layer's values in turn."""
    found = () if all(hw.is_ideal for hw in plan.hardware) else plan.functions
    turns = sum(f.executions * ceil(f.values / table["function.units"]) for f in found)
    values = sum(f.executions * f.values for f in found)
    return SiteBill(
        energy=Energy(digital=values * table["function.energy"]),
        latency=turns * table["function.cycles"] * table["function.cycle_time"],
        area=table["function.units"] * table["function.area"] if found else 0.0,
        programming=0.0,
        path="digital activations",
        counts=Counts(functions=values),
        open_loop=any(None in f.loops for f in found),
    )


def _site(plan: Plan, site: Site, table: Components) -> SiteBill:
    hw = plan.of(site)
    counts = count(plan, site, lambda hw, arrays: _converters(hw, arrays, table))
    return SiteBill(
        energy=_energy(hw, counts, table),
        latency=0.0 if hw.is_ideal else _site_latency(plan, site, table),
        area=_area(hw, counts, table),
        programming=counts.cells * table["programming.energy_per_cell"],
        path=site.path,
        counts=counts,
        open_loop=any(None in use.loops for use in site.uses),
        priced=not hw.is_ideal,
    )


def _converters(hw: Hardware, arrays: int, table: Components) -> int:
    """The two arrays of a pair share their converters."""
    if hw.adc is None:
        return 0
    return arrays // 2 * ceil(hw.array.cols / table["adc.columns_per_converter"])


def adc_energy(bits: int, table: Components) -> float:
    """Of one linear conversion [J]: the larger of Walden's and Schreier's figures of merit."""
    thermal = 10.0 ** ((6.02 * bits + 1.76 - table["adc.schreier"]) / 10.0) / 2.0
    return max(table["adc.energy_per_step"] * 2.0**bits, thermal)


def _driver_bits(hw: Hardware) -> int:
    """Levels in time need one bit of voltage."""
    return hw.dac.bits if hw.dac and hw.dac.encoding == "amplitude" else 1


def _read_time(hw: Hardware, table: Components) -> float:
    """How long rows are driven in one cycle [s]."""
    if hw.dac and hw.dac.encoding == "pulse-width":
        return hw.dac.levels * table["ramp.step_time"]
    return table["array.read_time"]


def _energy(hw: Hardware, counts: Counts, table: Components) -> Energy:
    if hw.device is None:
        return Energy()
    dac = hw.dac or EXACT_DAC
    name = "array.mean_square_input" if dac.encoding == "amplitude" else "array.mean_input"
    square = dac.v_max * dac.v_max * table[name]
    off = getattr(hw.device, "g_min", 0.0)
    conductance = off + table["array.mean_state"] * (hw.device.g_max - off)
    linear = adc_energy(hw.adc.total_bits, table) if hw.adc else 0.0
    ramp = table["ramp.energy_per_step"] * 2.0**hw.activation.bits if hw.activation else 0.0
    return Energy(
        adc=counts.linear_conversions * linear + counts.ramp_conversions * ramp,
        dac=counts.dac_conversions * 2.0 ** _driver_bits(hw) * table["dac.unit_capacitance"] * table["dac.supply"] ** 2,
        lines=counts.row_drives * hw.array.cols * table["array.line_capacitance"] * square,
        cells=counts.cell_reads * square * conductance * _read_time(hw, table),
        digital=counts.shift_adds * table["digital.add"] + counts.scalings * table["digital.multiply"] * _width(hw),
        buffers=counts.buffer_bits * table["digital.buffer_bit"],
    )


def _width(hw: Hardware) -> float:
    """A converter's code times a 32-bit scale takes that part of a 32-bit multiplier."""
    return hw.adc.total_bits / 32 if hw.adc else 1.0


def _site_latency(plan: Plan, site: Site, table: Components) -> float:
    """Of all reads, and of second passes: as many values at once as an array has comparators."""
    hw = plan.of(site)
    total = sum(_latency(plan, site, use, table) for use in site.uses)
    turns = sum(f.executions * ceil(f.values / hw.array.cols) for f in site.passes)
    return total + turns * (_read_time(hw, table) + _ramp_time(hw, table))


def _ramp_time(hw: Hardware, table: Components) -> float:
    """One ramp, which serves all columns of an array [s]."""
    return 2**hw.activation.bits * table["ramp.step_time"] if hw.activation else 0.0


def _latency(plan: Plan, site: Site, use: Use, table: Components) -> float:
    """Vectors and DAC cycles one after another; a converter takes its columns in turn, arrays work side by side."""
    hw = plan.of(site)
    linear, ramp = ending(plan, site, use)
    if not linear and not ramp:
        return 0.0
    turns = min(use.cols, hw.array.cols, int(table["adc.columns_per_converter"])) if linear and hw.adc else 0
    cycles = hw.dac.cycles if hw.dac else 1
    each = cycles * (_read_time(hw, table) + turns * table["adc.conversion_time"])
    if ramp:
        each += _ramp_time(hw, table)
    return use.vectors * use.executions * each


def _area(hw: Hardware, counts: Counts, table: Components) -> float:
    size = hw.array.rows * hw.array.cols
    ramps = counts.arrays // 2 * hw.array.cols if hw.activation else 0
    dacs = counts.rows * table["dac.area"] * 2.0 ** (_driver_bits(hw) - 1) if hw.dac else 0.0
    adders = counts.arrays // 2 * table["digital.adder_area"]
    cells = counts.arrays * size * table["array.cell_area"]
    return cells + counts.converters * table["adc.area"] + ramps * table["ramp.area"] + dacs + adders
