"""A crossbar in flight: its cells, with the views applied to them that the function applies to the weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.hardware import Hardware
from anaxon.interpret import jaxpr as jx
from anaxon.interpret import trace
from anaxon.interpret.plan import Ranges, Site
from anaxon.interpret.values import STILL, Param
from anaxon.types import Array, PyTree


@dataclass(frozen=True)
class Placed:
    """A placed weight during `analog`.

    `scale` has the weight's shape or is one number. `value` are its numbers, where the function also uses them or an
    observer compares with them. `index` numbers the weight's elements, for observers that must find their way back
    through the views. `offset` and `compensation` have the weight's shape: see `Ranges.offset`.
    """

    site: Site
    path: str
    hardware: Hardware
    ranges: Ranges
    chip_key: Array
    cells: PyTree
    scale: Array
    value: Array | None
    index: Any
    shape: tuple[int, ...]
    dtype: Any
    elements: int
    offset: Array | None = None
    compensation: Array | None = None

    def view(self, eqn: Any) -> Placed:
        """Applies one view to the cells, under their leading axes."""
        out = eqn.outvars[0].aval
        move = lambda x: jx.bind(eqn, [x])[0]  # noqa: E731
        maybe = lambda x: None if x is None else move(x)  # noqa: E731
        known = isinstance(self.index, np.ndarray)  # numbers that a walk reads while it traces
        value = maybe(self.value)
        if eqn.primitive.name in STILL:
            return replace(self, value=value, dtype=out.dtype)
        return replace(
            self,
            cells=jax.tree.map(jax.vmap(jax.vmap(move)), self.cells),
            scale=self.scale if self.scale.ndim == 0 else move(self.scale),
            value=value,
            index=_moved(move, self.index) if known else maybe(self.index),
            offset=maybe(self.offset),
            compensation=maybe(self.compensation),
            shape=tuple(out.shape),
            dtype=out.dtype,
        )

    def digital(self, primitive: str = "a digital use") -> Param:
        """Its numbers, if the plan foresaw that they are used."""
        if self.value is None:
            raise TypeError(f"{self.path}: a crossbar holds this weight; {primitive} needs its numbers: place it again")
        return Param(self.value, frozenset({self.path}))

    def unstack(self) -> tuple[PyTree, Callable[[PyTree], Placed]]:
        """The crossbar as a scanned input, stack axis first."""
        cells = jax.tree.map(lambda c: jnp.moveaxis(c, 2, 0), self.cells)
        scale = self.scale if self.scale.ndim else None

        names = ("value", "index", "offset", "compensation")

        def make(leaves: PyTree) -> Placed:
            cells, scale, rest = leaves
            scale = self.scale if scale is None else scale
            return replace(self, cells=cells, scale=scale, shape=self.shape[1:], **dict(zip(names, rest, strict=True)))

        return (cells, scale, tuple(getattr(self, n) for n in names)), make


def _moved(move: Callable[[Array], Array], index: Any) -> Any:
    with jax.ensure_compile_time_eval():
        return np.asarray(move(jnp.asarray(index)))


trace.WEIGHTS = (*trace.WEIGHTS, Placed)
