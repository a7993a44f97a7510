"""Bit-serial early termination: pairs against 64-bit integers, theorems T1-T8, the seeded tables, the closed form.

Statements and tables are those of `spec` = the pruning specification (V5-V9); the mechanism is Li et al., ISCA 2022.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_attention as reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anaxon.attention.bitserial import bounds, cycles_at, expected_cycles, terminate
from anaxon.attention.integers import Wide, integer_threshold, is_wide, quantised, saturated, step_of
from anaxon.attention.planes import plane_product

FORMS, MARGINS = ("sign-magnitude", "two's complement"), ("exact", "shifted")
KINDS = list(itertools.product(FORMS, MARGINS))
P = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)


def int64(x):
    return x.to_int64() if isinstance(x, Wide) else np.asarray(x, np.int64)


def last(bits, per_cycle):
    return -(-bits // per_cycle)


# ---------------------------------------------------------------- all operands of 4 bits


SLOW = pytest.mark.slow  # one more program each, of the same code


@pytest.fixture(scope="module")
def four_bits():
    """All pairs of two lanes in [-7, 7], and thresholds over the whole range of scores."""
    every = np.array(list(itertools.product(range(-7, 8), repeat=2)))
    return every, every, np.arange(-98, 99, 7)


@pytest.mark.parametrize(("form", "margin"), KINDS)
@pytest.mark.parametrize("per_cycle", [1, pytest.param(2, marks=SLOW), 3, pytest.param(4, marks=SLOW)])
def test_every_pair_of_four_bits(four_bits, form, margin, per_cycle):
    """T1, T2, T6, T8 and V9: 1.5 M decisions each."""
    q, k, levels = four_bits
    found = terminate(q, k, levels[:, None, None], bits=4, per_cycle=per_cycle, form=form, margin=margin)
    upper, _ = reference.termination_bounds(q, k, 4, per_cycle, form, margin)
    scores = q @ k.T
    alive = upper[:, None] >= levels[None, :, None, None]
    np.testing.assert_array_equal(found.kept, scores >= levels[:, None, None])
    np.testing.assert_array_equal(found.scores, np.broadcast_to(scores, found.scores.shape))
    np.testing.assert_array_equal(found.cycles, 1 + np.cumprod(alive[:-1], 0).sum(0))
    assert np.all(np.asarray(found.cycles)[np.asarray(found.kept)] == last(4, per_cycle))
    one = terminate(q, k, levels[:, None, None], bits=4, per_cycle=1, form=form, margin=margin)
    np.testing.assert_array_equal(found.cycles, cycles_at(one.cycles, per_cycle))
    assert np.all(np.diff(np.asarray(found.cycles), axis=0) <= 0)


@pytest.mark.parametrize(("form", "margin"), KINDS)
def test_bounds_of_every_pair_of_four_bits(four_bits, form, margin):
    """T1, T3 and the width of the bounds."""
    q, k, _ = four_bits
    upper, lower = (np.asarray(x, int) for x in bounds(q, k, bits=4, per_cycle=1, form=form, margin=margin))
    golden = reference.termination_bounds(q, k, 4, 1, form, margin)
    for found, expected in zip((upper, lower), golden, strict=True):
        np.testing.assert_array_equal(found, expected)
    scores = q @ k.T
    assert np.all(upper >= scores) and np.all(lower <= scores)
    assert np.all(np.diff(upper, axis=0) <= 0) and np.all(np.diff(lower, axis=0) >= 0)
    largest = 2 ** np.arange(3, -1, -1) - (margin == "exact")
    largest[-1] = 0
    width = largest[:, None, None] * np.abs(q).sum(1)[:, None]
    np.testing.assert_array_equal(upper - lower, np.broadcast_to(width, upper.shape))


def test_a_bound_is_tight_where_all_unseen_bits_raise_the_score(four_bits):
    """T4, of lanes in which the query is not zero."""
    q, k, _ = four_bits
    upper, _ = bounds(q, k, bits=4, per_cycle=1)
    agree = (q[:, None] > 0) == (k[None] >= 0)
    for cycle, unseen in enumerate((3, 2, 1)):
        rest = np.abs(k)[None] & (2**unseen - 1)
        tight = np.all((q[:, None] == 0) | (rest == np.where(agree, 2**unseen - 1, 0)), -1)
        np.testing.assert_array_equal(np.asarray(upper[cycle]) == q @ k.T, tight)


def test_worked_example():
    """Spec 2.2: the bound after m magnitude bits, exact and shifted."""
    q, k = np.array([[9, -5, 3, -8]]), np.array([[-7, 3, 2, 5]])
    found = partial(bounds, q, k, bits=5, per_cycle=1)  # 9 needs five bits of the query; the key's first is 0
    assert np.asarray(found()[0])[1:, 0, 0].tolist() == [21, -59, -87, -112]
    assert np.asarray(found(margin="shifted")[0])[1:, 0, 0].tolist() == [24, -56, -84, -112]
    assert terminate(q, k, 22, bits=5, per_cycle=1).cycles.item() == 2
    assert terminate(q, k, -87, bits=5, per_cycle=1).cycles.item() == 5  # U = -87 is not below it


# ---------------------------------------------------------------- any width and length

CASES = [  # bits, bits a cycle, lanes
    (5, 2, 128), (7, 7, 1), (8, 3, 64), (10, 1, 17), (12, 5, 128), (13, 4, 127), (14, 3, 128), (16, 2, 32),
    (16, 5, 128),
]  # fmt: skip
# Every width once; lanes that are not drawn are zeros up to 128, so that a width is one program. All else is slow.
WIDTHS = {bits: (1 + (5 * bits) % bits if bits % 4 else 1 + bits // 3, *KINDS[bits % 4]) for bits in range(4, 17)}
WHERE = st.sampled_from(["inside", "tie", "outside"])
SEED, SHARPNESS = st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 4, 30])


def operands(bits, lanes, form, seed, sharpness):
    """`sharpness` 0: only 0 and the extremes; else the smaller, the larger it is."""
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1) - 1
    least = -top - (form == "two's complement")
    if sharpness == 0:
        return (rng.choice([0, top, least, 1, -1], size=(4, lanes), p=[0.1, 0.4, 0.4, 0.05, 0.05]) for _ in range(2))
    return (np.clip((rng.uniform(least, top, (4, lanes)) / sharpness).astype(int), least, top) for _ in range(2))


def check_problem(bits, per_cycle, lanes, form, margin, seed, sharpness, where, padded=None):
    q, k = operands(bits, lanes, form, seed, sharpness)
    rng = np.random.default_rng(seed + 1)
    scores = q @ k.T
    levels = {
        "inside": rng.integers(scores.min(), scores.max() + 1, (4, 1)),
        "tie": np.full((4, 1), rng.choice(scores.ravel())),
        "outside": np.array([scores.min() - 1, scores.max() + 1, scores.min(), scores.max()])[:, None],
    }[where]
    given_ = (np.pad(x, ((0, 0), (0, (padded or lanes) - lanes))) for x in (q, k))
    found = terminate(*given_, levels, bits=bits, per_cycle=per_cycle, form=form, margin=margin)
    kept, exact, cycles = reference.termination(q, k, levels, bits, per_cycle, form, margin)
    np.testing.assert_array_equal(int64(found.scores), exact)
    np.testing.assert_array_equal(found.kept, kept)
    np.testing.assert_array_equal(found.kept, scores >= levels)
    np.testing.assert_array_equal(found.cycles, cycles)
    assert isinstance(found.scores, Wide) == is_wide(padded or lanes, bits)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_extremes_of_every_width(case):
    form, margin = KINDS[CASES.index(case) % 4]
    for seed, where in enumerate(("inside", "tie", "outside")):
        check_problem(*case, form, margin, seed, 0, where)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(WIDTHS)), st.integers(1, 128), SEED, SHARPNESS, WHERE)
def test_any_integers_of_every_width_and_length(bits, lanes, seed, sharpness, where):
    """V5: 4 to 16 bits, 1 to 128 lanes; survivors, exact scores and cycles, none wrong."""
    per_cycle, form, margin = WIDTHS[bits]
    check_problem(bits, per_cycle, lanes, form, margin, seed, sharpness, where, padded=128)


@SLOW
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(4, 16), st.integers(1, 128), st.sampled_from(KINDS), SEED, SHARPNESS, WHERE)
def test_any_integers_bits_a_cycle_lanes_and_form(data, bits, lanes, kind, seed, sharpness, where):
    """V5 with B in 1 to b and programs of as many lanes as are drawn."""
    check_problem(bits, data.draw(st.integers(1, bits)), lanes, *kind, seed, sharpness, where)


@pytest.mark.parametrize(("form", "value"), [("sign-magnitude", 2**15 - 1), ("two's complement", -(2**15))])
def test_all_lanes_at_the_largest_value(form, value):
    """Nothing overflows on the way: 128 lanes of 16 bits."""
    q, k, top = value * np.array([[1], [0]]) * np.ones(128, int), np.full((1, 128), value), 128 * value**2
    run = partial(terminate, q, k, bits=16, per_cycle=5, form=form)
    assert int64(run(top).scores).tolist() == [[top], [0]]
    assert run(top).kept.tolist() == [[True], [False]]
    assert run(top + 1).kept.tolist() == [[False], [False]]
    assert run(top + 1).cycles[1].item() == 1


def test_lanes_permute_and_signs_flip_together():
    """T7; a key of 0 has the sign +, so it is not flipped."""
    q, k = operands(8, 32, "sign-magnitude", 1, 2)
    k = np.where(k == 0, 1, k)
    rng = np.random.default_rng(2)
    order, flip = rng.permutation(32), rng.choice([-1, 1], 32)
    run = partial(terminate, threshold=50, bits=8, per_cycle=1)
    np.testing.assert_array_equal(run(q, k).cycles, run(q[:, order], k[:, order]).cycles)
    np.testing.assert_array_equal(run(q, k).cycles, run(q * flip, k * flip).cycles)


@pytest.mark.parametrize("bits", [4, 16], ids=["narrow", "Wide"])
def test_a_devices_threshold_of_64_bits_does_not_wrap(bits):
    """2**32 would be 0 in 32 bits; it saturates as the host's does."""
    q = np.full((1, 32), 2 ** (bits - 1) - 1)
    if bits == 16:
        q = np.full((1, 128), 2**15 - 1)
    best = int((q @ q.T).item())
    with jax.enable_x64(True):
        for level, kept in ((2**60, False), (-(2**60), True), (best, True), (best + 1, False), (2**40, False)):
            found = [terminate(q, q, given, bits=bits).kept.item() for given in (level, jnp.asarray(level, jnp.int64))]
            assert found == [kept, kept]
    if bits == 4:
        assert terminate(q, q, jnp.asarray(100, jnp.int8), bits=4).kept.item()


