"""The cycles of a tile: the simulator of its queues as it runs here, beside one loop of XLA's for all heads."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention import tile_cycles
from anaxon.attention.pipeline import gathered, run, streams
from anaxon.attention.tile import BARRIERS, Tile

from .measure import ON_CPU, in_turns, row, summary

SIZES = ((64, 64), (256, 16)) if ON_CPU else ((64, 4608), (256, 4608))  # tokens, heads


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row for each length; on a CPU both are the same program."""
    sizes, rounds = (((16, 4),), 2) if quick else (SIZES, 5)
    return [_row(length, heads, rounds) for length, heads in sizes]


def _row(length: int, heads: int, rounds: int) -> dict[str, Any]:
    rng, tile = np.random.default_rng(0), Tile.area_efficient()
    shape = (heads, length, length)
    cycles, kept = rng.integers(1, 7, shape).astype(np.int32), rng.random(shape) < 0.2
    order = streams(jnp.asarray(cycles), jnp.asarray(kept), tile)
    walk = partial(tile_cycles.walked, units=tile.units, pops=1, row_cycles=tile.row_cycles)
    modes = jnp.int32(tile.fifo), jnp.int32(BARRIERS.index(tile.barrier))
    loop = jax.jit(lambda order, *modes: walk(gathered(order), order.slots.shape[:2], *modes))
    mine = jax.jit(lambda order: run(order, tile))
    times = in_turns({"ours": lambda: mine(order), "loop": lambda: loop(order, *modes)}, rounds)
    total = float(np.sum(mine(order).cycles, dtype=np.float64))
    rate = summary("simulated cycles of a tile a second", [1e3 * total / t for t in times["ours"]])
    title = f"A tile's queues, {heads} heads of {length} tokens, ms"
    return row(title, "run", ("run", times["ours"]), ("a loop of XLA's", times["loop"]), cycles=total, rate=rate)
