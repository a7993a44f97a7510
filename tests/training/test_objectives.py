from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import anaxon as ax
from anaxon.training import chip_loss, digital_loss, disturbed_loss
from anaxon.types import replace

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(-1, 1, (64, 6)), jnp.float32)
TARGET = jnp.sin(3 * X @ jnp.asarray(RNG.uniform(-1, 1, (6, 2)), jnp.float32))
PARAMS = {
    "hidden": {"kernel": jnp.asarray(RNG.normal(0, 0.5, (6, 12)), jnp.float32), "bias": jnp.zeros(12)},
    "out": {"kernel": jnp.asarray(RNG.normal(0, 0.3, (12, 2)), jnp.float32)},
}


def fn(params, x):
    hidden = jax.nn.sigmoid(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return (hidden - 0.5) @ params["out"]["kernel"]


def squared(outputs, target):
    return jnp.mean((outputs - target) ** 2)


@cache
def noisy_plan(sigma=0.08):
    hw = ax.preset("ramp-5bit")
    hw = replace(hw, device=replace(hw.device, sigma=sigma))
    return ax.calibrate(fn)(KEY, ax.place(fn, hw)(PARAMS, X), PARAMS, X)


def trained(objective, params, steps, rate=0.02):
    optimiser = optax.adam(rate)

    def step(carry, i):
        params, state = carry
        key = jax.random.fold_in(KEY, i)
        value, grads = jax.value_and_grad(objective)(params, key, i, (X,), TARGET)
        updates, state = optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(lambda p: jax.lax.scan(step, (p, optimiser.init(p)), jnp.arange(steps)))
    (params, _), values = run(params)
    return params, values


def mean_over_chips(plan, params, chips=64):
    objective = chip_loss(fn, squared, plan)
    keys = jax.random.split(jax.random.key(7), chips)  # chips that training never saw
    values = jax.jit(jax.vmap(lambda key: objective(params, key, 0, (X,), TARGET)))(keys)
    return float(values.mean()), float(values.std() / np.sqrt(chips))


def test_noise_aware_training_lowers_the_loss_of_new_chips():
    plan = noisy_plan()
    params, _ = trained(digital_loss(fn, squared), PARAMS, 400)
    before, error = mean_over_chips(plan, params)
    aware, _ = trained(chip_loss(fn, squared, plan), params, 300, rate=0.005)
    after, _ = mean_over_chips(plan, aware)
    more, _ = trained(digital_loss(fn, squared), params, 300, rate=0.005)  # as many steps without noise
    assert after < before - 5 * error and after < mean_over_chips(plan, more)[0] - 5 * error


def test_a_chips_loss_is_what_program_and_analog_give():
    plan = noisy_plan()
    program_key, read_key = jax.random.split(KEY)
    outputs = jax.jit(lambda p: ax.analog(fn)(read_key, ax.program(program_key, plan, p), X))(PARAMS)
    value = jax.jit(chip_loss(fn, squared, plan))(PARAMS, KEY, 0, (X,), TARGET)
    np.testing.assert_allclose(value, squared(outputs, TARGET), rtol=1e-6)


def test_a_schedule_scales_the_noise_of_the_chip():
    """With the factor 0 the chip is the one without noise; with 1 it is the plan's own; keys are the same."""
    plan, quiet = noisy_plan(), noisy_plan()
    hw = quiet.hardware[0]
    quiet = replace(quiet, hardware=(replace(hw, device=replace(hw.device, sigma=0.0)),))
    ramp_up = jax.jit(chip_loss(fn, squared, plan, optax.linear_schedule(0.0, 1.0, 10)))
    value = lambda step: ramp_up(PARAMS, KEY, step, (X,), TARGET)  # noqa: E731
    of_plan = jax.jit(lambda plan: chip_loss(fn, squared, plan)(PARAMS, KEY, 0, (X,), TARGET))
    np.testing.assert_allclose(value(0), of_plan(quiet), rtol=1e-5)
    np.testing.assert_allclose(value(10), of_plan(plan), rtol=1e-5)
    assert abs(float(value(5)) - float(value(0))) > 1e-4


def test_the_others_ignore_what_they_do_not_need_and_pass_on_auxiliary_values():
    digital = digital_loss(fn, lambda y, t: (squared(y, t), y))
    value, y = digital(PARAMS, KEY, 3, (X,), TARGET)
    np.testing.assert_array_equal(y, fn(PARAMS, X))
    np.testing.assert_array_equal(value, squared(y, TARGET))
    off = disturbed_loss(fn, squared, 0.1, lambda step: step)
    np.testing.assert_array_equal(off(PARAMS, KEY, 0.0, (X,), TARGET), value)
    noisy = [float(disturbed_loss(fn, squared, 0.1)(PARAMS, key, 0, (X,), TARGET)) for key in jax.random.split(KEY)]
    assert noisy[0] != noisy[1] != float(value)


@pytest.mark.parametrize("objective", [digital_loss(fn, squared), disturbed_loss(fn, squared, 0.1)])
def test_inputs_that_are_no_tuple_are_refused(objective):
    with pytest.raises(TypeError, match=r"inputs: expected the tuple of the function's inputs, such as \(x,\)"):
        objective(PARAMS, KEY, 0, X, TARGET)
