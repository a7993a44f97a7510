"""A crossbar read in moments: what the cells' spread and the operand's become at the columns.

With `u` the drive of the rows and `w` the cells of a column, `y = sum_n u_n w_n` has

    E y = sum E u E w,   Cov(y, y') = sum E w E w' Cov(u, u') + [same column] sum_n Var w_n E[u_n u'_n]

exactly, as long as the cells are independent of each other and of the operand: every cell may be read once. All
vectors of one read (a convolution's positions) see the same cells, hence the covariance between them. (Kern et al.,
AICAS 2022, arXiv 2205.01707, equations for dense layers and shared kernels.) Converters: codes of normal columns
(`rounding`), each by itself; what does not pass through their average slope is independent noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.crossbar import array as xbar
from anaxon.device.moments import PairMoments
from anaxon.interpret import jaxpr as jx
from anaxon.interpret.moments.blocks import correlations, einsum
from anaxon.interpret.moments.cell_spread import KnownDrives, VaryingDrives
from anaxon.interpret.moments.covariance import Covariance, of_columns, within_columns
from anaxon.interpret.moments.ledger import Ledger, Random
from anaxon.interpret.moments.rounding import Residual, converted, shared
from anaxon.interpret.placed import Placed
from anaxon.interpret.product import Product
from anaxon.types import Array


@dataclass(frozen=True)
class Columns:
    """One read: a crossbar in expectation, and its product.

    Attributes:
      weight: whose `cells` are `PairMoments`.
      product: in normal form, `[G, M, N] x [G, N, C]`.
      full_scale: of the operand.
      eqn, place: the product in the function, and which of its operands is the weight.
    """

    weight: Placed
    product: Product
    full_scale: Array
    eqn: Any
    place: int

    @property
    def converts(self) -> bool:
        """Whether every slice and tile ends in a converter of its own; otherwise their sum is one column."""
        return self.weight.hardware.adc is not None

    @cached_property
    def worth(self) -> np.ndarray:
        """Of every slice, in weight levels, `[S]`."""
        return self.weight.hardware.array.significance if self.converts else np.ones(1)

    @property
    def rows(self) -> int:
        """Of one tile."""
        return self.weight.hardware.array.rows if self.converts else max(1, self.product.sizes[2])

    @cached_property
    def cells(self) -> PairMoments:
        """`[S, G, N, C]`, slices summed where one column holds them all."""
        found = jax.tree.map(lambda x: self.product.weight(x[0]), self.weight.cells)
        if self.converts:
            return found
        worth = jnp.asarray(self.weight.hardware.array.significance, jnp.float32)
        total = lambda x, power: jnp.tensordot(worth.astype(x.dtype) ** power, x, 1)[None]  # noqa: E731
        return PairMoments(
            mean=tuple(total(x, 1) for x in found.mean),
            covariance=tuple(tuple(total(x, 2) for x in row) for row in found.covariance),
            noise=tuple(total(x, 2) for x in found.noise),
        )

    @cached_property
    def unit(self) -> Array:
        """What one weight level at full input is worth, `[G, 1, C]` or a number."""
        scale = self.weight.scale
        scale = self.product.weight(scale)[..., :1, :] if scale.ndim else scale
        hw = self.weight.hardware
        return scale * self.full_scale / xbar.predistorted_gain(hw.cells, hw.dac or xbar.EXACT_DAC)

    def sums(self, drive: Array) -> Array:
        """Column values `[S, G, T, M, C]` of drives `[terms, *operand]` through the mean cells."""
        terms = [
            jnp.stack(xbar.product(self.product.operand(d), c, self.rows))
            for d, c in zip(drive, self.cells.mean, strict=True)
        ]
        return sum(terms[1:], terms[0])

    def passed_on(self, drive: Array, gate: Array | None) -> Array:
        """The product of a change of the drives `[terms, *operand]` with the mean cells, through converters' slopes.

        Without converters it is the function's own product with the mean weights: a convolution stays one.
        """
        if self.converts or len(self.cells.mean) > 1:
            z = self.sums(drive)
            return self.recombined(z if gate is None else gate * z)
        worth = jnp.asarray(self.weight.hardware.array.significance, drive.dtype)
        hw = self.weight.hardware
        gain = xbar.predistorted_gain(hw.cells, hw.dac or xbar.EXACT_DAC)
        kernel = jnp.tensordot(worth, self.weight.cells.mean[0][0], 1) * self.weight.scale * (self.full_scale / gain)
        operands = [drive[0], kernel.astype(drive.dtype)]
        return jx.bind(jx.precise(self.eqn), operands if self.place == 1 else operands[::-1])[0]

    def recombined(self, z: Array) -> Array:
        """Columns `[S, G, T, M, C]` as the product's output."""
        y = einsum("s,sgtmc->gmc", jnp.asarray(self.worth, z.dtype), z)
        return self.product.assemble(y * self.unit)

    @cached_property
    def index(self) -> np.ndarray:
        """Which operand element drives row n at vector m, `[G, M, N]`; the one past the end where it is padding."""
        size = int(np.prod(self.product.operand_shape, dtype=np.int64))
        with jax.ensure_compile_time_eval():
            numbers = jnp.arange(1, size + 1, dtype=jnp.float32).reshape(self.product.operand_shape)
            found = np.asarray(self.product.operand(numbers)).astype(np.int64)
        return np.where(found == 0, size, found - 1)

    def passed(self, covariance: Array) -> Array:
        """Variance of the columns that comes with the operand, `[S, G, T, M, C]`."""
        terms = covariance.shape[0]
        n = int(np.prod(self.product.operand_shape, dtype=np.int64))
        table = jnp.pad(covariance.reshape(terms, n, terms, n), ((0, 0), (0, 1)) * 2)
        tiles = jnp.stack([xbar.tile_rows(c, self.rows, 2) for c in self.cells.mean])  # [terms, S, G, T, R, C]
        where = xbar.tile_rows(jnp.asarray(self.index) - n, self.rows, 2) + n  # [G, M, T, R], padding to the end

        def vector(index: Array) -> Array:  # [G, T, R]
            block = jax.vmap(jax.vmap(lambda i: table[:, i][:, :, :, i]))(index)  # [G, T, terms, R, terms, R]
            return einsum("asgtrc,gtarbk,bsgtkc->sgtc", tiles, block, tiles)

        return jnp.moveaxis(lax.map(vector, jnp.moveaxis(where, 1, 0)), 0, 3)


