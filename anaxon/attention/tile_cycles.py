"""What happens on a tile in one cycle, for many heads at once; lists of pairs are only ever looked up.

A state is `[heads, units]` or `[heads, 1]`, so that the same lines are a program of XLA and the body of a GPU kernel
(`anaxon.kernels.pipeline`). Units beyond the tile's own, which a kernel adds up to a power of two, have empty lists.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from anaxon.attention.tile import BARRIERS
from anaxon.types import Array

BITS = 6  # of a slot's code below its row: up to 31 cycles, and whether it survives
END = 2**24  # the row of what is not there
UNROLL = 2  # cycles in one iteration of the loop; what has ended stays as it is
Outcome = tuple[Array, Array, Array, Array]


class Lists(NamedTuple):
    """Looks up what each unit of each head will see, by numbers `[heads, units]`; beyond a list's end is its end.

    Attributes:
      slot: codes `row * 64 + cycles * 2 + kept`; `END` rows behind the last.
      survivor: rows of each unit's survivors, then `END`.
      row: rows with survivors, by numbers `[heads, 1]`; only where rows are normalised in order.
    """

    slot: Callable[[Array], Array]
    survivor: Callable[[Array], Array]
    row: Callable[[Array], Array] | None


class State(NamedTuple):
    """Heads between two cycles; `[heads, units]`, then `[heads, 1]`, and the number of the cycle."""

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
    front: Array  # the last cycle in which a unit did anything
    back: Array  # the last cycle of the back end
    cycle: Array


def walked(
    lists: Lists, shape: tuple[int, int], fifo: Array, barrier: Array, *, units: int, pops: int, row_cycles: int
) -> Outcome:
    """Until no head has anything left to do: its cycles `[heads]`, busy and stalls `[heads, units]`, popped `[heads]`.

    Args:
      lists: of every unit.
      shape: heads and units, those of the kernel included.
      fifo: slots of a unit's FIFO.
      barrier: place in `BARRIERS`.
      units: of the tile.
      pops: survivors that the back end takes a cycle.
      row_cycles: for normalising a row.
    """
    none, single = jnp.zeros(shape, jnp.int32), jnp.zeros((shape[0], 1), jnp.int32)
    first = lists.slot(none)
    begin = State(
        none, first, slot_cycles(first), none, none, none, none, single, single, single, single, single, jnp.int32(0)
    )  # fmt: skip

    def advance(s: State) -> State:
        for _ in range(UNROLL):
            after = _back(s, lists, units, row_cycles, pops)
            s = _front(s, after, lists, fifo, barrier)
        return s

    last = jax.lax.while_loop(lambda s: _unfinished(s, lists), advance, begin)
    cycles = jnp.maximum(last.front + 1, last.back)
    return cycles[:, 0], last.busy, last.stalls, jnp.sum(last.popped, -1, dtype=jnp.int32)


def slot_cycles(slot: Array) -> Array:
    """Cycles of a slot's code."""
    return slot >> 1 & 2 ** (BITS - 1) - 1


def _unfinished(s: State, lists: Lists) -> Array:
    more = _any((s.slot >> BITS < END) | (s.pushed > s.popped))
    if lists.row is not None:
        more = more | (lists.row(s.row) < END) | (s.blocked > 0)
    return jnp.max(jnp.max(more.astype(jnp.int32), -1), 0, initial=0) > 0


def _any(x: Array) -> Array:
    """Of a head's units."""
    return jnp.max(x.astype(jnp.int32), -1, keepdims=True) > 0


def _unit(s: State) -> Array:
    return jax.lax.broadcasted_iota(jnp.int32, s.at.shape, 1)


def _back(s: State, lists: Lists, units: int, row_cycles: int, pops: int) -> State:
    """The back end's part of a cycle: it pops what was pushed before, or normalises the oldest row once it is whole."""
    cycle, unit = s.cycle + 1, _unit(s)
    row, blocked, free = s.row, s.blocked, s.blocked == 0
    if lists.row is not None:
        queued = _queued(s, s.popped, lists)
        undone = jnp.minimum(*(jnp.min(x, -1, keepdims=True) for x in (s.slot >> BITS, queued)))
        whole = free & (lists.row(row) < undone)
        row, blocked = row + whole.astype(jnp.int32), jnp.where(whole, row_cycles, blocked)
        free = blocked == 0
        blocked = jnp.maximum(blocked - 1, 0)
    popped, turn, active = s.popped, s.turn, ~free
    for _ in range(pops):
        queued = _queued(s, popped, lists)
        oldest = jnp.min(queued, -1, keepdims=True)
        take = (oldest < END) & free
        behind = jnp.where(unit >= turn, unit - turn, unit - turn + units)
        behind = jnp.where((queued == oldest) & take, behind, units)
        nearest = jnp.min(behind, -1, keepdims=True)
        popped = popped + ((behind == nearest) & take).astype(jnp.int32)
        after = turn + nearest + 1
        turn = jnp.where(take, jnp.where(after >= units, after - units, after), turn)
        active = active | take
    back = jnp.where(active, cycle, s.back)
    return s._replace(popped=popped, turn=turn, row=row, blocked=blocked, cycle=cycle, back=back)


def _front(before: State, s: State, lists: Lists, fifo: Array, barrier: Array) -> State:
    """The units' part of a cycle, after the back end's."""
    row, held = before.slot >> BITS, s.left == 0
    left = jnp.maximum(s.left - 1, 0)
    room = (s.slot & 1 == 0) | (s.pushed - s.popped < fifo)
    ends = (left == 0) & room  # its slot, if it is let go on
    following = lists.slot(s.at + ends.astype(jnp.int32))
    after = jnp.where(ends, following >> BITS, row)
    go = (row < END) & _released(row, after, _unit(s), barrier)
    ends = ends & go
    slot = jnp.where(ends, following, s.slot)
    return s._replace(
        at=s.at + ends.astype(jnp.int32),
        slot=slot,
        left=jnp.where(ends, slot_cycles(slot), jnp.where(go, left, s.left)),
        pushed=s.pushed + (ends & (s.slot & 1 == 1)).astype(jnp.int32),
        busy=s.busy + (go & ~held).astype(jnp.int32),
        stalls=s.stalls + (go & held).astype(jnp.int32),
        front=jnp.where(_any(go), s.cycle, s.front),
    )


def _released(row: Array, after: Array, unit: Array, barrier: Array) -> Array:
    """Which units may work on their row; `after` is the row that each is at once this cycle is over."""
    working = row == jnp.min(row, -1, keepdims=True)
    behind = unit > jnp.max(jnp.where(working, unit, -1), -1, keepdims=True)
    least = jnp.min(jnp.where(working, after, row), -1, keepdims=True)
    rippled = behind & (row <= least)
    free, ripples = (barrier == BARRIERS.index(name) for name in ("none", "rippled"))
    return working | free | (ripples & rippled)


def _queued(s: State, popped: Array, lists: Lists) -> Array:
    """The rows at the FIFOs' heads."""
    return jnp.where(s.pushed > popped, lists.survivor(popped), END)
