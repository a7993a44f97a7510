"""Cycle by cycle: bit-serial units, their FIFOs and the back end of one tile.

Unit n takes keys n, n + N, ... of every query in order, each for as many cycles as its termination takes, and pushes a
survivor into its FIFO in the last of them. The back end pops one survivor a cycle, the oldest query's first and the
units in turn; it may have popped survivors of a query before all of that query's scores are decided, and of the next
one where no older waits. It sees a push in the cycle after it, and a row ends one cycle after its last decision.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from anaxon.attention.tile import BARRIERS, Tile
from anaxon.types import Array

_BITS = 6  # of a slot's code below its row: up to 31 cycles, and whether it survives
_END = 2**24  # the row of what is not there
UNROLL = 2  # cycles in one iteration of the loop; what has ended stays as it is


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


class _State(NamedTuple):
    """One head between two cycles; `[units]` but for the last six."""

    at: Array  # slots that the unit has finished
    slot: Array  # the one it is at, as a code
    left: Array  # cycles that it still needs; 0 while its survivor is held back
    pushed: Array
    popped: Array
    busy: Array
    stalls: Array
    turn: Array  # the unit that the back end looks at first
    row: Array  # rows with survivors that were normalised
    blocked: Array  # cycles that the back end still normalises
    cycle: Array
    front: Array  # the last cycle in which a unit did anything
    back: Array  # the last cycle of the back end


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
        with the row `_END`.
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
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(lead) :]), order)
    modes = (jnp.int32(x) for x in (every, least, tile.fifo, BARRIERS.index(tile.barrier)))
    done = _heads(flat, *modes, pops=packed, row_cycles=tile.row_cycles)
    done = jax.tree.map(lambda x: passes * x.reshape(lead + x.shape[1:]), done)
    return done._replace(cycles=jnp.where(done.cycles > 0, done.cycles + tile.latency, 0))


@partial(jax.jit, static_argnames=("units", "in_order"))
def _laid_out(cycles: Array, kept: Array, *, units: int, in_order: bool) -> Streams:
    """Heads `[..., q, k]`."""
    one = partial(_streams, units=units, in_order=in_order)
    heads = (x.reshape(-1, *x.shape[-2:]) for x in (cycles, kept & (cycles > 0)))
    return jax.tree.map(lambda x: x.reshape(cycles.shape[:-2] + x.shape[1:]), jax.vmap(one)(*heads))


@partial(jax.jit, static_argnames=("pops", "row_cycles"))
def _heads(
    order: Streams, every: Array, least: Array, fifo: Array, barrier: Array, *, pops: int, row_cycles: int
) -> Run:
    """Heads `[head, ...]`."""
    time = _cost(order.slots)
    cost = jnp.where(time > 0, jnp.maximum(-(-time // every), least), 0)
    order = order._replace(slots=order.slots + ((cost - time) << 1))
    done = jax.vmap(lambda one: _head(one, fifo, barrier, pops, row_cycles))(order)
    return done._replace(cycles=jnp.where(done.busy.sum(-1) > 0, done.cycles, 0))


def _streams(cycles: Array, kept: Array, units: int, in_order: bool) -> Streams:
    """One head `[q, k]`."""
    q, k = cycles.shape
    row = jnp.broadcast_to(jnp.arange(q, dtype=jnp.int32)[:, None], cycles.shape)
    code = (row << _BITS) | (cycles.astype(jnp.int32) << 1) | kept
    values, there = (
        jnp.pad(jnp.stack(pair), ((0, 0), (0, 0), (0, -k % units)))
        .reshape(2, q, -1, units)
        .transpose(0, 3, 1, 2)
        .reshape(2, units, -1)
        for pair in ([code, row], [cycles > 0, kept])
    )
    slots, survivors = _compact(values, there, jnp.array([_END << _BITS, _END], jnp.int32)[:, None])
    rows = _compact(row[:, 0], jnp.any(kept, 1), jnp.int32(_END)) if in_order else None
    return Streams(slots, survivors, rows)


def _compact(values: Array, mask: Array, end: Array) -> Array:
    """The masked values of the last axis in their order, then `end`s: one more than there are values."""
    size = values.shape[-1]
    place = jnp.where(mask, jnp.cumsum(mask, -1, dtype=jnp.int32) - 1, size + 1)
    empty = jnp.broadcast_to(end[..., None], (*values.shape[:-1], size + 1)).astype(jnp.int32)
    put = jnp.vectorize(lambda e, at, v: e.at[at].set(v, mode="drop"), signature="(m),(n),(n)->(m)")
    return put(empty, place, values)


def _head(order: Streams, fifo: Array, barrier: Array, pops: int, row_cycles: int) -> Run:
    """One head, until nothing is left to do."""
    slots, survivors, rows = order
    none, zero = jnp.zeros(slots.shape[0], jnp.int32), jnp.int32(0)
    first = slots[:, 0]
    begin = _State(none, first, _cost(first), none, none, none, none, *(zero,) * 6)

    def unfinished(s: _State) -> Array:
        more = jnp.any(s.slot >> _BITS < _END) | jnp.any(s.pushed > s.popped)
        return more | (rows[s.row] < _END) | (s.blocked > 0) if rows is not None else more

    def advance(s: _State) -> _State:
        for _ in range(UNROLL):
            after = _back(s, survivors, rows, row_cycles, pops)
            s = _front(s, after, slots, fifo, barrier)
        return s

    last = jax.lax.while_loop(unfinished, advance, begin)
    return Run(jnp.maximum(last.front + 1, last.back), last.busy, last.stalls, jnp.sum(last.popped))


def _back(s: _State, survivors: Array, rows: Array | None, row_cycles: int, pops: int) -> _State:
    """The back end's part of a cycle: it pops what was pushed before, or normalises the oldest row once it is whole."""
    cycle, unit = s.cycle + 1, jnp.arange(len(s.at))
    row, blocked, free = s.row, s.blocked, True
    if rows is not None:
        undone = jnp.minimum(jnp.min(s.slot >> _BITS), jnp.min(_queued(s, s.popped, survivors)))
        whole = (blocked == 0) & (rows[row] < undone)
        row, blocked = row + whole, jnp.where(whole, row_cycles, blocked)
        free = blocked == 0
        blocked = jnp.maximum(blocked - 1, 0)
    popped, turn = s.popped, s.turn
    for _ in range(pops):
        rows_queued = _queued(s, popped, survivors)
        oldest = jnp.min(rows_queued)
        take = (oldest < _END) & free
        behind = jnp.where(unit >= turn, unit - turn, unit - turn + len(unit))
        behind = jnp.where((rows_queued == oldest) & take, behind, len(unit))
        nearest = jnp.min(behind)
        popped = popped + ((behind == nearest) & take)
        turn = jnp.where(take, (turn + nearest + 1) % len(unit), turn)
    active = jnp.any(popped > s.popped) | ~jnp.asarray(free)
    back = jnp.where(active, cycle, s.back)
    return s._replace(popped=popped, turn=turn, row=row, blocked=blocked, cycle=cycle, back=back)