def test_thresholds_without_end_and_a_query_of_zeros():
    """T5."""
    q, k = operands(12, 64, "sign-magnitude", 0, 1)
    run = partial(terminate, bits=12, per_cycle=2)
    none, every = (run(q, k, integer_threshold(s * np.inf, 0.1, 0.1, 64, 12)) for s in (1, -1))
    assert not np.any(none.kept) and np.all(none.cycles == 1)
    assert np.all(every.kept) and np.all(every.cycles == 6)
    assert run(0 * q, k, 1).cycles.max() == 1
    assert run(0 * q, k, 0).cycles.min() == 6


# ---------------------------------------------------------------- the tables


@pytest.fixture(scope="module")
def gaussian():
    """Scores of 512 Gaussian queries and keys of 64 lanes; thresholds are quantiles of the integer scores."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((512, 64)), rng.standard_normal((512, 64))

    def at(bits):
        with jax.enable_x64(True):
            q, k = (np.asarray(quantised(x, step_of(np.abs(x).max(), bits), bits)) for x in vectors)
        scores = q.astype(np.int64) @ k.T
        return q, k, scores, {p: int(np.ceil(np.quantile(scores, p))) for p in P}

    return at


def printed(found):
    """Mean cycles, and those of pruned pairs, to three decimals."""
    cycles, kept = np.asarray(found.cycles, np.float64), np.asarray(found.kept)
    return f"{cycles.mean():.3f}", f"{cycles[~kept].mean():.3f}"


GOLDEN_12 = {  # spec 2.3: B = 1, 2, 3, 4, 6 and B = 2 with the shifted margin; of pruned pairs for B = 1, 2
    0.5: "9.139 4.700 3.200 2.512 1.679 4.709 6.277 3.400",
    0.6: "8.450 4.383 3.004 2.390 1.585 4.393 6.083 3.305",
    0.7: "7.695 4.032 2.793 2.248 1.476 4.042 5.850 3.189",
    0.75: "7.290 3.842 2.681 2.169 1.416 3.852 5.721 3.123",
    0.8: "6.860 3.638 2.565 2.079 1.353 3.647 5.575 3.048",
    0.85: "6.389 3.411 2.441 1.972 1.284 3.420 5.399 2.955",
    0.9: "5.858 3.149 2.305 1.839 1.206 3.157 5.175 2.832",
    0.95: "5.209 2.814 2.149 1.645 1.118 2.821 4.852 2.647",
    0.99: "4.398 2.375 1.946 1.333 1.032 2.379 4.322 2.338",
}


@pytest.mark.parametrize("column", [pytest.param(c, marks=SLOW if c in (2, 3, 4) else ()) for c in range(6)])
def test_mean_cycles_golden(gaussian, column):
    """V7, digit for digit; T8 and, with the table's rows as they rise, V9."""
    q, k, scores, levels = gaussian(12)
    per_cycle, margin = ((1, "exact"), (2, "exact"), (3, "exact"), (4, "exact"), (6, "exact"), (2, "shifted"))[column]
    before = None
    for p, row in GOLDEN_12.items():
        found = terminate(q, k, levels[p], per_cycle=per_cycle, margin=margin)
        np.testing.assert_array_equal(found.kept, scores >= levels[p])
        mean, of_pruned = printed(found)
        assert mean == row.split()[column], p
        if column < 2:
            assert of_pruned == row.split()[6 + column], p
        one = cycles_at(terminate(q, k, levels[p], per_cycle=1).cycles, per_cycle)
        assert jnp.all(found.cycles >= one) if margin == "shifted" else jnp.array_equal(found.cycles, one)  # V8
        assert before is None or jnp.all(found.cycles <= before)
        before = found.cycles


