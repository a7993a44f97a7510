"""`analog`: runs a function on a programmed chip."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.converter.ramp.convert import Comparators
from anaxon.interpret import converting, paths, trace
from anaxon.interpret import jaxpr as jx
from anaxon.interpret.control import Scope, Stats
from anaxon.interpret.lines import Line
from anaxon.interpret.placed import Placed
from anaxon.interpret.plan import Chip, Crossbar
from anaxon.interpret.product import Product, row_of
from anaxon.interpret.program import is_crossbar
from anaxon.interpret.ramps import Ramps, ramps, stacked
from anaxon.interpret.reads import BiasRead, Observer, Read
from anaxon.interpret.values import Param
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree


class Simulator:
    """The machine that reads crossbars."""

    def __init__(self, read_key: Array, observers: tuple[Observer, ...], ramps: Ramps) -> None:
        self.scope, self.read_key, self.observers, self.ramps = Scope(), read_key, observers, ramps

    def read(self, weight: Placed, operand: Array, product: Product, dtype: Any) -> Read:
        """A pending read; its key is (read key, path, number of the read, loop indices)."""
        return Read(weight, operand, product, dtype, self._key(weight.path), self.watch)

    def bias(self, line: Line, value: Any, shape: tuple[int, ...]) -> BiasRead | None:
        """A bias that the plan put on rows is a crossbar."""
        if line.hardware.bias != "row" or not isinstance(value, Placed):
            return None
        row = row_of(value.shape, shape)
        return BiasRead(value, jnp.float32(1.0), row, line.dtype, self._key(value.path), lambda read, kind: None)

    def _key(self, path: str) -> Array:
        key = jax.random.fold_in(fold_name(self.read_key, path), self.scope.next_use(path))
        for index, _ in self.scope.loops:
            key = jax.random.fold_in(key, index)
        return key

    def watch(self, read: Read, kind: str) -> None:
        """Lets the observers see a conversion when its scope ends: by then all its consumers are known."""
        if self.observers:
            self.scope.pending.append(lambda: self._seen(read, kind))

    def _seen(self, read: Read, kind: str) -> Stats:
        reading, path = read.reading(kind), read.weight.path
        seen = [observer(reading) for observer in self.observers]
        return {(op, path, name): value for values in seen for (op, name), value in values.items()}

    def activate(self, line: Line, name: str) -> Array:
        """The ramp ADC: one current per output; converted once per kind."""
        first, others = line.parts[0], line.parts[1:]
        windows = tuple((id(p.root), p.lo, p.hi, tuple(map(id, p.views))) for p in line.parts)
        memo, array = first.root.memo, converting.array_of(line)
        if (name, windows) not in memo:
            # What an id stands for is kept with it; the first root keeps the memo itself.
            memo[name, windows] = self._ramp(line, array, name), first.views, others
        self.scope.ramp = array
        return memo[name, windows][0]

    def _ramp(self, line: Line, array: converting.RampArray, name: str) -> Array:
        full_scale = converting.common_range(line)
        z: Any = sum(p.through(p.root.current(p.lo, p.hi, full_scale, name)) for p in line.parts)
        return converting.convert_line(self._comparators(array, name), line, array, z).astype(line.dtype)

    def second_pass(self, value: Array, name: str) -> Array | None:
        """A digital value through the ramp of the array that converted last, where its hardware has that."""
        array = self.scope.ramp
        if array is None or not converting.takes_digital(array.hardware):
            return None
        return converting.convert_digital(self._comparators(array, name), array, value)

    def _comparators(self, array: converting.RampArray, name: str) -> Comparators:
        """The array's ramp of this activation, which the plan foresaw."""
        if (array.group, name) not in self.ramps:
            known = sorted(kind for group, kind in self.ramps if group == array.group)
            raise ValueError(
                f"activation {name!r}: the chip's array has ramps for {', '.join(known)}; was the function marked anew "
                "since the plan was made? Place and program it again"
            )
        return self.ramps[array.group, name]

    def reject(self, param: Param, primitive: str) -> None:
        """What must not be placed was refused by `place`."""
        del param, primitive

    def follows(self, value: Any) -> bool:
        """Numbers need no following."""
        del value
        return False

    def entered(self, weights: list[Any], primitive: str) -> None:
        """`place` has warned."""
        del weights, primitive


