"""The GPU kernel of a tile's cycles, interpreted, beside the program of a CPU: every number."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.attention import tile_cycles
from anaxon.attention.pipeline import fused, run, streams
from anaxon.attention.tile import BARRIERS, Tile
from anaxon.kernels import pipeline

CASES = [  # heads, queries, keys; the tile
    ((3, 9, 20), {"units": 6}),  # heads that do not fill the last program
    ((5, 7, 11), {"units": 3, "row_cycles": 3, "fifo": 2}),
    ((1, 6, 9), {"units": 12, "barrier": "none"}),
    ((2, 5, 40), {"units": 8, "barrier": "registered", "fifo": 1}),
]


@pytest.mark.parametrize(("shape", "changes"), CASES, ids=str)
def test_kernel_equals_the_program_of_a_cpu(shape, changes):
    rng, tile = np.random.default_rng(len(changes)), Tile(**changes)
    cycles = rng.integers(0, 7, shape)
    cycles[0, :, :2] = 0  # masked pairs
    kept = (rng.random(shape) < 0.4) & (cycles > 0)
    order = streams(jnp.asarray(cycles, jnp.int32), jnp.asarray(kept), tile)
    expected = run(order, tile)
    walk = partial(tile_cycles.walked, units=tile.units, pops=1, row_cycles=tile.row_cycles)
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
