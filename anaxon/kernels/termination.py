"""Bit-serial early termination as one GPU kernel: what a cycle computes stays in registers.

A program keeps the bit planes of one block of keys and walks over the queries of its head. After a cycle that leaves u
bits unseen the bound `P + (2**u - 1) A` reaches Th iff `P / 2**u + A > (Th + A - 1) >> u`; `P / 2**u` is an integer, so
the running sum moves up by the bits of the next plane, takes its product, and is compared as it is. Products are of
8-bit integers summed in 32: a query of more bits is a high and a low part, the plane of the first times its unit.

Written in Pallas for its Triton backend: NVIDIA GPUs since compute capability 8.0.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from anaxon.types import Array

OLDEST = 8  # compute capability that the compiler of the kernel knows
PART = 8  # bits of the integers that are multiplied
LANES = (32, 128)  # the fewest that a product takes, and the most that were tried
TILE, WALK = 64, 8  # queries and keys of a block; blocks of queries that share a block of keys
MEMORY = 2**16  # bytes for planes, beside what the compiler needs: a program has at least 99 KB

Schedule = tuple[tuple[tuple[tuple[int, int], ...], int], ...]  # of every cycle: planes (first, last), bits then unseen
Plane = tuple[list[Array], int]  # its 8-bit multiples, one for each part of a query, and its bits


def widest(bits: int) -> int:
    """Bits of a plane whose multiple by the unit of a query's high part has 8 bits: 0 where there is none."""
    return max(0, PART - 1 - max(0, bits - PART))


def takes(query: tuple[int, ...], key: tuple[int, ...], bits: int, capability: str) -> bool:
    """Whether operands of these shapes and bits have a kernel on a GPU of this compute capability ("9.0")."""
    major = capability.partition(".")[0]
    has_units = major.isdigit() and int(major) >= OLDEST
    return has_units and widest(bits) > 0 and query[-1] <= LANES[1] and 0 not in (*query, *key)


def terminated(
    query: Array,
    key: Array,
    threshold: Array,
    where: Array,
    *,
    bits: int,
    schedule: Schedule,
    plane: Callable[..., Array],
    signs: Callable[[Array], Array] | None,
    exact: bool,
    interpret: bool = False,
) -> tuple[Array, Array, Array]:
    """Survivors, scores and cycles of all pairs, `[heads, q, k]` bool and int32.

    Args:
      query: int32 `[heads, q, d]`, up to 128 lanes, none of the sizes 0.
      key: int32 `[heads, k, d]`.
      threshold: int32 that broadcasts to `[heads, q, k]`, with its heads.
      where: pairs that count, likewise.
      bits: of query and key; scores, and the margins above them, have to fit 32.
      schedule: planes of at most `widest(bits)` bits, cycle by cycle.
      plane: of a key, by `first` and `last`.
      signs: of a key; without them the margin sums the positive lanes of the query.
      exact: the margin `(2**u - 1) A`, else `2**u A`.
      interpret: runs anywhere, slowly.
    """
    (heads, q_len, head_dim), k_len = query.shape, key.shape[1]
    lanes = max(LANES[0], 2 ** math.ceil(math.log2(head_dim)))
    keys = _keys_of_a_block(lanes, bits, schedule)
    programs = pl.cdiv(q_len, TILE * WALK)
    rows = TILE * pl.cdiv(q_len, TILE * programs)
    blocks = [(rows, lanes), (keys, lanes), *(_pairwise(x, rows, keys) for x in (threshold, where))]
    operands = [_padded(x, *block) for x, block in zip((query, key, threshold, where), blocks, strict=True)]
    places = (
        lambda head, column, row: (head, row, 0),
        lambda head, column, row: (head, column, 0),
        *(_place(*block) for block in blocks[2:]),
    )
    out = pl.BlockSpec((None, rows, keys), lambda head, column, row: (head, row, column))
    return pl.pallas_call(
        partial(
            _block,
            bits=bits,
            schedule=schedule,
            plane=plane,
            signs=signs,
            exact=exact,
            limit=(head_dim << (2 * bits - 2)) + (head_dim << (bits - 1)) + 1,  # above every bound
            ragged=(q_len, k_len) if q_len % rows or k_len % keys else None,
        ),
        grid=(heads, pl.cdiv(k_len, keys), programs),
        in_specs=[pl.BlockSpec((None, *block), place) for block, place in zip(blocks, places, strict=True)],
        out_specs=[out] * 3,
        out_shape=[jax.ShapeDtypeStruct((heads, q_len, k_len), dtype) for dtype in (bool, jnp.int32, jnp.int32)],
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name="early_termination",
    )(*operands)


