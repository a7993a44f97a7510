"""What moments must obey whatever the network: the invariants V8 of the specification on analytic errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import stats

import anaxon as ax
from anaxon import tune
from anaxon.interpret.power import power

KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = {"a": jax.random.normal(KEYS[0], (6, 8)) / 2.5, "b": jax.random.normal(KEYS[1], (8, 4)) / 3}
X = jax.random.normal(KEYS[2], (3, 6))


def net(params, x):
    return jax.nn.relu(x @ params["a"]) @ params["b"]


def placed(sigma, fn=net, params=PARAMS, x=X):
    hardware = ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None))
    return ax.place(fn, hardware)(params, x)


def windows(value):
    return {name: jnp.full((1, 1), value) for name in PARAMS}


def test_only_the_window_relative_to_sigma_matters():
    narrow = ax.predict(net)(tune.with_windows(placed(0.01), windows(0.25)), PARAMS, X)
    noisy = ax.predict(net)(placed(0.04), PARAMS, X)
    np.testing.assert_allclose(narrow[0], noisy[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(narrow[1], noisy[1], rtol=1e-4, atol=1e-7)


def test_first_order_variance_goes_with_the_square_of_sigma():
    once, twice = (ax.linearised(net)(placed(s), PARAMS, X).variance for s in (0.01, 0.02))
    np.testing.assert_allclose(twice, 4 * once, rtol=1e-5)


def test_power_of_cells_is_linear_and_that_of_amplifiers_quadratic_in_the_window():
    """And what programming noise adds at the amplifiers does not depend on it."""
    plan = ax.calibrate(net)(jax.random.key(1), placed(0.02), PARAMS, X)
    full, half = (power(net)(tune.with_windows(plan, windows(w)), PARAMS, X) for w in (1.0, 0.5))
    for name in PARAMS:
        np.testing.assert_allclose(half[name].cells, 0.5 * full[name].cells, rtol=1e-5)
        np.testing.assert_allclose(half[name].amplifiers, 0.25 * full[name].amplifiers, rtol=1e-5)
        np.testing.assert_allclose(half[name].spread, full[name].spread, rtol=1e-5)


def test_one_noisy_layer_is_gaussian_of_known_variance():
    """`2 sigma^2 W_max^2 |x|^2`, of a pair; the sampled results pass for normal."""
    params, fn, sigma = {"a": PARAMS["a"]}, lambda p, x: x @ p["a"], 0.03
    plan = placed(sigma, fn, params)
    covariance = ax.predict(fn)(plan, params, X)[1]
    top = float(jnp.abs(params["a"]).max())
    expected = 2 * sigma**2 * top**2 * (X**2).sum(1)
    np.testing.assert_allclose(covariance, expected[:, None, None] * np.eye(8), rtol=1e-5, atol=1e-9)

    def one(key):
        return ax.analog(fn)(key, ax.program(key, plan, params), X[:1])[0]

    chips = np.asarray(jax.jit(lambda k: lax.map(one, k))(jax.random.split(jax.random.key(4), 4000)))
    scores = (chips - fn(params, X)[0]) / np.sqrt(expected[0])
    assert stats.kstest(scores.reshape(-1), "norm").pvalue > 1e-4


@pytest.mark.slow
def test_equal_windows_by_column_are_one_by_layer():
    by_column = {name: jnp.full((1, w.shape[1]), 0.4) for name, w in PARAMS.items()}
    ours = ax.predict(net)(tune.with_windows(placed(0.02), by_column), PARAMS, X)[1]
    whole = ax.predict(net)(tune.with_windows(placed(0.02), windows(0.4)), PARAMS, X)[1]
    np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-9)


def test_a_convolution_as_a_dense_matrix_is_no_less_noisy():
    """Cells of the zeros are noisy, too; the mean is the same."""
    kernel, x = jax.random.normal(KEYS[3], (3, 1, 2)), jax.random.normal(KEYS[2], (1, 7, 1))
    numbers = ("NWC", "WIO", "NWC")
    shared = lambda p, x: lax.conv_general_dilated(x, p["w"], (1,), "SAME", dimension_numbers=numbers)  # noqa: E731
    dense = lambda p, x: (x.reshape(1, 7) @ p["w"]).reshape(1, 7, 2)  # noqa: E731
    matrix = jax.vmap(lambda e: shared({"w": kernel}, e.reshape(1, 7, 1)).reshape(-1))(jnp.eye(7))
    found = []
    for fn, weight in ((shared, kernel), (dense, matrix)):
        mean, covariance = ax.predict(fn)(placed(0.02, fn, {"w": weight}, x), {"w": weight}, x)
        found.append((mean, jnp.diagonal(covariance.reshape(14, 14))))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5, atol=1e-6)
    assert (found[1][1] > 1.2 * found[0][1]).all()


def test_pooling_is_linear():
    """`P Gamma P^T` for averages over pairs of results."""
    pooled = lambda p, x: net(p, x).reshape(-1, 2, 2).mean(2)  # noqa: E731
    pool = np.kron(np.eye(2), np.full((1, 2), 0.5))
    inner = np.asarray(ax.predict(net)(placed(0.02), PARAMS, X)[1])
    ours = ax.predict(pooled)(placed(0.02, pooled), PARAMS, X)[1]
    np.testing.assert_allclose(ours, pool @ inner @ pool.T, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["hidden", "results"])
def test_channels_can_be_permuted(kind):
    order = np.random.default_rng(0).permutation(8 if kind == "hidden" else 4)
    moved = dict(PARAMS, b=PARAMS["b"][:, order])
    if kind == "hidden":
        moved = {"a": PARAMS["a"][:, order], "b": PARAMS["b"][order]}
    mean, covariance = ax.predict(net)(placed(0.03), PARAMS, X)
    other = ax.predict(net)(placed(0.03, net, moved), moved, X)
    if kind == "results":
        mean, covariance = mean[:, order], covariance[:, order][:, :, order]
    np.testing.assert_allclose(other[0], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other[1], covariance, rtol=1e-4, atol=1e-8)


def test_power_of_columns_that_end_in_a_ramp_is_refused():
    """Its bias rows and sums of several reads have no amplifier each."""
    fn = lambda p, x: jnp.tanh(x @ p["a"])  # noqa: E731
    plan = ax.place(fn, ax.preset("ramp-5bit"))(PARAMS, X)
    with pytest.raises(ValueError, match="a: power is that of columns which end in an amplifier"):
        power(fn)(plan, PARAMS, X)
