"""The kinds of value that an interpreted function computes with, besides plain arrays and bit lines.

`Param`: computed from parameters and constants alone. `Weight`: a parameter that is, or may become, a crossbar.
`Joined`: weights concatenated. (`lines.Line`: bit lines that were read and not yet converted.)
"""

from __future__ import annotations

from collections.abc import Callable
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
    "slice",
    "expand_dims",
    "name",
    "pvary",
}
# Operations with several outputs, each of them a view.
CUTS = {"split", "unstack"}
# Views that move nothing.
STILL = {"convert_element_type", "copy", "copy_p", "stop_gradient", "sharding_constraint", "name", "pvary"}


@dataclass(frozen=True)
class Param:
    """A value that depends on parameters alone (`paths`), or on nothing (a constant: no paths).

    `changed_by` is the first primitive that changed values on the way from the parameter.
    """

    value: Array
    paths: frozenset[str] = frozenset()
    changed_by: str | None = None

    @property
    def path(self) -> str:
        """Of one parameter."""
        return "+".join(sorted(self.paths))

    @property
    def shape(self) -> tuple[int, ...]:
        """As it stands now."""
        return tuple(jnp.shape(self.value))

    @property
    def dtype(self) -> Any:
        """As it stands now."""
        return jnp.result_type(self.value)

    def view(self, eqn: Any) -> Param:
        """After one of `VIEWS`."""
        return replace(self, value=jx.bind(eqn, [self.value])[0])

    def digital(self, primitive: str = "a digital use") -> Param:
        """It is."""
        del primitive
        return self

    def unstack(self) -> tuple[Array, Callable[[Array], Param]]:
        """As a scanned input: each step's piece depends on the same parameters."""
        return self.value, lambda x: replace(self, value=x)


class Weight(Protocol):
    """A parameter in flight, in both interpreters."""

    path: str
    shape: tuple[int, ...]
    dtype: Any

    def view(self, eqn: Any) -> Any:
        """The weight after one of `VIEWS`."""
        ...

    def digital(self, primitive: str = "a digital use") -> Param:
        """Its numbers, for a use that is not a product."""
        ...

    def unstack(self) -> tuple[Any, Callable[[Any], Any]]:
        """As a scanned input: its arrays, first axis the scanned one, and how a step's slices make a weight again."""
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

    def view(self, eqn: Any) -> Joined | Param:
        """Part by part where the view keeps the parts apart; numbers elsewhere."""
        name, out = eqn.primitive.name, eqn.outvars[0].aval
        if name in STILL:
            return replace(self, parts=tuple(p.view(eqn) for p in self.parts), dtype=out.dtype)
        axis = _moved_axis(eqn, self.axis, self.shape)
        if axis is None:
            return replace(self.digital(name), changed_by=f"concatenate and {name}")
        parts = tuple(_resized_view(p, eqn, axis, p.shape[self.axis]) for p in self.parts)
        return Joined(parts, axis, tuple(out.shape), out.dtype)

    def digital(self, primitive: str = "a digital use") -> Param:
        """The concatenated numbers."""
        parts = [p.digital(primitive) for p in self.parts]
        value = jnp.concatenate([p.value.astype(self.dtype) for p in parts], self.axis)
        return Param(value, frozenset().union(*(p.paths for p in parts)))

    def unstack(self) -> tuple[Any, Callable[[Any], Joined]]:
        """Stacks side by side; a stack made of single weights is refused, since a scan needs one array of cells."""
        if self.axis == 0:
            raise TypeError(
                f"{self.path}: weights are stacked inside the function and then scanned over; stack them before "
                "`program`, so that they are one parameter"
            )
        leaves, makes = zip(*(p.unstack() for p in self.parts), strict=True)

        def make(leaves: Any) -> Joined:
            parts = tuple(m(x) for m, x in zip(makes, leaves, strict=True))
            return Joined(parts, self.axis - 1, self.shape[1:], self.dtype)

        return leaves, make


@dataclass(frozen=True)
class JoinedParam(Param):
    """Parameters concatenated: numbers that may yet become bias rows, each parameter its own."""

    members: Joined = None  # type: ignore[assignment]

    def view(self, eqn: Any) -> Param:
        """Part by part where the view keeps the parts apart."""
        value, members = jx.bind(eqn, [self.value])[0], self.members.view(eqn)
        if isinstance(members, Joined):
            return replace(self, value=value, members=members)
        return Param(value, self.paths, members.changed_by)

    def unstack(self) -> tuple[Array, Callable[[Array], Param]]:
        """As numbers."""
        return self.value, lambda x: Param(x, self.paths, self.changed_by)


def joined(parts: list[Any], axis: int, aval: Any) -> Joined:
    """The concatenation of weights; concatenations of concatenations along the same axis are one."""
    flat: list[Any] = []
    for part in parts:
        flat += part.parts if isinstance(part, Joined) and part.axis == axis else [part]
    return Joined(tuple(flat), axis, tuple(aval.shape), aval.dtype)


def _moved_axis(eqn: Any, axis: int, shape: tuple[int, ...]) -> int | None:
    """Where a view takes an axis whole; None if it does not, or cuts it."""
    name, out = eqn.primitive.name, tuple(eqn.outvars[0].aval.shape)
    if name == "transpose":
        return tuple(eqn.params["permutation"]).index(axis)
    if name == "slice":
        return None
    long = [a for a, n in enumerate(shape) if n > 1]
    new = [a for a, n in enumerate(out) if n > 1]
    if axis not in long or [shape[a] for a in long] != [out[a] for a in new]:
        return None
    return new[long.index(axis)]


def _resized_view(part: Weight, eqn: Any, axis: int, size: int) -> Any:
    """The same view of one part, whose size along the joined axis is `size`."""
    if eqn.primitive.name == "transpose":
        change: Callable = lambda x: lax.transpose(x, eqn.params["permutation"])  # noqa: E731
    else:
        out = eqn.outvars[0].aval.shape
        shape = (*out[:axis], size, *out[axis + 1 :])
        change = lambda x: lax.reshape(x, shape)  # noqa: E731
    return through(part, equations(change, part))


def equations(fn: Callable, like: Any) -> list[Any]:
    """The equations of a chain of views of a value like this one."""
    closed, _ = jx.trace(fn, jax.ShapeDtypeStruct(like.shape, like.dtype))
    return list(jx.opened(closed)[0].eqns)


def through(value: Any, eqns: list[Any]) -> Any:
    """A weight, parameter or line after a chain of views."""
    for eqn in eqns:
        value = value.view(eqn)
    return value


def cuts(eqn: Any) -> list[list[Any]]:
    """`split` and `unstack` as views, one chain for each output."""
    aval, axis = eqn.invars[0].aval, int(eqn.params["axis"])
    sizes = [int(s) for s in eqn.params["sizes"]] if eqn.primitive.name == "split" else [1] * aval.shape[axis]
    chains, start = [], 0
    for size, out in zip(sizes, eqn.outvars, strict=True):

        def piece(x: Array, start: int = start, size: int = size, shape: tuple[int, ...] = out.aval.shape) -> Array:
            return lax.reshape(lax.slice_in_dim(x, start, start + size, axis=axis), shape)

        chains.append(equations(piece, aval))
        start += size
    return chains