def _keys_of_a_block(lanes: int, bits: int, schedule: Schedule) -> int:
    """As many as leave the planes of all cycles within the memory of a program."""
    planes = 1 + sum(len(pieces) for pieces, _ in schedule)
    each = planes * lanes * len(_units(bits))
    return max(16, min(TILE, 2 ** int(math.log2(MEMORY // each))))


def _units(bits: int) -> tuple[int, ...]:
    """Powers of two that the parts of a query are worth."""
    return (bits - PART, 0) if bits > PART else (0,)


def _pairwise(x: Array, rows: int, keys: int) -> tuple[int, int]:
    """What belongs to a block of pairs; an axis of size 1 is the same for all of them."""
    return 1 if x.shape[1] == 1 else rows, 1 if x.shape[2] == 1 else keys


def _place(rows: int, keys: int) -> Callable:
    """Where it is."""
    return lambda head, column, row: (head, row if rows > 1 else 0, column if keys > 1 else 0)


def _padded(x: Array, rows: int, columns: int) -> Array:
    """Zeros up to whole blocks."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % rows), (0, -x.shape[2] % columns)))


def _block(
    q_ref,
    k_ref,
    th_ref,
    where_ref,
    kept_ref,
    scores_ref,
    cycles_ref,
    *,
    bits: int,
    schedule: Schedule,
    plane: Callable[..., Array],
    signs: Callable[[Array], Array] | None,
    exact: bool,
    limit: int,
    ragged: tuple[int, int] | None,
) -> None:
    """One block of keys and all queries of a program."""
    key, units = k_ref[...], _units(bits)
    agreeing = None if signs is None else _multiples(signs(key), units)
    cycles = [
        ([(_multiples(plane(key, first=first, last=last), units), last - first) for first, last in pieces], unseen)
        for pieces, unseen in schedule
    ]
    pairs = (TILE, key.shape[0])
    first_row, first_column = pl.program_id(2) * kept_ref.shape[0], pl.program_id(1) * pairs[1]

    def queries(i: Array, carry: Array) -> Array:
        at = pl.ds(i * TILE, TILE)
        query = q_ref[at, :]
        parts = [query.astype(jnp.int8)] if len(units) == 1 else _parts(query, units[0])
        th, where = (ref[at, :] if ref.shape[0] > 1 else ref[...] for ref in (th_ref, where_ref))
        rising = _rising(query, parts, agreeing, pairs)
        level = jnp.clip(th, -limit, limit) - 1 + (rising if exact else 0)
        scores, taken = _scored(parts, cycles, rising, level, pairs)
        fits = None if ragged is None else _within(first_row + i * TILE, first_column, pairs, ragged)
        triton.store(kept_ref.at[at, :], (scores >= th) & where, mask=fits)
        triton.store(scores_ref.at[at, :], scores, mask=fits)
        triton.store(cycles_ref.at[at, :], jnp.where(where, taken, 0), mask=fits)
        return carry

    lax.fori_loop(0, kept_ref.shape[0] // TILE, queries, 0)


def _multiples(plane: Array, units: tuple[int, ...]) -> list[Array]:
    return [(plane << unit).astype(jnp.int8) for unit in units]


def _parts(query: Array, unit: int) -> list[Array]:
    """`high * 2**unit + low`."""
    return [(query >> unit).astype(jnp.int8), (query & (2**unit - 1)).astype(jnp.int8)]


def _rising(query: Array, parts: list[Array], agreeing: list[Array] | None, pairs: tuple[int, int]) -> Array:
    """A: the sum of |q| over the lanes whose unseen bits add to the score."""
    if agreeing is None:
        rising = jnp.sum(jnp.maximum(query, 0), 1, dtype=jnp.int32, keepdims=True)
        return jnp.broadcast_to(rising, pairs)
    norm = jnp.sum(jnp.abs(query), 1, dtype=jnp.int32, keepdims=True)
    return _with_product(jnp.broadcast_to(norm, pairs), parts, agreeing) >> 1


def _scored(
    parts: list[Array], cycles: list[tuple[list[Plane], int]], rising: Array, level: Array, pairs: tuple[int, int]
) -> tuple[Array, Array]:
    """Scores, and cycles up to the first whose bound is at most `level`."""
    total, taken = rising, jnp.ones(pairs, jnp.int32)
    for planes, unseen in cycles:
        for multiples, width in planes:
            total = _with_product((total << width) - rising * (2**width - 1), parts, multiples)
        if unseen:  # 1 where the difference is below 0: two instructions, a comparison and a choice are three
            taken += lax.shift_right_logical((level >> unseen) - total, jnp.int32(31))
    return total - rising, taken


def _with_product(total: Array, parts: list[Array], multiples: list[Array]) -> Array:
    """`total` and the product of a query with a plane, in the accumulator of the matrix unit."""
    for part, multiple in zip(parts, multiples, strict=True):
        dimensions = (((1,), (1,)), ((), ()))
        total += lax.dot_general(part, multiple, dimensions, preferred_element_type=jnp.int32)
    return total


def _within(first_row: Array, first_column: Array, pairs: tuple[int, int], sizes: tuple[int, int]) -> Array:
    """Pairs that are no padding."""
    row = first_row + lax.broadcasted_iota(jnp.int32, pairs, 0)
    return (row < sizes[0]) & (first_column + lax.broadcasted_iota(jnp.int32, pairs, 1) < sizes[1])
