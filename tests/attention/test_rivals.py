"""Other ways of pruning: what they keep, by the rule; and one table of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_attention as reference

from anaxon.accelerators import load_accelerator
from anaxon.attention.energy import PARTS, score_bits
from anaxon.attention.rival_costs import MODES, outcomes, predicted_per_cycle
from anaxon.attention.rivals import Selection, adaptive, predicted, top_k
from anaxon.attention.tile import Tile

COSTS = load_accelerator().costs
QUERY, KEY = reference.gaussian_heads(64, 64, 12)
SCORES = QUERY @ KEY.T
SCALE = 1.0 / SCORES.std()
VALID = np.tril(np.ones((64, 64), bool))


def row_by_row(scores, valid, share):
    kept = np.zeros(scores.shape, bool)
    for i, row in enumerate(scores):
        keys = [j for j in range(len(row)) if valid[i, j]]
        best = sorted(keys, key=lambda j: (-row[j], j))
        kept[i, best[: int(np.ceil(share * len(keys)))]] = True
    return kept


@pytest.mark.parametrize("scores", [SCORES, SCORES // 400_000], ids=["distinct", "ties"])
def test_top_k(scores):
    found = top_k(jnp.asarray(scores), 0.25, jnp.asarray(VALID))
    np.testing.assert_array_equal(found.kept, row_by_row(scores, VALID, 0.25))
    np.testing.assert_array_equal(found.bits, 12 * VALID)


def test_top_k_of_everything_and_of_nothing():
    assert top_k(jnp.asarray(SCORES), 1.0).kept.all()
    assert not top_k(jnp.asarray(SCORES), 0.5, jnp.zeros((64, 64), bool)).kept.any()


def test_predicted():
    """Sanger's mask, written out."""
    found = predicted(jnp.asarray(QUERY), jnp.asarray(KEY), SCALE, jnp.asarray(VALID), probability=0.02)
    low = [np.round(x * 7 / 2047) for x in (QUERY, KEY)]
    scores = np.where(VALID, low[0] @ low[1].T * SCALE * (2047 / 7) ** 2, -np.inf)
    chance = np.exp(scores - scores.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    np.testing.assert_array_equal(found.kept, VALID & (chance > 0.02))
    np.testing.assert_array_equal(found.bits, VALID * (4 + 12 * np.asarray(found.kept)))


def test_a_predictor_of_all_bits_prunes_by_the_score():
    found = predicted(jnp.asarray(QUERY >> 4), jnp.asarray(KEY >> 4), SCALE * 256, bits=8, predictor_bits=8)
    exact = np.exp((QUERY >> 4) @ (KEY >> 4).T * SCALE * 256)
    np.testing.assert_array_equal(found.kept, exact / exact.sum(1, keepdims=True) > 2e-3)


@pytest.mark.parametrize("per_cycle", [1, 2, 5])
@pytest.mark.parametrize("form", ["sign-magnitude", "two's complement"])
def test_adaptive(per_cycle, form):
    """What survives is `S >= max S - margin` exactly; cycles as of a loop over rounds that drops pairs."""
    small = slice(0, 16)
    query, key, valid = QUERY[small], KEY[small], VALID[small, small]
    upper, lower = (x.astype(np.int64) for x in reference.termination_bounds(query, key, 12, per_cycle, form))
    margin = 2.0 * SCORES.std() + 0.5
    found = adaptive(jnp.asarray(upper), jnp.asarray(lower), margin, jnp.asarray(valid), per_cycle=per_cycle)
    scores = np.where(valid, query @ key.T, -(10**12))
    np.testing.assert_array_equal(found.kept, valid & (scores >= scores.max(1, keepdims=True) - margin))
    alive, cycles = valid.copy(), np.zeros(valid.shape, int)
    for u, low in zip(upper, lower, strict=True):
        cycles += alive
        for i in range(16):
            running = max(low[i, j] for j in range(16) if alive[i, j])
            alive[i] &= u[i] >= running - margin
    np.testing.assert_array_equal(found.cycles, cycles)
    np.testing.assert_array_equal(found.bits, np.minimum(12, cycles * per_cycle))


@pytest.mark.parametrize("margin", [2**24 + 1, 2**24 + 1.5, np.float64(2**24 + 1), jnp.int32(2**24 + 1)])
def test_a_margin_beyond_float32_is_exact(margin):
    """A key at `max - margin` stays and the one below it goes, given on the host and traced."""
    scores = jnp.asarray([[[2**25, 2**25 - 2**24 - 1, 2**25 - 2**24 - 2]]])
    for found in (adaptive(scores, scores, margin, per_cycle=12), traced(scores, margin)):
        assert found.kept.tolist() == [[True, True, False]]


def traced(scores, margin):
    if not isinstance(margin, int | jax.Array):  # a traced float is what it is
        return adaptive(scores, scores, margin, per_cycle=12)
    return jax.jit(lambda s, m: adaptive(s, s, m, per_cycle=12))(scores, margin)


def test_margins_of_rows_and_traced_floats():
    scores = jnp.asarray([[[9, 6, 3], [9, 6, 3]]])
    margin = jnp.asarray([[3.9], [-2.0]])
    for run in (adaptive, jax.jit(adaptive, static_argnames="per_cycle")):
        assert run(scores, scores, margin, per_cycle=12).kept.tolist() == [[True, True, False], [True, False, False]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adaptive(jnp.ones((6, 2, 2)), jnp.ones((6, 2, 2)), np.nan), "margin.*got nan"),
        (lambda: top_k(jnp.ones((2, 2)), 0.0), "share.*got 0.0"),
        (lambda: top_k(jnp.ones((2, 2)), 1.5), "share.*got 1.5"),
        (lambda: predicted(jnp.ones((2, 2)), jnp.ones((2, 2)), 1.0, predictor_bits=13), "predictor_bits.*got 13"),
        (lambda: adaptive(jnp.ones((5, 2, 2)), jnp.ones((5, 2, 2)), 1.0), "upper.*T = 6 cycles.*got 5 cycles"),
        (lambda: adaptive(jnp.ones((6, 2, 2)), jnp.ones((6, 2, 3)), 1.0), "lower.*got"),
        (lambda: outcomes({"best": [top_k(jnp.ones((2, 2)), 1.0)]}, Tile(units=6), COSTS, 64), "selections.*'best'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def stages(front, back):
    """Two stages row by row, the second once the first is over."""
    first = second = 0
    for f, b in zip(front, back, strict=True):
        first += f
        second = max(second, first) + b
    return second


@pytest.mark.parametrize("units", [3, 6])
def test_adaptive_takes_a_plane_of_all_keys_at_a_time(units):
    """`sum_t ceil(left_t / N)` a row, then its survivors; partial sums of all keys are stored and read every cycle."""
    rng = np.random.default_rng(4)
    cycles = rng.integers(1, 7, (2, 10, 20)) * np.tri(10, 20, 8, dtype=int)
    kept = (cycles == 6) & (rng.random(cycles.shape) < 0.7)
    tile = Tile(units=units, latency=3, row_cycles=2)
    chosen = Selection(jnp.asarray(kept), jnp.asarray(2 * cycles), jnp.asarray(cycles))
    (row,) = outcomes({"adaptive": [chosen]}, tile, COSTS, 64)
    golden = 0
    for c, s in zip(cycles, kept, strict=True):
        front = [sum(-(-int((r >= t).sum()) // units) for t in range(1, 7)) for r in c]
        golden += 3 + stages(front, [r.sum() + 2 * r.any() for r in s])
    assert row.cycles == golden
    assert row.speed_up == pytest.approx(2 * (sum(range(9, 19)) + 2 * 10 + 3) / golden)
    bits = score_bits(tile, 64)
    each = 4 * COSTS.energy_add_bit * bits + COSTS.energy_fifo_bit * bits
    assert row.energy["selection"] == pytest.approx(COSTS.technology_scale * cycles.sum() * each)


def test_a_predictor_is_as_fast_as_its_area_and_its_bits_allow():
    """Nine 4-bit multipliers stand in a 12-bit one's area, but a key's 12 bits a cycle are three keys of 4."""
    assert predicted_per_cycle(Tile(units=6)) == 3
    assert predicted_per_cycle(Tile(units=6, bits=8)) == 2
    assert predicted_per_cycle(Tile(units=6), bits=8) == 1


def test_one_table():
    """At the same pruning rate: only early termination saves key bits; a predictor reads the survivors' keys twice."""
    query, key, scores = QUERY[:32], KEY[:32], SCORES[:32, :32]
    kept, _, cycles = reference.termination(query, key, np.quantile(scores, 0.875), 12, 2)
    upper, lower = (jnp.asarray(x.astype(np.int64)) for x in reference.termination_bounds(query, key, 12, 2))
    cycles, kept, q, k = (jnp.asarray(x) for x in (cycles, kept, query, key))
    given = {
        "learned": Selection(kept, 2 * cycles, cycles),
        "top_k": top_k(jnp.asarray(scores), 0.125),
        "predicted": predicted(q, k, SCALE, probability=0.03),
        "adaptive": adaptive(upper, lower, 1.5 * SCORES.std()),
    }
    given = {mode: [selection] for mode, selection in given.items()}
    rows = {row.mode: row for row in outcomes(given, Tile.area_efficient(), COSTS, 64)}
    for row in outcomes({mode: 2 * each for mode, each in given.items()}, Tile.area_efficient(), COSTS, 64):
        one = rows[row.mode]  # batches add up
        assert row.cycles == 2 * one.cycles
        assert (row.mean_bits, row.energy_ratio) == pytest.approx((one.mean_bits, one.energy_ratio))
    assert tuple(rows) == MODES
    assert all(tuple(row.energy) == PARTS for row in rows.values())
    assert rows["learned"].pruning_rate == pytest.approx(rows["top_k"].pruning_rate) == 0.875
    assert rows["top_k"].mean_bits == 12
    assert rows["top_k"].speed_up == 1
    assert rows["predicted"].mean_bits == pytest.approx(4 + 12 * (1 - rows["predicted"].pruning_rate))
    left = np.asarray(given["predicted"][0].kept).sum(1)
    assert rows["predicted"].cycles == (11 + left).sum()  # 32 keys at three a cycle, survivors through the same port
    assert rows["predicted"].speed_up_most == pytest.approx(1024 / stages(11 + 0 * left, left))
    assert rows["adaptive"].speed_up_most == rows["adaptive"].speed_up
    assert all(row.area > 0 for row in rows.values())
    assert rows["learned"].energy_ratio > rows["top_k"].energy_ratio > 1
    assert rows["learned"].energy["value_read"] == pytest.approx(rows["top_k"].energy["value_read"])
    assert 1 < rows["adaptive"].speed_up < 6
