"""A crossbar in flight: its cells, with the views applied to them that the function applies to the weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

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
    through the views.
    """

    site: Site
    path: str
    hardware: Hardware
    ranges: Ranges
    chip_key: Array
    cells: PyTree
    scale: Array
    value: Array | None
    index: Array | None
    shape: tuple[int, ...]
    dtype: Any
    elements: int

    def view(self, eqn: Any) -> Placed:
        """Applies one view to the cells, under their leading axes."""
        out = eqn.outvars[0].aval
        move = lambda x: jx.bind(eqn, [x])[0]  # noqa: E731
        value = None if self.value is None else move(self.value)
        if eqn.primitive.name in STILL:
            return replace(self, value=value, dtype=out.dtype)
        return replace(
            self,
            cells=jax.tree.map(jax.vmap(jax.vmap(move)), self.cells),
            scale=self.scale if self.scale.ndim == 0 else move(self.scale),
            value=value,
            index=None if self.index is None else move(self.index),
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

        def make(leaves: PyTree) -> Placed:
            cells, scale, value, index = leaves
            scale = self.scale if scale is None else scale
            return replace(self, cells=cells, scale=scale, value=value, index=index, shape=self.shape[1:])

        return (cells, scale, self.value, self.index), make


trace.WEIGHTS = (*trace.WEIGHTS, Placed)
