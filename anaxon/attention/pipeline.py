"""Cycle by cycle: bit-serial units, their FIFOs and the back end of one tile.

Unit n takes keys n, n + N, ... of every query in order, each for as many cycles as its termination takes, and pushes a
survivor into its FIFO in the last of them. The back end pops one survivor a cycle, the oldest query's first and the
units in turn; it may have popped survivors of a query before all of that query's scores are decided, and of the next
one where no older waits. It sees a push in the cycle after it, and a row ends one cycle after its last decision.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from anaxon.attention import tile_cycles
from anaxon.attention.gpu import capability
from anaxon.attention.tile import BARRIERS, Tile
from anaxon.attention.tile_cycles import BITS, END, Lists, Outcome, slot_cycles
from anaxon.types import Array


class Run(NamedTuple):
    """What a tile did for each head; leading axes `[...]` as given.

    Attributes:
      cycles: `[...]`, from the first one to the end of the last row.
      busy: cycles in which each unit worked, `[..., units]`.
      stalls: cycles in which each unit held a survivor that its FIFO had no room for, `[..., units]`.
      popped: survivors that the back end took, `[...]`.
    """

    cycles: Array
    busy: Array
    stalls: Array
    popped: Array

    @property
    def utilisation(self) -> Array:
        """Share of the cycles in which the back end took a survivor, `[...]`."""
        return self.popped / jnp.maximum(self.cycles, 1)


def simulate(cycles: Array, kept: Array, tile: Tile, head: int | None = None) -> Run:
    """Runs heads on a tile each.

    Args:
      cycles: of each pair, `[..., q, k]`, 1 to T; 0 for a masked pair, which takes none.
      kept: whether it survives, `[..., q, k]`.
      tile: what they run on.
      head: elements of a key, for heads narrower or wider than the lanes; as wide as the lanes if not given.
        Packed keys run on as many more (narrower) units, numbered `j mod (N side_by_side)`.

    Returns:
      A `Run`, exact: no queueing approximation. Passes of a wide head stretch all times alike.

    Raises:
      ValueError: for shapes that differ or more keys than the buffers hold.
    """
    return run(streams(cycles, kept, tile, head), tile, head)


class Streams(NamedTuple):
    """What each unit of heads will see; it depends on the number of units, not on the bits a cycle.

    Attributes:
      slots: of each unit without the masked ones, `row * 64 + cycles * 2 + kept`, `[..., units, slots + 1]`; lists end
        with the row `END`.
      survivors: rows of each unit's survivors, likewise.
      rows: those with survivors, `[..., q + 1]`; only where rows are normalised in order.
    """

    slots: Array
    survivors: Array
    rows: Array | None


def streams(cycles: Array, kept: Array, tile: Tile, head: int | None = None) -> Streams:
    """Lays the pairs of heads out on a tile's units; arguments and errors as of `simulate`."""
    if cycles.shape != kept.shape or cycles.ndim < 2:
        raise ValueError(f"kept: expected the shape of cycles, [..., q, k]; got {kept.shape} beside {cycles.shape}")
    head = tile.lanes if head is None else head
    tile.check_fits(cycles.shape[-1], head)
    units = tile.units * tile.side_by_side(head)
    return _laid_out(cycles, kept.astype(bool), units=units, in_order=tile.row_cycles > 0)


def run(order: Streams, tile: Tile, head: int | None = None, *, every: int = 1, least: int = 0) -> Run:
    """Runs heads that are laid out.

    Args:
      order: from `streams`, of a tile with as many units and a head of as many elements.
      tile, head: as of `simulate`.
      every: a pair takes `ceil(cycles / every)` of its cycles: those at B bits from those at one.
      least: and at least so many; `tile.steps` is a tile that never terminates.
    """
    head = tile.lanes if head is None else head
    passes, packed = tile.passes(head), tile.side_by_side(head)
    lead = order.slots.shape[:-2]
    flat = jax.tree.map(lambda x: x.reshape(math.prod(lead), *x.shape[len(lead) :]), order)
    modes = (jnp.int32(x) for x in (every, least, tile.fifo, BARRIERS.index(tile.barrier)))
    done = _heads(flat, *modes, pops=packed, row_cycles=tile.row_cycles)
    done = jax.tree.map(lambda x: passes * x.reshape(lead + x.shape[1:]), done)
    return done._replace(cycles=jnp.where(done.cycles > 0, done.cycles + tile.latency, 0))


