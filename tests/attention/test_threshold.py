"""Learned pruning: the soft threshold, L0, the hard rule, masks, and thresholds without training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_attention as reference
from scipy.stats import norm

from anaxon import attention
from anaxon.attention.threshold import sorted_on_device

GOLDEN = [  # spec 1.2: x, Th, f, df/dx, df/dTh, with s = 10 and c = 1000
    (1.0, 0.0, 1.000000, 1.0, -8.2446e-8),
    (0.05, 0.0, 0.023106, 0.85534, -0.39322),
    (-0.1, 0.0, -761.594156, 4199.7, -4199.7),
    (0.3, 0.5, -964.027580, 706.51, -706.51),
    (0.6, 0.5, 0.456956, 3.2814, -2.5198),
    (-0.95, -1.0, -0.439011, -7.0091, 7.4713),
]


# compiled as a whole: faster than one small operation after the other
count, kept, scores, weigh = (jax.jit(f) for f in (attention.count, attention.kept, attention.scores, attention.weigh))
l0, pruned_softmax = jax.jit(attention.l0, static_argnames=("sharpness",)), jax.jit(attention.pruned_softmax)
soft_softmax = jax.jit(attention.soft_softmax, static_argnames=("sharpness", "floor"))
soft_threshold = jax.jit(attention.soft_threshold, static_argnames=("sharpness", "floor"))
pruned = jax.jit(attention.pruned, static_argnames=("softmax",))


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def grads(x, threshold):
    """`df/dx, df/dTh`."""
    return jax.jit(jax.grad(soft_threshold, argnums=(0, 1)))(x, threshold)


@pytest.mark.parametrize(("x", "threshold", "f", "to_x", "to_threshold"), GOLDEN)
def test_soft_threshold_golden(x, threshold, f, to_x, to_threshold):
    """V1: listed digits, the formula, autodiff and finite differences."""
    with jax.enable_x64(True):
        found = [float(v) for v in (soft_threshold(x, threshold), *grads(x, threshold))]
        h = 1e-6
        to_f = lambda x, t: float(soft_threshold(x, t))  # noqa: E731
        steps = [to_f(x + h, threshold) - to_f(x - h, threshold), to_f(x, threshold + h) - to_f(x, threshold - h)]
    assert found[0] == pytest.approx(f, abs=5e-7)
    assert found[1:] == pytest.approx([to_x, to_threshold], rel=2e-5)  # five digits are listed
    assert found == pytest.approx(reference.soft_threshold(x, threshold), rel=1e-6)
    assert found[1:] == pytest.approx([s / (2 * h) for s in steps], rel=1e-6, abs=1e-9)


def test_soft_threshold_in_float32():
    x, threshold = normal(0, 4000), normal(1, 4000)
    found = soft_threshold(x, threshold)
    exact = [reference.soft_threshold(a, t)[0] for a, t in zip(np.float64(x), np.float64(threshold), strict=True)]
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


def test_soft_threshold_is_continuous_with_the_value_zero():
    """V1: at the threshold it is 0, not the threshold; there both gradients are those of the kept side."""
    assert float(soft_threshold(0.5, 0.5)) == 0
    assert [float(g) for g in grads(0.0, 0.0)] == [0, 0]
    near = soft_threshold(0.5 + jnp.asarray([-1e-6, 1e-6]), 0.5)
    assert float(near[0]) == pytest.approx(-1e-2, rel=0.1)  # c s dx
    assert float(near[1]) == pytest.approx(5e-6, rel=0.1)


def test_a_sharp_threshold_is_the_hard_rule():
    """V1, V4: kept scores are themselves, pruned ones weigh exactly 0."""
    x = normal(0, 2, 3, 8, 8)
    sharp = soft_threshold(x, 0.3, sharpness=1e6)
    np.testing.assert_array_equal(sharp, jnp.where(x >= 0.3, x, -1000.0))
    soft = soft_softmax(x, -0.5, sharpness=1e6)
    hard = pruned_softmax(x, -0.5)
    assert not count(x, -0.5).emptied.any()
    np.testing.assert_array_equal(hard == 0, x < -0.5)
    np.testing.assert_array_equal(soft == 0, x < -0.5)
    np.testing.assert_allclose(soft, hard, rtol=2e-6)


def test_half_precision_scores_are_widened():
    assert soft_threshold(jnp.asarray([0.5], jnp.bfloat16), 0.0).dtype == jnp.float32
    assert pruned_softmax(jnp.ones((1, 1, 1, 2), jnp.float16), 0.0).dtype == jnp.float32


@pytest.mark.parametrize(("s", "delta"), [(10, 0.380020), (5, 0.760), (1, 3.80), (100, 0.0380), (1000, 0.00380)])
def test_edge_golden(s, delta):
    """V2."""
    assert attention.edge(sharpness=s) == pytest.approx(delta, rel=1e-4)
    with jax.enable_x64(True):
        assert float(l0(jnp.asarray([0.7 - attention.edge(sharpness=s)]), 0.7, sharpness=s)) == pytest.approx(
            0.5, abs=1e-9
        )


def test_l0_golden():
    """Spec 1.3."""
    with jax.enable_x64(True):
        value, slope = jax.value_and_grad(lambda t: l0(jnp.asarray([-0.38]), t))(0.0)
        assert float(value) == pytest.approx(0.510054, abs=5e-7)
        assert float(slope) == pytest.approx(-499.75, rel=1e-5)
        assert float(l0(jnp.asarray([-0.5]), 0.0)) == pytest.approx(3.26e-40, rel=2e-3)
    assert float(l0(jnp.asarray([-0.1]), 0.0)) == 1
    assert float(l0(jnp.asarray([-0.38]), 0.0)) == pytest.approx(0.510054, abs=1e-4)


def test_l0_is_the_sigmoid_of_the_soft_threshold():
    with jax.enable_x64(True):
        x = jnp.linspace(-0.384, -0.376, 41)
        lifted = soft_threshold(x, 0.0) + 1000 - 1
        np.testing.assert_allclose(jax.vmap(lambda a: l0(a, 0.0))(x), jax.nn.sigmoid(100 * lifted), rtol=1e-9)


@pytest.mark.parametrize(
    ("threshold", "value", "slope"), [(-1, 0.91621, -0.154), (0, 0.64803, -0.371), (1, 0.26764, -0.329)]
)
def test_l0_is_the_tail_probability_and_its_gradient_the_density(threshold, value, slope):
    """V2: normal scores, at their quantiles."""
    x = jnp.asarray(norm.ppf((np.arange(1_000_000) + 0.5) / 1e6), jnp.float32)
    found = jax.jit(jax.value_and_grad(lambda t: l0(x, t)))(float(threshold))
    assert float(found[0]) == pytest.approx(norm.sf(threshold - attention.edge()), abs=1e-5)
    assert float(found[0]) == pytest.approx(value, abs=2e-5)
    assert float(found[1]) == pytest.approx(slope, rel=0.02)


def test_l0_never_asks_for_a_lower_threshold():
    """V3."""
    x, thresholds = normal(0, 4, 2, 16, 16), jnp.linspace(-3, 3, 301)
    slopes = jax.vmap(jax.grad(lambda t: l0(x, t, sharpness=1.0)))(thresholds)
    assert (slopes <= 0).all()
    assert (slopes < -0.01).any()


def test_hard_attention_is_the_reference():
    """V6's ties, V13, per-head thresholds, causal and padding masks, an emptied row."""
    q, k, v = normal(0, 2, 6, 3, 4), normal(1, 2, 6, 3, 4), normal(2, 2, 6, 3, 4)
    threshold = np.asarray([-0.2, 0.3, 0.9], np.float32)
    valid = np.tril(np.ones((6, 6), bool)) & (np.arange(6) < np.asarray([6, 4])[:, None])[:, None, None]
    output, counts = pruned(q, k, v, threshold[:, None, None], where=valid)
    total = np.zeros((4, 3), int)
    for b in range(2):
        for h in range(3):
            parts = [np.asarray(a[b, :, h], np.float64) for a in (q, k, v)]
            exact, _, numbers = reference.pruned_attention(*parts, threshold[h], valid[b, 0])
            np.testing.assert_allclose(output[b, :, h], exact, atol=2e-6)
            total[:, h] += numbers
    np.testing.assert_array_equal(np.stack(counts), total)
    assert total[3].sum() > 0  # rows that lost everything are there, and were 0
    assert float(counts.pruning_rate) == pytest.approx(1 - total[1].sum() / total[0].sum())


