"""From rules to matches before the walk, from its records to sites after it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from anaxon.hardware import Hardware
from anaxon.interpret.plan import Function, Plan, Ranges, Site
from anaxon.interpret.records import Records, Roles

Rules = Hardware | Mapping[str, Hardware]
Patterns = list[tuple[str, Hardware]]


def patterns_of(rules: Rules) -> Patterns:
    """Rules as (regular expression, hardware) in order.

    Raises:
      TypeError: for anything but hardware.
      ValueError: for a pattern that is no regular expression.
    """
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


def match(patterns: Patterns, names: list[str], leaves: list[Any]) -> dict[str, int]:
    """For each floating-point leaf, the first pattern that matches its whole path.

    Raises:
      ValueError: for a pattern that comes first for no leaf.
    """
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


def plan_of(records: Records, patterns: Patterns, chosen: dict[str, int], params: dict[str, Any], named: bool) -> Plan:
    """The plan that the records of a walk add up to; `params` are the leaves by name.

    Raises:
      TypeError: for a named weight that is not multiplied, or one that is driven from both sides.
    """
    read = {path for path, _ in records.uses}
    if named:
        _check_named(records, patterns, chosen, params, read)
    groups, passes = _groups(records.groups), _passes(records)
    sites = [
        replace(_site(name, leaf, records, chosen, groups, patterns), passes=passes.get(name, ()))
        for name, leaf in params.items()
        if name in read or name in records.biases
    ]
    hardware = tuple(h for _, h in patterns)
    sites = [s if s.hardware >= 0 else _join(s, sites) for s in sites]
    functions = tuple(Function(*noted) for noted in records.functions)
    ranges = tuple(Ranges() for _ in sites)
    return Plan(hardware=hardware, ranges=ranges, sites=tuple(sites), names=tuple(params), functions=functions)


def _join(bias: Site, sites: list[Site]) -> Site:
    """A bias that no rule names stands on the hardware of its group."""
    return replace(bias, hardware=next(s.hardware for s in sites if s.group == bias.group and s.hardware >= 0))


def _check_named(
    records: Records, patterns: Patterns, chosen: dict[str, int], params: dict[str, Any], read: set[str]
) -> None:
    """A weight that a rule names must be multiplied; a wildcard may also cover biases and other vectors."""
    for i, (pattern, _) in enumerate(patterns):
        mine = [n for n, j in chosen.items() if j == i]
        lost = [n for n in mine if n not in read and n not in records.biases]
        strict = [n for n in lost if n == pattern or jnp.ndim(params[n]) > 1]
        strict = strict or (lost if len(lost) == len(mine) else [])
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


def _passes(records: Records) -> dict[str, tuple[Function, ...]]:
    """Digital values that ramps convert, by the weight whose array they are converted at."""
    found: dict[str, tuple[Function, ...]] = {}
    for index, name, values, loops in records.passes:
        path = min(records.groups[index])
        found[path] = (*found.get(path, ()), Function(name, values, loops))
    return found


def _site(
    name: str, leaf: Any, records: Records, chosen: dict[str, int], groups: dict[str, int], patterns: Patterns
) -> Site:
    uses = tuple(r.use() for (path, _), r in sorted(records.uses.items(), key=lambda kv: kv[0][1]) if path == name)
    hardware = patterns[chosen[name]][1] if uses else None
    shared = _shared_axes(name, leaf.ndim, records.roles[name], hardware) if hardware else records.biases[name]
    stack = _stack_axes(leaf.ndim, records.roles[name]) if hardware else frozenset(range(leaf.ndim)) - shared
    return Site(
        path=name,
        hardware=chosen.get(name, -1),
        shape=tuple(leaf.shape),
        dtype=str(leaf.dtype),
        shared_axes=tuple(sorted(shared)),
        uses=uses,
        group=groups.get(name),
        digital=name in records.digital,
        bias=name in records.biases and not uses,
        by_column=hardware is not None and hardware.array.scale == "column",
        stack_axes=tuple(sorted(stack)),
        row_axes=tuple(sorted(_row_axes(records.roles[name]))) if hardware else (),
    )


def _stack_axes(ndim: int, roles: list[Roles]) -> frozenset[int]:
    """An axis that is neither row nor column in any use is indexed, scanned or batched over: a stack."""
    axes = frozenset(range(ndim))
    return frozenset.intersection(*(axes - r.rows - r.cols if r.known else r.stack for r in roles))


def _row_axes(roles: list[Roles]) -> frozenset[int]:
    """The axes that every use contracts, where all uses contract the same whole axes."""
    first = roles[0].rows
    return first if all(r.known and r.rows == first for r in roles) else frozenset()


def _shared_axes(name: str, ndim: int, roles: list[Roles], hardware: Hardware) -> frozenset[int]:
    """The axes over which one scale is shared: all but the stack, or the rows alone."""
    both_sides = any(a.opposes(b) for a in roles for b in roles)
    if both_sides and not hardware.is_ideal and not hardware.array.bidirectional:
        raise TypeError(
            f"{name}: one use drives its array from the rows and another from the columns (a gradient inside the "
            "function, or a weight and its transpose); that takes Array(bidirectional=True)"
        )
    axes = frozenset(range(ndim))
    if hardware.array.scale == "column":
        if both_sides:
            raise ValueError(f"{name}: Array.scale='column' has no meaning for an array that is driven from both sides")
        rows = frozenset().union(*(r.rows for r in roles))
        if not rows or not all(r.known for r in roles):
            raise ValueError(f"{name}: Array.scale='column' needs whole axes as rows; a reshape cut them unevenly")
        return rows
    return axes - _stack_axes(ndim, roles)
