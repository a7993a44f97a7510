"""The walk over a traced function: what happens to weights and bit lines, whatever a read means.

An interpreter is a `Machine`: it says what a product with a weight is. The walk knows the rest: which operations keep
a weight a weight and a line a line, where a line becomes digital, and how control flow is entered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax.numpy as jnp
from jax import lax

from anaxon.converter import ramp
from anaxon.interpret import control
from anaxon.interpret import jaxpr as jx
from anaxon.interpret.lines import JoinedRoot, Line, Root, line_of
from anaxon.interpret.product import PRODUCTS, Product, product_of, resized, restrict
from anaxon.interpret.values import CUTS, VIEWS, Joined, JoinedParam, Param, Weight, cuts, equations, joined, through
from anaxon.types import Array

WEIGHTS: tuple[type, ...] = ()  # the concrete weight classes; each interpreter registers its own
SUMS = ("add", "add_any")
SELECTIONS, BY_DATA = ("dynamic_slice", "select_n"), " by data"
RAMPED = ("logistic", "tanh")  # primitives that are activations by themselves; others are marked by `activation`


class Machine(Protocol):
    """One interpreter of a plan: what the walk asks of it."""

    scope: control.Scope

    def read(self, weight: Any, operand: Array, product: Product, dtype: Any) -> Root:
        """The pending product of an operand and a weight."""
        ...

    def activate(self, line: Line, name: str) -> Array:
        """A line through the ramp ADC of an activation."""
        ...

    def second_pass(self, value: Array, name: str) -> Array | None:
        """An activation of a digital value, if the ramp of an array does it; None if it is computed digitally."""
        ...

    def bias(self, line: Line, value: Any, shape: tuple[int, ...]) -> Root | None:
        """A parameter added to this line as rows of its array, read with output `shape`; None if it is digital."""
        ...

    def reject(self, param: Param, primitive: str) -> None:
        """A product with a value derived from parameters; raises where one of them was to be placed."""
        ...

    def follows(self, value: Any) -> bool:
        """Whether a call must be entered to see what becomes of a parameter."""
        ...

    def entered(self, weights: list[Any], primitive: str) -> None:
        """A custom derivative is lost, because a crossbar is multiplied inside."""
        ...


def is_weight(value: Any) -> bool:
    """Whether a value is a weight in flight."""
    return isinstance(value, (*WEIGHTS, Joined))


class Walk:
    """Evaluates jaxprs over mixed values; holds no state but the machine."""

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
        """One equation: control flow and calls, then products, then views and sums, then everything else."""
        name = eqn.primitive.name
        activated = self._activation(eqn, values)
        if activated is not None:
            return activated
        special = any(is_weight(v) or isinstance(v, Line) for v in values)
        if special or any(self.machine.follows(v) for v in values):
            entered = self._enter(eqn, values)
            if entered is not None:
                return entered
        if name in PRODUCTS:
            return self._product(eqn, values)
        if special:
            kept = self._weight(eqn, values) if is_weight(values[0]) else None
            kept = self._line(eqn, values) if kept is None else kept
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
        total: Any = sum(part.through(part.root.linear(part.lo, part.hi)) for part in line.parts)
        return total.astype(line.dtype)

    def _enter(self, eqn: Any, values: list[Any]) -> list[Any] | None:
        """Calls and control flow; None for an equation that is neither."""
        name = eqn.primitive.name
        if name in jx.CALLS:
            return self.run(jx.inner(eqn), values)
        if name in control.HANDLERS:
            return control.HANDLERS[name](self, eqn, values)
        return self._custom(eqn, values) if name in jx.CUSTOM else None

    def _activation(self, eqn: Any, values: list[Any]) -> list[Any] | None:
        """Sigmoid, tanh and marked functions, of a line in its ramp, of numbers in a second pass or digitally."""
        name = eqn.primitive.name
        if name in jx.CALLS:
            name = ramp.marked_name(eqn.params.get("name", ""))
            if not name and jx.contains(jx.inner(eqn), RAMPED):  # jax.nn.sigmoid is a call
                return self.run(jx.inner(eqn), values)
        elif name not in RAMPED:
            return None
        if not name or isinstance(values[0], Param) or is_weight(values[0]):
            return None
        if isinstance(values[0], Line) and values[0].hardware.activation is not None:
            return [self.machine.activate(values[0], name)]
        numbers = [self.digital(v) for v in values]
        passed = self.machine.second_pass(numbers[0], name)
        return self._plain(eqn, numbers) if passed is None else [passed]

    def _custom(self, eqn: Any, values: list[Any]) -> list[Any]:
        """A custom derivative survives unless a crossbar is multiplied inside it."""
        weights = [v for v in values if is_weight(v)]
        if weights and jx.contains(jx.inner(eqn), PRODUCTS):
            self.machine.entered(weights, eqn.primitive.name)
            return self.run(jx.inner(eqn), values)
        return self._plain(eqn, values)

    def _plain(self, eqn: Any, values: list[Any]) -> list[Any]:
        """Re-binds the primitive on arrays; parameters in, parameter out."""
        name = eqn.primitive.name
        params = [v.digital(name) if is_weight(v) else v for v in values]
        if name == "shard_map" and any(is_weight(v) for v in values):
            raise TypeError("shard_map inside the function hides its weights: put `analog(fn)` inside the shard_map")
        outs = jx.bind(eqn, [self.digital(v) for v in params])
        paths = frozenset().union(*(p.paths for p in params if isinstance(p, Param)))
        if not all(isinstance(p, Param) for p in params):
            # A weight chosen by data is no number to multiply digitally: the next product refuses it.
            return [Param(o, paths, name + BY_DATA) for o in outs] if name in SELECTIONS and paths else outs
        changed = next((p.changed_by for p in params if p.changed_by), None)
        if name == "concatenate" and changed is None and all(len(p.paths) == 1 for p in params):
            members = joined(params, eqn.params["dimension"], eqn.outvars[0].aval)
            return [JoinedParam(outs[0], paths, name, members)]
        if name in VIEWS and isinstance(params[0], JoinedParam):
            return [params[0].view(eqn)]
        if changed is None and name not in VIEWS | CUTS and paths:
            changed = name
        return [Param(o, paths, changed) for o in outs]

    def _weight(self, eqn: Any, values: list[Any]) -> list[Any] | None:
        """Operations that keep weights weights."""
        name = eqn.primitive.name
        if name in VIEWS:
            return [values[0].view(eqn)]
        if name in CUTS:
            return [through(values[0], chain) for chain in cuts(eqn)]
        if name == "optimization_barrier" and all(is_weight(v) or isinstance(v, Param) for v in values):
            return list(values)
        if name in ("concatenate", "stack") and all(is_weight(v) for v in values):
            return [joined(*_members(eqn, values), eqn.outvars[0].aval)]
        return None

    def _product(self, eqn: Any, values: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        position = next((i for i, v in enumerate(values) if is_weight(v)), None)
        if position is None:
            for value in values:
                if isinstance(value, Param) and value.paths:
                    self.machine.reject(value, name)
            return self._plain(eqn, values)
        weight, other = values[position], values[1 - position]
        if is_weight(other):
            raise TypeError(
                f"{name} multiplies {weight.path} by {other.path}, both weights to be placed: place one of them by "
                "rules, or form their product before `program`"
            )
        operand, product = self.digital(other), product_of(eqn, position)
        dtype = eqn.outvars[0].aval.dtype
        if isinstance(weight, Joined):
            return [self._joined(weight, operand, product, dtype)]
        return [line_of(self.machine.read(weight, operand, product, dtype))]

    def _joined(self, weight: Joined, operand: Array, product: Product, dtype: Any) -> Line:
        """Crossbars side by side are one root; above each other, reads on the same lines."""
        pieces = _pieces(weight, operand, product)
        roots = [self.machine.read(w, x, p, dtype) for w, x, p in pieces]
        if weight.axis in product.rows:
            line = line_of(roots[0])
            for root in roots[1:]:
                line = line.plus(root)
            return line
        if product.column_axis is None or weight.axis not in product.cols:
            where = "several column axes" if weight.axis in product.cols else "a stack axis"
            raise TypeError(f"{weight.path}: weights concatenated along {where} of a product cannot be placed")
        return line_of(JoinedRoot(tuple(roots), product.out_shape, dtype, product.column_axis))

    def _line(self, eqn: Any, values: list[Any]) -> list[Any] | None:
        """Operations that keep a line analog; None where it must convert."""
        name, out = eqn.primitive.name, eqn.outvars[0].aval
        if name in SUMS:
            return self._sum(values, tuple(out.shape))
        line = values[0]
        if not isinstance(line, Line):
            return None
        if name in CUTS:
            return [through(line, chain) for chain in cuts(eqn)]
        if name in VIEWS and jnp.issubdtype(out.dtype, jnp.floating):
            return [line.view(eqn)]
        return None

    def _sum(self, values: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
        """Sums stay on the line before a ramp: with another read of the same hardware, or with a bias row."""
        line, other = values if isinstance(values[0], Line) else values[::-1]
        if not isinstance(line, Line) or line.hardware.activation is None or line.shape != shape:
            return None
        if isinstance(other, Line):
            same = other.hardware is line.hardware and other.shape == shape
            return [Line(line.parts + other.parts, shape, line.dtype)] if same else None
        root = self._bias(line, other)
        return None if root is None else [line.plus(root)]

    def _bias(self, line: Line, value: Any) -> Root | None:
        value = value.members if isinstance(value, JoinedParam) else value
        if not (isinstance(value, Param) or is_weight(value)) or not _fits_a_row(line, tuple(value.shape)):
            return None
        if not isinstance(value, Joined):
            return self.machine.bias(line, value, line.shape)
        axis = value.axis
        shapes = [resized(line.shape, axis, p.shape[axis]) for p in value.parts]
        roots = [self.machine.bias(line, p, s) for p, s in zip(value.parts, shapes, strict=True)]
        found = tuple(r for r in roots if r is not None)
        return JoinedRoot(found, line.shape, line.dtype, axis) if len(found) == len(roots) else None


def _fits_a_row(line: Line, shape: tuple[int, ...]) -> bool:
    """Whether something added to a line has one number for each column, the same for every input vector."""
    if len(shape) != len(line.shape):
        return False
    part = line.parts[0]
    root, _, _ = next(part.members())
    if part.views:  # the axes have moved
        return all(n in (1, m) for n, m in zip(shape, line.shape, strict=True)) and max(shape, default=1) > 1
    vectors = root.product.vector_axes
    return all(n == (1 if a in vectors else m) for a, (n, m) in enumerate(zip(shape, line.shape, strict=True)))


def _members(eqn: Any, values: list[Any]) -> tuple[list[Any], int]:
    """What `concatenate` or `stack` joins, and along which axis."""
    if eqn.primitive.name == "concatenate":
        return values, int(eqn.params["dimension"])
    axis, out = int(eqn.params["axis"]), eqn.outvars[0].aval.shape
    chain = equations(lambda x: lax.reshape(x, resized(out, axis, 1)), values[0])
    return [through(v, chain) for v in values], axis


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
