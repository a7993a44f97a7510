"""The table of a layer: its sums, its ablation in the same queues, its baseline; sweeps."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import reference_attention as reference
from traced_heads import COSTS, CYCLES, KEPT, run, table_of, traces

from anaxon.attention import counts
from anaxon.attention.accelerator import count, joined, sweep, table
from anaxon.attention.bitserial import cycles_at
from anaxon.attention.tile import Tile


def test_account():
    rows = table_of(CYCLES, KEPT, layer="encoder/0")
    whole, heads, buckets = rows[0], rows[1:5], rows[5:]
    assert [(r.head, r.length) for r in rows] == [(None, None), (0, None), (1, None), (2, None), (3, None), (None, 128)]
    assert [r.cycles for r in heads][2] == 9264
    assert [round(r.speed_up_bound, 3) for r in heads] == [1.291, 1.595, 1.966, 2.217]  # spec 3.2
    assert [round(r.mean_cycles, 3) for r in heads] == [4.649, 3.762, 3.052, 2.706]
    assert [r.mean_bits / r.mean_cycles for r in heads] == pytest.approx([2] * 4)
    assert whole.cycles == sum(r.cycles for r in heads)
    assert replace(buckets[0], length=None) == whole
    for row in rows:  # V12: the attributions multiply
        assert row.energy_ratio == pytest.approx(row.energy_ratio_pruning * row.energy_ratio_termination)
        assert row.speed_up_pruning == pytest.approx(16384 / 16897, abs=1e-4)  # and what the last survivors take
        assert row.energy_ratio_termination > 1
        assert row.emptied == (~KEPT.any(-1)).sum() if row.head is None else True


def test_a_bound_of_several_heads_is_of_each_by_itself():
    """One head that keeps all and one that keeps nothing cannot share their units and back ends."""
    cycles = np.full((1, 2, 12, 24), 2)
    kept = np.stack([np.ones((12, 24), bool), np.zeros((12, 24), bool)])[None]
    rows = table_of(cycles, kept, tile=Tile(units=12, per_cycle=6))
    assert rows[0].speed_up_bound == pytest.approx(2 / (1 + 1 / 6))
    assert [r.speed_up_bound for r in rows[1:3]] == pytest.approx([1, 6])
    for row in rows:
        assert row.speed_up <= row.speed_up_bound
        assert row.speed_up_pruning <= row.speed_up_bound
    parts = sum(r.baseline_cycles for r in rows[1:3]) / sum(r.baseline_cycles / r.speed_up_pruning for r in rows[1:3])
    assert rows[0].speed_up_pruning == pytest.approx(parts)


@pytest.mark.parametrize("changes", [{}, {"fifo": 1}, {"row_cycles": 5}, {"barrier": "none", "units": 9}])
def test_pruning_alone_runs_in_the_same_queues(changes):
    """Its ablation is the tile's own simulation, with all T cycles for every valid pair."""
    tile = Tile(**{"units": 6, "latency": 7} | changes)
    cycles, kept = (
        CYCLES[0, :10, :30] * np.tri(10, 30, 12, dtype=int),
        KEPT[0, :10, :30] & np.tri(10, 30, 12, dtype=bool),
    )
    found = count(cycles[None, None], kept[None, None], tile, 64)
    settled = {"depth": tile.fifo, "barrier": tile.barrier, "row_cycles": tile.row_cycles}
    for got, each in ((found.cycles, cycles), (found.whole, 6 * (cycles > 0))):
        assert got.item() == 7 + reference.pipeline(each, kept, tile.units, **settled)[0]