@pytest.mark.parametrize(("per_cycle", "golden"), [(2, "3.600 3.236 2.862 2.644"), (1, "6.944 6.085 5.296 4.883")])
def test_mean_cycles_of_eight_bits_golden(gaussian, per_cycle, golden):
    q, k, _, levels = gaussian(8)
    run = partial(terminate, bits=8, per_cycle=per_cycle)
    assert [printed(run(q, k, levels[p]))[0] for p in (0.5, 0.75, 0.9, 0.95)] == golden.split()


@pytest.mark.parametrize(("p", "sign_magnitude", "twos"), [(0.5, 4.7, 4.7), (0.75, 3.842, 3.843), (0.9, 3.149, 3.149)])
def test_twos_complement_takes_the_same_cycles_on_symmetric_data(gaussian, p, sign_magnitude, twos):
    """V8; the golden means of spec 2.2."""
    q, k, _, levels = gaussian(12)
    means = [float(printed(terminate(q, k, levels[p], form=form))[0]) for form in FORMS]
    assert means == [sign_magnitude, twos]


@pytest.mark.parametrize(("bits", "per_cycle"), [(8, 1), (8, 2), (12, 1), (12, 2), (12, 4)])
def test_closed_form(gaussian, bits, per_cycle):
    """V7: within 0.5 % of the simulation."""
    q, k, scores, levels = gaussian(bits)
    norm1, norm2 = np.abs(q).sum(1), np.linalg.norm(q, axis=1)
    run = partial(terminate, bits=bits, per_cycle=per_cycle)
    expected = jax.jit(partial(expected_cycles, bits=bits, per_cycle=per_cycle))
    for p in (0.5, 0.75, 0.9):
        simulated = float(np.mean(run(q, k, levels[p]).cycles))
        mean = float(expected(scores, levels[p], norm1, norm2).mean())
        assert mean == pytest.approx(simulated, rel=5e-3)


