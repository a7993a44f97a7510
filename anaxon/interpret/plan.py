"""The plan: which weights stand on which arrays, how often each is read and what its columns end in."""

from dataclasses import dataclass
from math import prod

import jax.numpy as jnp

from anaxon.hardware import Hardware
from anaxon.types import Array, PyTree, pytree, static

LINEAR = "linear"


@dataclass(frozen=True)
class Use:
    """One place in the function that reads a weight.

    Attributes:
      stack: `G`, independent products side by side.
      vectors: `M`, input vectors per execution.
      rows: `N`.
      cols: `C`, per stack index.
      loops: trip counts of the loops around it; None for a `while`, whose count is not known.
      conversions: `(converter kind, columns)`: how many of the columns end in each kind, over the stack.
    """

    stack: int
    vectors: int
    rows: int
    cols: int
    loops: tuple[int | None, ...]
    conversions: tuple[tuple[str, int], ...]

    @property
    def executions(self) -> int:
        """How often it runs per call of the function (a `while` counts as one turn)."""
        return prod(n for n in self.loops if n is not None)


@dataclass(frozen=True)
class Function:
    """An activation of digital values that data decide.

    Attributes:
      name: sigmoid (`logistic`), tanh, or one that `activation` has marked.
      values: per execution.
      loops: trip counts of the loops around it.
    """

    name: str
    values: int
    loops: tuple[int | None, ...] = ()

    @property
    def executions(self) -> int:
        """How often it runs per call of the function (a `while` counts as one turn)."""
        return prod(n for n in self.loops if n is not None)


