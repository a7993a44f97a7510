"""Bit lines that were read and not yet converted, and what they are reads of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax.numpy as jnp

from anaxon.interpret import jaxpr as jx
from anaxon.interpret.values import STILL
from anaxon.types import Array


class Root(Protocol):
    """One pending read: what a `Line` is a view of. The output's columns lie along `axis` (None: spread)."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the weights that are read."""
        ...

    @property
    def hardware(self) -> Any:
        """Theirs."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output."""
        ...

    @property
    def dtype(self) -> Any:
        """Of the output."""
        ...

    @property
    def axis(self) -> int | None:
        """Of the output's columns."""
        ...

    @property
    def memo(self) -> dict[Any, Any]:
        """What was computed of it so far."""
        ...

    def linear(self, lo: int, hi: int) -> Array:
        """Columns `lo:hi` through the linear ADC, of the output's shape; each column converts once."""
        ...

    def current(self, lo: int, hi: int, full_scale: Array | None, kind: str) -> Array:
        """Columns `lo:hi` before the ramp `kind`; inputs encoded over `full_scale`, or their own range."""
        ...

    def input_range(self) -> Array:
        """The range the inputs would be encoded with if the read stood alone."""
        ...

    def members(self, lo: int, hi: int) -> Iterator[tuple[Any, int, int]]:
        """The single reads behind columns `lo:hi`, each with its own window."""
        ...


@dataclass(frozen=True)
class Part:
    """A window of a root's columns and the views applied since."""

    root: Root
    lo: int
    hi: int
    views: tuple[Any, ...] = ()

    def members(self) -> Iterator[tuple[Any, int, int]]:
        """The single reads behind the window."""
        return self.root.members(self.lo, self.hi)

    def through(self, value: Array) -> Array:
        """Applies the views that the window has gone through."""
        for eqn in self.views:
            value = jx.bind(eqn, [value])[0]
        return value


@dataclass(frozen=True)
class Line:
    """A sum of reads on the same bit lines, before conversion; a bias row is a read of its own."""

    parts: tuple[Part, ...]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def hardware(self) -> Any:
        """The hardware of the first read; sums only join reads of the same one."""
        return self.parts[0].root.hardware

    def view(self, eqn: Any) -> Line:
        """After a view; a contiguous slice of whole columns narrows the window, anything else is remembered."""
        out = eqn.outvars[0].aval
        if eqn.primitive.name in STILL:  # a cast moves nothing: the comparator sees the current itself
            return replace(self, dtype=out.dtype)
        parts = tuple(_narrowed(p, eqn) or replace(p, views=(*p.views, eqn)) for p in self.parts)
        return Line(parts, tuple(out.shape), out.dtype)

    def plus(self, root: Root) -> Line:
        """With another read on the same lines."""
        return replace(self, parts=(*self.parts, _whole(root)))


def line_of(root: Root) -> Line:
    """A whole root as a line."""
    return Line((_whole(root),), root.shape, root.dtype)


def _whole(root: Root) -> Part:
    return Part(root, 0, root.shape[root.axis] if root.axis is not None else 0)


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


@dataclass(frozen=True)
class JoinedRoot:
    """Reads of crossbars that stand side by side: one output whose columns belong to several roots."""

    roots: tuple[Root, ...]
    shape: tuple[int, ...]
    dtype: Any
    axis: int

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths."""
        return tuple(p for m in self.roots for p in m.paths)

    @property
    def hardware(self) -> Any:
        """That of the first one."""
        return self.roots[0].hardware

    @property
    def memo(self) -> dict[Any, Any]:
        """That of the first one."""
        return self.roots[0].memo

    def linear(self, lo: int, hi: int) -> Array:
        """Columns, concatenated."""
        return self._concatenated([m.linear(a, b) for m, a, b in self._windows(lo, hi)])

    def current(self, lo: int, hi: int, full_scale: Array | None, kind: str) -> Array:
        """Columns, concatenated."""
        return self._concatenated([m.current(a, b, full_scale, kind) for m, a, b in self._windows(lo, hi)])

    def input_range(self) -> Array:
        """All see the same inputs."""
        return self.roots[0].input_range()

    def members(self, lo: int, hi: int) -> Iterator[tuple[Any, int, int]]:
        """The single reads that the window reaches."""
        for root, a, b in self._windows(lo, hi):
            yield from root.members(a, b)

    def _windows(self, lo: int, hi: int) -> Iterator[tuple[Root, int, int]]:
        start = 0
        for root in self.roots:
            columns = root.shape[self.axis]
            a, b = max(lo - start, 0), min(hi - start, columns)
            if a < b:
                yield root, a, b
            start += columns

    def _concatenated(self, pieces: list[Array]) -> Array:
        return jnp.concatenate(pieces, self.axis) if len(pieces) > 1 else pieces[0]
