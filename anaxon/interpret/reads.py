"""Pending reads of crossbars, and what observers see of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.converter.adc import ADC
from anaxon.converter.dac import encode_exact
from anaxon.crossbar import array as xbar
from anaxon.hardware import Hardware
from anaxon.interpret.placed import Placed
from anaxon.interpret.plan import LINEAR
from anaxon.interpret.product import Product
from anaxon.numerics import absmax, safe_scale
from anaxon.types import Array, ArrayLike, PyTree


@dataclass(frozen=True)
class Reading:
    """One conversion as observers see it.

    Attributes:
      weight: the crossbar.
      product: how it was multiplied.
      kind: of the converter, "linear" or the activation of a ramp.
      operand: `[G, M, N]`, digital.
      driven: what drives the rows: the operand less its known offset.
      largest: magnitude of what drives the rows.
      input_range: what the operand was encoded with.
      code: `[G, M, N]` in [-1, 1].
      columns: `[S, G, T, K * M, C']` before conversion, column units; only the columns that were converted.
      full_scale: the ADC's range, a number or one for each column, `[S, G, T, 1, C']`; infinite for a ramp.
      output: `[G, M, C]` of all columns, in the operand's and weight's units; converted if linear.
      through: `(adc, full_scale)` to the output, had the columns ended in this linear converter instead.
    """

    weight: Placed
    product: Product
    kind: str
    operand: Array
    driven: Array
    largest: Array
    input_range: Array
    code: Array
    columns: Array
    full_scale: Array
    output: Array
    through: Callable[[ADC, Array], Array]


Observer = Callable[[Reading], dict[tuple[str, str], Array]]  # -> {(how to combine, name): value}


@dataclass(frozen=True)
class Conversion:
    """The columns of a read on their way to one kind of converter; see `Reading`."""

    input_range: Array
    code: Array
    columns: xbar.Columns
    full_scale: Array
    output: Array


@dataclass(frozen=True)
class Read:
    """A pending read of one crossbar; everything is computed at most once.

    `watch` is told when the read is first converted by a kind of converter; `windows` are the columns converted so far.
    """

    weight: Placed
    raw: Array
    product: Product
    dtype: Any
    key: Array
    watch: Callable[[Read, str], None]
    memo: dict[Any, Any] = field(default_factory=dict)
    windows: dict[str, set[tuple[int, int]]] = field(default_factory=dict)

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

    def members(self, lo: int, hi: int) -> Iterator[tuple[Read, int, int]]:
        """Itself."""
        yield self, lo, hi

    @cached_property
    def operand(self) -> Array:
        """`[G, M, N]` float32."""
        return self.product.operand(jnp.asarray(self.raw).astype(jnp.float32))

    @cached_property
    def driven(self) -> Array:
        """What drives the rows before a linear ADC, `[G, M, N]`: the operand less its known offset."""
        offset = self.weight.offset
        return (
            self.operand
            if offset is None
            else self.operand - jnp.swapaxes(self.product.weight(offset)[..., :1], -1, -2)
        )

    @cached_property
    def cells(self) -> PyTree:
        """`[P, S, G, N, C]`."""
        return jax.tree.map(self.product.weight, self.weight.cells)

    def input_range(self) -> Array:
        """Calibrated, or the absmax of the operand."""
        if self.weight.ranges.input is not None:
            return jnp.asarray(self.weight.ranges.input, jnp.float32)
        return safe_scale(self.largest)

    @cached_property
    def largest(self) -> Array:
        """The largest magnitude that drives the rows."""
        whole = self.weight.offset is None and self.product.uses_all
        return absmax(jnp.asarray(self.raw).astype(jnp.float32) if whole else self.driven)

    def linear(self, lo: int, hi: int) -> Array:
        """Columns through the linear ADC; the first consumer converts them all."""
        self._mark(LINEAR, lo, hi)
        if LINEAR not in self.memo:
            conversion = self._converted()
            self.memo[LINEAR] = conversion, self.product.assemble(conversion.output)
        return self._window(self.memo[LINEAR][1], lo, hi)

    def current(self, lo: int, hi: int, full_scale: Array | None, kind: str) -> Array:
        """Columns on the line of a ramp: one slice, one tile."""
        self._mark(kind, lo, hi)
        if "current" not in self.memo:
            full_scale = self.input_range() if full_scale is None else full_scale
            code = self._encoded(full_scale)
            z = self._columns(code)
            y = lax.optimization_barrier(z[0][:, 0]) * self._unit(full_scale)
            conversion = Conversion(full_scale, code, z, jnp.float32(jnp.inf), y)
            self.memo["current"] = conversion, self.product.assemble(y)
        return self._window(self.memo["current"][1], lo, hi)

    def reading(self, kind: str) -> Reading:
        """What observers see of the conversions of one kind made so far."""
        conversion: Conversion = self.memo[LINEAR if kind == LINEAR else "current"][0]
        columns = self.product.sizes[3]
        taken = sorted({c for lo, hi in self.windows[kind] for c in range(lo, hi)}) if self.axis is not None else []
        taken = [] if len(taken) == columns else taken
        return Reading(
            weight=self.weight,
            product=self.product,
            kind=kind,
            operand=self.operand,
            driven=self.operand if kind != LINEAR else self.driven,
            largest=self.largest,
            input_range=conversion.input_range,
            code=conversion.code,
            columns=_columns_of(jnp.stack(conversion.columns), taken),
            full_scale=_columns_of(conversion.full_scale, taken),
            output=conversion.output,
            through=lambda adc, limit: self._output(adc, conversion.columns, limit, None, conversion.input_range),
        )

    def _mark(self, kind: str, lo: int, hi: int) -> None:
        if kind not in self.windows:
            self.windows[kind] = set()
            self.watch(self, kind)
        self.windows[kind].add((lo, hi))

    def _encode(self, values: Array, full_scale: Array) -> Array:
        """Rows' inputs in [-1, 1], as the DAC drives them."""
        return (self.hardware.dac.encode if self.hardware.dac else encode_exact)(values, full_scale)

    def _encoded(self, full_scale: Array) -> Array:
        """The operand's codes `[G, M, N]`: encoded before a convolution's windows repeat every value."""
        return self.product.operand(self._encode(jnp.asarray(self.raw).astype(jnp.float32), full_scale))

    def _columns(self, code: Array) -> xbar.Columns:
        """Analog column values of every slice `[G, T, M, C]`, with the noise of this one read."""
        hw = self.hardware
        return xbar.column_sums(hw.cells, hw.array, hw.dac or xbar.EXACT_DAC, code, self.cells, self._noisy)

    def _noisy(self, z: xbar.Columns, variance: xbar.Columns) -> xbar.Columns:
        return xbar.drawn(self.key)(z, variance)

    def _unit(self, full_scale: Array) -> Array:
        """What one weight level at full input is worth, `[G, 1, C]` or a scalar."""
        scale = self.weight.scale
        if scale.ndim:
            scale = self.product.weight(scale)[..., :1, :]
        gain = xbar.predistorted_gain(self.hardware.cells, self.hardware.dac or xbar.EXACT_DAC)
        return scale * full_scale / gain

    def _converted(self) -> Conversion:
        hw, full_scale = self.hardware, self.input_range()
        code = self._encoded(full_scale) if self.weight.offset is None else self._encode(self.driven, full_scale)
        z = self._columns(xbar.cycles(hw.dac, code))
        if self.weight.ranges.column is None and (hw.adc is None or hw.adc.full_scale is None):
            z = lax.optimization_barrier(z)  # the range follows the columns: two uses, one draw
        limit = self._column_range(z)
        step = self._by_column(self.weight.ranges.step, z)
        return Conversion(full_scale, code, z, limit, self._output(hw.adc, z, limit, step, full_scale))

    def _output(self, adc: ADC | None, z: xbar.Columns, limit: Array, step: Array | None, full_scale: Array) -> Array:
        """Converted columns, recombined, with what a known offset of the operand contributes: `[G, M, C]`."""
        weights, known = xbar.cycle_weights(self.hardware.dac), self.weight.compensation
        y = xbar.recombine(self.hardware.array, self._digitised(adc, z, limit, step), weights) * self._unit(full_scale)
        return y if known is None else y + self.product.weight(known)[..., :1, :]

    def _digitised(self, adc: ADC | None, z: xbar.Columns, limit: Array, step: Array | None) -> xbar.Columns:
        weight = self.weight
        if adc is None:
            return z
        heads = None
        if adc.has_columns and weight.index is not None:
            heads = xbar.column_heads(self.product.weight(weight.index), self.hardware.array.rows)
        z = adc.errors(weight.chip_key, self.key, z, heads, weight.elements)
        steps = [None if step is None else xbar.of_slice(step, s) for s in range(len(z))]
        limits = [xbar.of_slice(limit, s) for s in range(len(z))]
        return tuple(adc.convert(*column) for column in zip(z, limits, steps, strict=True))

    def _column_range(self, z: xbar.Columns) -> Array:
        fixed = self.weight.ranges.column
        fixed = self.hardware.adc.full_scale if fixed is None and self.hardware.adc else fixed
        found = self._by_column(fixed, z)
        return found if found is not None else safe_scale(functools.reduce(jnp.maximum, [absmax(c) for c in z]))

    def _by_column(self, value: ArrayLike | None, z: xbar.Columns) -> Array | None:
        """One number, or one for each physical array, as that of its columns."""
        if value is None or jnp.ndim(value) == 0:
            return None if value is None else jnp.asarray(value, jnp.float32)
        return xbar.by_column(jnp.asarray(value, jnp.float32), z, self.hardware.array.cols, self.weight.path)

    def _window(self, y: Array, lo: int, hi: int) -> Array:
        if self.axis is None or (lo, hi) == (0, self.shape[self.axis]):
            return y
        return lax.slice_in_dim(y, lo, hi, axis=self.axis)


def _columns_of(x: Array, taken: list[int]) -> Array:
    """Some columns of an array `[..., C]`, or all of them; one number holds for every column."""
    return x[..., jnp.asarray(taken)] if taken and x.ndim and x.shape[-1] > 1 else x


@dataclass(frozen=True)
class BiasRead(Read):
    """A bias row: driven by the constant 1, which must fit the range it shares; digital where its line converts."""

    def input_range(self) -> Array:
        """Of the constant."""
        return jnp.float32(1.0)

    def linear(self, lo: int, hi: int) -> Array:
        """The bias itself, added digitally."""
        value = jnp.broadcast_to(self.weight.digital("the sum after conversion").value, self.shape)
        return self._window(value, lo, hi)
