"""Random matrices whose products are right on average: what a covariance of low rank is made of.

With rows `Z [R, n]` and any `S [r, R]` drawn such that `E[S' S] = 1`, `E[(S Z)' (S Z)] = Z' Z`. Directions that have a
row of their own in S are kept exactly; only what shares a row errs, by the products of its directions.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.interpret import jaxpr as jx
from anaxon.numerics import contract, safe_sqrt
from anaxon.types import Array, PyTree

# Every element of the result stems from one of the operand, and none from the same.
MOVES = frozenset(
    """
    concatenate convert_element_type copy copy_p dynamic_slice expand_dims neg pad reshape rev slice split squeeze
    transpose unstack
    """.split()  # noqa: SIM905
)
REPEATS = frozenset(("broadcast_in_dim", "div", "mul"))  # unless the result is as large as the operand


def seeds(key: Array, count: int) -> list[Array]:
    """So many seeds of `signs`, `[2]` words each, by one draw."""
    return list(jax.random.bits(key, (count, 2), jnp.uint32))


def signs(seed: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """1 or -1, as good as independent, of a seed: an integer hash of their places (Wellons' lowbias32), twice.

    Sketches need no more than that pairs of signs are uncorrelated; dozens of draws of JAX's generator in one program
    take longer to compile than everything else.
    """
    x = jnp.arange(prod(shape), dtype=jnp.uint32)
    for word in seed:
        x = (x ^ word) * jnp.uint32(0x9E3779B1)
        x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
        x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
        x = x ^ (x >> 16)
    return jnp.where(x >> 31, 1, -1).astype(dtype).reshape(shape)


def independent(seed: Array, variance: Array, most: int) -> Array:
    """Rows `[K, *shape]` of independent values: exactly, each with its own, where they are no more than `most`.

    Elsewhere `most` rows of random signs: variances are exact, covariances 0 on average.
    """
    scale, n = safe_sqrt(variance), variance.size
    if n <= most:
        return jnp.eye(n, dtype=scale.dtype).reshape(n, *scale.shape) * scale
    return signs(seed, (most, *scale.shape), scale.dtype) * scale / most**0.5


def mixing(seed: Array, gram: Array, rank: int) -> Array:
    """A matrix `[rank, count]` with `E[S' S] = 1` for rows of a Gram matrix `[count, count]`.

    Half of the rank holds the strongest directions as they are. The others are laid over each other, with random signs,
    back and forth, so that strong ones meet weak ones: the error has the products of those that share a row.
    """
    count = gram.shape[0]
    _, vectors = jnp.linalg.eigh(gram)
    own = rank // 2
    over = (np.arange(count) - own) % (2 * (rank - own))
    row = np.where(np.arange(count) < own, np.arange(count), own + np.minimum(over, 2 * (rank - own) - 1 - over))
    place = jnp.asarray(np.arange(rank)[:, None] == row, gram.dtype) * signs(seed, (count,), gram.dtype)
    return contract(place, vectors[:, ::-1], (((1,), (1,)), ((), ())))


def mixed(matrix: Array, rows: Array) -> Array:
    """`S Z` for rows `[R, *shape]`."""
    return contract(matrix, rows.reshape(rows.shape[0], -1), (((1,), (0,)), ((), ()))).reshape(-1, *rows.shape[1:])


def padded(rows: Array, count: int) -> Array:
    """With rows of zeros behind, for sources that came later."""
    return jnp.pad(rows, ((0, count - rows.shape[0]), *((0, 0),) * (rows.ndim - 1)))


def chunked(rows: PyTree, at_once: int) -> PyTree:
    """Rows `[R, ...]` as `[chunks, at_once, ...]`, with zeros behind."""
    count = jax.tree.leaves(rows)[0].shape[0]
    full = lambda x: padded(x, -(-count // at_once) * at_once)  # noqa: E731
    return jax.tree.map(lambda x: full(x).reshape(-1, at_once, *x.shape[1:]), rows)


def each(fn: Callable[[PyTree], Array], rows: PyTree, at_once: int = 16) -> Array:
    """`fn` of every row, so many side by side; what `lax.map` leaves over it would compile once more."""
    count = jax.tree.leaves(rows)[0].shape[0]
    found = lax.map(jax.vmap(fn), chunked(rows, min(at_once, count)))
    return found.reshape(-1, *found.shape[2:])[:count]


def squares(fn: Callable[[Array], Array], rows: Array, at_once: int = 16) -> Array:
    """`sum_r fn(Z_r)^2` of a linear function."""
    step = lambda total, chunk: (total + (jax.vmap(fn)(chunk) ** 2).sum(0), None)  # noqa: E731
    start = jnp.zeros(jax.eval_shape(fn, rows[0]).shape, rows.dtype)
    return lax.scan(step, start, chunked(rows, min(at_once, rows.shape[0])))[0]


def directions(seed: Array, vectors: Array, count: int) -> Array:
    """An orthonormal basis `[G, N, count]` near the strongest directions of vectors `[G, M, N]`: subspace iteration."""
    basis = signs(seed, (vectors.shape[0], vectors.shape[2], count), vectors.dtype)
    for _ in range(3):
        seen = contract(vectors, basis, (((2,), (1,)), ((0,), (0,))))
        basis = jnp.linalg.qr(contract(vectors, seen, (((1,), (1,)), ((0,), (0,)))))[0]
    return lax.stop_gradient(basis)  # any basis is right


def triangular(rows: list[list[Array]], covariances: list[Array], variance: Array) -> list[Array]:
    """The next row of an elementwise Cholesky decomposition, of a variable with covariances to those before it."""
    row: list[Array] = []
    for before, covariance in zip(rows, covariances, strict=True):
        rest = covariance - sum((a * b for a, b in zip(row, before, strict=False)), jnp.zeros_like(variance))
        top = before[len(row)]
        row.append(jnp.where(top > 0, rest / jnp.where(top > 0, top, 1.0), 0.0))
    return [*row, safe_sqrt(variance - sum((a**2 for a in row), jnp.zeros_like(variance)))]


def roots(covariance: tuple[tuple[Array, ...], ...]) -> list[list[Array]]:
    """The elementwise Cholesky factor of a covariance between terms, row by row."""
    rows: list[list[Array]] = []
    for a, row in enumerate(covariance):
        rows.append(triangular(rows, list(row[:a]), row[a]))
    return rows


def moves(fn: Callable[[Array], Array], shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether a linear function only moves and scales elements, so that it knows what becomes of variances."""
    jaxpr = jax.make_jaxpr(fn)(jax.ShapeDtypeStruct(shape, dtype)).jaxpr
    return _moves(jaxpr, [True])


def _moves(jaxpr: Any, varies: list[bool]) -> bool:
    followed = {v for v, yes in zip(jaxpr.invars, varies, strict=True) if yes}
    for eqn in jaxpr.eqns:
        seen = [not jx.is_literal(v) and v in followed for v in eqn.invars]
        if not any(seen):
            continue
        if eqn.primitive.name in jx.CALLS:
            ok = _moves(jx.opened(jx.inner(eqn))[0], seen)
        else:
            ok = sum(seen) == 1 and _moves_one(eqn, seen.index(True))
        if not ok:
            return False
        followed.update(eqn.outvars)
    return True


def _moves_one(eqn: Any, place: int) -> bool:
    same = prod(eqn.invars[place].aval.shape) == prod(eqn.outvars[0].aval.shape)
    name = eqn.primitive.name
    return same if name in REPEATS else name in MOVES
