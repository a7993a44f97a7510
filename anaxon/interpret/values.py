"""The kinds of value that an interpreted function computes with, besides plain arrays.

`Param`: computed from parameters and constants alone. `Weight`: a parameter that is, or may become, a crossbar.
`Line`: bit lines that were read and not yet converted.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.interpret import jaxpr as jx
from anaxon.types import Array

# Operations that move a weight's values without changing them.
VIEWS = {
    "reshape",
    "transpose",
    "squeeze",
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "copy_p",
    "stop_gradient",
    "sharding_constraint",
    "optimization_barrier",
    "slice",
    "expand_dims",
    "name",
    "pvary",
}


@dataclass(frozen=True)
class Param:
    """A value that depends on parameters alone (`paths`), or on nothing (a constant: no paths).

    `changed_by` is the first primitive that changed values on the way from the parameter.
    """

    value: Array
    paths: frozenset[str] = frozenset()
    changed_by: str | None = None


class Weight(Protocol):
    """A parameter in flight, in both interpreters."""

    path: str
    shape: tuple[int, ...]
    dtype: Any

    def view(self, eqn: Any) -> "Weight":
        """The weight after one of `VIEWS`."""
        ...

    def digital(self, primitive: str = "a digital use") -> Param:
        """Its numbers, for a use that is not a product."""
        ...


@dataclass(frozen=True)
class Joined:
    """Weights concatenated along `axis`: crossbars side by side, each with its own scale."""

    parts: tuple[Weight, ...]
    axis: int
    shape: tuple[int, ...]
    dtype: Any

    @property
    def path(self) -> str:
        """The paths of the parts."""
        return "+".join(p.path for p in self.parts)

    def view(self, eqn: Any) -> "Joined":
        """Only a change of dtype; what reshapes a concatenation would interleave arrays."""
        if eqn.primitive.name not in ("convert_element_type", "copy", "stop_gradient", "sharding_constraint"):
            raise TypeError(f"{self.path}: concatenated weights cannot pass {eqn.primitive.name} before the product")
        return replace(self, parts=tuple(p.view(eqn) for p in self.parts), dtype=eqn.outvars[0].aval.dtype)

    def digital(self, primitive: str = "a digital use") -> Param:
        """The concatenated numbers."""
        parts = [p.digital(primitive) for p in self.parts]
        value = jnp.concatenate([p.value.astype(self.dtype) for p in parts], self.axis)
        return Param(value, frozenset().union(*(p.paths for p in parts)))


class Root(Protocol):
    """One pending read: what a `Line` is a view of. The output's columns lie along `axis` (None: spread)."""

    paths: tuple[str, ...]
    hardware: Any
    shape: tuple[int, ...]
    dtype: Any
    axis: int | None

    def linear(self, lo: int, hi: int) -> Array:
        """Columns `lo:hi` through the linear ADC, of the output's shape; each column converts once."""
        ...

    def current(self, lo: int, hi: int, full_scale: Array) -> Array:
        """Columns `lo:hi` before conversion, for inputs encoded with the range `full_scale`."""
        ...

    def input_range(self) -> Array:
        """The range the inputs would be encoded with if the read stood alone."""
        ...


@dataclass(frozen=True)
class Part:
    """A window of a root's columns and the views applied since."""

    root: Root
    lo: int
    hi: int
    views: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Line:
    """A sum of reads (and biases) on the same bit lines, before conversion."""

    parts: tuple[Part, ...]
    biases: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def hardware(self) -> Any:
        """The hardware of the first read; sums only join reads of the same one."""
        return self.parts[0].root.hardware


def line_of(root: Root) -> Line:
    """A whole root as a line."""
    columns = root.shape[root.axis] if root.axis is not None else 0
    return Line((Part(root, 0, columns),), (), root.shape, root.dtype)


def view_line(line: Line, eqn: Any) -> Line:
    """The line after a view; a contiguous slice of whole columns narrows the window, anything else is remembered."""
    out = eqn.outvars[0].aval
    parts = tuple(_narrowed(p, eqn) or replace(p, views=(*p.views, eqn)) for p in line.parts)
    biases = tuple(b.view(eqn) if not isinstance(b, Param) else view_param(b, eqn) for b in line.biases)
    return Line(parts, biases, tuple(out.shape), out.dtype)


def view_param(param: Param, eqn: Any) -> Param:
    """A parameter after a view."""
    return replace(param, value=jx.bind(eqn, [param.value])[0])


def _narrowed(part: Part, eqn: Any) -> Part | None:
    axis = part.root.axis
    if part.views or eqn.primitive.name != "slice" or axis is None:
        return None
    p, shape = eqn.params, eqn.invars[0].aval.shape
    if any(s != 1 for s in p["strides"] or ()):
        return None
    whole = all(
        a == axis or (lo, hi) == (0, n)
        for a, (lo, hi, n) in enumerate(zip(p["start_indices"], p["limit_indices"], shape, strict=True))
    )
    lo, hi = p["start_indices"][axis], p["limit_indices"][axis]
    return replace(part, lo=part.lo + lo, hi=part.lo + hi) if whole else None


def split_line(line: Line, eqn: Any) -> list[Line]:
    """`lax.split` of a line, as slices."""
    axis, sizes = int(eqn.params["axis"]), [int(s) for s in eqn.params["sizes"]]
    pieces, start = [], 0
    for size in sizes:
        starts = [start if a == axis else 0 for a in range(len(line.shape))]
        limits = [start + size if a == axis else n for a, n in enumerate(line.shape)]
        sliced = jx.trace(lambda x, s=starts, e=limits: lax.slice(x, s, e), _struct(line))[0]
        pieces.append(view_line(line, jx.opened(sliced)[0].eqns[0]))
        start += size
    return pieces


def _struct(line: Line) -> Any:
    return jax.ShapeDtypeStruct(line.shape, line.dtype)


@dataclass(frozen=True)
class JoinedRoot:
    """Reads of crossbars that stand side by side: one output whose columns belong to several roots."""

    members: tuple[Root, ...]
    shape: tuple[int, ...]
    dtype: Any
    axis: int

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths."""
        return tuple(p for m in self.members for p in m.paths)

    @property
    def hardware(self) -> Any:
        """That of the first member."""
        return self.members[0].hardware

    def linear(self, lo: int, hi: int) -> Array:
        """Members' columns, concatenated."""
        return self._gather(lo, hi, lambda m, a, b: m.linear(a, b))

    def current(self, lo: int, hi: int, full_scale: Array) -> Array:
        """Members' columns, concatenated."""
        return self._gather(lo, hi, lambda m, a, b: m.current(a, b, full_scale))

    def input_range(self) -> Array:
        """All members see the same inputs."""
        return self.members[0].input_range()

    def _gather(self, lo: int, hi: int, read: Any) -> Array:
        pieces, start = [], 0
        for member in self.members:
            columns = member.shape[self.axis]
            a, b = max(lo - start, 0), min(hi - start, columns)
            if a < b:
                pieces.append(read(member, a, b))
            start += columns
        return jnp.concatenate(pieces, self.axis) if len(pieces) > 1 else pieces[0]