def test_a_tie_is_kept():
    x = jnp.asarray([[[[0.5, 0.25, 0.75]]]])
    np.testing.assert_array_equal(kept(x, 0.5)[0, 0, 0], [True, False, True])
    assert int(count(x, 0.5).kept[0]) == 2


def test_rows_sum_to_one_over_survivors_and_the_error_is_bounded():
    """V13: by twice the pruned probability times the largest value."""
    q, k, v = normal(0, 3, 12, 2, 8), normal(1, 3, 12, 2, 8), normal(2, 3, 12, 2, 8)
    x = scores(q, k)
    dense, weights = pruned_softmax(x, -jnp.inf), pruned_softmax(x, 0.2)
    np.testing.assert_allclose(dense, jax.nn.softmax(x), rtol=2e-6)
    filled = kept(x, 0.2).any(-1)
    np.testing.assert_allclose(weights.sum(-1), filled, atol=1e-6)
    removed = jnp.where(x < 0.2, dense, 0).sum(-1)
    assert (removed <= (x < 0.2).sum(-1) * jnp.exp(0.2 - x.max(-1)) + 1e-6).all()
    error = jnp.linalg.norm(weigh(weights, v) - weigh(dense, v), axis=-1)
    largest = jnp.linalg.norm(v, axis=-1).max(1)  # [batch, heads]
    bound = 2 * removed * largest[..., None]
    assert (jnp.where(filled, error.swapaxes(1, 2) - bound, 0) <= 1e-6).all()


