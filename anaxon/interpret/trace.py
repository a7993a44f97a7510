"""The walk over a traced function: what happens to weights and bit lines, whatever a read means.

An interpreter is a `Machine`: it says what a product with a weight is. The walk knows the rest: which operations keep
a weight a weight and a line a line, where a line becomes digital, and how control flow is entered.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from anaxon.converter import ramp
from anaxon.interpret import control
from anaxon.interpret import jaxpr as jx
from anaxon.interpret.product import PRODUCTS, Product, product_of, restrict
from anaxon.interpret.values import (
    VIEWS,
    Joined,
    JoinedRoot,
    Line,
    Param,
    Part,
    Root,
    Weight,
    line_of,
    split_line,
    view_line,
)
from anaxon.types import AnaxonWarning, Array

WEIGHTS: tuple[type, ...] = ()  # the concrete weight classes; each interpreter registers its own


class Machine(Protocol):
    """One interpreter of a plan: what the walk asks of it."""

    scope: control.Scope

    def read(self, weight: Weight, operand: Array, product: Product, dtype: Any) -> Root:
        """The pending product of an operand and a weight."""
        ...

    def activate(self, line: Line, name: str) -> Array:
        """A line through the ramp ADC of an activation."""
        ...

    def biases(self, line: Line, value: Any) -> bool:
        """Whether a parameter added to this line is programmed as its bias rows."""
        ...

    def reject(self, param: Param, primitive: str) -> None:
        """A product with a value derived from parameters; raises where one of them was to be placed."""
        ...


def is_weight(value: Any) -> bool:
    """Whether a value is a weight in flight."""
    return isinstance(value, (*WEIGHTS, Joined))


def is_special(value: Any) -> bool:
    """Whether a value is anything but a plain array."""
    return isinstance(value, Param | Line) or is_weight(value)


class Walk:
    """Evaluates jaxprs over mixed values; holds no state but the machine and the activations' memo."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
        """Evaluates a jaxpr; outputs may be special."""
        jaxpr, consts = jx.opened(jaxpr)
        env: dict[Any, Any] = {}
        env.update(zip(jaxpr.constvars, (Param(c) for c in consts), strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))
        last = _last_uses(jaxpr)
        for i, eqn in enumerate(jaxpr.eqns):
            values = [Param(a.val) if jx.is_literal(a) else env[a] for a in eqn.invars]
            for var, out in zip(eqn.outvars, self.equation(eqn, values), strict=True):
                env[var] = out
            for var in last.get(i, ()):
                del env[var]
        return [Param(a.val) if jx.is_literal(a) else env[a] for a in jaxpr.outvars]

    def equation(self, eqn: Any, values: list[Any]) -> list[Any]:
        """One equation: control flow, then weights, then lines, then everything else."""
        name = eqn.primitive.name
        if not any(is_weight(v) or isinstance(v, Line) for v in values):
            if name in PRODUCTS:
                self._check_product(values, name)
            return self._plain(eqn, values)
        if name in jx.CALLS:
            return self._call(eqn, values)
        if name in control.HANDLERS:
            return control.HANDLERS[name](self, eqn, values)
        if name in jx.CUSTOM:
            return self._custom(eqn, values)
        if name in PRODUCTS and any(is_weight(v) for v in values):
            return [self._product(eqn, values)]
        if name in VIEWS and is_weight(values[0]):
            return [values[0].view(eqn)]
        if name == "concatenate" and all(is_weight(v) and not isinstance(v, Joined) for v in values):
            out = eqn.outvars[0].aval
            return [Joined(tuple(values), eqn.params["dimension"], tuple(out.shape), out.dtype)]
        if isinstance(values[0], Line):
            kept = self._line(eqn, values)
            if kept is not None:
                return kept
        elif len(values) == 2 and isinstance(values[1], Line) and name in ("add", "add_any"):
            kept = self._line(eqn, values[::-1])
            if kept is not None:
                return kept
        return self._plain(eqn, values)

    def digital(self, value: Any) -> Any:
        """Any value as a plain array; a line converts, each term by itself."""
        if isinstance(value, Param):
            return value.value
        if is_weight(value):
            return value.digital().value
        return self.convert(value) if isinstance(value, Line) else value

    def convert(self, line: Line) -> Array:
        """A line through linear ADCs: every term converts by itself, sums and biases are digital."""
        total = sum(viewed(part.root.linear(part.lo, part.hi), part) for part in line.parts)
        for bias in line.biases:
            total = total + self.digital(bias)
        return total.astype(line.dtype)

    def _plain(self, eqn: Any, values: list[Any]) -> list[Any]:
        """Re-binds the primitive on arrays; parameters in, parameter out."""
        params = [v.digital(eqn.primitive.name) if is_weight(v) else v for v in values]
        outs = jx.bind(eqn, [self.digital(v) for v in params])
        if not all(isinstance(p, Param) for p in params) or not params:
            return outs
        paths = frozenset().union(*(p.paths for p in params))
        changed = next((p.changed_by for p in params if p.changed_by), None)
        if changed is None and eqn.primitive.name not in VIEWS and paths:
            changed = eqn.primitive.name
        return [Param(o, paths, changed) for o in outs]

    def _check_product(self, values: list[Any], name: str) -> None:
        for value in values:
            if isinstance(value, Param) and value.paths:
                self.machine.reject(value, name)

    def _call(self, eqn: Any, values: list[Any]) -> list[Any]:
        name = ramp.marked_name(eqn.params.get("name", ""))
        if name and isinstance(values[0], Line) and values[0].hardware.activation is not None:
            return [self.machine.activate(values[0], name)]
        return self.run(jx.inner(eqn), values)

    def _custom(self, eqn: Any, values: list[Any]) -> list[Any]:
        """A custom derivative survives unless a crossbar is multiplied inside it."""
        if not any(is_weight(v) for v in values):
            return jx.bind(eqn, [self.digital(v) for v in values])
        warnings.warn(
            f"{eqn.primitive.name} multiplies a placed weight ({', '.join(v.path for v in values if is_weight(v))}): "
            "it is entered, and its custom derivative is lost",
            AnaxonWarning,
            stacklevel=2,
        )
        return self.run(jx.inner(eqn), values)

    def _product(self, eqn: Any, values: list[Any]) -> Line | Array:
        position = next(i for i, v in enumerate(values) if is_weight(v))
        weight, other = values[position], values[1 - position]
        if is_weight(other):
            raise TypeError(
                f"{eqn.primitive.name} multiplies {weight.path} by {other.path}, both weights to be placed: place one "
                "of them by rules, or form their product before `program`"
            )
        if isinstance(other, Param) and other.paths:
            self.machine.reject(other, eqn.primitive.name)
        operand, product = self.digital(other), product_of(eqn, position)
        dtype = eqn.outvars[0].aval.dtype
        if isinstance(weight, Joined):
            return self._joined(weight, operand, eqn, position, dtype)
        return line_of(self.machine.read(weight, operand, product, dtype))

    def _joined(self, weight: Joined, operand: Array, eqn: Any, position: int, dtype: Any) -> Line | Array:
        product = product_of(eqn, position)
        pieces = _pieces(weight, operand, product)
        roots = [self.machine.read(w, x, p, dtype) for w, x, p in pieces]
        if weight.axis in product.cols and product.column_axis is not None:
            return line_of(JoinedRoot(tuple(roots), product.out_shape, dtype, product.column_axis))
        if weight.axis not in product.rows:
            raise TypeError(f"{weight.path}: weights concatenated along a stack axis cannot be placed")
        lines = [line_of(r) for r in roots]
        return Line(tuple(p for line in lines for p in line.parts), (), product.out_shape, dtype)

    def _line(self, eqn: Any, values: list[Any]) -> list[Any] | None:
        """Operations that keep a line analog, or end it in a ramp; None where it must convert."""
        name, line = eqn.primitive.name, values[0]
        out = eqn.outvars[0].aval
        if name == "split":
            return list(split_line(line, eqn))
        if name in VIEWS and (name != "convert_element_type" or out.dtype == line.dtype):
            return [view_line(line, eqn)]
        if line.hardware.activation is None:
            return None
        if name in ("add", "add_any") and tuple(out.shape) == line.shape:
            return self._sum(line, values[1])
        if ramp.is_known(name):
            return [self.machine.activate(line, name)]
        return None

    def _sum(self, line: Line, other: Any) -> list[Any] | None:
        if isinstance(other, Line) and other.hardware is line.hardware:
            both = (line.parts + other.parts, line.biases + other.biases)
            return [Line(*both, line.shape, line.dtype)]
        if (is_weight(other) or isinstance(other, Param)) and self.machine.biases(line, other):
            return [Line(line.parts, (*line.biases, other), line.shape, line.dtype)]
        return None


def viewed(value: Array, part: Part) -> Array:
    """Applies the views that a window has gone through."""
    for eqn in part.views:
        value = jx.bind(eqn, [value])[0]
    return value


def _pieces(weight: Joined, operand: Array, product: Product) -> list[tuple[Weight, Array, Product]]:
    """Each part of a concatenation with the operand and the product it takes part in."""
    pieces, start = [], 0
    for part in weight.parts:
        size = part.shape[weight.axis]
        pieces.append((part, *restrict(product, operand, weight.axis, start, size)))
        start += size
    return pieces


def _last_uses(jaxpr: Any) -> dict[int, list[Any]]:
    """For each equation, the variables nobody needs after it: what a walk holds on to is what is live."""
    seen = {a for a in jaxpr.outvars if not jx.is_literal(a)}
    last: dict[int, list[Any]] = {}
    for i in range(len(jaxpr.eqns) - 1, -1, -1):
        eqn = jaxpr.eqns[i]
        for atom in [*eqn.outvars, *eqn.invars]:
            if not jx.is_literal(atom) and atom not in seen:
                seen.add(atom)
                last.setdefault(i, []).append(atom)
    return last
