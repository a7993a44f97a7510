"""`analog`: runs a function on a programmed chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.converter import ramp
from anaxon.converter.dac import encode_exact
from anaxon.crossbar import array as xbar
from anaxon.hardware import Hardware
from anaxon.interpret import jaxpr as jx
from anaxon.interpret import paths, trace
from anaxon.interpret.control import Scope, Stats
from anaxon.interpret.plan import Chip, Crossbar, Ranges
from anaxon.interpret.product import Product
from anaxon.interpret.program import is_crossbar
from anaxon.interpret.values import Line, Param
from anaxon.numerics import safe_scale
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree

# Views that move no cell.
_STILL = {"convert_element_type", "copy", "copy_p", "stop_gradient", "sharding_constraint", "optimization_barrier"}


@dataclass(frozen=True)
class Placed:
    """A crossbar in flight: its cells with the views of the weight applied to them.

    `scale` has the weight's shape, or none where one number holds for all. `index` numbers the weight's elements, for
    observers that must find their way back through the views.
    """

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
        if eqn.primitive.name in _STILL:
            return replace(self, value=value, dtype=out.dtype)
        return replace(
            self,
            cells=jax.tree.map(jax.vmap(jax.vmap(move)), self.cells),
            scale=self.scale if self.scale.ndim == 0 else move(jnp.broadcast_to(self.scale, self.shape)),
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
        scale = None if self.scale.ndim == 0 else jnp.broadcast_to(self.scale, self.shape)

        def make(leaves: PyTree) -> Placed:
            cells, scale, value, index = leaves
            scale = self.scale if scale is None else scale
            return replace(self, cells=cells, scale=scale, value=value, index=index, shape=self.shape[1:])

        return (cells, scale, self.value, self.index), make


trace.WEIGHTS = (*trace.WEIGHTS, Placed)


@dataclass(frozen=True)
class Reading:
    """One conversion as observers see it.

    Attributes:
      weight: the crossbar.
      product: how it was multiplied.
      operand: `[G, M, N]`, digital.
      input_range: what the operand was encoded with.
      code: `[G, M, N]` in [-1, 1].
      columns: `[S, G, T, K * M, C]` before conversion, column units.
      full_scale: the ADC's range.
      output: `[G, M, C]` after conversion, in the operand's and weight's units.
    """

    weight: Placed
    product: Product
    operand: Array
    input_range: Array
    code: Array
    columns: Array
    full_scale: Array
    output: Array


Observer = Callable[[Reading], dict[tuple[str, str], Array]]  # -> {(how to combine, name): value}


@dataclass(frozen=True)
class Read:
    """A pending read of one crossbar; everything is computed at most once."""

    weight: Placed
    raw: Array
    product: Product
    dtype: Any
    key: Array
    machine: Simulator
    memo: dict[str, Array] = field(default_factory=dict)

    @property
    def hardware(self) -> Hardware:
        """The crossbar's."""
        return self.weight.hardware

    @property
    def paths(self) -> tuple[str, ...]:
        """The crossbar's."""
        return (self.weight.path,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The product's output."""
        return self.product.out_shape

    @property
    def axis(self) -> int | None:
        """The output axis that holds the columns."""
        return self.product.column_axis

    @cached_property
    def operand(self) -> Array:
        """`[G, M, N]` float32."""
        return self.product.operand(self.raw.astype(jnp.float32))

    @cached_property
    def cells(self) -> PyTree:
        """`[P, S, G, N, C]`."""
        return jax.tree.map(self.product.weight, self.weight.cells)

    def input_range(self) -> Array:
        """Calibrated, or the absmax of the operand."""
        if self.weight.ranges.input is not None:
            return jnp.asarray(self.weight.ranges.input, jnp.float32)
        return safe_scale(jnp.max(jnp.abs(self.operand), initial=0.0))

    def code(self, full_scale: Array) -> Array:
        """The operand in [-1, 1], as the DAC drives it."""
        encode = self.hardware.dac.encode if self.hardware.dac else encode_exact
        return encode(self.operand, full_scale)

    def columns(self, code: Array) -> Array:
        """Analog column values `[S, G, T, M, C]`, with the noise of this one read."""
        hw = self.hardware
        return xbar.column_sums(hw.device, hw.array, hw.dac or xbar.EXACT_DAC, code, self.cells, self.key)

    def unit(self, full_scale: Array) -> Array:
        """What one weight level at full input is worth, `[G, 1, C]` or a scalar."""
        scale = self.weight.scale
        if scale.ndim:
            scale = self.product.weight(scale)[..., :1, :]
        gain = xbar.predistorted_gain(self.hardware.device, self.hardware.dac or xbar.EXACT_DAC)
        return scale * full_scale / gain

    def linear(self, lo: int, hi: int) -> Array:
        """Columns through the linear ADC; the first consumer converts them all."""
        if "linear" not in self.memo:
            self.memo["linear"] = self._converted()
        return self._window(self.memo["linear"], lo, hi)

    def _converted(self) -> Array:
        hw, full_scale = self.hardware, self.input_range()
        code = self.code(full_scale)
        planes, weights = xbar.cycles(hw.dac, code)
        z = self.columns(planes)
        limit = self._column_range(z)
        digital = xbar.digitise(hw.adc, z, limit, self.weight.chip_key, self.key)
        y = xbar.recombine(hw.array, digital, weights) * self.unit(full_scale)
        self.machine.observe(Reading(self.weight, self.product, self.operand, full_scale, code, z, limit, y))
        return self.product.assemble(y)

    def _column_range(self, z: Array) -> Array:
        fixed = self.weight.ranges.column
        fixed = self.hardware.adc.full_scale if fixed is None and self.hardware.adc else fixed
        if fixed is not None:
            return jnp.asarray(fixed, jnp.float32)
        return safe_scale(jnp.max(jnp.abs(z), initial=0.0))

    def current(self, lo: int, hi: int, full_scale: Array) -> Array:
        """Columns on the line of a ramp: one slice, one tile."""
        if "current" not in self.memo:
            z = self.columns(self.code(full_scale))[0, :, 0]
            self.memo["current"] = self.product.assemble(z * self.unit(full_scale))
        return self._window(self.memo["current"], lo, hi)

    def _window(self, y: Array, lo: int, hi: int) -> Array:
        whole = self.axis is None or (lo, hi) == (0, self.shape[self.axis])
        return y if whole else jax.lax.slice_in_dim(y, lo, hi, axis=self.axis)


class Simulator:
    """The machine that reads crossbars."""

    def __init__(self, read_key: Array, observers: tuple[Observer, ...]) -> None:
        self.scope, self.read_key, self.observers = Scope(), read_key, observers
        self.ramped: dict[tuple, Array] = {}

    def read(self, weight: Placed, operand: Array, product: Product, dtype: Any) -> Read:
        """A pending read; its key is (read key, path, number of the read, loop indices)."""
        return Read(weight, operand, product, dtype, self._key(weight.path), self)

    def _key(self, path: str) -> Array:
        key = jax.random.fold_in(fold_name(self.read_key, path), self.scope.next_use(path))
        for index, _ in self.scope.loops:
            key = jax.random.fold_in(key, index)
        return key

    def observe(self, reading: Reading) -> None:
        """Collects what the observers make of a conversion."""
        for observer in self.observers:
            seen = {(op, reading.weight.path, name): v for (op, name), v in observer(reading).items()}
            self.scope.observe(seen)

    def biases(self, line: Line, value: Any) -> bool:
        """A bias that the plan put on rows is a crossbar."""
        return line.hardware.bias == "row" and isinstance(value, Placed)

    def activate(self, line: Line, name: str) -> Array:
        """The ramp ADC: one current per output, one range for all inputs of the array."""
        memo = (name, tuple((id(p.root), p.lo, p.hi, tuple(map(id, p.views))) for p in line.parts))
        if memo not in self.ramped:
            self.ramped[memo] = self._ramp(line, name)
        return self.ramped[memo]

    def _ramp(self, line: Line, name: str) -> Array:
        ranges = [part.root.input_range() for part in line.parts]
        # A bias row is driven by the constant 1, which must fit the common range.
        full_scale = jnp.max(jnp.stack([*ranges, *([jnp.float32(1.0)] if line.biases else [])]))
        z = sum(trace.viewed(p.root.current(p.lo, p.hi, full_scale), p) for p in line.parts)
        for bias in line.biases:
            z = z + self._bias(bias, line, full_scale)
        return ramp.convert(name, line.hardware.activation, z).astype(line.dtype)

    def _bias(self, bias: Placed, line: Line, full_scale: Array) -> Array:
        """The current of a bias row, driven by 1 within the common range."""
        hw, key = bias.hardware, self._key(bias.path)
        code = jnp.ones((1, 1, 1)) / full_scale
        code = hw.dac.encode(code, jnp.float32(1.0)) if hw.dac else code
        cells = jax.tree.map(lambda c: c.reshape(*c.shape[:2], 1, 1, -1), bias.cells)
        z = xbar.column_sums(hw.device, hw.array, hw.dac or xbar.EXACT_DAC, code, cells, key)
        scale = bias.scale if bias.scale.ndim == 0 else bias.scale.reshape(bias.shape)
        return jnp.broadcast_to(z.reshape(bias.shape) * scale * full_scale, line.shape)

    def reject(self, param: Param, primitive: str) -> None:
        """What must not be placed was refused by `place`."""
        del param, primitive


def analog(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Transforms `fn(params, *inputs)` into `(read_key, chip, *inputs) -> fn's result`, run on the chip.

    The result is what `fn` returns. The same key gives the same read noise; `vmap` over keys for several reads.

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
    names, leaves, treedef = paths.flatten(chip.tree, is_crossbar)
    exact = paths.flatten(params)[1] if params is not None else [None] * len(leaves)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) if is_crossbar(x) else x for x in leaves]
    jaxpr, out_tree = jx.trace(fn, treedef.unflatten(shapes), *inputs)
    machine = Simulator(read_key, observers)
    values = [
        _placed(chip, x, w, params is not None) if is_crossbar(x) else Param(x, frozenset({name}))
        for name, x, w in zip(names, leaves, exact, strict=True)
    ]
    walk = trace.Walk(machine)
    outs = walk.run(jaxpr, [*values, *jax.tree.leaves(inputs)])
    return out_tree.unflatten([walk.digital(o) for o in outs]), machine.scope.stats


def _placed(chip: Chip, crossbar: Crossbar, exact: Array | None, indexed: bool) -> Placed:
    i = chip.plan.index(crossbar.path)
    value = crossbar.digital if exact is None else exact
    size = prod(crossbar.shape)
    return Placed(
        path=crossbar.path,
        hardware=chip.plan.of(chip.plan.sites[i]),
        ranges=chip.plan.ranges[i],
        chip_key=fold_name(chip.key, crossbar.path),
        cells=crossbar.cells,
        scale=crossbar.scale,
        value=value,
        index=jnp.arange(size, dtype=jnp.int32).reshape(crossbar.shape) if indexed else None,
        shape=crossbar.shape,
        dtype=jnp.dtype(crossbar.dtype),
        elements=size,
    )
