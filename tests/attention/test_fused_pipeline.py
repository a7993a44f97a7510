"""The GPU kernel of a tile's cycles, interpreted, beside the program of a CPU: every number."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.attention import tile_cycles
from anaxon.attention.pipeline import fused, run, simulate, streams
from anaxon.attention.tile import BARRIERS, Tile
from anaxon.kernels import pipeline

CASES = [  # heads, queries, keys; the tile
    ((9, 9, 20), {"units": 6}),  # three programs, the last one not full
    ((19, 7, 11), {"units": 3, "row_cycles": 3, "fifo": 2}),
    ((2, 4, 90), {"units": 40}),  # more than a warp
    ((5, 6, 21), {"units": 6, "packed": True}),  # two keys side by side, and two survivors a cycle
    ((1, 6, 9), {"units": 12, "barrier": "none"}),
    ((2, 5, 40), {"units": 8, "barrier": "registered", "fifo": 1}),
]


@pytest.mark.parametrize(("shape", "changes"), CASES, ids=str)
def test_kernel_equals_the_program_of_a_cpu(shape, changes):
    rng, tile = np.random.default_rng(len(changes)), Tile(**changes)
    cycles = rng.integers(0, 7, shape)
    cycles[0, :, :2] = 0  # masked pairs
    kept = (rng.random(shape) < 0.4) & (cycles > 0)
    head = 32 if tile.packed else 64
    order, side = streams(jnp.asarray(cycles, jnp.int32), jnp.asarray(kept), tile, head), tile.side_by_side(head)
    expected = run(order, tile, head)
    walk = partial(tile_cycles.walked, units=side * tile.units, pops=side, row_cycles=tile.row_cycles)
    modes = jnp.int32(tile.fifo), jnp.int32(BARRIERS.index(tile.barrier))
    for got, name in zip(fused(order, *modes, walk=walk, interpret=True), expected._fields, strict=True):
        np.testing.assert_array_equal(got, getattr(expected, name), err_msg=name)
    assert expected.popped.tolist() == kept.sum((1, 2)).tolist()


def test_what_has_a_kernel():
    assert pipeline.takes((4608, 6, 11_000), "9.0")
    assert not pipeline.takes((4608, 6, 11_000), "7.5")
    assert not pipeline.takes((4608, 6, 11_000), "none")
    assert not pipeline.takes((46_080, 6, 11_000), "9.0")  # beyond 32 bits of addresses
    assert not pipeline.takes((0, 6, 100), "9.0")


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_nothing_takes_no_cycles(shape):
    found = simulate(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool), Tile(units=6))
    assert found.cycles.shape == shape[:1] and not found.cycles.any()
