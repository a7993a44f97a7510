"""`place`: traces a function and decides which of its weights stand on which arrays. Shapes only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.hardware import Hardware
from anaxon.interpret import jaxpr as jx
from anaxon.interpret import paths, trace
from anaxon.interpret.control import Scope
from anaxon.interpret.layout import Layout
from anaxon.interpret.plan import LINEAR, Plan, Ranges, Site, Use
from anaxon.interpret.product import Product
from anaxon.interpret.values import Line, Param
from anaxon.types import Array, PyTree

Rules = Hardware | Mapping[str, Hardware]


@dataclass
class Records:
    """What the walk notes down about each weight."""

    uses: dict[tuple[str, int], ReadRecord] = field(default_factory=dict)
    rows: dict[str, set[int]] = field(default_factory=dict)
    stacks: dict[str, list[frozenset[int]]] = field(default_factory=dict)
    digital: dict[str, str] = field(default_factory=dict)
    biases: dict[str, int] = field(default_factory=dict)
    groups: list[set[str]] = field(default_factory=list)


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
            return Param(value, frozenset({self.path}), eqn.primitive.name)
        return replace(self, value=value, layout=self.layout.view(eqn))

    def digital(self, primitive: str = "a digital use") -> Param:
        """Its numbers, for anything but a product."""
        self.records.digital.setdefault(self.path, primitive)
        return Param(self.value, frozenset({self.path}))

    def unstack(self) -> tuple[Array, Callable[[Array], Candidate]]:
        """The weight as a scanned input: its first axis becomes a stack axis."""
        stack = self.stack | self.layout.original((0,))
        return self.value, lambda x: replace(self, value=x, layout=self.layout.drop_first(), stack=stack)


trace.WEIGHTS = (*trace.WEIGHTS, Candidate)


@dataclass(frozen=True)
class PlannedRoot:
    """A read that only takes notes."""

    record: ReadRecord
    hardware: Hardware
    paths: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any
    axis: int | None

    def linear(self, lo: int, hi: int) -> Array:
        """Notes the linear conversion of a window."""
        return self.note(LINEAR, lo, hi)

    def note(self, kind: str, lo: int, hi: int) -> Array:
        """Notes a conversion; zeros of the right shape."""
        c = self.record.product.sizes[3]
        self.record.windows.setdefault(kind, set()).add((lo, hi) if self.axis is not None else (0, c))
        shape = self.shape if self.axis is None else (*self.shape[: self.axis], hi - lo, *self.shape[self.axis + 1 :])
        return jnp.zeros(shape, self.dtype)

    def current(self, lo: int, hi: int, full_scale: Array) -> Array:
        """The ramp's note is made by the machine, which knows the activation."""
        raise AssertionError("place does not read currents")

    def input_range(self) -> Array:
        """Not known from shapes."""
        return jnp.float32(1.0)


