"""The column read: every array of a weight at once, by matrix products.

Letters: `G` stack (independent weights side by side), `M` input vectors, `N` rows, `C` columns, `S` slices, `T` row
tiles, `R` rows of a tile, `K` DAC cycles. A read is `z[S,G,T,M,C] = sum_m phi_m(U)[G,M,T,R] . psi_m[S,G,T,R,C]`; no
`[M, N, C]` tensor is ever formed. Read noise has the variance `sum_m chi_m(U) . omega_m`, another product, and one
normal per column read: exact, because independent Gaussian cells sum to a Gaussian column.

Columns are a tuple of the slices' `[G,T,M,C]`, views of one product: noise, conversion and shift-and-add of all slices
are then one loop over its elements, which on a CPU is five times faster than going through `[S,G,T,M,C]`.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax

from anaxon.converter.dac import DAC, PREDISTORTION_POINTS, bit_planes, plane_weights
from anaxon.crossbar.mapping import Array as ArraySpec
from anaxon.device.cell import Device
from anaxon.numerics import contract, contract_coarsely, contract_half, is_half, safe_sqrt
from anaxon.prng import fold_name, normals
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


Columns = tuple[Array, ...]  # of every slice, [G, T, M, C]


def product(drive: Array, response: Array, rows: int, half: Callable[..., Array] = contract_half) -> Columns:
    """Column sums of drive `[G, M, N]` and response `[S, G, N, C]`, tile by tile.

    The slices stand side by side: one product instead of one for each. A compact chip's response has 16 bits and is
    contracted by `half`. (A CPU has no units for them.)
    """
    left = tile_rows(drive, rows, 2)  # G M T R
    right = rearrange(tile_rows(response, rows, 2), "s g t r c -> g t r (s c)")
    dimensions = (((3,), (2,)), ((0, 2), (0, 1)))
    whole = lambda x, y: contract(x, y.astype(jnp.float32), dimensions)  # noqa: E731
    fast = lambda x, y: half(x, y, dimensions)  # noqa: E731
    z = lax.platform_dependent(left, right, cpu=whole, default=fast) if is_half(right) else whole(left, right)
    apart = rearrange(z, "g t m (s c) -> g t m s c", s=response.shape[0])
    return tuple(apart[:, :, :, s] for s in range(response.shape[0]))


def row_sums(drive: Array, rows: int) -> Array:
    """`[G, T, M, 1]` sums of a drive `[G, M, N]` whose response is the same constant for every pair."""
    return rearrange(jnp.sum(tile_rows(drive, rows, 2), axis=3), "g m t -> g t m 1")


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


Noisy = Callable[["Columns", "Columns"], "Columns"]  # (columns, their variance) -> columns of this one read


def column_sums(device: Device, array: ArraySpec, dac: DAC, code: Array, cells: PyTree, noisy: Noisy) -> Columns:
    """Analog column values before conversion.

    Args:
      device: the cells.
      array: sizes.
      dac: the row drivers.
      code: `[G, M, N]` in [-1, 1]; one cycle of them.
      cells: state with leaves `[P, S, G, N, C]`.
      noisy: what to do about read noise; `drawn(key)` draws it.

    Returns:
      Of every slice `[G, T, M, C]` in column units.
    """
    signal, noise = drives(device, dac, code)
    z = _added([product(d, r, array.rows) for d, r in zip(signal, device.response(cells), strict=True)])
    if not noise:
        return z
    terms = zip(noise, device.noise_response(cells), strict=True)
    variance = _added([_variance(chi, omega, array.rows, len(z)) for chi, omega in terms])
    return noisy(z, variance)


def drawn(read_key: Array) -> Noisy:
    """The noise of one read: that of a column is a function of the key and of the column's coordinate."""

    def noisy(z: Columns, variance: Columns) -> Columns:
        normal = normals(fold_name(read_key, "read noise"), len(z), z[0].shape)
        return tuple(a + safe_sqrt(v) * n for a, v, n in zip(z, variance, normal, strict=True))

    return noisy


def _variance(drive: Array, response: Array, rows: int, slices: int) -> Columns:
    if jnp.ndim(response) == 0:
        return (response * row_sums(drive, rows),) * slices
    return product(drive, response, rows, contract_coarsely)


def _added(terms: list[Columns]) -> Columns:
    """The sum of at least one term, slice by slice."""
    return tuple(functools.reduce(jnp.add, same) for same in zip(*terms, strict=True))


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


def by_column(ranges: Array, columns: Columns, cols: int, path: str) -> Array:
    """The ADC ranges of physical arrays `[S, G, T, K]` as those of their columns, `[S, G, T, 1, C]`.

    Raises:
      ValueError: where the arrays are not those of these columns.
    """
    s, (g, t, _, c) = len(columns), columns[0].shape
    have, size = (s, g, t, -(-c // cols)), jnp.shape(ranges)
    if len(size) != 4 or any(n not in (1, full) for n, full in zip(size, have, strict=True)):
        raise ValueError(
            f"ranges.column: {path} is read on arrays {have} (bit slice, stack, row tile, column tile); expected one "
            f"number or that shape (1 where it is common); got {size}"
        )
    wide = ranges if size[3] == 1 else jnp.repeat(ranges, cols, axis=3)[..., :c]
    return wide[:, :, :, None, :]


def tile_sums(values: Array) -> Array:
    """Sums over the row tiles, `[G, T, M, C]` to `[G, M, C]`.

    A sum over few of a leading axis is slow in XLA's code for CPUs (12 ns a number), a product with ones is not.
    """
    if values.shape[1] == 1:
        return values[:, 0]
    by_product = lambda x: contract(jnp.ones(x.shape[1]), x, (((0,), (1,)), ((), ())))  # noqa: E731
    return lax.platform_dependent(values, cpu=by_product, default=lambda x: jnp.sum(x, axis=1))


def array_sums(values: Array, cols: int) -> Array:
    """Sums over the vectors and columns of every physical array: `[S, G, T, M, C]` to `[S, G, T, K]`."""
    total = jnp.sum(values, axis=3)
    pad = -total.shape[3] % cols
    return jnp.sum(jnp.pad(total, ((0, 0),) * 3 + ((0, pad),)).reshape(*total.shape[:3], -1, cols), axis=4)


def of_slice(value: Array, number: int) -> Array:
    """What holds for one slice of `[S or 1, G, T, 1, C]`; one number holds for all."""
    return value if value.ndim == 0 else value[min(number, value.shape[0] - 1)]


def recombine(array: ArraySpec, digital: Columns, cycle_weights: Array) -> Array:
    """Digital shift-and-add over tiles, slices and cycles: slices `[G, T, K * M, C]` to `[G, M, C]` in levels."""
    worth = array.significance.astype(np.float32)
    total = tile_sums(functools.reduce(jnp.add, [w * z for w, z in zip(worth, digital, strict=True)]))
    total = lax.optimization_barrier(total)  # or every consumer would draw the noise again
    count = cycle_weights.shape[0]
    if count == 1:
        return total
    parts = rearrange(total, "g (k m) c -> k g m c", k=count)
    return jnp.tensordot(cycle_weights.astype(total.dtype), parts, 1, precision=lax.Precision.HIGHEST)
