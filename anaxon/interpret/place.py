"""`place`: traces a function and decides which of its weights stand on which arrays. Shapes only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.converter.ramp.ramp import design_of
from anaxon.hardware import Hardware
from anaxon.interpret import jaxpr as jx
from anaxon.interpret import paths, trace
from anaxon.interpret.control import Scope
from anaxon.interpret.converting import takes_digital
from anaxon.interpret.layout import Layout
from anaxon.interpret.lines import Line
from anaxon.interpret.plan import Plan
from anaxon.interpret.product import Product, row_of
from anaxon.interpret.records import Candidate, PlannedBias, PlannedRead, ReadRecord, Records
from anaxon.interpret.sites import Patterns, Rules, match, patterns_of, plan_of
from anaxon.interpret.values import Param
from anaxon.types import AnaxonWarning, Array, PyTree


class Placer:
    """The machine that notes down reads instead of doing them; `shapes` are those of all parameters."""

    def __init__(self, matched: frozenset[str], shapes: dict[str, tuple[int, ...]]) -> None:
        self.scope, self.records, self.matched, self.shapes = Scope(), Records(), matched, shapes

    def read(self, weight: Candidate, operand: Array, product: Product, dtype: Any) -> PlannedRead:
        """Notes the read's size and the roles of the weight's axes."""
        g, _, n, c = product.sizes
        if min(g, n, c) == 0:
            raise ValueError(f"{weight.path}: expected at least one row and one column; got {n} rows, {c} columns")
        r = self.records
        record = ReadRecord(product, tuple(length for _, length in self.scope.loops))
        r.uses[weight.path, self.scope.next_use(weight.path)] = record
        r.roles.setdefault(weight.path, []).append(weight.roles(product))
        return PlannedRead(record, weight.hardware, (weight.path,), product.out_shape, dtype, product.column_axis)

    def bias(self, line: Line, value: Any, shape: tuple[int, ...]) -> PlannedBias | None:
        """A bias goes on the rows if it is one parameter as it stands."""
        if line.hardware.bias != "row" or not isinstance(value, Candidate | Param):
            return None
        if isinstance(value, Param) and not value.paths:
            return None
        path = value.path if isinstance(value, Candidate) else self._unchanged(value)
        row = row_of(tuple(value.value.shape), shape)
        shared = frozenset(range(len(self.shapes[path])))
        if line.hardware.array.scale == "column":
            shared = frozenset()
        shared -= _leading_stack(self.shapes[path], prod(row.weight_shape))
        self.scope.next_use(path)
        record, axis = ReadRecord(row, ()), row.column_axis
        return PlannedBias(record, line.hardware, (path,), shape, line.dtype, axis, {}, self.records, shared)

    def _unchanged(self, value: Param) -> str:
        if value.changed_by or len(value.paths) != 1:
            raise TypeError(
                f"{'+'.join(sorted(value.paths))}: a bias row must hold a parameter as it is; this one passed "
                f"{value.changed_by}: apply it before `program`"
            )
        return next(iter(value.paths))

    def activate(self, line: Line, name: str) -> Array:
        """Notes that these columns share one tall array that ends in a ramp."""
        members = [list(part.members()) for part in line.parts]
        names = {path for ms in members for m, _, _ in ms for path in m.paths}
        design_of(line.hardware.activation, name)  # a ramp that cannot be built is an error here, where it has a name
        _check_ramp(line.hardware, sorted(names), sum(ms[0][0].record.product.sizes[2] for ms in members))
        self.records.groups.append(names)
        arrays = members[0][0][0].record.product.sizes[0]
        self.scope.ramp = line.hardware, len(self.records.groups) - 1, arrays
        one = jnp.float32(1.0)
        return sum(p.through(p.root.current(p.lo, p.hi, one, name)) for p in line.parts)  # type: ignore[return-value]

    def second_pass(self, value: Array, name: str) -> Array | None:
        """Notes an activation of digital values: a second pass over the last array's ramp, or digital arithmetic."""
        hardware, group, arrays = self.scope.ramp or (None, 0, 1)
        loops = tuple(length for _, length in self.scope.loops)
        if hardware is None or not takes_digital(hardware):
            self.records.functions.append((name, value.size, loops))
            return None
        if arrays > 1:
            raise ValueError(
                f"Ramp.digital: 'ramp' converts digital values on the array read last before them; here {arrays} "
                f"arrays side by side were read ({'+'.join(sorted(self.records.groups[group]))}), so expected 'float'"
            )
        self.records.passes.append((group, name, value.size, loops))
        return value

    def reject(self, param: Param, primitive: str) -> None:
        """A placed weight must reach its product unchanged."""
        named = sorted(param.paths & self.matched)
        if not named or not param.changed_by:
            return
        if param.changed_by.endswith(trace.BY_DATA):
            raise TypeError(
                f"{named[0]}: {param.changed_by} before {primitive}; which crossbar is read must be known when "
                "tracing: index with a number, scan over the stack axis, or leave this weight out of the rules"
            )
        if param.changed_by == "rev":
            raise TypeError(
                f"{named[0]}: its kernel is flipped before {primitive}, which drives the array from its columns (a "
                "gradient inside the function); a placed kernel cannot be"
            )
        raise TypeError(
            f"{named[0]}: its values pass {param.changed_by} before {primitive}, so no crossbar can hold them: "
            "apply it before `program`, or leave this weight out of the rules"
        )

    def follows(self, value: Any) -> bool:
        """A changed weight may be multiplied inside a call."""
        return isinstance(value, Param) and value.changed_by is not None and not self.matched.isdisjoint(value.paths)

    def entered(self, weights: list[Any], primitive: str) -> None:
        """Notes it for one warning at the end."""
        for weight in weights:
            for part in getattr(weight, "parts", (weight,)):
                if not part.hardware.is_ideal:
                    self.records.entered.setdefault(primitive, set()).add(part.path)

    def warn(self) -> None:
        """One warning about the derivatives that are lost."""
        for primitive, names in self.records.entered.items():
            warnings.warn(
                f"{primitive} multiplies a placed weight ({', '.join(sorted(names))}): it is entered, and its custom "
                "derivative is lost",
                AnaxonWarning,
                stacklevel=3,
            )