def test_the_baseline_pays_what_the_tile_pays():
    """A tile that is the baseline has its cycles but for the last survivor's; packed rows end in whole keys in both."""
    tile = Tile(units=1, per_cycle=12, barrier="none", latency=20, row_cycles=4)
    row = table_of(np.ones((2, 1, 6, 12), int), np.ones((2, 1, 6, 12), bool), tile=tile)[0]
    assert row.baseline_cycles == 2 * (6 * (12 + 4) + 20)
    assert row.cycles == row.baseline_cycles + 2
    packed = Tile(units=1, per_cycle=12, packed=True)
    row = table_of(np.ones((1, 1, 6, 13), int), np.ones((1, 1, 6, 13), bool), tile=packed, head=32)[0]
    assert row.baseline_cycles == 6 * 7
    assert row.cycles <= 6 * 7 + 2
    valid = np.ones((1, 3, 6, 13), int) * np.array([1, 0, 1])[None, :, None, None]
    wide = counts.baseline_cycles(jnp.asarray(valid), tile, 128)
    assert wide.tolist() == [[2 * 6 * (13 + 4) + 20, 0, 2 * 6 * (13 + 4) + 20]]


def test_sums_beyond_31_bits():
    """A head's cycles are added in halves."""
    rows = jnp.asarray([[2**30 + 3, 2**30 + 70000, 2**30 - 1, 65535]], jnp.int32)
    assert counts._total(rows).to_int64().tolist() == [3 * 2**30 + 70002 + 65535]


def test_buckets_and_batches():
    """Padding is no pair; lengths fall into their buckets; batches joined are one batch."""
    lengths = np.asarray([20, 100])
    valid = np.arange(128) < lengths[:, None]
    valid = (valid[:, None, :, None] & valid[:, None, None, :]) & np.ones((1, 2, 1, 1), bool)
    cycles, kept = CYCLES[2] * valid, KEPT[2] & valid
    rows = table_of(cycles, kept)
    assert {r.length: r.pairs for r in rows if r.length} == {32: 2 * 20**2, 128: 2 * 100**2}
    tile = Tile.area_efficient()
    parts = count(jnp.asarray(cycles), jnp.asarray(kept), tile, 64)
    twice = table(joined([parts, parts]), tile=tile, costs=COSTS, head=64)
    assert [(r.cycles, r.pairs) for r in twice] == [(2 * r.cycles, 2 * r.pairs) for r in rows]
    assert twice[0].energy_ratio == pytest.approx(rows[0].energy_ratio)
    long = parts._replace(length=np.full_like(parts.length, 1000))
    assert table(long, tile=tile, costs=COSTS, head=64)[-1].length == 1024


def test_sweep():
    """From single bits: `t_B = ceil(t_1 / B)`; more units are faster until the back end is full; batches add up."""
    ones, kept = (x[:, None] for x in traces(per_cycle=1))
    batches = [(jnp.asarray(ones[:2]), jnp.asarray(kept[:2])), (jnp.asarray(ones[2:]), jnp.asarray(kept[2:]))]
    settings = {"tile": Tile.area_efficient(), "costs": COSTS, "head": 64, "per_cycle": (1, 2), "units": (6, 8)}
    rows = sweep(batches, **settings)
    assert [(r.per_cycle, r.units) for r in rows] == [(1, 6), (1, 8), (2, 6), (2, 8)]
    assert [r.cycles for r in rows[2:]] == [int(run(n).cycles.sum()) for n in (6, 8)]
    each = 128**2 / np.asarray(run(6).cycles)  # an example's, of its own quantile here
    assert rows[2].speed_up_range == pytest.approx(np.quantile(each, [0.1, 0.9]))
    assert rows[2].pairs == 4 * 128**2


@pytest.mark.slow
def test_a_sweep_counts_as_single_runs_do():
    """Every number of every tile, with masks, keys side by side and normalised rows."""
    ones, kept = (x[:2, None, :9, :20] for x in traces(per_cycle=1))
    ones, kept = ones * np.tri(9, 20, 6, dtype=int), kept & np.tri(9, 20, 6, dtype=bool)
    tiles = [Tile(units=n, per_cycle=b, packed=True, row_cycles=2, fifo=2) for b in (1, 5) for n in (2, 3)]
    for tile, found in zip(tiles, counts.swept(ones, kept, tiles, 32), strict=True):
        single = count(cycles_at(ones, tile.per_cycle), kept, tile, 32)
        for name, got, wanted in zip(found._fields, found, single, strict=True):
            np.testing.assert_array_equal(got, wanted, err_msg=f"{name} of {tile}")