class Placer:
    """The machine that notes down reads instead of doing them."""

    def __init__(self, matched: frozenset[str]) -> None:
        self.scope, self.records, self.matched = Scope(), Records(), matched

    def read(self, weight: Candidate, operand: Array, product: Product, dtype: Any) -> PlannedRoot:
        """Notes the read's size and the roles of the weight's axes."""
        g, _, n, c = product.sizes
        if min(g, n, c) == 0:
            raise ValueError(f"{weight.path}: expected at least one row and one column; got {n} rows, {c} columns")
        r = self.records
        record = ReadRecord(product, tuple(length for _, length in self.scope.loops))
        r.uses[weight.path, self.scope.next_use(weight.path)] = record
        r.rows.setdefault(weight.path, set()).update(weight.layout.original(product.rows))
        stack = weight.stack | (weight.layout.original(product.stack) - weight.layout.original(product.rows))
        r.stacks.setdefault(weight.path, []).append(stack)
        return PlannedRoot(record, weight.hardware, (weight.path,), product.out_shape, dtype, product.column_axis)

    def biases(self, line: Line, value: Any) -> bool:
        """A bias goes on the rows if it is a parameter as it stands."""
        if line.hardware.bias != "row":
            return False
        if isinstance(value, Candidate):
            return True
        if not value.paths:
            return False
        if value.changed_by or len(value.paths) != 1:
            raise TypeError(
                f"{'+'.join(sorted(value.paths))}: a bias row must hold a parameter as it is; this one passed "
                f"{value.changed_by}: apply it before `program`"
            )
        return True

    def activate(self, line: Line, name: str) -> Array:
        """Notes that these columns share one tall array that ends in a ramp."""
        hardware, paths_, rows = line.hardware, set(), len(line.biases)
        for part in line.parts:
            for root in getattr(part.root, "members", (part.root,)):
                root.note(name, *((part.lo, part.hi) if root is part.root else (0, root.record.product.sizes[3])))
                paths_.update(root.paths)
            first = getattr(part.root, "members", (part.root,))[0]
            rows += first.record.product.sizes[2]
        _check_ramp(hardware, sorted(paths_), rows)
        for bias in line.biases:
            path = bias.path if isinstance(bias, Candidate) else next(iter(bias.paths))
            self.records.biases[path] = prod(line.shape)
            paths_.add(path)
        self.records.groups.append(paths_)
        return jnp.zeros(line.shape, line.dtype)

    def reject(self, param: Param, primitive: str) -> None:
        """A placed weight must reach its product unchanged."""
        named = sorted(param.paths & self.matched)
        if named and param.changed_by:
            raise TypeError(
                f"{named[0]}: its values pass {param.changed_by} before {primitive}, so no crossbar can hold them: "
                "apply it before `program`, or leave this weight out of the rules"
            )


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
      TypeError: for a named weight that is not multiplied, or whose values change before its product.
      ValueError: for a pattern that matches nothing, a weight without rows, a ramp that does not fit its array.
    """
    patterns = _patterns(rules)

    def placed(params: PyTree, *inputs: PyTree) -> Plan:
        names, leaves, _ = paths.flatten(params)
        chosen = _match(patterns, names, leaves)
        machine = Placer(frozenset(chosen))
        jaxpr, _ = jx.trace(fn, params, *inputs)

        def run(leaves: list[Any], inputs: list[Any]) -> None:
            values = [_value(n, x, chosen, patterns, machine.records) for n, x in zip(names, leaves, strict=True)]
            walk = trace.Walk(machine)
            for out in walk.run(jaxpr, [*values, *inputs]):
                walk.digital(out)

        jax.eval_shape(run, leaves, jax.tree.leaves(inputs))
        return _plan(machine.records, patterns, chosen, names, leaves, named=not isinstance(rules, Hardware))

    return placed


def _patterns(rules: Rules) -> list[tuple[str, Hardware]]:
    if isinstance(rules, Hardware):
        return [(".*", rules)]
    if not isinstance(rules, Mapping) or not rules:
        raise TypeError(f"rules: expected a Hardware or a mapping from patterns to Hardware; got {rules!r}")
    for pattern, hardware in rules.items():
        if not isinstance(hardware, Hardware):
            raise TypeError(f"rules[{pattern!r}]: expected a Hardware; got {type(hardware).__name__}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"rules[{pattern!r}]: not a regular expression: {error}") from None
    return list(rules.items())


def _match(patterns: list[tuple[str, Hardware]], names: list[str], leaves: list[Any]) -> dict[str, int]:
    """For each floating-point leaf, the first pattern that matches its whole path."""
    chosen, hit = {}, set()
    for name, leaf in zip(names, leaves, strict=True):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        for i, (pattern, _) in enumerate(patterns):
            if re.fullmatch(pattern, name):
                chosen[name] = i
                hit.add(i)
                break
    unused = [p for i, (p, _) in enumerate(patterns) if i not in hit]
    if unused:
        raise ValueError(f"rules: the pattern {unused[0]!r} matches no weight first; there are {names}")
    return chosen


def _value(name: str, leaf: Array, chosen: dict[str, int], patterns: list, records: Records) -> Candidate | Param:
    if name not in chosen or jnp.ndim(leaf) == 0:
        return Param(leaf, frozenset({name}))
    return Candidate(name, patterns[chosen[name]][1], leaf, Layout.of(leaf.shape), records)


def _plan(
    records: Records, patterns: list, chosen: dict[str, int], names: list[str], leaves: list[Any], *, named: bool
) -> Plan:
    read = {path for path, _ in records.uses}
    if named:
        _check_named(records, patterns, chosen, dict(zip(names, leaves, strict=True)), read)
    groups = _groups(records.groups)
    sites = []
    for name, leaf in zip(names, leaves, strict=True):
        if name in read or name in records.biases:
            sites.append(_site(name, leaf, records, chosen, groups, patterns))
    hardware = tuple(h for _, h in patterns)
    sites = [s if s.hardware >= 0 else _join(s, sites) for s in sites]
    return Plan(hardware=hardware, ranges=tuple(Ranges() for _ in sites), sites=tuple(sites))


def _join(bias: Site, sites: list[Site]) -> Site:
    """A bias that no rule names stands on the hardware of its group."""
    return replace(bias, hardware=next(s.hardware for s in sites if s.group == bias.group and s.hardware >= 0))


def _check_named(records: Records, patterns: list, chosen: dict[str, int], leaves: dict, read: set[str]) -> None:
    """A weight that a rule names must be multiplied; a wildcard may also cover biases and other vectors."""
    for i, (pattern, _) in enumerate(patterns):
        mine = [n for n, j in chosen.items() if j == i]
        lost = [n for n in mine if n not in read and n not in records.biases]
        strict = [n for n in lost if n == pattern or jnp.ndim(leaves[n]) > 1] or (
            lost if len(lost) == len(mine) else []
        )
        if strict:
            how = records.digital.get(strict[0])
            why = f"it is used by {how}" if how else "it is not used"
            raise TypeError(f"rules[{pattern!r}]: {strict[0]} is not the weight of a product ({why})")


def _groups(found: list[set[str]]) -> dict[str, int]:
    """Connected components of the sets of paths that meet on one array."""
    merged: list[set[str]] = []
    for group in found:
        touching = [m for m in merged if m & group]
        merged = [m for m in merged if not m & group] + [group.union(*touching)]
    return {path: i for i, group in enumerate(merged) for path in group}


def _site(
    name: str, leaf: Any, records: Records, chosen: dict[str, int], groups: dict[str, int], patterns: list
) -> Site:
    uses = tuple(r.use() for (path, _), r in sorted(records.uses.items(), key=lambda kv: kv[0][1]) if path == name)
    stack = frozenset.intersection(*records.stacks[name]) if name in records.stacks else frozenset()
    shared = frozenset(range(leaf.ndim)) - stack
    if name in records.rows and patterns[chosen[name]][1].array.scale == "column":
        shared = frozenset(records.rows[name])
        if not shared:
            raise ValueError(f"{name}: Array.scale='column' needs whole axes as rows; a reshape cut them unevenly")
    return Site(
        path=name,
        hardware=chosen.get(name, -1),
        shape=tuple(leaf.shape),
        dtype=str(leaf.dtype),
        shared_axes=tuple(sorted(shared)),
        uses=uses,
        group=groups.get(name),
        digital=name in records.digital or name in records.biases,
        bias=name in records.biases and not uses,
    )
