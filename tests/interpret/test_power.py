"""What arrays draw over chips: golden figures, and sampled chips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.adc_ranges import changed
from anaxon.interpret.power import power, power_of_chip, power_over_chips

ANALOG = ax.Array(weight_bits=None)


def test_an_operand_that_varies_golden():
    """Spec V1: 11.3 in the cells, 27.6902 in the amplifiers, of an operand of covariance [[.04, .01], [.01, .09]].

    A first layer of independent columns, mixed digitally, makes the operand.
    """
    root = np.linalg.cholesky([[0.04, 0.01], [0.01, 0.09]])
    columns = np.linalg.solve(root, [1.0, 2.0])
    mix = jnp.asarray(root.T, jnp.float32)
    params = {"a": jnp.asarray(columns, jnp.float32)[None], "w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]])}
    fn = lambda p, x: ((x @ p["a"]) @ mix) @ p["w"]  # noqa: E731
    sigmas = {"a": 1 / (2**0.5 * np.abs(columns).max()), "w": 0.05}
    rules = {name: ax.Hardware(device=ax.Gaussian(sigma=float(s)), array=ANALOG) for name, s in sigmas.items()}
    plan = ax.place(fn, rules)(params, jnp.ones((1, 1)))
    full = 16.0  # of the operand, so wide that nothing saturates
    plan = changed(plan, {"a": {"input": jnp.float32(1.0)}, "w": {"input": jnp.float32(full)}})
    mean, covariance, drawn = power_over_chips(fn)(plan, params, jnp.ones((1, 1)))
    np.testing.assert_allclose(mean, [[0.0, 2.5]], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(covariance, [[[0.038775, 0.004375], [0.004375, 0.131275]]], rtol=2e-6)
    g = 2.0  # in the golden figure's units; ours are relative to full scale
    cells, amplifiers = (
        float(drawn["w"].cells.sum()) * g * full**2,
        float(drawn["w"].amplifiers_at(0.05)) * (g * full) ** 2,
    )
    assert cells == pytest.approx(11.3, rel=1e-6)
    assert amplifiers == pytest.approx(27.6902, rel=1e-6)
    assert cells + amplifiers == pytest.approx(38.9902, rel=1e-6)


@pytest.fixture(scope="module")
def network():
    """A strided convolution over two tiles of rows, a ReLU and a dense layer; cells that a chip holds singly."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"k": jax.random.normal(keys[0], (3, 3, 2, 3)) / 4, "w": jax.random.normal(keys[1], (12, 2)) / 3}
    dims = ("NHWC", "HWIO", "NHWC")

    def fn(p, x):
        y = jax.lax.conv_general_dilated(x, p["k"], (2, 2), "SAME", dimension_numbers=dims)
        return jax.nn.relu(y).reshape(x.shape[0], -1) @ p["w"]

    x = jax.random.normal(keys[2], (3, 4, 4, 2))
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.1, sigma_rel=0.0), array=ax.Array(rows=10, cols=8, weight_bits=None))
    plan = ax.calibrate(fn)(jax.random.key(4), ax.place(fn, hw)(params, x), params, x)
    half = {"k": {"window": jnp.float32(0.5)}, "w": {"input": 2 * plan.ranges[1].input}}
    return fn, changed(plan, half), params, x


def test_many_chips_draw_what_is_expected(network):
    fn, plan, params, x = network

    def one(key):
        drawn = power_of_chip(fn)(key, ax.program(key, plan, params), params, x)
        return {p: jnp.stack([jnp.sum(v.cells), jnp.sum(v.amplifiers)]) for p, v in drawn.items()}

    chips = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(1), 1000))
    mean, covariance, over = power_over_chips(fn)(plan, params, x)
    for (path, sampled), most in zip(chips.items(), (1e-5, 0.02), strict=True):
        expected = np.array([over[path].cells.sum(), over[path].amplifiers_at(0.1)])
        error = np.std(sampled, 0) / len(sampled) ** 0.5
        np.testing.assert_array_less(np.abs(np.mean(sampled, 0) - expected), 4 * error + most * expected)
    alone = ax.predict(fn)(plan, params, x)
    np.testing.assert_allclose(mean, alone[0], rtol=1e-5)
    np.testing.assert_allclose(covariance, alone[1], rtol=1e-4, atol=1e-6)
    first, later = (power(fn)(plan, params, x)[p] for p in ("k", "w"))
    np.testing.assert_allclose(over["k"].amplifiers, first.amplifiers, rtol=1e-4, atol=1e-7)  # nothing varies before it
    assert float(over["w"].amplifiers.sum()) > 1.1 * float(later.amplifiers.sum())


def test_a_chip_of_differences_has_no_power():
    params, fn = {"w": jnp.ones((2, 2))}, lambda p, x: x @ p["w"]
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.1), array=ANALOG)
    plan = changed(ax.place(fn, hw)(params, jnp.ones((1, 2))), {"w": {"input": jnp.float32(1.0)}})
    chip = ax.program(jax.random.key(0), plan, params)
    with pytest.raises(ValueError, match=r"w: expected both conductances .*sigma_rel=0.0"):
        power_of_chip(fn)(jax.random.key(0), chip, params, jnp.ones((1, 2)))
