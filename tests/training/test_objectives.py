from functools import cache, partial

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
    return ax.place(fn, hw)(PARAMS, X)


@partial(jax.jit, static_argnums=0)
def trained(objective, params, rate):
    """300 steps of Adam."""
    optimiser = optax.adam(rate)

    def step(carry, i):
        params, state = carry
        grads = jax.grad(objective)(params, jax.random.fold_in(KEY, i), i, (X,), TARGET)
        updates, state = optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(300))[0][0]


@partial(jax.jit, static_argnums=0)
def on_new_chips(objective, params):
    """The loss of each of 64 chips that training never saw."""
    keys = jax.random.split(jax.random.key(7), 64)
    return jax.vmap(lambda key: objective(params, key, 0, (X,), TARGET))(keys)


def test_noise_aware_training_lowers_the_loss_of_new_chips():
    digital, aware = digital_loss(fn, squared), chip_loss(fn, squared, noisy_plan())
    params = trained(digital, PARAMS, 0.02)
    before = np.asarray(on_new_chips(aware, params))
    after = np.asarray(on_new_chips(aware, trained(aware, params, 0.005)))
    more = np.asarray(on_new_chips(aware, trained(digital, params, 0.005)))  # as many steps without noise
    for other in (before, more):
        gain = other - after  # chip by chip: the same errors
        assert gain.mean() > 5 * gain.std() / np.sqrt(gain.size)
    assert after.mean() < 0.7 * before.mean()


def test_a_chips_loss_is_what_program_and_analog_give():
    plan = noisy_plan()
    program_key, read_key = jax.random.split(KEY)

    @jax.jit
    def both(params):
        outputs = ax.analog(fn)(read_key, ax.program(program_key, plan, params), X)
        return squared(outputs, TARGET), chip_loss(fn, squared, plan)(params, KEY, 0, (X,), TARGET)

    by_hand, value = both(PARAMS)
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)


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
