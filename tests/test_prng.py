import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from anaxon import prng

KEY = jax.random.key(3)
N = 1 << 22


@pytest.fixture(scope="module")
def codes():
    return np.asarray(jax.jit(lambda k: prng.codes(k, (N,)))(KEY))


@pytest.fixture(scope="module")
def normals():
    return np.sort(np.asarray(jax.jit(lambda k: prng.normal(k, (N,)))(KEY), np.float64))


def coarse(code):
    """The 16-bit code of a refined one."""
    return np.where(code < prng.HALF, code, np.where(code < 2 * prng.HALF, 0, prng.HALF - 1))


def chi_square_z(counts):
    """z of the chi-square statistic of equally likely cells."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def test_codes_are_uniform(codes):
    assert codes.min() >= 0 and codes.max() < prng.TABLE_SIZE
    assert abs(chi_square_z(np.bincount(coarse(codes), minlength=prng.HALF))) < 5
    u = prng.probabilities()[codes]
    assert abs(u.mean() - 0.5) < 5 * math.sqrt(1 / 12 / N)
    assert abs(u.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / N)


def test_extreme_codes_are_always_subdivided_and_evenly(codes):
    assert not np.any((codes == 0) | (codes == prng.HALF - 1))
    for first in (prng.HALF, 2 * prng.HALF):
        fine = codes[(codes >= first) & (codes < first + prng.HALF)] - first
        mean = N / prng.HALF
        assert abs(fine.size - mean) < 5 * math.sqrt(mean)
        assert abs(fine.mean() / prng.HALF - 0.5) < 5 * math.sqrt(1 / 12 / fine.size)


def test_the_two_codes_of_a_word_are_independent():
    first, second = (coarse(np.asarray(c)) for c in jax.jit(lambda k: prng.code_pairs(k, (N,)))(KEY))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / math.sqrt(N)
    assert abs(np.corrcoef(np.abs(first - 32767.5), np.abs(second - 32767.5))[0, 1]) < 5 / math.sqrt(N)
    joint = np.bincount((first >> 8) * 256 + (second >> 8), minlength=1 << 16)
    assert abs(chi_square_z(joint)) < 5


def test_neighbours_and_halves_are_uncorrelated(codes):
    u = prng.probabilities()[codes]
    for lag in (1, 2, N // 2):  # the halves of one word lie half the array apart
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 5 / math.sqrt(N - lag)


def test_probabilities_are_the_middles_of_the_codes():
    p = prng.probabilities()
    assert p.shape == (prng.TABLE_SIZE,)
    np.testing.assert_allclose([p[1], p[prng.HALF - 2]], [1.5 / 65536, 65534.5 / 65536], rtol=1e-12)
    np.testing.assert_allclose([p[prng.HALF], 1 - p[-1]], [0.5 / 2**32, 0.5 / 2**32], rtol=1e-6)
    # the fine codes fill exactly the extreme coarse codes
    np.testing.assert_allclose([p[2 * prng.HALF - 1], 1 - p[2 * prng.HALF]], [1 / 65536] * 2, rtol=1e-4)


def test_lookup_indexes():
    table = np.random.default_rng(0).random(prng.TABLE_SIZE, np.float32)
    code = np.array([[0, 5], [prng.HALF, prng.TABLE_SIZE - 1]])
    np.testing.assert_array_equal(prng.lookup(jnp.asarray(table), code), table[code])


def test_normals_have_the_normal_distribution(normals):
    # Kolmogorov-Smirnov at every 64th order statistic against erf; quantising adds 2**-16 at most
    at = np.arange(0, N, 64)
    cdf = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in normals[at]])
    assert np.abs(cdf - (at + 0.5) / N).max() < 1.95 / math.sqrt(N) + 2**-16  # p = 1e-3
    for power, mean, var in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(normals**power) - mean) < 5 * math.sqrt(var / N)


@pytest.mark.parametrize("score", [3.0, 4.0, 4.5])
def test_normal_tails(normals, score):
    expected = N * NormalDist().cdf(-score)
    for count in (np.sum(normals < -score), np.sum(normals > score)):
        assert abs(count - expected) < 5 * math.sqrt(expected)


def test_normals_are_the_quantiles_of_the_codes(codes, normals):
    """Each normal is the float32 quantile of its code's mid-probability, in the tails too."""
    picked = np.concatenate([np.arange(500), N // 2 + np.arange(500), N - 500 + np.arange(500)])
    p = np.sort(prng.probabilities()[codes])[picked]
    np.testing.assert_allclose(normals[picked], [NormalDist().inv_cdf(v) for v in p], rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("draw", [prng.normal, prng.codes], ids=["normal", "codes"])
@pytest.mark.parametrize("shape", [(), (7, 3)])
def test_vmap_draws_the_bits_of_a_loop(draw, shape):
    keys = jax.random.split(KEY, 5)
    one = jax.jit(lambda k: draw(k, shape))
    looped = np.stack([one(k) for k in keys])
    assert looped.shape == (5, *shape)
    np.testing.assert_array_equal(jax.vmap(one)(keys), looped)
    np.testing.assert_array_equal(jax.lax.map(one, keys), looped)
    np.testing.assert_array_equal(jax.lax.map(one, keys, batch_size=2), looped)


def test_names_fold_to_the_same_key_in_every_process():
    """Constants computed in another process: a stored chip must find its cells again."""
    key = jax.random.key(0)
    got = [jax.random.key_data(prng.fold_name(key, name)).tolist() for name in ("encoder/0/kernel", "b")]
    assert got == [[3919332111, 1890579888], [1023922862, 306676512]]


def test_a_good_key_passes_as_it_is():
    assert prng.check_key(KEY) is KEY


def test_a_tracer_of_a_key_passes():
    assert jax.jit(lambda k: jax.random.bits(prng.check_key(k)))(KEY) == jax.random.bits(KEY)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_rbg_is_refused(impl):
    with pytest.raises(ValueError, match="read_key: the rbg generator"):
        prng.check_key(jax.random.key(0, impl=impl), "read_key")


@pytest.mark.parametrize("bad", [0, None, jax.random.PRNGKey(0), np.zeros(2, np.uint32)], ids=str)
def test_anything_but_a_typed_key_is_refused(bad):
    with pytest.raises(TypeError, match=r"key: expected a typed key, jax.random.key\(seed\); got"):
        prng.check_key(bad)


def test_many_keys_are_refused():
    with pytest.raises(TypeError, match=r"expected one key; got an array of keys of shape \(3,\)"):
        prng.check_key(jax.random.split(KEY, 3))


@pytest.fixture(scope="module")
def side_by_side():
    """Seven arrays of one key: two hashes, the second one not used up."""
    return [np.asarray(x, np.float64) for x in jax.jit(lambda k: prng.normals(k, 7, (N // 8,)))(KEY)]


def test_normals_side_by_side_are_normal(side_by_side):
    everything = np.sort(np.concatenate(side_by_side))
    n = everything.size
    exact = scipy.stats.norm.cdf(everything)
    distance = max(np.abs(np.arange(1, n + 1) / n - exact).max(), np.abs(np.arange(n) / n - exact).max())
    assert distance < 1.95 / math.sqrt(n) + 2**-17  # p = 1e-3, and the cells of probability
    for limit in (3.0, 4.0, 5.0):
        expected = n * 2 * scipy.stats.norm.sf(limit)
        assert abs((np.abs(everything) > limit).sum() - expected) < 5 * math.sqrt(expected) + 1
    assert abs(everything.mean()) < 5 / math.sqrt(n) and abs(everything.var() - 1) < 5 * math.sqrt(2 / n)


def test_normals_side_by_side_are_independent(side_by_side):
    n = side_by_side[0].size
    for values in (np.stack(side_by_side), np.stack(side_by_side) ** 2):
        correlation = np.corrcoef(values)
        assert np.abs(correlation - np.eye(7)).max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_normals_are_the_same_numbers_on_a_cpu_and_an_accelerator(count):
    here, there = prng.normals_side_by_side(KEY, count, (3, 5)), prng.normals_stacked(KEY, count, (3, 5))
    np.testing.assert_array_equal(np.stack(here), np.stack(there))


def test_normals_are_the_quantiles_of_their_codes():
    """Every 16-bit code, and the cells into which the two extreme ones are cut."""
    code = jnp.arange(prng.HALF, dtype=jnp.uint32)
    middle = np.asarray(prng._quantile(code, jnp.zeros_like(code)), np.float64)[1:-1]
    exact = scipy.special.ndtri((np.arange(1, prng.HALF - 1) + 0.5) / prng.HALF)
    np.testing.assert_allclose(middle, exact, rtol=3e-6, atol=3e-7)
    for end, sign in ((0, 1), (prng.HALF - 1, -1)):
        fine = np.asarray(prng._quantile(jnp.full_like(code, end), code), np.float64)
        exact = sign * scipy.special.ndtri((np.arange(prng.HALF) + 0.5) / prng.HALF**2)
        usual = np.abs(exact) < 5.5
        np.testing.assert_allclose(fine[usual], exact[usual], rtol=3e-6)
        np.testing.assert_allclose(fine, exact, rtol=5e-4)


def test_other_generators_draw_too():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prng.threefry, "is_threefry", lambda key: False)
        found = prng.normals(KEY, 3, (1 << 16,))
    values = np.stack([np.asarray(x, np.float64) for x in found])
    assert np.abs(np.corrcoef(values) - np.eye(3)).max() < 5 / 256 and abs(values.std() - 1) < 0.01
