"""ADC and DAC codes of normal values: mean and variance from exact to white noise, by the spread in steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import anaxon as ax
from anaxon.interpret.moments.rounding import Residual, shared

PARAMS = {"w": jax.random.uniform(jax.random.key(0), (4, 40), minval=-1.0).at[0, 0].set(1.0)}
X = jnp.asarray([[1.0, 0.25, -0.5, 0.75]])
STEP = 0.125


def fn(params, x):
    return x @ params["w"]


def plan_of(sigma, steps=24, **kwargs):
    adc = ax.ADC(full_scale=STEP * steps, step=STEP, steps=steps)
    hardware = ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None), adc=adc, **kwargs)
    return ax.calibrate(fn)(jax.random.key(1), ax.place(fn, hardware)(PARAMS, X), PARAMS, X)


def codes_of(m, s, steps):
    """Mean and variance of `step * clip(round(z / step), -steps, steps)`, `z ~ N(m, s^2)`, a sum over codes."""
    codes = STEP * np.arange(-steps, steps + 1)
    edges = np.concatenate([[-np.inf], codes[1:] - STEP / 2, [np.inf]])
    chance = np.diff(norm.cdf((edges - m) / s))
    mean = chance @ codes
    return mean, chance @ (codes - mean) ** 2


def test_codes_at_the_end_of_a_range():
    """Columns at, and a little beyond, the last code, as wide as a step."""
    for ratio in (0.55, 0.9):
        sigma = ratio * STEP / (2**0.5 * float(jnp.linalg.norm(X)))
        middle = np.asarray(fn(PARAMS, X), np.float64)[0]
        steps = int(np.round(np.quantile(np.abs(middle), 0.6) / STEP))
        mean, cov = ax.predict(fn)(plan_of(sigma, steps), PARAMS, X)
        exact = np.array([codes_of(float(m), ratio * STEP, steps) for m in middle]).T
        np.testing.assert_allclose(mean[0], exact[0], atol=1e-3 * STEP)
        np.testing.assert_allclose(np.diag(cov[0]), exact[1], atol=2e-3 * STEP**2)


SLOW = [(0.02, 2), (0.02, 24), (0.2, 24), (0.49, 24), (0.51, 2), (1.5, 24)]


@pytest.mark.parametrize(
    ("ratio", "steps"), [(0.2, 2), (0.51, 24), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_codes_of_a_column(ratio, steps):
    """At every ratio of a column's spread to the step; few codes saturate."""
    sigma = ratio * STEP / (2**0.5 * float(jnp.linalg.norm(X)))
    mean, cov = ax.predict(fn)(plan_of(sigma, steps), PARAMS, X)
    exact = np.array([codes_of(float(m), ratio * STEP, steps) for m in np.asarray(fn(PARAMS, X), np.float64)[0]]).T
    np.testing.assert_allclose(mean[0], exact[0], atol=2e-4 * STEP)
    np.testing.assert_allclose(np.diag(cov[0]), exact[1], atol=5e-4 * STEP**2)


def test_nothing_varies_without_noise():
    """Spec V8 (ix): only the bias of quantisation is left, that of the chip itself."""
    plan = plan_of(0.0, dac=ax.DAC(bits=4))
    mean, cov = ax.predict(fn)(plan, PARAMS, X)
    chip = ax.program(jax.random.key(2), plan, PARAMS)
    np.testing.assert_allclose(mean, ax.analog(fn)(jax.random.key(3), chip, X), atol=1e-6)
    np.testing.assert_array_equal(cov, 0)


def test_gradients_are_those_of_white_noise():
    """Codes narrower than a step stand still, and a gradient that said so could tune nothing."""
    mean = lambda p: ax.predict(fn)(plan_of(0.001), p, X)[0].sum()  # noqa: E731
    slope = jax.grad(lambda s: mean({"w": PARAMS["w"].at[1:, 1:].multiply(s)}))(1.0)
    assert float(slope) == pytest.approx(float((X[:, 1:] @ PARAMS["w"][1:, 1:]).sum()), rel=1e-4)


def residual(mean, deviation, beyond):
    """In steps of 1."""
    parts = (jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32) ** 2, 1.0, beyond, 0.0)
    return Residual(*(jnp.asarray(x, jnp.float32) * jnp.ones(np.shape(mean)) for x in parts))


@pytest.mark.parametrize("deviation", [0.05, 0.3, 2.0, 20.0])
def test_residuals_of_equal_values_are_equal_and_of_independent_ones_are_not(deviation):
    one = residual([0.2, 0.2], deviation, 0.05)
    np.testing.assert_allclose(shared(one, one, jnp.asarray([1.0, 0.0])), [0.05, 0.0], atol=1e-6)


def test_covariances_of_residuals_are_positive():
    """Any means and spreads, from narrow to wide, and any covariance behind."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(40, 8)) * np.exp(rng.normal(size=(40, 1)))
    covariance = root @ root.T + 1e-4 * np.eye(40)
    spread = np.sqrt(np.diag(covariance))
    parts = residual(rng.normal(0, 5, 40), spread, 1 / 12)
    one, other = (jax.tree.map(lambda x, axis=axis: jnp.expand_dims(x, axis), parts) for axis in (1, 0))
    found = np.asarray(shared(one, other, jnp.asarray(covariance / np.outer(spread, spread), jnp.float32)), np.float64)
    np.testing.assert_allclose(np.diag(found), 1 / 12, rtol=1e-3)
    assert np.linalg.eigvalsh(found).min() > -2e-4


@pytest.mark.parametrize("converters", [{"adc": 6}, {"adc": 5}, {"dac": 3}], ids=str)
def test_equal_patches_round_alike(converters):
    """A picture with a flat background: its positions see the same cells, and their codes move together."""
    rng = np.random.default_rng(1)
    picture = np.full((1, 9, 9, 1), -0.8, np.float32)
    picture[0, 3:6, 3:6, 0] = rng.normal(0, 0.5, (3, 3))
    kernels = {
        k: jnp.asarray(rng.normal(0, 0.3, s), jnp.float32) for k, s in (("a", (3, 3, 1, 6)), ("b", (1, 1, 6, 4)))
    }

    def net(params, x):
        dims = ("NHWC", "HWIO", "NHWC")
        hidden = jax.lax.conv_general_dilated(x, params["a"], (1, 1), "VALID", dimension_numbers=dims)
        return jax.lax.conv_general_dilated(hidden, params["b"], (1, 1), "VALID", dimension_numbers=dims).mean((1, 2))

    adc, dac = converters.get("adc"), converters.get("dac")
    hardware = ax.Hardware(
        device=ax.Gaussian(sigma=0.01), array=ax.Array(weight_bits=None),
        adc=None if adc is None else ax.ADC.uniform(bits=adc), dac=None if dac is None else ax.DAC(bits=dac),
    )  # fmt: skip
    plan = ax.calibrate(net)(jax.random.key(1), ax.place(net, hardware)(kernels, picture), kernels, picture)
    predicted = np.diag(np.asarray(ax.predict(net)(plan, kernels, picture)[1][0]))
    chip = lambda key: ax.analog(net)(key, ax.program(key, plan, kernels), picture)[0]  # noqa: E731
    many = np.asarray(jax.lax.map(jax.jit(chip), jax.random.split(jax.random.key(2), 4000)))
    # 2 % by so few chips; without what positions share a fifth is missing. Codes of 4 bits are no longer normal
    assert predicted.sum() == pytest.approx(many.var(0).sum(), rel=0.06)
