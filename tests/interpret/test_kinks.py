"""Average slopes in the delta method: ReLUs whose chips cross the kink, in loops, between two values, at bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax

WIDTH = 16
KEYS = jax.random.split(jax.random.key(0), 8)
SHAPES = {"a": (6, WIDTH), "c": (WIDTH, WIDTH), "d": (WIDTH, WIDTH), "e": (WIDTH, WIDTH), "o": (WIDTH, 3)}
PARAMS = {n: jax.random.normal(k, s) * (2 / s[0]) ** 0.5 for k, (n, s) in zip(KEYS, SHAPES.items(), strict=False)}
X = jax.random.normal(KEYS[7], (8, 6))


def deep(params, x):
    """A perceptron."""
    for name in "acde":
        x = jax.nn.relu(x @ params[name])
    return x @ params["o"]


def kinks(params, x):
    """Kinks as they are written: by hand, between two values, at two bounds."""
    h = x @ params["a"]
    bent = [jnp.where(h > 0, h, 0.1 * h), jnp.abs(h), jnp.clip(h, -0.5, 0.5), h * (h > 0), jnp.round(2 * h) / 2]
    return jnp.concatenate([*bent, jnp.maximum(h[:, :8], h[:, 8:]), jnp.minimum(h[:, :8], h[:, 8:])], 1)


def recurrent(params, x):
    """The same cells at every step: their slopes are averaged within the loop."""
    step = lambda h, u: (jax.nn.relu(u @ params["a"] + h @ params["c"] / 2), None)  # noqa: E731
    h = jax.lax.scan(step, jnp.zeros((x.shape[0], WIDTH)), jnp.stack([x, 0.5 * x, -x, x]))[0]
    return jax.nn.relu(h @ params["d"]) @ params["o"]


def sampled(fn, params, sigma, chips=4000):
    """Results of so many chips: a pair's deviation is normal, of sqrt(2) sigma of the largest weight."""

    def one(key):
        keys = dict(zip(params, jax.random.split(key, len(params)), strict=True))
        away = lambda n, w: 2**0.5 * sigma * jnp.abs(w).max() * jax.random.normal(keys[n], w.shape)  # noqa: E731
        return fn({n: w + away(n, w) for n, w in params.items()}, X)

    found = jax.jit(lambda k: jax.lax.map(one, k, batch_size=200))(jax.random.split(jax.random.key(5), chips))
    return np.asarray(found, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("fn", [deep, recurrent], ids=lambda f: f.__name__)
def test_average_slopes_do_not_predict_too_much(fn):
    sigma = 0.04
    hardware = ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None))
    plan = ax.place(fn, hardware)(PARAMS, X)
    found = sampled(fn, PARAMS, sigma)
    at_mean, averaged = (ax.linearised(fn, probes)(plan, PARAMS, X) for probes in (0, 16))
    ratio = lambda spread: float(spread.variance.mean()) / found.var(0).mean()  # noqa: E731
    assert abs(ratio(averaged) - 1) < 0.5 * (ratio(at_mean) - 1)
    shift = lambda spread: float(jnp.abs(spread.mean - found.mean(0)).mean())  # noqa: E731
    assert shift(averaged) < 0.7 * shift(at_mean)


def test_kinks_however_they_are_written():
    """Behind one layer means and variances are exact, up to the probes' error of the variance."""
    params, sigma = {"a": PARAMS["a"]}, 0.1
    plan = ax.place(kinks, ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None)))(params, X)
    spread, found = ax.linearised(kinks, 400)(plan, params, X), sampled(kinks, params, sigma, 10_000)
    size = np.sqrt(found.var(0))
    assert np.all(np.abs(np.asarray(spread.mean) - found.mean(0)) < 0.12 * size + 1e-3)
    assert abs(float(spread.variance.mean()) / found.var(0).mean() - 1) < 0.03
    assert np.abs(np.asarray(spread.variance) - size**2).mean() < 0.06 * (size**2).mean()


@pytest.mark.slow
def test_without_kinks_probes_change_nothing():
    fn = lambda p, x: jnp.tanh(x @ p["a"]) @ p["o"]  # noqa: E731
    params = {n: PARAMS[n] for n in "ao"}
    plan = ax.place(fn, ax.Hardware(device=ax.Gaussian(sigma=0.02), array=ax.Array(weight_bits=None)))(params, X)
    for ours, other in zip(*(jax.tree.leaves(ax.linearised(fn, n)(plan, params, X)) for n in (0, 4)), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_saturation_passes_its_average_slope():
    """One column in the middle of its ADC's bound: half of its variance's slope, and the clipped mean."""
    params, x, fn = {"a": jnp.asarray([[1.0], [0.5]])}, jnp.asarray([[1.0, -0.5]]), lambda p, x: x @ p["a"]
    adc = ax.ADC(full_scale=0.75, step=1e-3, steps=750)
    plan = ax.place(fn, ax.Hardware(device=ax.Gaussian(sigma=0.05), array=ax.Array(weight_bits=None), adc=adc))(
        params, x
    )
    plan = ax.calibrate(fn)(jax.random.key(1), plan, params, x)
    spread, (mean, cov) = ax.linearised(fn, 2000)(plan, params, x), ax.predict(fn)(plan, params, x)
    np.testing.assert_allclose(spread.mean, mean, rtol=5e-3)
    np.testing.assert_allclose(spread.variance[0], cov[0, 0], rtol=0.1)
    assert float(spread.cells["a"][0, 0]) == pytest.approx(0.25 * 2 * 0.05**2 * 1.25, rel=1e-3)


def test_a_number_of_probes():
    with pytest.raises(ValueError, match="probes: expected an integer from 0"):
        ax.linearised(deep, 1.5)


def test_kinks_before_the_first_read():
    """Of data that no cell has touched: nothing to average."""
    weights = {"w": jax.random.normal(jax.random.key(0), (6, 5))}
    x = jax.random.normal(jax.random.key(2), (3, 6))
    bent, plain = (lambda p, v, f=f: f(v) @ p["w"] for f in (jax.nn.relu, lambda v: v))
    hardware = ax.Hardware(device=ax.Gaussian(sigma=0.01), array=ax.Array(weight_bits=None))
    ours = ax.linearised(bent, probes=4)(ax.place(bent, hardware)(weights, x), weights, x)
    theirs = ax.linearised(plain)(ax.place(plain, hardware)(weights, x), weights, jax.nn.relu(x))
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-5)


def test_kinks_without_an_average_slope_say_so():
    weights = {"w": jax.random.normal(jax.random.key(0), (6, 5))}
    x = jax.random.normal(jax.random.key(2), (3, 6))

    def masked(p, v):
        z = v @ p["w"]
        return jax.nn.softmax(jnp.where(z > 0.1, z, -jnp.inf))

    hardware = ax.Hardware(device=ax.Gaussian(sigma=0.01), array=ax.Array(weight_bits=None))
    plan = ax.place(masked, hardware)(weights, x)
    with pytest.raises(ValueError, match="fn: a kink whose values are infinite"):
        ax.linearised(masked, probes=4)(plan, weights, x)
