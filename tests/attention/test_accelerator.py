"""The accelerator: cycles digit for digit, an event-driven reference, energy, area, and the table of a layer."""

import re
from dataclasses import asdict, replace

import jax.numpy as jnp
import numpy as np
import pytest
import reference_attention as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from traced_heads import COSTS, CYCLES, KEPT, run, table_of

from anaxon.accelerators import load_accelerator
from anaxon.attention.accelerator import sweep
from anaxon.attention.energy import (
    AREAS,
    PARTS,
    Work,
    area,
    areas,
    baseline_energy,
    energy,
    energy_ratio,
    key_share,
    score_bits,
)
from anaxon.attention.pipeline import simulate
from anaxon.attention.tile import Tile

# --- the seeded tables of spec 3.2


@pytest.mark.parametrize(
    ("units", "rippled", "free"),
    [
        (4, (0.820, 1.000, 1.237, 1.395), (0.859, 1.061, 1.303, 1.470)),
        (6, (1.187, 1.438, 1.769, 2.002), (1.241, 1.538, 1.893, 2.130)),
        (8, (1.564, 1.893, 2.325, 2.631), (1.697, 2.108, 2.586, 2.913)),
        (12, (1.999, 2.682, 3.283, 3.714), (1.999, 3.056, 3.774, 4.249)),
    ],
)
def test_cycle_table_digit_for_digit(units, rippled, free):
    """Speed-ups at pruning .5, .75, .9, .95, synchronous and not; V11: the second is never slower."""
    with_barrier, without = run(units), run(units, barrier="none")
    assert [round(128**2 / c, 3) for c in with_barrier.cycles.tolist()] == list(rippled)
    assert [round(128**2 / c, 3) for c in without.cycles.tolist()] == list(free)
    assert (without.cycles <= with_barrier.cycles).all()
    work, kept = CYCLES.sum((1, 2)), KEPT.sum((1, 2))
    for found in (with_barrier, without):  # V10
        assert found.busy.sum(-1).tolist() == work.tolist()
        assert found.popped.tolist() == kept.tolist()
        assert (np.asarray(found.cycles) >= np.maximum(-(-work // units), kept)).all()
        assert (found.busy + found.stalls <= found.cycles[:, None]).all()
    if units == 6:
        assert with_barrier.cycles[2] == 9264
        assert without.cycles[2] == 8656
        assert [round(u, 2) for u in with_barrier.utilisation.tolist()] == [0.59, 0.36, 0.18, 0.10]
    if units == 8:
        assert with_barrier.cycles[2] == 7047


def test_mean_cycles_of_the_table():
    assert [round(m, 3) for m in CYCLES.mean((1, 2))] == [4.649, 3.762, 3.052, 2.706]


def test_fifo_depth():
    """At p = .5 twelve units fill short FIFOs; at .9 depth changes nothing (V11: deeper is never slower)."""
    found = [int(run(12, fifo=f).cycles[0]) for f in (1, 2, 4, 8, 64)]
    assert found == [8963, 8383, 8203, 8198, 8198]
    shallow, deep = run(6, fifo=1), run(6, fifo=64)
    assert shallow.cycles[2] == deep.cycles[2] == 9264
    assert (shallow.stalls == 0).all()  # six survivors of six cycles each leave before the next six come
    assert (run(12, fifo=1).stalls[0] > 0).any()


def test_dense():
    """V10: `S_q ceil(S_k / N) T`, and two more for the last round's survivors; N = 1 with B = b is the baseline."""
    whole, all_kept = np.full((4, 128, 128), 6), np.ones((4, 128, 128), bool)
    assert run(6, whole, all_kept).cycles.tolist() == [128 * 22 * 6 + 2] * 4
    small = jnp.ones((16, 16), int)
    assert simulate(small, small > 0, Tile.area_efficient().baseline()).cycles == 256 + 1


def test_a_registered_barrier_takes_a_cycle_more_where_a_ripple_saves_one():
    assert run(6, barrier="registered").cycles[2] == 9311


# --- the event-driven reference


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), depth=st.sampled_from([1, 2, 8]), masked=st.sampled_from([0.0, 0.3, 1.0]),
    keep=st.sampled_from([0.1, 0.6, 1.0]), barrier=st.sampled_from(["none", "rippled", "registered"]),
)  # fmt: skip
def test_against_events(seed, depth, masked, keep, barrier):
    check(seed, depth, masked, keep, barrier=barrier)


@pytest.mark.parametrize("seed", range(8))
def test_normalising_against_events(seed):
    check(seed, 2, 0.2, 0.3, row_cycles=3)


def check(seed, depth, masked, keep, **changes):
    rng = np.random.default_rng(seed)
    cycles = rng.integers(1, 7, (7, 11)) * (rng.random((7, 11)) >= masked)
    kept = (rng.random((7, 11)) < keep) & (cycles > 0)
    found = run(3, cycles, kept, fifo=depth, **changes)
    golden = reference.pipeline(cycles, kept, 3, depth, **changes)
    assert (int(found.cycles), found.busy.tolist(), found.stalls.tolist(), int(found.popped)) == golden


def test_heads_are_independent():
    """V15."""
    assert run(6, CYCLES[::-1], KEPT[::-1]).cycles[::-1].tolist() == run(6).cycles.tolist()


def test_keys_in_another_order():
    """V15: units that run ahead take a query's keys of their own in any order, but for the last survivors."""
    keys = np.r_[np.roll(np.arange(126).reshape(21, 6), 5, 0).ravel(), 126, 127]
    turned, first = (run(6, CYCLES[..., order], KEPT[..., order], barrier="none") for order in (keys, slice(None)))
    np.testing.assert_array_equal(turned.busy, first.busy)
    assert abs(turned.cycles - first.cycles).max() <= 6


# --- heads of other widths


def test_narrow_and_wide_heads():
    """Half the lanes idle; or two passes of all."""
    tile = Tile.area_efficient(latency=5)
    for head, passes in ((32, 1), (64, 1), (128, 2)):
        assert simulate(jnp.asarray(CYCLES), jnp.asarray(KEPT), tile, head).cycles[2] == passes * 9264 + 5


def test_two_keys_a_unit():
    """As twice the units, of half the lanes, and two survivors a cycle; the baseline takes two keys a cycle, too."""
    cycles, kept = CYCLES[2, :16, :32], KEPT[2, :16, :32]
    (row,) = table_of(cycles[None], kept[None], tile=Tile.area_efficient(packed=True), head=32)[:1]
    assert row.cycles == reference.pipeline(cycles, kept, 12, pops=2)[0]
    assert row.baseline_cycles == 16 * 32 / 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(6, np.ones((2, 600), int), np.ones((2, 600), bool)), "512 keys of 64 elements.*got 600.*keys=600"),
        (lambda: simulate(jnp.ones((2, 300), int), jnp.ones((2, 300), bool), Tile(units=2), 128), "256 keys of 128"),
        (lambda: simulate(jnp.ones((2, 3), int), jnp.ones((2, 2), bool), Tile(units=2)), r"kept: .*\(2, 2\)"),
        (lambda: Tile(units=0), "Tile.units.*got 0"),
        (lambda: Tile(units=6, per_cycle=13), "Tile.per_cycle.*1 to 12; got 13"),
        (lambda: Tile.area_efficient(barrier="sync"), "Tile.barrier.*got 'sync'"),
        (
            lambda: table_of(7 * np.ones((1, 2, 2), int), np.ones((1, 2, 2), bool)),
            "cycles: expected 0 to T = 6; got 7 to 7",
        ),
        (lambda: sweep([], tile=Tile(units=6), costs=COSTS, head=64), "traces: expected at least one batch"),
        (lambda: table_of(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), bool)), "cycles: expected integers"),
        (lambda: energy(one_pair(), Tile(units=6), COSTS, decision="margins"), "decision.*got 'margins'"),
        (lambda: table_of(np.zeros((1, 2, 2), int), np.ones((1, 2, 2), bool)), "kept: expected survivors among valid"),
        (lambda: Work(head=64, pairs=1, steps=1, bits=2, kept=2, cycles=1), "Work.kept.*at most the pairs"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- energy and area


def one_pair(steps=1.0, kept=1.0):
    return Work(head=64, pairs=1, steps=steps, bits=2 * steps, kept=kept, cycles=0)


def test_energy_of_a_pair():
    """Spec 3.3: 33, 294, 56 and 453 pJ at 45 nm, phi = .39."""
    parts = baseline_energy(one_pair(), Tile.area_efficient(), COSTS)
    pj = {name: value / COSTS.technology_scale * 1e12 for name, value in parts.items()}
    found = [round(pj[name]) for name in ("qk_compute", "key_read", "value_compute", "value_read")]
    assert found == [33, 294, 56, 453]
    assert tuple(parts) == PARTS
    assert round(key_share(Tile.area_efficient(), 64, COSTS), 2) == 0.39


@pytest.mark.parametrize(
    ("share", "golden"),
    [
        (0.3, (2.00, 2.72, 3.63, 4.40, 5.70)),
        (0.4, (1.88, 2.46, 3.15, 3.70, 4.60)),
        (0.5, (1.77, 2.25, 2.78, 3.20, 3.86)),
    ],
)
def test_energy_ratios(share, golden):
    """The table of spec 3.3."""
    points = ((0.6, 4.38), (0.75, 3.84), (0.85, 3.41), (0.9, 3.15), (0.95, 2.81))
    assert [energy_ratio(share, 1 - p, t, 6) for p, t in points] == pytest.approx(golden, abs=0.0051)


def test_energy_ratio_limits():
    """V12."""
    assert energy_ratio(0.4, 1.0, 6, 6) == pytest.approx(1)
    assert energy_ratio(0.4, 0.0, 3, 6, 1.2) == pytest.approx(1 / (0.4 * 1.2 * 0.5))
    ratios = [[energy_ratio(0.4, 1 - p, t, 6) for p in (0, 0.5, 1)] for t in (6, 4, 2)]
    assert (np.diff(ratios, axis=0) > 0).all()
    assert (np.diff(ratios, axis=1) > 0).all()


def test_whole_energy_is_near_the_first_order():
    """Spec 3.3: 3.6 to 3.7 at rho = .9, E[t] = 3.15 with margins, FIFOs and softmax. The node cancels."""
    tile, pruned = Tile.area_efficient(), one_pair(steps=3.15, kept=0.1)

    def ratio(costs):
        return sum(baseline_energy(one_pair(), tile, costs).values()) / sum(energy(pruned, tile, costs).values())

    quiet = replace(COSTS, energy_leakage_bit=0.0, energy_leakage_area=0.0)
    assert 3.6 <= ratio(quiet) <= 3.7
    assert ratio(replace(quiet, technology_scale=1.0)) == pytest.approx(ratio(quiet), rel=1e-12)
    monotone = [sum(energy(one_pair(steps=t, kept=k), tile, COSTS).values()) for t, k in ((3, 0.1), (3, 0.2), (4, 0.2))]
    assert monotone == sorted(monotone)


def dot_product(cycles, tile):
    """Spec 3.3 cycle by cycle: energy of products and of key reads of one element [J], of the bits that are left."""
    parts = np.zeros(2)
    for t in range(cycles):
        bits = min(tile.per_cycle, tile.bits - t * tile.per_cycle)
        multiply = COSTS.energy_multiply_bit2 * tile.bits * bits + COSTS.energy_add_bit * (tile.bits + bits)
        parts += multiply, bits * COSTS.energy_sram_bit * np.sqrt(512 * 64 * tile.bits / (32 * 1024 * 8))
    return COSTS.technology_scale * parts


@pytest.mark.parametrize(
    ("per_cycle", "bits"), [(5, (5, 10, 12)), (7, (7, 12)), (2, (2, 4, 6, 8, 10, 12)), (12, (12,))]
)
def test_a_last_cycle_takes_the_bits_that_are_left(per_cycle, bits):
    """12 bits at 5 a cycle are 5 + 5 + 2, not 15: in the counts, and in the energy of products and reads."""
    tile = Tile.area_efficient(per_cycle=per_cycle)
    for cycles, taken in enumerate(bits, 1):
        last = cycles == tile.steps
        one = np.full((1, 1, 1, 1), cycles), np.full((1, 1, 1, 1), last)
        (row,) = table_of(*one, tile=tile)[:1]
        assert (row.mean_cycles, row.mean_bits) == (cycles, taken)
        found = row.energy["qk_compute"], row.energy["key_read"]
        assert found == pytest.approx(64 * dot_product(cycles, tile), rel=1e-12)
        whole = baseline_energy(one_pair(), tile, COSTS)["key_read"]
        assert row.energy["key_read"] == pytest.approx(whole * taken / 12, rel=1e-12)


def test_pruning_alone_pays_for_no_margins():
    """Its tile compares each score once and queues survivors; bounds, and area that leaks for them, are left out."""
    tile = Tile.area_efficient()
    whole, termination = one_pair(steps=6.0, kept=0.25), one_pair(steps=3.0, kept=0.25)
    alone = energy(whole, tile, COSTS, decision="score")
    compare = COSTS.technology_scale * COSTS.energy_add_bit * score_bits(tile, 64)
    assert alone["selection"] == pytest.approx(compare, rel=1e-12)
    assert energy(whole, tile, COSTS)["selection"] > 12 * compare
    assert energy(termination, tile, COSTS)["fifo"] == alone["fifo"] > 0
    assert energy(whole, tile, COSTS, decision="none")["selection"] == 0
    none, score, bound = (sum(area(tile, COSTS, decision=d).values()) for d in ("none", "score", "bound"))
    assert none < score < bound
    (row,) = table_of(CYCLES[2:3], KEPT[2:3], tile=tile)[:1]
    n = KEPT[2].size
    work = Work(head=64, pairs=n, steps=6 * n, bits=12 * n, kept=KEPT[2].sum(), cycles=128 * 22 * 6 + 1)
    ratio = sum(row.baseline_energy.values()) / sum(energy(work, tile, COSTS, decision="score").values())
    assert row.energy_ratio_pruning == pytest.approx(ratio, rel=1e-12)


def test_area():
    """An estimate: the recollected 15 % of the larger design, and a smaller one in between."""
    found = areas(Tile.area_efficient(), COSTS)
    base, small, large = (sum(parts.values()) for parts in found.values())
    assert list(found) == ["baseline", "area-efficient", "high-performance"]
    assert all(tuple(parts) == AREAS for parts in found.values())
    assert found["baseline"] == area(Tile.area_efficient().baseline(), COSTS, decision="none")
    assert found["high-performance"] == area(Tile.high_performance(), COSTS)
    assert 1 < small / base < 1.12
    assert large / base == pytest.approx(1.15, abs=0.03)
    assert areas(Tile.high_performance(), COSTS) == found  # whichever of them is configured
    memory = 512 * 64 * (12 + 16) * COSTS.area_sram_bit
    assert found["baseline"]["key_buffer"] + found["baseline"]["value_buffer"] == pytest.approx(memory)


@pytest.mark.parametrize(
    ("head", "packed", "told"),
    [
        (32, False, "heads of 32 elements on 64 lanes, in the baseline likewise; 32 lanes idle"),
        (
            32,
            True,
            "heads of 32 elements on 64 lanes: 2 keys side by side in a unit, in the baseline likewise; 0 lanes",
        ),
        (64, True, "heads of 64 elements on 64 lanes, in the baseline likewise; 0 lanes idle"),
        (80, True, "64 lanes: 2 passes for each 2-bit plane, .*likewise; 48 lanes idle in the last pass"),
    ],
)
def test_a_head_of_another_width_says_how_it_is_mapped(head, packed, told):
    assert re.search(told, Tile.area_efficient(packed=packed).mapping(head))


def test_every_cost_has_a_source(tmp_path):
    found = load_accelerator()
    assert all(found.sources.values())
    assert len(found.sources) == len(asdict(found.costs))
    assert "Assumption" in repr(found)
    text = (tmp_path / "mine.toml", "unknown")
    text[0].write_text("[energy]\nadd_bti = 3\n")
    with pytest.raises(ValueError, match="unknown key 'add_bti'; did you mean 'add_bit'"):
        load_accelerator(text[0])
    with pytest.raises(ValueError, match="one of leopard65; got 'unknown'"):
        load_accelerator(text[1])
