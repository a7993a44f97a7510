"""`cost`: what one call of the function costs on a plan's hardware: energy, latency and area, site by site.

Counts follow from shapes (`counts`), prices from a component table (`components`). Energy is differentiable with
respect to the plan's numbers that it depends on: row voltages and conductances.
"""

from dataclasses import fields
from math import ceil
from pathlib import Path

from anaxon.crossbar.array import EXACT_DAC
from anaxon.hardware import Hardware
from anaxon.interpret import text
from anaxon.interpret.components import Components, load_components
from anaxon.interpret.counts import Counts, count, ending
from anaxon.interpret.plan import Plan, Site, Use
from anaxon.types import Array, pytree, static

Number = float | Array


@pytree
class Energy:
    """Where the energy of a site goes [J].

    Attributes:
      adc: linear and ramp converters.
      dac: row converters.
      lines: word lines charged.
      cells: dissipated in memristors.
      digital: shift-adds and scale multiplications.
      buffers: input codes read, output codes written.
    """

    adc: Number = 0.0
    dac: Number = 0.0
    lines: Number = 0.0
    cells: Number = 0.0
    digital: Number = 0.0
    buffers: Number = 0.0

    @property
    def total(self) -> Number:
        """The sum [J]."""
        return sum(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]


@pytree
class SiteBill:
    """One weight's share.

    Attributes:
      energy: of one call.
      latency: of one call, its vectors one after another [s].
      area: of its arrays and converters [m^2].
      programming: energy to program it once [J].
      path: its name.
      counts: what happens.
      open_loop: whether a read is inside a `while`, whose turns are counted as one.
      priced: False where the site has no hardware.
    """

    energy: Energy
    latency: Number
    area: Number
    programming: Number
    path: str = static()
    counts: Counts = static()
    open_loop: bool = static(default=False)
    priced: bool = static(default=True)


@pytree
class Bill:
    """The cost of one call of the function at the traced shapes.

    Attributes:
      sites: in the plan's order.
      components: name of the component table.
    """

    sites: tuple[SiteBill, ...]
    components: str = static()

    @property
    def energy(self) -> Number:
        """Of one call [J]."""
        return sum(s.energy.total for s in self.sites)  # type: ignore[arg-type]

    @property
    def parts(self) -> Energy:
        """The energy of all sites by where it goes."""
        names = [f.name for f in fields(Energy)]
        return Energy(**{n: sum(getattr(s.energy, n) for s in self.sites) for n in names})  # type: ignore[arg-type]

    @property
    def latency(self) -> Number:
        """Of one call [s], sites one after another and no pipelining."""
        return sum(s.latency for s in self.sites)  # type: ignore[arg-type]

    @property
    def area(self) -> Number:
        """Of all arrays and converters [m^2]."""
        return sum(s.area for s in self.sites)  # type: ignore[arg-type]

    @property
    def programming(self) -> Number:
        """Energy to program one chip [J]."""
        return sum(s.programming for s in self.sites)  # type: ignore[arg-type]

    @property
    def counts(self) -> Counts:
        """Of all sites."""
        return sum((s.counts for s in self.sites), Counts())

    def __repr__(self) -> str:
        return _shown(self)


def cost(plan: Plan, components: Components | str | Path | None = None) -> Bill:
    """Prices a plan.

    Args:
      plan: from `place`; its shapes say what one call is.
      components: a component table, its file or its name; by default `cmos32`.

    Returns:
      The bill of one call of the function at the traced shapes. A loop of unknown length counts as one turn.
    """
    table = components if isinstance(components, Components) else load_components(components)
    return Bill(sites=tuple(_site(plan, site, table) for site in plan.sites), components=table.name)


def _site(plan: Plan, site: Site, table: Components) -> SiteBill:
    hw = plan.of(site)
    counts = count(plan, site, lambda hw, arrays: _converters(hw, arrays, table))
    return SiteBill(
        energy=_energy(hw, counts, table),
        latency=0.0 if hw.is_ideal else sum(_latency(plan, site, use, table) for use in site.uses),
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
        digital=counts.shift_adds * table["digital.add"] + counts.scalings * table["digital.multiply"],
        buffers=counts.buffer_bits * table["digital.buffer_bit"],
    )


def _latency(plan: Plan, site: Site, use: Use, table: Components) -> float:
    """Vectors and DAC cycles one after another; a converter takes its columns in turn, arrays work side by side."""
    hw = plan.of(site)
    linear, ramp = ending(plan, site, use)
    if not linear and not ramp:
        return 0.0
    turns = min(use.cols, hw.array.cols, int(table["adc.columns_per_converter"])) if linear and hw.adc else 0
    cycles = hw.dac.cycles if hw.dac else 1
    each = cycles * (_read_time(hw, table) + turns * table["adc.conversion_time"])
    if ramp and hw.activation:
        each += 2**hw.activation.bits * table["ramp.step_time"]
    return use.vectors * use.executions * each


def _area(hw: Hardware, counts: Counts, table: Components) -> float:
    size = hw.array.rows * hw.array.cols
    ramps = counts.arrays // 2 * hw.array.cols if hw.activation else 0
    dacs = counts.rows * table["dac.area"] * 2.0 ** (_driver_bits(hw) - 1) if hw.dac else 0.0
    adders = counts.arrays // 2 * table["digital.adder_area"]
    cells = counts.arrays * size * table["array.cell_area"]
    return cells + counts.converters * table["adc.area"] + ramps * table["ramp.area"] + dacs + adders


_HEAD = ("weight", "conversions", "cell reads", "array cycles", "digital", "energy", "latency", "area")
_NOTES = (
    "not counted: operations outside the placed products (digital biases, activations, norms), data movement between "
    "arrays, leakage"
)


def _shown(bill: Bill) -> str:
    rows = [_HEAD, *(_row(s) for s in bill.sites)]
    total = SiteBill(
        energy=bill.parts,
        latency=bill.latency,
        area=bill.area,
        programming=bill.programming,
        path="total",
        counts=bill.counts,
    )
    table = text.columns([*rows, _row(total)], right=range(1, len(_HEAD)))
    parts = ", ".join(f"{f.name} {text.quantity(getattr(bill.parts, f.name), 'J')}" for f in fields(Energy))
    notes = [f"energy: {parts}", f"programming, once per chip: {text.quantity(bill.programming, 'J')}", _NOTES]
    if any(s.open_loop for s in bill.sites):
        notes.append("*: inside a while loop, whose unknown number of turns counts as one")
    if not all(s.priced for s in bill.sites):
        notes.append("(digital): no hardware, not priced")
    head = f"Bill: one call of the function at the traced shapes, components {bill.components!r}"
    return "\n".join([head, table, *notes])


def _row(site: SiteBill) -> tuple[str, ...]:
    c = site.counts
    name = site.path + ("*" if site.open_loop else "") + ("" if site.priced else " (digital)")
    shown = [text.amount(n) for n in (c.conversions, c.cell_reads, c.array_cycles, c.digital)]
    area = f"{float(site.area) * 1e6:.3g} mm2"
    return (name, *shown, text.quantity(site.energy.total, "J"), text.quantity(site.latency, "s"), area)