def _leading_stack(shape: tuple[int, ...], size: int) -> frozenset[int]:
    """The leading axes of a parameter that loops or indices have taken, if this much of it is left."""
    for k in range(len(shape) + 1):
        if prod(shape[k:]) == size:
            return frozenset(range(k))
    return frozenset()


def _check_ramp(hardware: Hardware, names: list[str], rows: int) -> None:
    array, where = hardware.array, "+".join(names)
    if array.slices > 1:
        raise ValueError(
            f"{where}: a ramp needs one column current per output; needed: 1 slice per weight, there: {array.slices} "
            f"(weight_bits={array.weight_bits}, cell_bits={array.cell_bits})"
        )
    if rows > array.rows:
        raise ValueError(
            f"{where}: a ramp needs the whole sum on one array; needed: {rows} rows, bias included, there: {array.rows}"
        )


def place(fn: Callable[..., Any], rules: Rules) -> Callable[..., Plan]:
    """Decides which weights of `fn(params, *inputs)` stand on which arrays.

    Args:
      fn: any pure JAX function of a parameter tree and inputs.
      rules: one `Hardware` for every weight that is multiplied, or a mapping from patterns (matched against whole
        paths, first match wins) to hardware.

    Returns:
      A function of `(params, *inputs)`, arrays or shapes, that returns the plan.

    Raises:
      TypeError: for a named weight that is not multiplied, one whose values change before its product, or one that is
        driven from both sides of an array that is not bidirectional.
      ValueError: for a pattern that matches nothing, a weight without rows, a ramp that does not fit its array.
    """
    patterns = patterns_of(rules)

    def placed(params: PyTree, *inputs: PyTree) -> Plan:
        names, leaves, _ = paths.flatten(params)
        chosen = match(patterns, names, leaves)
        machine = Placer(frozenset(chosen), {n: tuple(jnp.shape(x)) for n, x in zip(names, leaves, strict=True)})
        jaxpr, _ = jx.trace(fn, params, *inputs)

        def run(leaves: list[Any], inputs: list[Any]) -> None:
            values = [_value(n, x, chosen, patterns, machine.records) for n, x in zip(names, leaves, strict=True)]
            walk = trace.Walk(machine)
            for out in walk.run(jaxpr, [*values, *inputs]):
                walk.digital(out)

        jax.eval_shape(run, leaves, jax.tree.leaves(inputs))
        machine.warn()
        tree = dict(zip(names, leaves, strict=True))
        return plan_of(machine.records, patterns, chosen, tree, named=not isinstance(rules, Hardware))

    return placed


def _value(name: str, leaf: Array, chosen: dict[str, int], patterns: Patterns, records: Records) -> Candidate | Param:
    if name not in chosen or jnp.ndim(leaf) == 0:
        return Param(leaf, frozenset({name}))
    return Candidate(name, patterns[chosen[name]][1], leaf, Layout.of(leaf.shape), records)