@dataclass(frozen=True)
class Site:
    """A placed weight.

    Attributes:
      path: its name.
      hardware: index of its rule's hardware in the plan.
      shape: of the weight.
      dtype: of the weight, as a string.
      shared_axes: axes of the weight over which one scale is shared.
      uses: the reads of it.
      group: sites with the same number share an array and a scale (under a ramp); None for its own.
      digital: whether its numbers are also used as such (a tied embedding), so that a chip keeps them.
      bias: whether it is a bias, programmed as a row of its group's array.
      by_column: whether every column has its own scale.
      stack_axes: axes of the weight along which arrays stand apart, each with its own ramps.
      row_axes: axes that are contracted in every use; empty where a reshape has cut them.
      passes: digital values that the ramps of this array convert in a second pass.
    """

    path: str
    hardware: int
    shape: tuple[int, ...]
    dtype: str
    shared_axes: tuple[int, ...]
    uses: tuple[Use, ...]
    group: int | None = None
    digital: bool = False
    bias: bool = False
    by_column: bool = False
    stack_axes: tuple[int, ...] = ()
    row_axes: tuple[int, ...] = ()
    passes: tuple[Function, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of its tallest read."""
        return max((u.rows for u in self.uses), default=1)

    def cells(self, hardware: Hardware) -> int:
        """Memristors that hold it: pairs times slices times weights, no padding."""
        return 2 * hardware.array.slices * prod(self.shape)


@pytree
class Ranges:
    """Calibrated ranges of one site; None where the range follows the traced values.

    Attributes:
      input: absmax of what drives the rows [operand units].
      column: full scale of the ADC [column units]: one number, or one for each physical array, `[S, G, T, K]` (bit
        slice, product of the stack, row tile, column tile; any of them may be 1): a gain before each array's ADC.
      step: of the ADC [column units], of the shape of `column`; None for the number of steps that the hardware has.
      offset: a known mean of the operand that does not drive the rows [operand units], in the weight's shape, with
        extent 1 along columns that are always driven alike. Its product with the weight is added after conversion,
        digitally: the columns, and so their range, belong to what is left.
      window: share of the cells' full scale that the largest weight uses, in (0, 1]: one number, or the weight's shape
        with extent 1 along the axes that share it (its rows, for a window of every column). None: all of it.
    """

    input: Array | None = None
    column: Array | None = None
    step: Array | None = None
    offset: Array | None = None
    window: Array | None = None


@pytree
class Plan:
    """What `place` decides; its leaves are the hardware's numbers and the calibrated ranges.

    Attributes:
      hardware: one per rule.
      ranges: one per site.
      sites: the placed weights, in the order of the parameters.
      names: of all parameters, placed or not.
      functions: activations computed digitally, in trace order.
    """

    hardware: tuple[Hardware, ...]
    ranges: tuple[Ranges, ...]
    sites: tuple[Site, ...] = static()
    names: tuple[str, ...] = static(default=())
    functions: tuple[Function, ...] = static(default=())

    def of(self, site: Site) -> Hardware:
        """The hardware of a site."""
        return self.hardware[site.hardware]

    def row_ranges(self, group: int) -> dict[str, Array]:
        """The calibrated input range of every member of a shared array; empty as long as one of them has none.

        Rows of one array may be driven over different ranges, if the weights on them are scaled in inverse proportion:
        a hidden state in [-1, 1] and features ten times as large then both use all codes of their drivers. A bias row
        is driven by the constant 1.
        """
        members = [(s, r.input) for s, r in zip(self.sites, self.ranges, strict=True) if s.group == group]
        found = {s.path: jnp.float32(1.0) if s.bias else x for s, x in members}
        return {} if any(x is None for x in found.values()) else {p: jnp.asarray(x) for p, x in found.items()}

    def index(self, path: str) -> int:
        """The position of a site.

        Raises:
          KeyError: if no weight of this name is placed.
        """
        for i, site in enumerate(self.sites):
            if site.path == path:
                return i
        raise KeyError(f"no weight {path!r} is placed; placed are {[s.path for s in self.sites]}")

    def __repr__(self) -> str:
        head = ("weight", "shape", "stack", "rows", "cols", "arrays", "cells", "reads", "ends in")
        table = [head, *(_row(self, s) for s in self.sites)]
        widths = [max(len(r[i]) for r in table) for i in range(len(head))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in table]
        return "\n".join([f"Plan: {len(self.sites)} weights on {len(self.hardware)} kind(s) of hardware", *lines])


def _row(plan: Plan, site: Site) -> tuple[str, ...]:
    from anaxon.interpret.counts import arrays, extent  # counts are made from plans; only their table looks back

    hw = plan.of(site)
    kinds = sorted({kind for u in site.uses for kind, _ in u.conversions})
    ends = "digital product" if hw.is_ideal else "bias row" if site.bias else "+".join(kinds) or "unused"
    held = ("-", "-") if hw.is_ideal else (str(arrays(plan, site)), str(site.cells(hw)))
    reads = str(sum(u.vectors * u.executions for u in site.uses))
    return site.path, "x".join(map(str, site.shape)), *map(str, extent(site)), *held, reads, ends


@pytree
class Crossbar:
    """A programmed weight: what stands in the parameter tree where the weight stood.

    Attributes:
      cells: the device's state, leaves `[P, S, *weight]`.
      scale: weight per level, broadcastable to the weight.
      digital: the weight's own numbers, kept only where the function also uses them as such.
      compensation: what the plan's offset of the operand contributes to every column, in the weight's shape with extent
        1 along its rows; None without an offset.
      path: its name.
      shape: of the weight.
      dtype: of the weight, as a string.
    """

    cells: PyTree
    scale: Array
    digital: Array | None = None
    compensation: Array | None = None
    path: str = static()
    shape: tuple[int, ...] = static()
    dtype: str = static()

    def __repr__(self) -> str:
        return f"Crossbar({self.path}, {'x'.join(map(str, self.shape))})"


@pytree
class Chip:
    """One programmed chip: the parameters with crossbars in the places of weights.

    Attributes:
      tree: the parameter tree.
      plan: the plan it was programmed from.
      key: the chip's key; what belongs to a chip but is drawn late (converter offsets) is drawn from it.
    """

    tree: PyTree
    plan: Plan
    key: Array

    def __repr__(self) -> str:
        return f"Chip programmed from\n{self.plan!r}"