def test_closed_form_of_a_query_of_zeros():
    found = expected_cycles(np.zeros((2, 3)), np.array([[1], [-1]]), np.zeros(2), np.zeros(2))
    assert found.tolist() == [[1, 1, 1], [6, 6, 6]]


def test_closed_form_of_scores_beyond_32_bits():
    """Halves give what one number gives; near the threshold float32 of the whole scores would be off by thousands."""
    scores = np.asarray([[2**35 + 5, 2**35 - 7, -(2**34), 0]])
    level, norms = np.int64(2**35), (np.array([40.0]), np.array([9.0]))
    wide = [saturated(x, 128, 16) for x in (scores, level)]
    settled = {"bits": 16, "per_cycle": 4}
    near = expected_cycles(scores - level, 0, *norms, **settled)
    np.testing.assert_allclose(expected_cycles(*wide, *norms, **settled), near, rtol=1e-6)
    mixed = expected_cycles(wide[0], 0, *norms, **settled)
    np.testing.assert_allclose(mixed, expected_cycles(scores, 0, *norms, **settled), rtol=1e-6)


# ---------------------------------------------------------------- axes, transformations, devices


@pytest.fixture(scope="module")
def layer():
    """Two sequences, three heads: queries, keys and a threshold for each head."""
    rng = np.random.default_rng(9)
    q, k = (rng.integers(-2047, 2048, (2, 3, 5, 16)) for _ in range(2))
    return q, k, np.array([-(10**6), 0, 10**7])[:, None, None]