def _front(before: _State, s: _State, slots: Array, fifo: Array, barrier: Array) -> _State:
    """The units' part of a cycle, after the back end's."""
    row, held = before.slot >> _BITS, s.left == 0
    left = s.left - ~held
    room = (s.slot & 1 == 0) | (s.pushed - s.popped < fifo)
    ends = (left == 0) & room  # its slot, if it is let go on
    following = _at(slots, s.at + ends)
    go = (row < _END) & _released(row, jnp.where(ends, following >> _BITS, row), barrier)
    ends = ends & go
    slot = jnp.where(ends, following, s.slot)
    return s._replace(
        at=s.at + ends,
        slot=slot,
        left=jnp.where(ends, _cost(slot), jnp.where(go, left, s.left)),
        pushed=s.pushed + (ends & (s.slot & 1 == 1)),
        busy=s.busy + (go & ~held),
        stalls=s.stalls + (go & held),
        front=jnp.where(jnp.any(go), s.cycle, s.front),
    )


def _released(row: Array, after: Array, barrier: Array) -> Array:
    """Which units may work on their row; `after` is the row that each is at once this cycle is over."""
    oldest = jnp.min(row)
    working, unit = row == oldest, jnp.arange(len(row))
    behind = unit > jnp.max(jnp.where(working, unit, -1))
    rippled = behind & (row <= jnp.min(jnp.where(working, after, row)))
    return working | (barrier == BARRIERS.index("none")) | (barrier == BARRIERS.index("rippled")) & rippled


def _queued(s: _State, popped: Array, survivors: Array) -> Array:
    """The rows at the FIFOs' heads."""
    return jnp.where(s.pushed > popped, _at(survivors, popped), _END)


def _at(table: Array, index: Array) -> Array:
    return jnp.take_along_axis(table, index[:, None], 1, mode="clip")[:, 0]


def _cost(slot: Array) -> Array:
    """Cycles of a slot."""
    return slot >> 1 & 2 ** (_BITS - 1) - 1
