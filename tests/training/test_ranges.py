import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import anaxon as ax
from anaxon.training import chip_loss, learned_ranges, with_ranges

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(RNG.uniform(-1, 1, (8, 4)), jnp.float32)}
X = jnp.asarray(RNG.normal(0, 1, (256, 8)), jnp.float32).at[0, 0].set(40.0)  # one outlier sets the absmax


def fn(params, x):
    return x @ params["w"]


def squared(outputs, target):
    return jnp.mean((outputs - target)[1:] ** 2)


def calibrated(adc=None):
    adc = adc or ax.ADC.uniform(bits=5)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), dac=ax.DAC(bits=4), adc=adc)
    return ax.calibrate(fn)(KEY, ax.place(fn, hw)(PARAMS, X), PARAMS, X)


def test_there_and_back_is_the_same_plan():
    plan = calibrated()
    ranges = learned_ranges(plan)
    assert set(ranges["input"]) == set(ranges["column"]) == {"w"} and ranges["span"] == {}
    again = with_ranges(plan, ranges)
    assert jax.tree.structure(again) == jax.tree.structure(plan)
    np.testing.assert_allclose(again.ranges[0].input, 40.0, rtol=1e-6)
    np.testing.assert_allclose(again.ranges[0].column, plan.ranges[0].column, rtol=1e-6)


def test_ranges_learn_to_give_up_the_outlier():
    """The best range of a 4-bit DAC for a normal with one outlier is far below the absmax; the weights stay."""
    plan = calibrated()

    def loss(ranges, key):
        return chip_loss(fn, squared, with_ranges(plan, ranges))(PARAMS, key, 0, (X,), fn(PARAMS, X))

    optimiser, start = optax.adam(0.03), learned_ranges(plan)

    def step(carry, key):
        ranges, state = carry
        value, grads = jax.value_and_grad(loss)(ranges, key)
        updates, state = optimiser.update(grads, state)
        return (optax.apply_updates(ranges, updates), state), value

    keys = jax.random.split(KEY, 150)
    (ranges, _), values = jax.jit(lambda r: jax.lax.scan(step, (r, optimiser.init(r)), keys))(start)
    learned = float(jnp.exp(ranges["input"]["w"]))
    grid = np.geomspace(1.0, 40.0, 60)

    def at(limit):
        fixed = {**ranges, "input": {"w": jnp.log(limit)}}
        return loss(fixed, KEY)

    best = float(grid[np.argmin(jax.jit(jax.vmap(at))(jnp.asarray(grid, jnp.float32)))])
    assert values[-1] < 0.1 * values[0]
    assert 0.6 * best < learned < 1.6 * best and best < 8.0


def test_a_fixed_converter_is_not_learned():
    assert learned_ranges(calibrated(ax.ADC.uniform(bits=5, full_scale=3.0)))["column"] == {}


def test_columns_that_end_in_a_ramp_have_no_linear_range_and_biases_none_at_all():
    params = {"kernel": PARAMS["w"], "bias": jnp.zeros(4)}
    sigmoid = lambda p, x: jax.nn.sigmoid(x @ p["kernel"] + p["bias"])  # noqa: E731
    plan = ax.place(sigmoid, ax.preset("ramp-5bit"))(params, X)
    ranges = learned_ranges(ax.calibrate(sigmoid)(KEY, plan, params, X))
    assert set(ranges["input"]) == {"kernel"} and ranges["column"] == {}


def test_a_ramps_span_is_learned_where_it_is_set():
    """A ramp over (-8, 8) for sigmoids of small sums wastes its codes; the slope says so, and steps narrow it."""
    fn = lambda p, x: jax.nn.sigmoid(x @ p["w"])  # noqa: E731
    x = 0.2 * X[1:]
    hw = ax.Hardware(
        device=ax.IdealDevice(),
        array=ax.Array(weight_bits=None),
        activation=ax.Ramp(bits=3, convention="range", span=8.0),
    )
    plan = ax.calibrate(fn)(KEY, ax.place(fn, hw)(PARAMS, x), PARAMS, x)
    start = learned_ranges(plan)
    assert float(jnp.exp(start["span"]["0"])) == pytest.approx(8.0)

    def loss(span):
        changed = with_ranges(plan, {**start, "span": {"0": span}})
        return chip_loss(fn, squared, changed)(PARAMS, KEY, 0, (x,), fn(PARAMS, x))

    def step(span, _):
        value, slope = jax.value_and_grad(loss)(span)
        return span - 0.1 * jnp.sign(slope), value

    span, values = jax.jit(lambda s: jax.lax.scan(step, s, length=25))(start["span"]["0"])
    assert values[-1] < 0.5 * values[0] and float(jnp.exp(span)) < 4.0


def test_a_plan_without_ranges_and_ranges_of_another_plan_are_refused():
    plan = calibrated()
    uncalibrated = ax.place(fn, plan.hardware[0])(PARAMS, X)
    with pytest.raises(ValueError, match="plan: w has no range yet; expected a plan from `calibrate`"):
        learned_ranges(uncalibrated)
    with pytest.raises(ValueError, match="ranges: v is no weight of this plan"):
        with_ranges(plan, {"input": {"v": jnp.zeros(())}, "column": {}, "span": {}})
