"""What a call of the function makes the hardware do, counted from the plan: shapes only.

Letters as in the column read: `G` stack, `M` vectors, `N` rows, `C` columns, `S` slices, `T` row tiles, `K` DAC cycles.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import ceil, prod

from anaxon.hardware import Hardware
from anaxon.interpret.plan import LINEAR, Plan, Site, Use


@dataclass(frozen=True)
class Counts:
    """Per call of the function, but for the last four, which are what stands on the chip.

    Attributes:
      linear_conversions: of the linear ADCs: every column of every tile and slice, every DAC cycle.
      ramp_conversions: one per output that ends in an activation.
      dac_conversions: input codes driven, one per logical row and cycle: the arrays of a weight share them.
      row_drives: word lines driven, in every physical array.
      cell_reads: memristors that see a read; padding has none.
      array_cycles: reads of one physical array.
      shift_adds: additions that join tiles, slices and DAC cycles.
      scalings: multiplications of an output by its scale.
      functions: activations computed by digital units.
      buffer_bits: of input codes read and output codes written.
      cells, arrays, converters, rows: memristors, physical arrays, column converters (linear), logical rows.
    """

    linear_conversions: int = 0
    ramp_conversions: int = 0
    dac_conversions: int = 0
    row_drives: int = 0
    cell_reads: int = 0
    array_cycles: int = 0
    shift_adds: int = 0
    scalings: int = 0
    functions: int = 0
    buffer_bits: int = 0
    cells: int = 0
    arrays: int = 0
    converters: int = 0
    rows: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def conversions(self) -> int:
        """Of both kinds."""
        return self.linear_conversions + self.ramp_conversions

    @property
    def digital(self) -> int:
        """Additions, multiplications and activations."""
        return self.shift_adds + self.scalings + self.functions


def extent(site: Site) -> tuple[int, int, int]:
    """Stack, rows and columns of the weight itself, however its reads cut it."""
    use = largest(site)
    if use is None:
        return 1, 1, prod(site.shape)
    # Axes that share no scale are a stack; a scale per column leaves the columns apart as well.
    apart = prod(n for a, n in enumerate(site.shape) if a not in site.shared_axes)
    stack = max(use.stack, prod(site.shape) // (use.rows * use.cols) if site.by_column else apart)
    return stack, use.rows, max(1, prod(site.shape) // (use.rows * stack))


def largest(site: Site) -> Use | None:
    """The read that takes most of the weight."""
    return max(site.uses, key=lambda u: (u.rows * u.cols, u.rows), default=None)


def arrays(plan: Plan, site: Site) -> int:
    """Physical arrays; sites that share arrays under a ramp count them at the first of them.

    A group's arrays are as tall as its weights and bias rows together. Where weights of a group stand side by side
    (concatenated kernels) this is a lower bound.
    """
    hw = plan.of(site)
    if site.group is None:
        stack, rows, cols = extent(site)
    else:
        members = [s for s in plan.sites if s.group == site.group]
        if site is not next((s for s in members if s.uses), members[0]):
            return 0
        shapes = [extent(s) for s in members]
        area, stack = sum(n * c for _, n, c in shapes), max(b for b, *_ in shapes)
        rows = min(hw.array.rows, ceil(area / max(c for *_, c in shapes)))
        cols = ceil(area / rows)
    return 2 * hw.array.slices * stack * hw.array.tiles(rows) * ceil(cols / hw.array.cols)


def _owner(plan: Plan, site: Site, kind: str) -> bool:
    """Whether a ramp's conversions of this kind are this site's: terms of one sum share them."""
    if site.group is None:
        return True

    def converted(s: Site) -> int:
        return sum(c * u.vectors * u.executions for u in s.uses for k, c in u.conversions if k == kind)

    members = [s for s in plan.sites if s.group == site.group]
    return site is max(members, key=converted)


def ending(plan: Plan, site: Site, use: Use) -> tuple[int, int]:
    """Columns of one execution and vector that end in linear ADCs and in ramps, over the stack."""
    linear = sum(c for kind, c in use.conversions if kind == LINEAR)
    ramp = sum(c for kind, c in use.conversions if kind != LINEAR and _owner(plan, site, kind))
    return linear, ramp


def count(plan: Plan, site: Site, converters_of: Callable[[Hardware, int], int]) -> Counts:
    """The counts of a site; `converters_of(hardware, arrays)` is how many linear converters its arrays need."""
    hw = plan.of(site)
    if hw.is_ideal:
        return Counts()
    total = sum((_reads(plan, site, use) for use in site.uses), Counts())
    if site.bias:
        total += _bias_reads(plan, site)
    total += _passes(hw, site)
    n = arrays(plan, site)
    stack, rows, _ = extent(site)
    return total + Counts(cells=site.cells(hw), arrays=n, converters=converters_of(hw, n), rows=stack * rows)


def _reads(plan: Plan, site: Site, use: Use) -> Counts:
    hw = plan.of(site)
    linear, ramp = ending(plan, site, use)
    vectors = use.vectors * use.executions
    tiles, slices = hw.array.tiles(use.rows), hw.array.slices
    cycles = hw.dac.cycles if hw.dac else 1
    reads = vectors * cycles
    wide = ceil(use.cols / hw.array.cols)
    parts = tiles * slices * cycles
    driven = use.stack * use.rows * reads
    outputs = (linear if hw.adc else 0) * vectors
    in_bits = (hw.dac.bits if hw.dac else 0) * use.stack * use.rows * vectors
    out_bits = (hw.adc.total_bits if hw.adc else 0) * linear + (hw.activation.bits if hw.activation else 0) * ramp
    return Counts(
        linear_conversions=outputs * parts,
        ramp_conversions=ramp * vectors,
        dac_conversions=driven if hw.dac else 0,
        row_drives=driven * wide * slices * 2,
        cell_reads=driven * use.cols * slices * 2,
        # Terms of one sum are read by the same cycle of a shared array: it is counted with their conversions.
        array_cycles=use.stack * tiles * wide * slices * 2 * reads if linear or ramp else 0,
        shift_adds=linear * vectors * (parts - 1),
        scalings=linear * vectors,
        buffer_bits=in_bits + out_bits * vectors,
    )


def _passes(hw: Hardware, site: Site) -> Counts:
    """Digital values that are driven onto a line and converted by a ramp of this site's array."""
    values = sum(f.values * f.executions for f in site.passes)
    bits = (hw.dac.bits if hw.dac else 0) + (hw.activation.bits if hw.activation else 0)
    return Counts(ramp_conversions=values, dac_conversions=values if hw.dac else 0, buffer_bits=bits * values)


def _bias_reads(plan: Plan, site: Site) -> Counts:
    """A bias row is driven whenever the sum that it belongs to is read."""
    hw, size = plan.of(site), prod(site.shape)
    vectors = max(
        (u.vectors * u.executions for s in plan.sites if s.group == site.group for u in s.uses),
        default=0,
    )
    return Counts(
        dac_conversions=vectors if hw.dac else 0,
        row_drives=vectors * ceil(size / hw.array.cols) * 2,
        cell_reads=vectors * size * 2,
    )