def analog(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Transforms `fn(params, *inputs)` into `(read_key, chip, *inputs) -> fn's result`, run on the chip.

    The result is what `fn` returns. The same key gives the same read noise; `vmap` over keys for several reads. A
    `vmap` over examples with one key gives every example the same noise: batch inside `fn`, or give each its key.

    Raises:
      TypeError: for a key that is not a typed key, or a chip that is not one.
    """

    def run(read_key: Array, chip: Chip, *inputs: PyTree) -> Any:
        return observed(fn, (), read_key, chip, None, *inputs)[0]

    return run


def observed(
    fn: Callable[..., Any],
    observers: tuple[Observer, ...],
    read_key: Array,
    chip: Chip,
    params: PyTree | None,
    *inputs: PyTree,
) -> tuple[Any, Stats]:
    """Runs `fn` on a chip and collects what observers see at every conversion; `params` are the digital weights."""
    check_key(read_key, "read_key")
    if not isinstance(chip, Chip):
        raise TypeError(f"chip: expected what `program` returns; got {type(chip).__name__}")
    machine = Simulator(read_key, observers, ramps(chip))  # made here, outside of all loops
    out = walked(fn, machine, chip, params, *inputs)
    return out, machine.scope.stats


def walked(
    fn: Callable[..., Any],
    machine: Simulator,
    chip: Chip,
    params: PyTree | None,
    *inputs: PyTree,
    kind: type[trace.Walk] = trace.Walk,
) -> Any:
    """The function's result on a chip, as a machine reads it."""
    jaxpr, out_tree, values = opened(fn, chip, params, *inputs)
    walk = kind(machine)
    outs = [walk.digital(o) for o in walk.run(jaxpr, [*values, *jax.tree.leaves(inputs)])]
    machine.scope.settle()
    return out_tree.unflatten(outs)


def opened(
    fn: Callable[..., Any], chip: Chip, params: PyTree | None, *inputs: PyTree
) -> tuple[Any, Any, list[Placed | Param]]:
    """The traced function, its result's tree, and the chip's leaves as a walk takes them; inputs may be shapes."""
    names, leaves, treedef = paths.flatten(chip.tree, is_crossbar)
    exact = paths.flatten(params)[1] if params is not None else [None] * len(leaves)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) if is_crossbar(x) else x for x in leaves]
    jaxpr, out_tree = jx.trace(fn, treedef.unflatten(shapes), *inputs)
    values = [
        _placed(chip, x, w, params is not None) if is_crossbar(x) else Param(x, frozenset({name}))
        for name, x, w in zip(names, leaves, exact, strict=True)
    ]
    return jaxpr, out_tree, values


def _placed(chip: Chip, crossbar: Crossbar, exact: Array | None, indexed: bool) -> Placed:
    """A crossbar as the walk carries it, before any view."""
    i = chip.plan.index(crossbar.path)
    site = chip.plan.sites[i]
    adc = chip.plan.of(site).adc
    by_column = adc is not None and adc.has_columns
    by_array = site.group is not None and stacked(site) > 1
    value = crossbar.digital if exact is None else exact
    size = prod(crossbar.shape)
    whole = lambda x: None if x is None else jnp.broadcast_to(jnp.asarray(x, jnp.float32), crossbar.shape)  # noqa: E731
    return Placed(
        site=site,
        path=crossbar.path,
        hardware=chip.plan.of(site),
        ranges=chip.plan.ranges[i],
        chip_key=fold_name(chip.key, crossbar.path),
        cells=crossbar.cells,
        scale=crossbar.scale if crossbar.scale.ndim == 0 else jnp.broadcast_to(crossbar.scale, crossbar.shape),
        value=value,
        index=jnp.arange(size, dtype=jnp.int32).reshape(crossbar.shape) if indexed or by_column or by_array else None,
        shape=crossbar.shape,
        dtype=jnp.dtype(crossbar.dtype),
        elements=size,
        offset=whole(chip.plan.ranges[i].offset),
        compensation=whole(crossbar.compensation),
    )
