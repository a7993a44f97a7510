"""The column read: every array of a weight at once, by matrix products.

Letters: `G` stack (independent weights side by side), `M` input vectors, `N` rows, `C` columns, `S` slices, `T` row
tiles, `R` rows of a tile, `K` DAC cycles. A read is `z[S,G,T,M,C] = sum_m phi_m(U)[G,M,T,R] . psi_m[S,G,T,R,C]`; no
`[M, N, C]` tensor is ever formed. Read noise has the variance `sum_m chi_m(U) . omega_m`, another product, and one
normal per column read: exact, because independent Gaussian cells sum to a Gaussian column.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

from anaxon.converter.dac import DAC, PREDISTORTION_POINTS, bit_planes, plane_weights
from anaxon.crossbar.mapping import Array as ArraySpec
from anaxon.device.cell import Device
from anaxon.numerics import contract, contract_coarsely, contract_half, is_half, safe_sqrt
from anaxon.prng import fold_name, normal
from anaxon.types import Array, PyTree

EXACT_DAC = DAC()  # an array without a DAC is driven by amplitude with v_max of this default


def tile_rows(x: Array, rows: int, axis: int) -> Array:
    """Splits `axis` into (tiles, rows), with zeros below the last row: padded rows have no cells and no drive."""
    axis %= x.ndim
    size = x.shape[axis]
    if size <= rows:
        return jnp.expand_dims(x, axis)
    pad = -size % rows
    if pad:
        x = jnp.pad(x, [(0, pad if a == axis else 0) for a in range(x.ndim)])
    return x.reshape(*x.shape[:axis], -1, rows, *x.shape[axis + 1 :])


def product(drive: Array, response: Array, rows: int, half: Callable[..., Array] = contract_half) -> Array:
    """`[S, G, T, M, C]` column sums of drive `[G, M, N]` and response `[S, G, N, C]`, tile by tile.

    The slices stand side by side: one product instead of one for each, 2 to 6 times faster on a CPU. A compact chip's
    response has 16 bits and is contracted by `half`. (A CPU has no units for them.)
    """
    left = tile_rows(drive, rows, 2)  # G M T R
    right = rearrange(tile_rows(response, rows, 2), "s g t r c -> g t r (s c)")
    dimensions = (((3,), (2,)), ((0, 2), (0, 1)))
    if is_half(right) and jax.default_backend() != "cpu":
        z = half(left, right, dimensions)
    else:
        z = contract(left, right.astype(jnp.float32), dimensions)
    return rearrange(z, "g t m (s c) -> s g t m c", s=response.shape[0])


def row_sums(drive: Array, rows: int) -> Array:
    """`[1, G, T, M, 1]` sums of a drive `[G, M, N]` whose response is the same constant for every pair."""
    return rearrange(jnp.sum(tile_rows(drive, rows, 2), axis=3), "g m t -> 1 g t m 1")


def drives(device: Device, dac: DAC, code: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """What the rows do at the input codes: `phi` and `chi` terms, each the shape of `code`."""
    v_max = jnp.float32(dac.v_max)
    if dac.encoding == "pulse-width":
        volts, duty = jnp.sign(code) * v_max, jnp.abs(code)
        signal = tuple(duty * d for d in device.drive(volts, v_max))
        return signal, tuple(duty * d for d in device.noise_drive(volts, v_max))
    volts = voltages(device, dac, code)
    return device.drive(volts, v_max), device.noise_drive(volts, v_max)


def voltages(device: Device, dac: DAC, code: Array) -> Array:
    """Row voltages [V] of input codes in [-1, 1], the shape of `code`."""
    v_max = jnp.float32(dac.v_max)
    if dac.encoding != "amplitude":
        return jnp.sign(code) * v_max
    if dac.predistortion == "none":
        return code * v_max
    grid = jnp.linspace(-v_max, v_max, PREDISTORTION_POINTS)
    curve = device.drive(grid, v_max)[0]
    return jnp.interp(code * predistorted_gain(device, dac), curve, grid)


def predistorted_gain(device: Device, dac: DAC) -> Array:
    """The largest column contribution that both polarities reach; 1 without predistortion."""
    if dac.predistortion == "none":
        return jnp.float32(1.0)
    v_max = jnp.float32(dac.v_max)
    ends = device.drive(jnp.stack([-v_max, v_max]), v_max)[0]
    return jnp.min(jnp.abs(ends))


def column_sums(device: Device, array: ArraySpec, dac: DAC, code: Array, cells: PyTree, read_key: Array) -> Array:
    """Analog column values before conversion.

    Args:
      device: the cells.
      array: sizes.
      dac: the row drivers.
      code: `[G, M, N]` in [-1, 1]; one cycle of them.
      cells: state with leaves `[P, S, G, N, C]`.
      read_key: key of this read; a column's noise is a function of it and of the column's coordinate.

    Returns:
      `[S, G, T, M, C]` in column units.
    """
    signal, noise = drives(device, dac, code)
    z = added([product(d, r, array.rows) for d, r in zip(signal, device.response(cells), strict=True)])
    if not noise:
        return z
    terms = zip(noise, device.noise_response(cells), strict=True)
    variance = added(
        [
            omega * row_sums(chi, array.rows)
            if jnp.ndim(omega) == 0
            else product(chi, omega, array.rows, contract_coarsely)
            for chi, omega in terms
        ]
    )
    return z + safe_sqrt(variance) * normal(fold_name(read_key, "read noise"), z.shape)


def added(terms: list[Array]) -> Array:
    """The sum of at least one term."""
    return functools.reduce(jnp.add, terms)


def cycles(dac: DAC | None, code: Array) -> Array:
    """Input codes per DAC cycle, `[G, K * M, N]` (cycle-major)."""
    if dac is None or dac.encoding != "bit-serial":
        return code
    return rearrange(bit_planes(code, dac.bits), "k g m n -> g (k m) n")


def cycle_weights(dac: DAC | None) -> Array:
    """The digital weight of each DAC cycle, `[K]`."""
    return jnp.ones(1) if dac is None or dac.encoding != "bit-serial" else plane_weights(dac.bits)


def column_heads(index: Array, rows: int) -> Array:
    """The element at the top of every column of every tile, `[G, T, C]`, of element numbers `[G, N, C]`."""
    return index[:, ::rows]


def by_column(ranges: Array, shape: tuple[int, ...], cols: int, path: str) -> Array:
    """The ADC ranges of physical arrays `[S, G, T, K]` as those of their columns, `[S, G, T, 1, C]`.

    Raises:
      ValueError: where the arrays are not those of columns of this shape, `[S, G, T, M, C]`.
    """
    s, g, t, _, c = shape
    have, size = (s, g, t, -(-c // cols)), jnp.shape(ranges)
    if len(size) != 4 or any(n not in (1, full) for n, full in zip(size, have, strict=True)):
        raise ValueError(
            f"ranges.column: {path} is read on arrays {have} (bit slice, stack, row tile, column tile); expected one "
            f"number or that shape (1 where it is common); got {size}"
        )
    wide = ranges if size[3] == 1 else jnp.repeat(ranges, cols, axis=3)[..., :c]
    return wide[:, :, :, None, :]


def array_sums(values: Array, cols: int) -> Array:
    """Sums over the vectors and columns of every physical array: `[S, G, T, M, C]` to `[S, G, T, K]`."""
    total = jnp.sum(values, axis=3)
    pad = -total.shape[3] % cols
    return jnp.sum(jnp.pad(total, ((0, 0),) * 3 + ((0, pad),)).reshape(*total.shape[:3], -1, cols), axis=4)


def recombine(array: ArraySpec, digital: Array, cycle_weights: Array) -> Array:
    """Digital shift-and-add over tiles, slices and cycles: `[S, G, T, K * M, C]` to `[G, M, C]` in weight levels."""
    worth = jnp.asarray(array.significance, digital.dtype)[:, None, None, None, None]
    total = jnp.sum(digital * worth, axis=(0, 2))  # one reduction, which takes the conversion in
    count = cycle_weights.shape[0]
    if count == 1:
        return total
    parts = rearrange(total, "g (k m) c -> k g m c", k=count)
    return jnp.tensordot(cycle_weights.astype(total.dtype), parts, 1, precision=lax.Precision.HIGHEST)