def test_heads_and_sequences_are_independent(layer):
    q, k, th = layer
    found = terminate(q, k, th)
    for i, h in itertools.product(range(2), range(3)):
        kept, scores, cycles = reference.termination(q[i, h], k[i, h], int(th[h, 0, 0]), 12, 2)
        np.testing.assert_array_equal(found.kept[i, h], kept)
        np.testing.assert_array_equal(found.scores[i, h], scores)
        np.testing.assert_array_equal(found.cycles[i, h], cycles)


def test_vmap_and_jit_give_the_same(layer):
    q, k, th = (jnp.asarray(x) for x in layer)
    whole = terminate(q, k, th)
    ways = [jax.jit(terminate)(q, k, th), jax.vmap(jax.vmap(terminate), in_axes=(0, 0, None))(q, k, th[:, 0, 0])]
    for found in ways:
        jax.tree.map(np.testing.assert_array_equal, found, whole)


def test_masked_pairs_take_no_cycle(layer):
    q, k, th = layer
    valid = np.tri(5, dtype=bool) & (np.arange(5) < 4)
    whole, found = terminate(q, k, th), terminate(q, k, th, where=valid)
    np.testing.assert_array_equal(found.cycles, np.where(valid, whole.cycles, 0))
    np.testing.assert_array_equal(found.kept, whole.kept & valid)
    padded = terminate(q, k, th, where=np.array([5, 2])[:, None, None, None] > np.arange(5))
    assert not np.any(padded.cycles[1, ..., 2:]) and np.all(padded.cycles[0] > 0)


def test_keys_shared_by_heads(layer):
    q, k, th = layer
    shared = terminate(q, k[:, :1], th)
    repeated = terminate(q, np.repeat(k[:, :1], 3, 1), th)
    jax.tree.map(np.testing.assert_array_equal, shared, repeated)


@pytest.mark.parametrize("bits", [11, 12, 14, 16])
def test_half_precision_products_are_exact(bits):
    """What an accelerator computes: a query of more than 12 bits takes two half-precision lanes."""
    q, k = operands(bits, 64, "two's complement", bits, 0)
    plane = k & 3
    found = plane_product(jnp.asarray(q, jnp.int32), jnp.asarray(plane, jnp.int32), bits, jnp.dtype(jnp.float16))
    np.testing.assert_array_equal(found, q @ plane.T)