def test_permuting_keys_and_heads_permutes_what_survives():
    """V15."""
    q, k, v = normal(0, 2, 7, 4, 8), normal(1, 2, 7, 4, 8), normal(2, 2, 7, 4, 8)
    order, heads = np.random.default_rng(0).permutation(7), np.asarray([2, 0, 3, 1])
    output, counts = pruned(q, k, v, 0.1)
    shuffled, same = pruned(q, k[:, order], v[:, order], 0.1)
    np.testing.assert_allclose(shuffled, output, atol=1e-6)
    np.testing.assert_array_equal(np.stack(same), np.stack(counts))
    x = scores(q, k)
    np.testing.assert_array_equal(kept(scores(q, k[:, order]), 0.1), kept(x, 0.1)[..., order])
    other, moved = pruned(q[:, :, heads], k[:, :, heads], v[:, :, heads], 0.1)
    np.testing.assert_allclose(other, output[:, :, heads], atol=1e-6)
    np.testing.assert_array_equal(np.stack(moved), np.stack(counts)[:, heads])


@pytest.mark.parametrize("softmax", [attention.pruned_softmax, attention.soft_softmax])
def test_a_padded_batch_is_its_sequences(softmax):
    lengths = (5, 3, 5)
    q, k, v = normal(0, 3, 8, 2, 4), normal(1, 3, 8, 2, 4), normal(2, 3, 8, 2, 4)
    inside = np.arange(8) < np.asarray(lengths)[:, None]
    valid = inside[:, None, :, None] & inside[:, None, None, :]
    k = jnp.where(inside[..., None, None], k, 1e4)  # what stands in the padding must not matter
    output, counts = pruned(q, k, v, 0.1, where=valid, softmax=softmax)
    share = l0(scores(q, k), 0.1, where=valid)
    total, sum_kept = 0, 0.0
    for b, n in enumerate(lengths):
        q1, k1, v1 = (a[b : b + 1, :n] for a in (q, k, v))
        alone, numbers = pruned(q1, k1, v1, 0.1, softmax=softmax)
        np.testing.assert_allclose(output[b : b + 1, :n], alone, atol=1e-6)
        total = total + np.stack(numbers)
        sum_kept += float(l0(scores(q1, k1), 0.1)) * n * n
    np.testing.assert_array_equal(np.stack(counts), total)
    assert float(share) == pytest.approx(sum_kept / sum(n * n for n in lengths), rel=1e-6)
    assert (output[1, 3:] == 0).all()


@pytest.mark.parametrize("masked", [1e30, -jnp.inf, -jnp.finfo(jnp.float32).max])
@pytest.mark.parametrize("threshold", [0.2, -50.0, 50.0])
def test_gradients_are_finite_where_scores_are_huge_or_masked(masked, threshold):
    valid = jnp.asarray([[True, True, False], [False, False, False]])[None, None]
    x = jnp.asarray([[0.1, 0.5, masked], [masked, masked, 1.0]], jnp.float32)[None, None]

    def loss(x, t):
        soft = soft_softmax(x, t, valid)
        hard = pruned_softmax(x, t, valid)
        return jnp.sum((soft + hard) * jnp.arange(3.0)) + l0(x, t, where=valid)

    value, slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x, jnp.float32(threshold))
    assert np.isfinite(value)
    assert all(np.isfinite(s).all() for s in slopes)
    assert (slopes[0][~valid] == 0).all()


def test_infinite_scores_without_a_mask_have_finite_gradients():
    """A mask that was added, as many models do."""
    x = jnp.asarray([0.5, -jnp.inf, -1e38])
    slopes = jax.grad(lambda x, t: soft_threshold(x, t).sum(), argnums=(0, 1))(x, 0.1)
    assert all(np.isfinite(s).all() for s in slopes)


