import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon import decoding


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def slow_kl(log_p, log_q, lengths):
    means = []
    for p, q, n in zip(log_p, log_q, lengths, strict=True):
        frames = [sum(np.exp(p[t, v]) * (p[t, v] - q[t, v]) for v in range(p.shape[1])) for t in range(n)]
        means.append(np.mean(frames))
    return np.array(means)


def test_kl_is_the_mean_over_valid_frames():
    rng = np.random.default_rng(0)
    p, q = log_softmax(rng.normal(0, 2, (3, 6, 5))), log_softmax(rng.normal(0, 2, (3, 6, 5)))
    lengths = np.array([6, 3, 1])
    expected = slow_kl(p, q, lengths)
    p[1, 3:], q[2, 1:], q[1, 4:] = np.nan, -np.inf, 7.0
    np.testing.assert_allclose(decoding.kl(p, q, lengths), expected, rtol=2e-6)
    assert decoding.kl(p, p, np.array([6, 3, 0])).tolist() == [0, 0, 0]


def test_zeros():
    p, q = np.log([0.5, 0.5, 1e-300]), np.log([0.25, 0.5, 0.25])
    p[2] = -np.inf
    args = [np.broadcast_to(x, (1, 2, 3)) for x in (p, q)]
    np.testing.assert_allclose(decoding.kl(*args, np.array([2])), [0.5 * np.log(2)], rtol=1e-6)
    assert np.isinf(decoding.kl(*args[::-1], np.array([2])))[0]  # what p says may happen, q excludes


def test_a_broken_network_is_not_a_perfect_one():
    p = log_softmax(np.random.default_rng(1).normal(size=(1, 3, 4)))
    broken = p.copy()
    broken[0, 1, 1] = np.nan
    assert np.isnan(decoding.kl(p, broken, np.array([3])))[0] and np.isnan(decoding.kl(broken, p, np.array([3])))[0]


def test_gradient_is_finite_beside_padding():
    p = jnp.asarray(log_softmax(np.random.default_rng(2).normal(size=(1, 3, 4))))
    q = p.at[0, 2].set(-jnp.inf)
    grad = jax.grad(lambda q: decoding.kl(p, q, jnp.array([2])).sum())(q)
    np.testing.assert_allclose(grad[0, :2], -np.exp(p[0, :2]) / 2, rtol=1e-5)
    assert (grad[0, 2] == 0).all()


def test_bad_input():
    with pytest.raises(ValueError, match="log_q: expected the shape of log_p"):
        decoding.kl(np.zeros((1, 2, 3)), np.zeros((1, 2, 4)), np.array([2]))