class CellNoise:
    """What varies at a crossbar's columns, by full covariances.

    Args:
      ledger: of the drives.
      columns: the crossbar.
      drive: `[terms, *operand]`.
    """

    def __init__(self, ledger: Ledger, columns: Columns, drive: Random | Array) -> None:
        self.ledger, self.columns, self.drive = ledger, columns, drive
        self.covariance = ledger.covariance(drive) if isinstance(drive, Random) else None
        self.cells: KnownDrives | VaryingDrives
        if self.covariance is None:
            self.cells = KnownDrives(columns, mean_of(drive))
        else:
            self.cells = VaryingDrives(columns, mean_of(drive), self.covariance)

    def variances(self) -> Array:
        """Of the columns, what is new at a read left out: `[S, G, T, M, C]`."""
        cells = self.cells.variances()
        return cells if self.covariance is None else cells + self.columns.passed(self.covariance)

    def value(self, y: Array, gate: Array | None, fresh: Array, residual: Residual | None) -> Random:
        """The live value of a mean, with noise `[S, G, T, M, C]` that is new at a read, and what rounding adds."""
        ledger, columns = self.ledger, self.columns
        found = _assembled(ledger, columns, self.drive, y, gate, self.cells.within(gate), fresh)
        if residual is None:
            return found
        return ledger.with_noise(found, _of_positions(columns, residual, ledger.own[found.number]), columns.weight.path)


def mean_of(drive: Random | Array) -> Array:
    """Of what may vary or not."""
    return drive.mean if isinstance(drive, Random) else drive


