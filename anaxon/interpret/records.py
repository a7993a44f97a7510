"""What `place` notes down while it walks: reads without arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp

from anaxon.hardware import Hardware
from anaxon.interpret import jaxpr as jx
from anaxon.interpret import trace
from anaxon.interpret.layout import Layout
from anaxon.interpret.plan import LINEAR, Use
from anaxon.interpret.product import Product
from anaxon.interpret.values import Param
from anaxon.types import Array

Loops = tuple[int | None, ...]  # trip counts


@dataclass(frozen=True)
class Roles:
    """The original axes of a weight in one read; not `known` where a reshape cut them unevenly.

    `stack` are those that scans have consumed or batch dimensions have taken.
    """

    rows: frozenset[int]
    cols: frozenset[int]
    stack: frozenset[int]
    known: bool

    def opposes(self, other: Roles) -> bool:
        """Whether the two reads drive the array from different sides."""
        return bool((self.rows - self.cols) & (other.cols - other.rows))


@dataclass
class Records:
    """What the walk notes down about each weight."""

    uses: dict[tuple[str, int], ReadRecord] = field(default_factory=dict)
    roles: dict[str, list[Roles]] = field(default_factory=dict)
    digital: dict[str, str] = field(default_factory=dict)
    biases: dict[str, frozenset[int]] = field(default_factory=dict)  # and the axes that share a scale
    groups: list[set[str]] = field(default_factory=list)
    passes: list[tuple[int, str, int, Loops]] = field(default_factory=list)  # (index of the group, name, values, loops)
    functions: list[tuple[str, int, Loops]] = field(default_factory=list)  # (name, values, loops)
    entered: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class ReadRecord:
    """One read: its size, its loops, and which columns each converter kind takes."""

    product: Product
    loops: tuple[int | None, ...]
    windows: dict[str, set[tuple[int, int]]] = field(default_factory=dict)

    def use(self) -> Use:
        """As the plan keeps it."""
        g, m, n, c = self.product.sizes
        columns = {kind: min(_covered(w), c) * g for kind, w in self.windows.items()}
        return Use(g, m, n, c, self.loops, tuple(sorted(columns.items())))


def _covered(windows: set[tuple[int, int]]) -> int:
    """The size of a union of intervals."""
    total, end = 0, 0
    for lo, hi in sorted(windows):
        total += max(0, hi - max(lo, end))
        end = max(end, hi)
    return total


@dataclass(frozen=True)
class Candidate:
    """A weight that a rule matches, in flight; `stack` are the original axes that scans have consumed."""

    path: str
    hardware: Hardware
    value: Array
    layout: Layout
    records: Records
    stack: frozenset[int] = frozenset()

    @property
    def shape(self) -> tuple[int, ...]:
        """As it stands now."""
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        """As it stands now."""
        return self.value.dtype

    def view(self, eqn: Any) -> Candidate | Param:
        """The weight after a view; a broadcast that repeats values makes it a parameter."""
        value = jx.bind(eqn, [self.value])[0]
        if value.size > self.value.size:
            return replace(self.digital(eqn.primitive.name), value=value, changed_by=eqn.primitive.name)
        return replace(self, value=value, layout=self.layout.view(eqn))

    def digital(self, primitive: str = "a digital use") -> Param:
        """Its numbers, for anything but a product."""
        self.records.digital.setdefault(self.path, primitive)
        return Param(self.value, frozenset({self.path}))

    def unstack(self) -> tuple[Array, Any]:
        """The weight as a scanned input: its first axis becomes a stack axis."""
        stack = self.stack | self.layout.original((0,))
        return self.value, lambda x: replace(self, value=x, layout=self.layout.drop_first(), stack=stack)

    def roles(self, product: Product) -> Roles:
        """What its original axes are in a product."""
        rows, cols = self.layout.original(product.rows), self.layout.original(product.cols)
        stack = self.stack | (self.layout.original(product.stack) - rows)
        return Roles(rows, cols, stack, self.layout.axes is not None)


trace.WEIGHTS = (*trace.WEIGHTS, Candidate)


@dataclass(frozen=True)
class PlannedRead:
    """A read that only takes notes."""

    record: ReadRecord
    hardware: Hardware
    paths: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any
    axis: int | None
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def product(self) -> Product:
        """Of the read."""
        return self.record.product

    def note(self, kind: str, lo: int, hi: int) -> None:
        """Notes the conversion of a window."""
        window = (lo, hi) if self.axis is not None else (0, self.record.product.sizes[3])
        self.record.windows.setdefault(kind, set()).add(window)

    def linear(self, lo: int, hi: int) -> Array:
        """Notes a linear conversion; zeros of the right shape."""
        self.note(LINEAR, lo, hi)
        return _zeros(self, lo, hi)

    def current(self, lo: int, hi: int, full_scale: Array | None, kind: str) -> Array:
        """Notes a conversion by a ramp; zeros of the right shape."""
        self.note(kind, lo, hi)
        return _zeros(self, lo, hi)

    def input_range(self) -> Array:
        """Not known from shapes."""
        return jnp.float32(1.0)

    def members(self, lo: int, hi: int) -> Iterator[tuple[Any, int, int]]:
        """Itself."""
        yield self, lo, hi


@dataclass(frozen=True)
class PlannedBias(PlannedRead):
    """A bias that becomes rows of the array if its line ends in a ramp, and stays digital if it does not."""

    records: Records = None  # type: ignore[assignment]
    shared: frozenset[int] = frozenset()

    def linear(self, lo: int, hi: int) -> Array:
        """A digital use."""
        self.records.digital.setdefault(self.paths[0], "the sum after conversion")
        return _zeros(self, lo, hi)

    def current(self, lo: int, hi: int, full_scale: Array | None, kind: str) -> Array:
        """A row of the array."""
        self.records.biases[self.paths[0]] = self.shared
        return _zeros(self, lo, hi)


def _zeros(read: PlannedRead, lo: int, hi: int) -> Array:
    shape = read.shape
    if read.axis is not None:
        shape = (*shape[: read.axis], hi - lo, *shape[read.axis + 1 :])
    return jnp.zeros(shape, read.dtype)
