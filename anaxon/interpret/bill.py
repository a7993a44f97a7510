"""The bill of one call: energy, latency and area of every weight, and the table that shows them."""

from dataclasses import fields

from anaxon.interpret import text
from anaxon.interpret.counts import Counts
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
      digital: shift-adds, scale multiplications and digital activations.
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
      functions: the digital units that compute activations.
      components: name of the component table.
    """

    sites: tuple[SiteBill, ...]
    functions: SiteBill
    components: str = static()

    @property
    def lines(self) -> tuple[SiteBill, ...]:
        """Everything that is billed."""
        return (*self.sites, self.functions) if self.functions.counts.functions else self.sites

    @property
    def energy(self) -> Number:
        """Of one call [J]."""
        return sum(s.energy.total for s in self.lines)  # type: ignore[arg-type]

    @property
    def parts(self) -> Energy:
        """The energy of everything by where it goes."""
        names = [f.name for f in fields(Energy)]
        return Energy(**{n: sum(getattr(s.energy, n) for s in self.lines) for n in names})  # type: ignore[arg-type]

    @property
    def latency(self) -> Number:
        """Of one call [s], sites one after another and no pipelining."""
        return sum(s.latency for s in self.lines)  # type: ignore[arg-type]

    @property
    def area(self) -> Number:
        """Of all arrays and converters [m^2]."""
        return sum(s.area for s in self.lines)  # type: ignore[arg-type]

    @property
    def programming(self) -> Number:
        """Energy to program one chip [J]."""
        return sum(s.programming for s in self.lines)  # type: ignore[arg-type]

    @property
    def counts(self) -> Counts:
        """Of everything."""
        return sum((s.counts for s in self.lines), Counts())

    def __repr__(self) -> str:
        return _shown(self)


_HEAD = ("weight", "conversions", "cell reads", "array cycles", "digital", "energy", "latency", "area")
_LATENCY = "latency: weights and their vectors one after another, the arrays of a weight side by side"
_NOTES = (
    "not counted: operations outside the placed products (digital biases, products of gates, norms, functions other "
    "than sigmoid, tanh and marked ones), data movement between arrays, leakage"
)


def _shown(bill: Bill) -> str:
    rows = [_HEAD, *(_row(s) for s in bill.lines)]
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
    notes = [
        f"energy: {parts}",
        f"programming, once per chip: {text.quantity(bill.programming, 'J')}",
        _LATENCY,
        _NOTES,
    ]
    if any(s.open_loop for s in bill.lines):
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