def read(noise: CellNoise, chi: list[Array]) -> Random:
    """The converted product of one crossbar.

    Args:
      noise: of its columns, at its drives.
      chi: means of the noise drives, `[*operand]` each.
    """
    columns = noise.columns
    z = columns.sums(mean_of(noise.drive))
    fresh = _fresh(columns, chi, z)
    gate = residual = None
    if columns.converts:
        limit, step = _range(columns, z)
        within = noise.variances() + fresh
        found = converted(z, within, -limit, limit, step)
        beyond = jnp.maximum(found.variance - found.slope**2 * within, 0.0)  # by clipping and rounding
        residual = Residual(z, within, step, beyond, found.curve)
        gate, z, fresh = found.slope, found.mean, found.slope**2 * fresh
    return noise.value(columns.recombined(z), gate, fresh, residual)


def _fresh(columns: Columns, chi: list[Array], z: Array) -> Array:
    """Variance that is new at every read: of the cells' noise and the converters', `[S, G, T, M, C]`."""
    total = jnp.zeros_like(z)
    for drive, response in zip(chi, columns.cells.noise, strict=True):
        total = total + jnp.stack(xbar.product(columns.product.operand(drive), response, columns.rows))
    adc = columns.weight.hardware.adc
    return total if adc is None or adc.noise is None else total + jnp.asarray(adc.noise) ** 2


def _range(columns: Columns, z: Array) -> tuple[Array, Array]:
    """The converters' full scale and step, broadcastable to the columns."""
    weight, adc = columns.weight, columns.weight.hardware.adc
    assert adc is not None
    limit = weight.ranges.column if weight.ranges.column is not None else adc.full_scale
    wide = lambda x: x if x.ndim == 0 else xbar.by_column(  # noqa: E731
        x, tuple(z), weight.hardware.array.cols, weight.path)  # fmt: skip
    limit = wide(jnp.asarray(limit, z.dtype))
    step = adc.scales(limit)[0] if weight.ranges.step is None else wide(jnp.asarray(weight.ranges.step, z.dtype))
    return limit, jnp.asarray(step)


def _of_positions(columns: Columns, residual: Residual, own: Covariance) -> Covariance:
    """Covariance that rounding adds within the output's columns: equal patches round alike."""
    g, _, _, c = columns.product.sizes
    alike = jnp.moveaxis(correlations(within_columns(columns.product, own)), 1, -1)[
        None, :, None
    ]  # [1, G, 1, M, M', C]
    z = residual.mean.shape
    of = lambda axis: jax.tree.map(lambda x: jnp.expand_dims(jnp.broadcast_to(x, z), axis), residual)  # noqa: E731
    each = shared(of(4), of(3), alike)  # [S, G, T, M, M', C]
    worth, unit = jnp.asarray(columns.worth, each.dtype), jnp.broadcast_to(columns.unit, (g, 1, c))[:, 0]
    return of_columns(columns.product, einsum("s,sgtmkc,gc->gcmk", worth**2, each, unit**2))


def _assembled(
    ledger: Ledger, columns: Columns, drive: Any, y: Array, gate: Array | None, noise: Array, fresh: Array
) -> Random:
    """The output as a live value: what the operand passes on, and the crossbar's own noise."""
    g, m, _, c = columns.product.sizes
    path = columns.weight.path
    worth = jnp.asarray(columns.worth, y.dtype)
    unit = jnp.broadcast_to(columns.unit, (g, 1, c))[:, 0]
    diagonal_noise = einsum("s,sgtmc->gmc", worth**2, fresh)
    noise = noise + einsum("gmc,mk->gcmk", diagonal_noise, jnp.eye(m, dtype=y.dtype))
    own = of_columns(columns.product, einsum("gcmk,gc->gcmk", noise, unit**2))
    own = replace(own, blocks=lax.optimization_barrier(own.blocks))  # or each use would make it again
    if not isinstance(drive, Random):
        return ledger.add(y, own, {}, path)
    share = lambda v: columns.passed_on(v, gate)  # noqa: E731
    return ledger.with_noise(ledger.derive(y, [drive], [share], path), own, path)