def test_nan_shows():
    x = jnp.asarray([[[[0.5, jnp.nan, 0.7]]]])
    assert np.isnan(pruned_softmax(x, 0.6)).any()
    assert np.isnan(soft_softmax(x, 0.6)).any()
    assert np.isnan(soft_softmax(x, jnp.nan)).all()


def test_an_emptied_row_is_zero_in_training_too():
    x = jnp.asarray([[[[-3.0, -5.0, -4.0, 9.0], [2.5, -5.0, -4.0, 9.0]]]])
    weights = soft_softmax(x, 2.0, jnp.asarray([1, 1, 1, 0]))
    np.testing.assert_array_equal(weights[0, 0], [[0, 0, 0, 0], [1, 0, 0, 0]])


def test_nothing_valid_is_nothing():
    x, none = normal(0, 1, 2, 3, 3), jnp.zeros((3, 3), bool)
    assert float(l0(x, 0.0, where=none)) == 0
    counts = count(x, 0.0, none)
    assert np.stack(counts).sum() == 0
    assert float(counts.pruning_rate) == 0


def test_shared_key_heads():
    """Grouped queries: as if the keys were repeated."""
    q, k, v = normal(0, 1, 5, 4, 8), normal(1, 1, 5, 2, 8), normal(2, 1, 5, 2, 8)
    grouped, _ = pruned(q, k, v, 0.1)
    repeated, _ = pruned(q, jnp.repeat(k, 2, 2), jnp.repeat(v, 2, 2), 0.1)
    np.testing.assert_array_equal(grouped, repeated)
    with pytest.raises(ValueError, match="key heads: expected a divisor of the query's 3; got 2"):
        scores(q[:, :, :3], k)
    with pytest.raises(ValueError, match="the query's depth, 8"):
        scores(q, k[..., :4])


@pytest.mark.parametrize("per_head", [False, True])
def test_quantile_thresholds_are_exact(per_head):
    """Over several batches of different lengths, with padding full of large scores."""
    x = [normal(0, 2, 3, 5, 5), normal(1, 1, 3, 9, 9)]
    where = [np.arange(5) < 3, np.tril(np.ones((9, 9), bool))]
    x[0] = jnp.where(where[0], x[0], 1e9)
    rates = np.asarray([0.0, 0.25, 0.9, 1.0])
    found = attention.quantile_threshold(x, rates, where, per_head=per_head)
    assert found.shape == ((4, 3) if per_head else (4,))
    for rate, threshold in zip(rates, found, strict=True):
        at = threshold[:, None, None] if per_head else threshold
        counts = [count(a, at, m) for a, m in zip(x, where, strict=True)]
        pairs, left = (sum(np.asarray(getattr(c, n)) for c in counts) for n in ("pairs", "kept"))
        pairs, left = (pairs, left) if per_head else (pairs.sum(), left.sum())
        np.testing.assert_array_equal(pairs - left, np.floor(rate * pairs + 0.5))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((jnp.ones((1, 1, 2, 2)), 1.5), "rate: expected shares from 0 to 1; got 1.5"),
        ((jnp.ones((1, 1, 2, 2)), np.nan), "rate: expected shares"),
        (([jnp.ones((1, 1, 2, 2))], 0.5, [True, True]), "got 2 masks"),
        ((jnp.ones((1, 1, 2, 2)), 0.5, jnp.zeros((2, 2))), "no valid score"),
        ((jnp.full((1, 1, 2, 2), jnp.nan), 0.5), "NaN"),
        (([], 0.5), "no scores"),
    ],
)
def test_quantile_thresholds_refuse(args, message):
    with pytest.raises(ValueError, match=message):
        attention.quantile_threshold(*args)


def test_an_accelerator_sorts_to_the_same_thresholds():
    """Its program on a CPU: the same places among valid scores; NaN counts where it is valid, masked or not beside."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(2, 3, 4, n)).astype(np.float32), rng.random((2, 3, 4, n)) < 0.7) for n in (5, 8)]
    ordered, broken = sorted_on_device([(jnp.asarray(a), jnp.asarray(m)) for a, m in pairs])
    valid = np.sort(np.concatenate([a[m] for a, m in pairs]))
    np.testing.assert_array_equal(ordered[: len(valid)], valid)
    assert not broken and np.isinf(ordered[len(valid) :]).all()
    (a, m), _ = pairs
    a[tuple(np.argwhere(m)[0])] = np.nan
    assert sorted_on_device(pairs)[1]
    a[~m] = np.nan
    a[m] = 0.0
    assert not sorted_on_device(pairs)[1]
