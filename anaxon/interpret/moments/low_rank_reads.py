"""A crossbar's noise at low rank: sources that are errors of its cells.

The cells' errors `e` of a column are the same for all vectors of a read, `y = sum_n e_n u_n`. Sources are their
strongest directions over the rows, `u E` exactly for every column, and random draws of what is left; errors times the
operand's deviations are draws times draws of those. Variances of the columns come from squares, not from sources.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.crossbar import array as xbar
from anaxon.interpret.moments import sketch
from anaxon.interpret.moments.ledger import Random
from anaxon.interpret.moments.low_rank_ledger import LowRankLedger
from anaxon.interpret.moments.reads import CellNoise, Columns, mean_of
from anaxon.interpret.moments.rounding import Residual
from anaxon.types import Array


class SketchedNoise(CellNoise):
    """What varies at a crossbar's columns, by sources.

    Args:
      ledger: of the drives.
      columns: the crossbar.
      drive: `[terms, *operand]`.
    """

    def __init__(self, ledger: LowRankLedger, columns: Columns, drive: Random | Array) -> None:
        self.held, self.columns, self.drive = ledger, columns, drive
        self.mean = mean_of(drive)
        ledger.make_room(ledger.rank)
        varies = isinstance(drive, Random)
        self.rows = ledger.factors[drive.number] if varies else None
        self.spread = ledger.variance(drive) if varies else jnp.zeros_like(drive)

    def variances(self) -> Array:
        """Of the columns, what is new at a read left out: `[S, G, T, M, C]`."""
        cells = self._of_cells()
        if self.rows is None:
            return cells
        return cells + sketch.squares(self.columns.sums, self.rows)

    def value(self, y: Array, gate: Array | None, fresh: Array, residual: Residual | None) -> Random:
        """The live value of a mean, with noise `[S, G, T, M, C]` that is new at a read; rounding counts as such."""
        fresh = fresh if residual is None else fresh + residual.beyond
        ledger, columns = self.held, self.columns
        cells = self._of_cells()
        own = self._recombined(cells if gate is None else gate**2 * cells)
        new = self._recombined(fresh)
        if self.rows is None:
            passed, variance = jnp.zeros((0, *y.shape), y.dtype), own + new
        else:
            passed = sketch.each(lambda v: columns.passed_on(v, gate), self.rows)
            variance = (passed**2).sum(0) + own + new
        return ledger.hold(y, ledger.joined(passed, *self._sources(gate, own, new)), variance)

    def _sources(self, gate: Array | None, own: Array, new: Array) -> list[Array]:
        """Rows `[K, *out]`, no more than the rank together."""
        ledger, columns = self.held, self.columns
        independent = lambda v, most: sketch.independent(ledger.draw(), v, most)  # noqa: E731
        if columns.product.sizes[1] == 1:  # one vector: no two results have cells in common
            return [independent(own + new, ledger.rank // 2)]
        fresh = [independent(new, ledger.rank // 4)] if columns.converts or columns.cells.noise else []
        return [*self._of_errors(gate), *fresh]

    def _of_cells(self) -> Array:
        """Variance of the columns that comes from cells, `[S, G, T, M, C]`."""
        columns, total = self.columns, jnp.zeros(())
        for a, row in enumerate(columns.cells.covariance):
            for b, cells in enumerate(row):
                same = self.mean[a] * self.mean[b] + self._beside(a, b)
                total = total + jnp.stack(xbar.product(columns.product.operand(same), cells, columns.rows))
        return total

    def _beside(self, a: int, b: int) -> Array | float:
        """Covariance of two terms of the drive, at each element."""
        if self.rows is None:
            return 0.0
        return self.spread[a] if a == b else (self.rows[:, a] * self.rows[:, b]).sum(0)

    def _of_errors(self, gate: Array | None) -> list[Array]:
        """Sources of the cells' errors: strong directions one by one, then draws of the others."""
        columns, ledger = self.columns, self.held
        s, g, n, c = columns.cells.covariance[0][0].shape
        vectors = jnp.stack([columns.product.operand(m) for m in self.mean])  # [terms, G, M, N]
        roots = sketch.roots(columns.cells.covariance)
        count = min(n, columns.product.sizes[1], ledger.rank // 2 // (len(roots) * s * g * c))
        rows, basis = [], jnp.zeros((g, n, 0), vectors.dtype)
        if count:
            basis = sketch.directions(ledger.draw(), self._weighed(vectors, roots), count)
            rows = [self._by_column(vectors, roots, b, basis, gate) for b in range(len(roots))]
        if len(roots) == 1 and self.rows is None and count == min(n, columns.product.sizes[1]):
            return rows
        return [*rows, self._drawn(vectors, roots, basis, gate)]

    def _weighed(self, vectors: Array, roots: list[list[Array]]) -> Array:
        """Vectors of all terms, `[G, terms M, N]`, rows by how much their cells err."""
        size = [lax.stop_gradient(roots[a][a]).mean((0, 3))[:, None] for a in range(len(roots))]
        return jnp.concatenate([lax.stop_gradient(v) * w for v, w in zip(vectors, size, strict=True)], 1)

    def _by_column(self, vectors: Array, roots: list, b: int, basis: Array, gate: Array | None) -> Array:
        """A source for every direction of the basis `[G, N, q]` and every column: `[q S G C, *out]`."""
        s, g, _, c = roots[0][0].shape
        drawn = jnp.moveaxis(basis, 2, 0)[:, None, :, :, None]  # [q, 1, G, N, 1]
        z = _response(self.columns, vectors, [root[b] * drawn if b < len(root) else None for root in roots])
        z = z if gate is None else gate * z
        mask = jnp.eye(s * g * c, dtype=z.dtype).reshape(-1, s, g, 1, 1, c)
        apart = lambda one: jax.vmap(lambda m: self.columns.recombined(one * m))(mask)  # noqa: E731
        found = lax.map(apart, z)
        return found.reshape(-1, *found.shape[2:])

    def _drawn(self, vectors: Array, roots: list, basis: Array, gate: Array | None) -> Array:
        """Sources of random errors: what the basis leaves of them, on the mean; all of them, on deviations."""
        ledger, columns = self.held, self.columns
        count = ledger.rank // 4
        shape = (len(roots), count, *roots[0][0].shape)
        errors = sketch.signs(ledger.draw(), shape, vectors.dtype)
        seen = jnp.einsum("gnq,bksgnc->bksgqc", basis, errors, precision="highest")
        left = errors - jnp.einsum("gnq,bksgqc->bksgnc", basis, seen, precision="highest")
        z = _response(columns, vectors, _cells(roots, left))
        if self.rows is not None:
            away = ledger.combined(self.rows, count)  # [K, terms, *operand]
            cells = _cells(roots, errors)

            def one(given: tuple[Array, list[Array]]) -> Array:
                moved = jnp.stack([columns.product.operand(d) for d in given[0]])
                return _response(columns, moved, [w[None] for w in given[1]])[0]

            z = z + sketch.each(one, (away, cells))
        z = z if gate is None else gate * z
        return jax.vmap(columns.recombined)(z) / count**0.5

    def _recombined(self, variance: Array) -> Array:
        """Of columns `[S, G, T, M, C]`, independent of each other, as that of the output."""
        columns = self.columns
        levels = jnp.einsum("s,sgtmc->gmc", jnp.asarray(columns.worth, variance.dtype) ** 2, variance)
        return columns.product.assemble(levels * columns.unit**2)


def _cells(roots: list[list[Array]], errors: Array) -> list[Array]:
    """Errors of every term's cells, from independent ones `[terms, K, S, G, N, C]`."""
    return [sum((r * errors[b] for b, r in enumerate(row)), jnp.zeros(())) for row in roots]


def _response(columns: Columns, vectors: Array, cells: list[Any]) -> Array:
    """Columns `[K, S, G, T, M, C]` of vectors `[terms, G, M, N]`, for K sets of cells `[K, S, G, N, C]` a term."""
    total: Any = 0.0
    for v, w in zip(vectors, cells, strict=True):
        if w is None:
            continue
        flat = w.reshape(-1, *w.shape[2:])
        z = jnp.stack(xbar.product(v, flat, columns.rows))
        total = total + z.reshape(*w.shape[:2], *z.shape[1:])
    return total