@partial(jax.jit, static_argnames=("units", "in_order"))
def _laid_out(cycles: Array, kept: Array, *, units: int, in_order: bool) -> Streams:
    """Heads `[..., q, k]`."""
    one = partial(_streams, units=units, in_order=in_order)
    heads = (x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]) for x in (cycles, kept & (cycles > 0)))
    return jax.tree.map(lambda x: x.reshape(cycles.shape[:-2] + x.shape[1:]), jax.vmap(one)(*heads))


@partial(jax.jit, static_argnames=("pops", "row_cycles"))
def _heads(
    order: Streams, every: Array, least: Array, fifo: Array, barrier: Array, *, pops: int, row_cycles: int
) -> Run:
    """Heads `[head, ...]`."""
    time = slot_cycles(order.slots)
    cost = jnp.where(time > 0, jnp.maximum(-(-time // every), least), 0)
    order = order._replace(slots=order.slots + ((cost - time) << 1))
    walk = partial(tile_cycles.walked, units=order.slots.shape[1], pops=pops, row_cycles=row_cycles)
    looped = lambda order, *modes: walk(gathered(order), order.slots.shape[:2], *modes)  # noqa: E731
    cuda = {"cuda": partial(fused, walk=walk)} if _has_kernel(order) else {}
    cycles, busy, stalls, popped = jax.lax.platform_dependent(order, fifo, barrier, **cuda, default=looped)
    return Run(jnp.where(jnp.sum(busy, -1) > 0, cycles, 0), busy, stalls, popped)


def fused(order: Streams, *modes: Array, walk: Callable[..., Outcome], interpret: bool = False) -> Outcome:
    """`walk` as one GPU kernel; interpreted, it runs anywhere."""
    from anaxon.kernels import pipeline  # it takes a while to import

    return pipeline.walked(*order, jnp.stack(modes), walk=walk, ends=(END << BITS, END), interpret=interpret)


def _has_kernel(order: Streams) -> bool:
    """Whether the kernel takes lists of this size, and this process has a GPU and a jax to run it."""
    if (found := capability()) is None:
        return False
    from anaxon.kernels import pipeline

    return pipeline.takes(order.slots.shape, found)


def gathered(order: Streams) -> Lists:
    """Gathers from arrays."""
    of_units, of_heads = (jnp.vectorize(lambda table, index: table.at[index].get(mode="clip"), signature=signature)
                          for signature in ("(n),()->()", "(n),(m)->(m)"))  # fmt: skip
    row = None if order.rows is None else partial(of_heads, order.rows)
    return Lists(partial(of_units, order.slots), partial(of_units, order.survivors), row)


def _streams(cycles: Array, kept: Array, units: int, in_order: bool) -> Streams:
    """One head `[q, k]`."""
    (q, k), turns = cycles.shape, -(-cycles.shape[1] // units)
    row = jnp.broadcast_to(jnp.arange(q, dtype=jnp.int32)[:, None], cycles.shape)
    code = (row << BITS) | (cycles.astype(jnp.int32) << 1) | kept
    values, there = (
        jnp.pad(jnp.stack(pair), ((0, 0), (0, 0), (0, -k % units)))
        .reshape(2, q, turns, units)
        .transpose(0, 3, 1, 2)
        .reshape(2, units, q * turns)
        for pair in ([code, row], [cycles > 0, kept])
    )
    slots, survivors = _compact(values, there, jnp.array([END << BITS, END], jnp.int32)[:, None])
    rows = _compact(row[:, 0], jnp.any(kept, 1), jnp.int32(END)) if in_order else None
    return Streams(slots, survivors, rows)


def _compact(values: Array, mask: Array, end: Array) -> Array:
    """The masked values of the last axis in their order, then `end`s: one more than there are values."""
    size = values.shape[-1]
    place = jnp.where(mask, jnp.cumsum(mask, -1, dtype=jnp.int32) - 1, size + 1)
    empty = jnp.broadcast_to(end[..., None], (*values.shape[:-1], size + 1)).astype(jnp.int32)
    put = jnp.vectorize(lambda e, at, v: e.at[at].set(v, mode="drop"), signature="(m),(n),(n)->(m)")
    return put(empty, place, values)
