"""Observed input ranges, and the quantisation-aware forward pass that they belong to."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.training import input_ranges, min_max, moving_average, observed_loss, with_input_ranges

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PARAMS = {
    "a": jnp.asarray(RNG.normal(size=(6, 5)) * np.array([1, 0.2, 3, 1, 0.5]), jnp.float32),
    "b": jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32),
}
X = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)


def net(p, x):
    return jnp.tanh(x @ p["a"]) @ p["b"]


def total(y, target):
    return jnp.mean((y - target) ** 2)


def hardware(weight_bits=4, scale="tensor", bits=6, **kwargs):
    array = ax.Array(weight_bits=weight_bits, scale=scale, cell_bits=max(1, weight_bits - 1))
    return ax.Hardware(**{"device": ax.IdealDevice(), "array": array, "dac": ax.DAC(bits=bits)} | kwargs)


@cache
def plan_of(weight_bits=4, scale="tensor", bits=6):
    return ax.calibrate(net)(KEY, ax.place(net, hardware(weight_bits, scale, bits))(PARAMS, X), PARAMS, X)


@cache
def objective(observe):
    return jax.jit(observed_loss(net, total, plan_of(), observe))


def quantised(x, limit, bits):
    """`limit / n * clip(round(n x / limit), -n, n)`, in float64."""
    n, x = 2 ** (bits - 1), np.asarray(x, np.float64)
    return np.clip(np.round(x / limit * n), -n, n) * limit / n


def fake(w, bits, axis):
    """Symmetric weights: `2 n + 1` levels of `max |w| / n`, over the tensor or over each column."""
    n, w = 2 ** (bits - 1) - 1, np.asarray(w, np.float64)
    scale = np.abs(w).max(axis=axis, keepdims=True) / n
    return np.round(w / scale) * scale


def forward(ranges, weight_bits, axis, bits, x=X):
    """The network in NumPy, and what is driven into each weight."""
    h = np.tanh(quantised(x, ranges["a"], bits) @ fake(PARAMS["a"], weight_bits, axis))
    return quantised(h, ranges["b"], bits) @ fake(PARAMS["b"], weight_bits, axis), {"a": x, "b": h}


@pytest.mark.parametrize(
    ("weight_bits", "bits", "scale", "axis"), [(2, 4, "column", 0), (4, 6, "tensor", None), (8, 8, "column", 0)]
)
def test_perfect_cells_are_numpys_fake_quantisation(weight_bits, bits, scale, axis):
    ranges = {"a": 1.7, "b": 0.6}  # narrower than the values: these are clipped
    plan = with_input_ranges(plan_of(weight_bits, scale, bits), {k: jnp.float32(v) for k, v in ranges.items()})
    loss = observed_loss(net, lambda y: y, plan)
    y, _ = jax.jit(loss)(PARAMS, {k: jnp.float32(v) for k, v in ranges.items()}, KEY, 0, (X,))
    expected, driven = forward(ranges, weight_bits, axis, bits)
    assert np.abs(driven["a"]).max() > 1.7 and np.abs(driven["b"]).max() > 0.6
    # A code may fall on the other side of a half where float32 rounds: none does here.
    np.testing.assert_allclose(y, expected, atol=2e-5)
    other = forward(ranges, weight_bits, 0 if axis is None else None, bits)[0]
    assert np.abs(other - expected).max() > 1e-3


def test_ranges_in_the_forward_pass_are_those_passed_in_and_those_returned_what_was_seen():
    old = {"a": jnp.float32(0.4), "b": jnp.float32(5.0)}
    target = jnp.zeros((8, 3))
    value, new = objective(min_max)(PARAMS, old, KEY, 0, (X,), target)
    expected, driven = forward({"a": 0.4, "b": 5.0}, 4, None, 6)
    np.testing.assert_allclose(value, np.mean(expected**2), rtol=1e-5)
    np.testing.assert_allclose(new["a"], np.abs(X).max(), rtol=1e-6)
    assert float(new["b"]) == 5.0 > np.abs(driven["b"]).max()


def test_min_max_never_shrinks():
    ranges, seen = input_ranges(plan_of()), []
    for step, size in enumerate([0.5, 2.0, 1.0, 3.0, 0.1]):
        _, ranges = objective(min_max)(PARAMS, ranges, KEY, step, (size * X,), jnp.zeros((8, 3)))
        seen.append(float(ranges["a"]))
    top = float(np.abs(X).max())
    np.testing.assert_allclose(seen, [top, 2 * top, 2 * top, 3 * top, 3 * top], rtol=1e-6)


def test_a_moving_average_is_the_recursion():
    ranges, expected = input_ranges(plan_of()), {}
    expected = {path: float(r) for path, r in ranges.items()}
    for step, size in enumerate([0.5, 2.0, 1.0, 3.0, 0.1]):
        _, driven = forward(expected, 4, None, 6, size * X)
        _, ranges = objective(averaging())(PARAMS, ranges, KEY, step, (size * X,), jnp.zeros((8, 3)))
        expected = {p: 0.7 * r + 0.3 * np.abs(driven[p]).max() for p, r in expected.items()}
        for path, value in expected.items():
            np.testing.assert_allclose(ranges[path], value, rtol=1e-5)


@cache
def averaging():
    return moving_average(0.3)


def test_no_gradient_reaches_the_ranges_and_one_reaches_the_weights():
    """Straight through: the gradient to the last weights is that of the quantised product with what drives it."""
    ranges = {"a": jnp.float32(1.7), "b": jnp.float32(0.6)}
    target = jnp.zeros((8, 3))
    loss = lambda p, r: objective(min_max)(p, r, KEY, 0, (X,), target)[0]  # noqa: E731
    to_params, to_ranges = jax.grad(loss, (0, 1))(PARAMS, ranges)
    assert all(float(g) == 0 for g in to_ranges.values())
    y, driven = forward({"a": 1.7, "b": 0.6}, 4, None, 6)
    by_level = quantised(driven["b"], 0.6, 6).T @ (2 * y / y.size)
    # The largest weight is the scale of the others, which their rounding errors add to.
    w = np.asarray(PARAMS["b"], np.float64)
    lost = fake(w, 4, None) - w
    expected, top = by_level.copy(), np.unravel_index(np.abs(w).argmax(), w.shape)
    expected[top] += np.sum(by_level * lost) / w[top]
    np.testing.assert_allclose(to_params["b"], expected, rtol=1e-4, atol=1e-5)
    carried = lambda p, r: sum(objective(min_max)(p, r, KEY, 0, (X,), target)[1].values())  # noqa: E731
    assert all(not np.any(g) for g in jax.tree.leaves(jax.grad(carried)(PARAMS, ranges)))


def test_on_other_cells_every_call_is_a_fresh_chip_whose_noise_a_schedule_scales():
    hw = hardware(device=ax.Gaussian(sigma=0.1))
    plan = ax.calibrate(net)(KEY, ax.place(net, hw)(PARAMS, X), PARAMS, X)
    loss = jax.jit(observed_loss(net, total, plan, schedule=lambda step: jnp.where(step < 5, 0.0, 1.0)))
    ranges, target = input_ranges(plan), jnp.zeros((8, 3))
    keys = jax.random.split(KEY, 3)
    early, late = ([float(loss(PARAMS, ranges, k, step, (X,), target)[0]) for k in keys] for step in (0, 5))
    assert len(set(early)) == 1 and len(set(late)) == 3


def test_what_has_no_range_is_refused():
    plan = ax.place(net, hardware())(PARAMS, X)
    with pytest.raises(ValueError, match="plan: a has no range yet; expected a plan from `calibrate`"):
        input_ranges(plan)
    for rate in (0, -0.1, 1.5):
        with pytest.raises(ValueError, match=rf"moving_average: expected a rate in \(0, 1\]; got {rate}"):
            moving_average(rate)
