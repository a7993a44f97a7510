"""Functions of normal variables: golden figures of independent derivations, and the same integrals by another rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from anaxon.normal import Clip, clip_moments, folded_mean, function_moments, hermite


def relu_covariance(mean, variance, block, orders):
    """`sum d_n d_n' c^n / n!` of a pair, like the equation, in float64."""
    s = np.sqrt(variance)
    a = np.asarray(mean) / s
    total = norm.cdf(a[0]) * norm.cdf(a[1]) * block
    factorial = 1.0
    for n in range(2, orders + 1):
        factorial *= n
        he = np.polynomial.hermite_e.hermeval(a, [0] * (n - 2) + [1])
        d = (-1.0) ** n * he * norm.pdf(a) / s ** (n - 1)
        total += d[0] * d[1] * block**n / factorial
    return total


def test_relu_moments_golden():
    """Spec V2: variance 0.25."""
    mu = jnp.asarray([-1, -0.1, 0, 0.1, 1.0])
    found = clip_moments(Clip(low=0.0), mu, jnp.full(5, 0.25))
    np.testing.assert_allclose(found.mean[0], [0.00424534, 0.15344733, 0.19947115, 0.25344732, 1.00424540], rtol=2e-6)
    golden = [0.00142417, 0.06629425, 0.08521127, 0.10592410, 0.24004912]
    np.testing.assert_allclose(found.covariance[0, 0], golden, rtol=4e-6)


def test_relu_moments_in_float64():
    with jax.enable_x64(True):
        mu, v = jnp.asarray([-1, -0.1, 0, 0.1, 1.0]), jnp.full(5, 0.25)
        found = clip_moments(Clip(low=0.0), mu, v)
        for i, m in enumerate(np.asarray(mu)):
            power = lambda p, m=m: quad(lambda x: x**p * norm.pdf(x, m, 0.5), 0, 12, epsabs=1e-15, points=[abs(m)])[0]  # noqa: E731
            assert float(found.mean[0, i]) == pytest.approx(power(1), rel=1e-12)
            assert float(found.covariance[0, 0, i]) == pytest.approx(power(2) - power(1) ** 2, rel=1e-11)


@pytest.mark.parametrize(
    ("mean", "variance", "block", "golden"),
    [((0.3, -0.2), (1.0, 0.5), 0.4, {1: 0.09606, 2: 0.112599}), ((0.0, 0.0), (1.0, 1.0), 0.9, {1: 0.225, 2: 0.289458})],
)
def test_relu_covariance_golden(mean, variance, block, golden):
    """Spec V3: the first orders of the Hermite series; two of them are kept."""
    found = clip_moments(Clip(low=0.0), jnp.asarray(mean), jnp.asarray(variance))
    d = np.asarray(found.slopes[:, 0], np.float64)
    ours = np.cumsum([d[0, 0] * d[0, 1] * block, d[1, 0] * d[1, 1] * block**2 / 2])
    for order, value in golden.items():
        assert ours[order - 1] == pytest.approx(relu_covariance(mean, np.asarray(variance), block, order), rel=1e-6)
        assert ours[order - 1] == pytest.approx(value, rel=6e-5)  # as many digits as were listed


@pytest.mark.parametrize(
    ("mu", "variance", "mean", "spread"),
    [(-1.0, 0.25, 0.337550, 0.020686), (0.0, 1.0, 0.806059, 0.271515), (1.0, 4.0, 1.642495, 1.845441)],
)
def test_softplus_golden(mu, variance, mean, spread):
    """Spec V4: exact values, where Taylor series diverge."""
    found = function_moments(lambda x: (jax.nn.softplus(x),), jnp.asarray([mu]), jnp.asarray([variance]))
    assert float(found.mean[0, 0]) == pytest.approx(mean, rel=2e-6)
    assert float(found.covariance[0, 0, 0]) == pytest.approx(spread, rel=2e-5)  # golden has six digits after the point


@pytest.mark.parametrize("fn", [jnp.tanh, jax.nn.gelu, jax.nn.silu, jax.nn.sigmoid, jnp.exp], ids=lambda f: f.__name__)
def test_quadrature_in_float64(fn):
    with jax.enable_x64(True):
        mu, v = jnp.asarray([-0.7, 0.2, 1.3]), jnp.asarray([0.5, 0.01, 0.4])
        found = function_moments(lambda x: (fn(x),), mu, v)
        for i in range(3):
            check(fn, float(mu[i]), float(v[i]) ** 0.5, [np.asarray(part)[..., i] for part in found])


def check(fn, m, s, found):
    """Mean, variance and slopes of one variable, by adaptive integration."""
    mean, covariance, slopes = found
    f = lambda x: float(fn(jnp.float64(x)))  # noqa: E731
    e = lambda g: quad(lambda z: g(m + s * z, z) * norm.pdf(z), -9, 9, epsabs=1e-13, epsrel=1e-12)[0]  # noqa: E731
    first = e(lambda x, z: f(x))
    assert mean[0] == pytest.approx(first, rel=1e-11)
    assert covariance[0, 0] == pytest.approx(e(lambda x, z: (f(x) - first) ** 2), rel=1e-10)
    for n in (1, 2):
        slope = e(lambda x, z, n=n: f(x) * float(hermite(n, jnp.float64(z)))) / s**n
        assert slopes[n - 1, 0] == pytest.approx(slope, rel=1e-7, abs=1e-9)


def test_closed_form_and_quadrature_agree_on_clips():
    rng = np.random.default_rng(0)
    mu, v = jnp.asarray(rng.normal(size=50), jnp.float32), jnp.asarray(rng.uniform(0.05, 2, 50), jnp.float32)
    form = Clip(scale=-2.0, low=-0.5, high=0.8, offset=3.0)
    one = clip_moments(form, mu, v)
    two = function_moments(lambda x: (-2.0 * jnp.clip(x, -0.5, 0.8) + 3.0,), mu, v)
    np.testing.assert_allclose(one.mean, two.mean, atol=5e-4)
    np.testing.assert_allclose(one.covariance, two.covariance, atol=2e-3)
    np.testing.assert_allclose(one.slopes[0], two.slopes[0], atol=1e-2)


@pytest.mark.slow
def test_a_certain_value_stays_certain_and_has_gradients():
    mu, v = jnp.asarray([-1.0, 0.0, 2.0]), jnp.zeros(3)
    for found in (clip_moments(Clip(low=0.0), mu, v), function_moments(lambda x: (jax.nn.relu(x),), mu, v)):
        np.testing.assert_array_equal(found.mean[0], [0, 0, 2])
        np.testing.assert_array_equal(found.covariance[0, 0], 0)
    slopes = jax.grad(lambda m, s: clip_moments(Clip(low=0.0), m, s).mean.sum(), argnums=(0, 1))(mu, v)
    assert all(np.isfinite(s).all() for s in slopes)


def test_folded_mean():
    mu, s = 0.3, 0.5
    golden = s * np.sqrt(2 / np.pi) * np.exp(-(mu**2) / (2 * s**2)) + mu * (1 - 2 * norm.cdf(-mu / s))
    assert float(folded_mean(jnp.float32(mu), jnp.float32(s**2))) == pytest.approx(golden, rel=1e-6)


@pytest.mark.parametrize(
    ("mean", "variance", "block", "golden"),
    [((0.3, -0.2), (1.0, 0.5), 0.4, 0.112693), ((0.0, 0.0), (1.0, 1.0), 0.9, 0.295614)],
)
def test_what_two_orders_leave_out(mean, variance, block, golden):
    """Spec V3: the exact covariance by integration, which the orders come to from below, two of them within 2.1 %."""
    exact = given_one(mean, variance, block)
    assert exact == pytest.approx(golden, abs=6e-7)
    assert relu_covariance(mean, np.asarray(variance), block, 100) == pytest.approx(exact, rel=1e-5)
    found = clip_moments(Clip(low=0.0), jnp.asarray(mean), jnp.asarray(variance))
    d = np.asarray(found.slopes[:, 0], np.float64)
    two = d[0, 0] * d[0, 1] * block + d[1, 0] * d[1, 1] * block**2 / 2
    assert 0 < exact - two < 0.021 * exact


def given_one(mean, variance, block):
    """`Cov(max(X, 0), max(Y, 0))`, one integral over X of the mean given X."""
    (m, n), (v, w) = mean, variance
    s, rest = v**0.5, (w - block**2 / v) ** 0.5
    relu = lambda mu, sd: mu * norm.cdf(mu / sd) + sd * norm.pdf(mu / sd)  # noqa: E731
    inner = lambda x: x * relu(n + block / v * (x - m), rest) * norm.pdf(x, m, s)  # noqa: E731
    return quad(inner, 0, m + 12 * s, epsabs=1e-14)[0] - relu(m, s) * relu(n, w**0.5)
