"""All results together: covariances between examples of one chip, and how an accuracy varies from chip to chip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.joint import joint
from anaxon.interpret.moments import accuracy_draws

BATCH, CLASSES = 24, 3
ANALOG = ax.Array(weight_bits=None)


def fn(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def case(sigma, read_sigma):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"a": jax.random.normal(keys[0], (6, 8)) / 2.5, "b": jax.random.normal(keys[1], (8, CLASSES)) / 3}
    x = jax.random.normal(keys[2], (BATCH, 6))
    device = ax.Gaussian(sigma=sigma, read_sigma=read_sigma)
    return params, x, ax.place(fn, ax.Hardware(device=device, array=ANALOG))(params, x)


def sampled(plan, params, x, chips):
    def one(key):
        programming, reading = jax.random.split(key)
        return ax.analog(fn)(reading, ax.program(programming, plan, params), x)

    keys = jax.random.split(jax.random.key(3), chips)
    return np.asarray(jax.jit(lambda k: jax.lax.map(one, k, batch_size=200))(keys), np.float64)


@pytest.mark.parametrize(
    ("sigma", "read_sigma"),
    [
        pytest.param(0.003, None, marks=pytest.mark.slow),
        pytest.param(0.0, 0.003, marks=pytest.mark.slow),
        (0.003, 0.003),
    ],
)
def test_covariance_of_all_results_is_that_of_many_chips(sigma, read_sigma):
    params, x, plan = case(sigma, read_sigma)
    mean, covariance = joint(fn)(plan, params, x)
    n, chips = BATCH * CLASSES, 2000
    found = sampled(plan, params, x, chips).reshape(chips, n)
    ours, exact = np.asarray(covariance, np.float64).reshape(n, n), np.cov(found.T)
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert np.abs((ours - exact) / size).max() < 5.5 / np.sqrt(chips) * np.sqrt(2)
    np.testing.assert_allclose(np.trace(ours), np.trace(exact), rtol=0.03)
    np.testing.assert_allclose(mean, fn(params, x), rtol=1e-5, atol=1e-5)
    between = ours.reshape(BATCH, CLASSES, BATCH, CLASSES)[0, :, 1]
    assert (np.abs(between).max() == 0) == (sigma == 0)  # examples share cells, not reads


def test_variances_are_those_of_linearised():
    params, x, plan = case(0.004, 0.002)
    covariance = joint(fn)(plan, params, x)[1].reshape(BATCH * CLASSES, -1)
    spread = ax.linearised(fn)(plan, params, x)
    np.testing.assert_allclose(jnp.diag(covariance).reshape(BATCH, CLASSES), spread.variance, rtol=2e-5)


def test_spread_of_the_accuracy_over_chips():
    """Of examples alike, which a chip gets right or wrong together: independent ones would vary far less."""
    params, x, plan = case(0.01, 0.005)
    x = x[:1] + 0.1 * x
    logits = fn(params, x)
    params["b"] = params["b"] - 0.9 * jnp.outer(
        jnp.linalg.pinv(jnp.tanh(x @ params["a"])) @ jnp.ones(BATCH), logits.mean(0)
    )  # near a tie of the classes
    labels = jnp.argmax(fn(params, x), -1)
    found = (sampled(plan, params, x, 2000).argmax(-1) == np.asarray(labels)).mean(1)
    mean, covariance = joint(fn)(plan, params, x)
    drawn = lambda c: np.asarray(accuracy_draws(jax.random.key(5), mean, c, labels), np.float64)  # noqa: E731
    ours = drawn(covariance)
    assert abs(ours.mean() - found.mean()) < 4 * found.std() * np.sqrt(1 / 2000 + 1 / 4096) + 0.005
    assert ours.std() == pytest.approx(found.std(), rel=0.1)
    apart = covariance * (jnp.arange(BATCH)[:, None, None, None] == jnp.arange(BATCH)[:, None])
    assert drawn(apart).std() < 0.7 * found.std()


def test_more_slopes_than_memory_are_refused():
    params = {"a": jnp.zeros((4000, 4000)), "b": jnp.zeros((4000, CLASSES))}
    x = jnp.zeros((100, 4000))
    plan = ax.place(fn, ax.Hardware(device=ax.Gaussian(), array=ANALOG))(params, x)
    with pytest.raises(ValueError, match="GiB of slopes to 16,012,000 pairs of cells.*take fewer examples"):
        joint(fn)(plan, params, x)


@pytest.mark.parametrize("transform", [ax.predict, ax.linearised, joint])
def test_examples_that_mix_are_refused(transform):
    params, x, _ = case(0.01, None)
    mixing = lambda p, x: jnp.tanh((x - x.mean(0)) @ p["a"]) @ p["b"]  # noqa: E731
    plan = ax.place(mixing, ax.Hardware(device=ax.Gaussian(), array=ANALOG))(params, x)
    with pytest.raises(ValueError, match="a second stands beside it; expected a function whose examples do not mix"):
        transform(mixing)(plan, params, x)


@pytest.mark.parametrize("transform", [ax.predict, ax.linearised])
def test_what_is_known_is_checked_while_the_plan_is_traced(transform):
    params, x = {"w": jnp.eye(3)}, jnp.ones((2, 3))
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    plan = ax.place(fn, ax.Hardware(device=ax.Gaussian(sigma=0.1), array=ax.Array(weight_bits=None)))(params, x)
    mean = lambda plan: jax.tree.leaves(transform(fn)(plan, params, x))[0]  # noqa: E731
    np.testing.assert_allclose(jax.jit(mean)(plan), mean(plan))
    mixed = lambda p, x: fn(p, x - x.sum(0))  # noqa: E731
    with pytest.raises(ValueError, match="do not mix"):
        jax.jit(lambda plan: jax.tree.leaves(transform(mixed)(plan, params, x))[0])(plan)
