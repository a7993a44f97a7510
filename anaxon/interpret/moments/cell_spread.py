"""What the spread of cells adds within a column: `sum_n Var w_n E[u_n u'_n]` for every pair of a read's vectors.

Drives that are known are multiplied as vectors; of drives that vary, second moments are gathered from a table over
their elements. Either way rows are taken some at a time: no `[M, M', N]` is ever whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.crossbar import array as xbar
from anaxon.interpret.moments.blocks import einsum
from anaxon.interpret.moments.ledger import check_size
from anaxon.types import Array

if TYPE_CHECKING:
    from anaxon.interpret.moments.reads import Columns

ROWS_AT_ONCE = 16  # rows of the crossbar whose `[M, M']` products are held at the same time


class KnownDrives:
    """Drives that do not vary.

    Args:
      columns: the crossbar.
      drive: `[terms, *operand]`.
    """

    def __init__(self, columns: Columns, drive: Array) -> None:
        self.columns = columns
        self.vectors = [columns.product.operand(d) for d in drive]  # of every term, [G, M, N]

    def variances(self) -> Array:
        """At equal vectors, before recombination: `[S, G, T, M, C]`."""
        return _variances(self.columns, lambda a, b: self.vectors[a] * self.vectors[b])

    def within(self, gate: Array | None) -> Array:
        """Of every column, `[G, C, M, M']`, in levels squared; gates `[S, G, T, M, C]` where converters clip."""
        _, m, n, _ = self.columns.product.sizes
        most = max(ROWS_AT_ONCE, m // len(self.columns.worth))  # no more room than the result takes
        chunks = _Chunks(self.columns, min(n, most), gate)
        vectors = tuple(chunks.of_rows(jnp.moveaxis(v, 2, 0)) for v in self.vectors)  # [chunks, R, G, M]

        def some(part: tuple, cells: dict, gates: Array | None) -> Array:
            total: Any = 0.0
            for (a, b), v in cells.items():  # [S, G, R, C]
                left, right = _gated(einsum("rgm,sgrc->sgcmr", part[a], v), part[b], gates)
                total = total + einsum("sgcmr,sgckr->gcmk" if gates is not None else "sgcmr,gkr->gcmk", left, right)
            return total

        return chunks.summed(some, vectors)


class VaryingDrives:
    """Drives with a covariance.

    Args:
      columns: the crossbar.
      drive: means, `[terms, *operand]`.
      covariance: `[terms, *operand, terms, *operand]`.
    """

    def __init__(self, columns: Columns, drive: Array, covariance: Array) -> None:
        self.columns = columns
        self.tables = second_moments(columns, drive, covariance)

    def variances(self) -> Array:
        """At equal vectors, before recombination: `[S, G, T, M, C]`."""
        return _variances(self.columns, lambda a, b: jnp.diagonal(self.tables[a][b])[self.columns.index])

    def within(self, gate: Array | None) -> Array:
        """Of every column, `[G, C, M, M']`, in levels squared; gates `[S, G, T, M, C]` where converters clip."""
        g, _, n, c = self.columns.product.sizes
        chunks = _Chunks(self.columns, min(n, ROWS_AT_ONCE, max(1, g * c)), gate)
        where = chunks.of_rows(np.moveaxis(self.columns.index, 2, 0), _elements(self.columns))  # [chunks, R, G, M]

        def some(part: Array, cells: dict, gates: Array | None) -> Array:
            total: Any = 0.0
            for (a, b), v in cells.items():
                pick = lambda i, t=self.tables[a][b]: t[i][:, i]  # noqa: E731
                both = jax.vmap(jax.vmap(pick))(part)  # [R, G, M, M']
                total = total + _through_gates(both, v, gates)
            return total

        return chunks.summed(some, where)


class _Chunks:
    """Rows of a crossbar, some at a time, with no cells behind the last."""

    def __init__(self, columns: Columns, at_once: int, gate: Array | None) -> None:
        self.columns, self.at_once, self.gate = columns, max(1, at_once), gate
        self.pad = -columns.product.sizes[2] % self.at_once

    def of_rows(self, x: Any, behind: float = 0) -> Array:
        """`[N, ...]` as `[chunks, R, ...]`."""
        wide = jnp.pad(x, ((0, self.pad), *((0, 0),) * (x.ndim - 1)), constant_values=behind)
        return wide.reshape(-1, self.at_once, *x.shape[1:])

    def summed(self, some: Callable[[Any, dict, Array | None], Array], parts: Any) -> Array:
        """`some(part, cells [S, G, R, C] by terms, gates [S, G, R, M, C])` over all chunks, in levels squared."""
        columns = self.columns
        worth = jnp.asarray(columns.worth**2, jnp.float32)
        g, m, n, c = columns.product.sizes
        tiles = self.of_rows(np.arange(n) // columns.rows)
        cells = {
            (a, b): jnp.moveaxis(self.of_rows(jnp.moveaxis(x * worth.astype(x.dtype)[:, None, None, None], 2, 0)), 1, 3)
            for a, row in enumerate(columns.cells.covariance)
            for b, x in enumerate(row)
        }  # [chunks, S, G, R, C]

        @jax.checkpoint  # backwards, products of all rows would be held
        def step(total: Array, chunk: tuple) -> tuple[Array, None]:
            part, tile, variance = chunk
            gates = None if self.gate is None else self.gate[:, :, tile]
            return total + some(part, variance, gates), None

        start = jnp.zeros((g, c, m, m), columns.cells.covariance[0][0].dtype)
        return lax.scan(step, start, (parts, tiles, cells))[0]


def _gated(left: Array, vectors: Array, gates: Array | None) -> tuple[Array, Array]:
    """Weighed rows `[S, G, C, M, R]` and vectors `[R, G, M']`, through gates where there are any."""
    if gates is None:
        return left, jnp.moveaxis(vectors, 0, 2)
    return left * einsum("sgrmc->sgcmr", gates), einsum("rgk,sgrkc->sgckr", vectors, gates)


def _through_gates(both: Array, variance: Array, gates: Array | None) -> Array:
    """`[G, C, M, M']` of second moments `[R, G, M, M']` and cells `[S, G, R, C]`; gates `[S, G, R, M, C]`."""
    if gates is None:
        return einsum("grc,rgmk->gcmk", jnp.sum(variance, 0), both)
    weighed = einsum("sgrc,sgrmc->sgrmc", variance, gates)
    return einsum("rgmk,sgrmc,sgrkc->gcmk", both, weighed, gates)


def _variances(columns: Columns, same: Callable[[int, int], Array]) -> Array:
    """Sums over rows of `E[u_a u_b]` at equal vectors, `[G, M, N]`."""
    total: Any = 0.0
    for a, row in enumerate(columns.cells.covariance):
        for b, cells in enumerate(row):
            total = total + jnp.stack(xbar.product(same(a, b), cells, columns.rows))
    return total


def second_moments(columns: Columns, mean: Array, covariance: Array | None) -> list[list[Array]]:
    """`E[u u']` of terms a and b as `[n, n]` with a row and column of zeros behind, for padding."""
    flat = mean.reshape(mean.shape[0], -1)
    check_size((flat.shape[1],), flat.dtype, columns.weight.path)
    table = None if covariance is None else covariance.reshape(flat.shape * 2)
    both = range(flat.shape[0])
    pair = lambda a, b: flat[a][:, None] * flat[b][None] + (0 if table is None else table[a, :, b, :])  # noqa: E731
    return [[jnp.pad(pair(a, b), (0, 1)) for b in both] for a in both]


def _elements(columns: Columns) -> int:
    return int(np.prod(columns.product.operand_shape, dtype=np.int64))
