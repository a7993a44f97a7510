"""What the heads of a layer ask of a tile: sums over their pairs, and simulated cycles with and without termination.

Sums are made where the arrays are; only one number a head and example leaves the device.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention.integers import LOW, Wide
from anaxon.attention.pipeline import Streams, run, streams
from anaxon.attention.tile import Tile
from anaxon.check import require
from anaxon.types import Array


class Counts(NamedTuple):
    """What each head of each example asked for, `[example, head]`; concatenate batches with `joined`."""

    pairs: np.ndarray  # valid ones
    steps: np.ndarray  # cycles of termination, over pairs
    bits: np.ndarray  # of keys, over pairs
    kept: np.ndarray
    emptied: np.ndarray  # rows that lost every score
    bound: np.ndarray  # the least cycles, max(steps / N, kept): no rounding to units, no queues, no barrier
    cycles: np.ndarray  # of the tile
    whole: np.ndarray  # of the tile, in the same queues, where every pair takes all T cycles: pruning only
    baseline: np.ndarray  # cycles of the baseline
    stalls: np.ndarray  # over units
    length: np.ndarray  # longest row, in valid keys


class _Pairs(NamedTuple):
    """What depends on the valid pairs and the survivors alone; sums `[..., heads]`, and three scalars for checks."""

    pairs: Wide
    kept: Wide
    emptied: Array
    rows: Array  # with a valid pair
    whole_keys: Wide  # keys' turns of the baseline, each row's rounded up
    length: Array
    low: Array
    high: Array
    stray: Array


def count(cycles: Array, kept: Array, tile: Tile, head: int) -> Counts:
    """Runs a layer on a tile; arrays, tile, head and errors as in `accelerator.account`."""
    time, stay, pairs = _checked(cycles, kept, tile, head)
    return _counts(pairs, time, streams(time, stay, tile, head), tile, head, every=1)


def swept(cycles: Array, kept: Array, tiles: Sequence[Tile], head: int) -> list[Counts]:
    """The counts of every tile, from cycles at one bit a cycle; tiles differ in `units` and `per_cycle` only.

    Survivors and their order depend on the units alone, so each number of units is laid out once (`t_B = ceil(t_1 / B)`
    for every pair) and every number of bits a cycle runs in the same program.
    """
    time, stay, pairs = _checked(cycles, kept, replace(tiles[0], per_cycle=1), head)
    found: dict[Tile, Counts] = {}
    for units in dict.fromkeys(tile.units for tile in tiles):
        same = [tile for tile in tiles if tile.units == units]
        order = streams(time, stay, same[0], head)
        found |= {tile: _counts(pairs, time, order, tile, head, every=tile.per_cycle) for tile in same}
    return [found[tile] for tile in tiles]


def joined(counts: Iterable[Counts]) -> Counts:
    """Counts of more examples."""
    return Counts(*(np.concatenate(x) for x in zip(*counts, strict=True)))


def baseline_cycles(cycles: Array, tile: Tile, head: int) -> np.ndarray:
    """Cycles of the baseline for valid pairs (those of any cycles), `[..., heads]` for `[..., heads, q, k]`."""
    return _baseline(_pair_sums(cycles, jnp.zeros(cycles.shape, bool), tile.side_by_side(head)), tile, head)


def _checked(cycles: Array, kept: Array, tile: Tile, head: int) -> tuple[Array, Array, _Pairs]:
    """The arrays `[example, head, q, k]` and what is known of their pairs."""
    time, stay = jnp.asarray(cycles), jnp.asarray(kept, bool)
    require(time.ndim >= 3 and time.size > 0, "cycles", time.shape, "[..., heads, q, k] with at least one pair")
    require(stay.shape == time.shape, "kept", stay.shape, f"the shape of cycles, {time.shape}")
    require(jnp.issubdtype(time.dtype, jnp.integer), "cycles", time.dtype, "integers")
    time, stay = (x.reshape(-1, *x.shape[-3:]) for x in (time, stay))
    found = _pair_sums(time, stay, tile.side_by_side(head))
    low, high = int(found.low), int(found.high)
    require(low >= 0 and high <= tile.steps, "cycles", f"{low} to {high}", f"0 to T = {tile.steps}")
    require(not bool(found.stray), "kept", "survivors of 0 cycles", "survivors among valid pairs")
    return time, stay, found


def _counts(pairs: _Pairs, time: Array, order: Streams, tile: Tile, head: int, *, every: int) -> Counts:
    """On one tile; a pair takes `ceil(time / every)` cycles."""
    steps, bits = (x.to_int64() for x in _step_sums(time, every, tile.per_cycle, tile.bits))
    kept, done = pairs.kept.to_int64(), run(order, tile, head, every=every)
    return Counts(
        pairs=pairs.pairs.to_int64(),
        steps=steps,
        bits=bits,
        kept=kept,
        emptied=np.asarray(pairs.emptied, np.int64),
        bound=np.maximum(steps / tile.units, kept),
        cycles=np.asarray(done.cycles, np.int64),
        whole=np.asarray(run(order, tile, head, every=every, least=tile.steps).cycles, np.int64),
        baseline=_baseline(pairs, tile, head),
        stalls=np.asarray(done.stalls, np.int64).sum(-1),
        length=np.asarray(pairs.length, np.int64),
    )


def _baseline(pairs: _Pairs, tile: Tile, head: int) -> np.ndarray:
    """A key (or as many as stand side by side) a cycle, row by row, with the tile's own latency and normalising."""
    rows = np.asarray(pairs.rows, np.int64)
    return tile.passes(head) * (pairs.whole_keys.to_int64() + tile.row_cycles * rows) + tile.latency * (rows > 0)


@jax.jit
def _pair_sums(cycles: Array, kept: Array, side_by_side: int) -> _Pairs:
    pairs, left = (jnp.sum(x, -1, dtype=jnp.int32) for x in (cycles > 0, kept))
    return _Pairs(
        pairs=_total(pairs),
        kept=_total(left),
        emptied=jnp.sum((pairs > 0) & (left == 0), -1, dtype=jnp.int32),
        rows=jnp.sum(pairs > 0, -1, dtype=jnp.int32),
        whole_keys=_total(-(-pairs // side_by_side)),
        length=jnp.max(pairs, -1),
        low=jnp.min(cycles),
        high=jnp.max(cycles),
        stray=jnp.any(kept & (cycles <= 0)),
    )


@jax.jit
def _step_sums(time: Array, every: int, per_cycle: int, bits: int) -> tuple[Wide, Wide]:
    """Cycles `ceil(time / every)` and the key bits they take, `[..., heads]`."""
    steps = -(-time // every)
    taken = jnp.minimum(steps * per_cycle, bits)
    return _total(jnp.sum(steps, -1, dtype=jnp.int32)), _total(jnp.sum(taken, -1, dtype=jnp.int32))


def _total(rows: Array) -> Wide:
    """Of rows' int32 sums, in halves: a head's may exceed 31 bits."""
    return Wide(*(jnp.sum(half, -1, dtype=jnp.int32) for half in (rows >> LOW, rows & (2**LOW - 1))))
