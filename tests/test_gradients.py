"""Gradients of hardware numbers against central differences of the dither-averaged loss.

Rounding has no derivative anywhere; averaged over a uniform dither of one LSB of every weight and input it is smooth,
and the straight-through gradient is the derivative of that average. Both sides use the same 131,072 dithers and chips.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import anaxon as ax
from anaxon.types import replace

SAMPLES, CHUNK = 131_072, 4_096
ROWS, COLS, BATCH = 12, 2, 1
RANGE = 1.5  # calibrated input range; the inputs stay inside it

KEYS = jax.random.split(jax.random.key(11), 4)
WEIGHT = jax.random.uniform(KEYS[0], (ROWS, COLS), minval=-0.8, maxval=0.8).at[0].set(1.0)
X = jax.random.uniform(KEYS[1], (BATCH, ROWS), minval=-1.2, maxval=1.2)
MIX = jax.random.normal(KEYS[2], (BATCH, COLS))


def gaussian(full_scale=2.0, bandwidth=2e13):
    return ax.Hardware(
        device=ax.Gaussian(sigma=0.05, g_max=2e-6, bandwidth=bandwidth, read_sigma=0.02),
        array=ax.Array(rows=16, weight_bits=4),
        dac=ax.DAC(bits=5, v_max=0.3),
        adc=ax.ADC(full_scale=full_scale, step=0.125),
    )


def vcm():
    return ax.Hardware(
        device=ax.VCM(),
        array=ax.Array(rows=8, weight_bits=4),
        dac=ax.DAC(bits=5),
        adc=ax.ADC(full_scale=2.0, step=0.05),
    )


def linear_loss(y):
    return jnp.sum(MIX * y)


def square_loss(y):
    return jnp.sum(y**2) / 10


def fn(w, x):
    return x @ w


def planned(hardware):
    plan = ax.place(fn, hardware)(WEIGHT, X)
    ranges = tuple(replace(r, input=jnp.float32(RANGE)) for r in plan.ranges)
    return replace(plan, ranges=ranges)


def averages(loss, hardware, knob, value, width):
    """Means and standard errors of the AD gradient and the central difference of `knob` at `value`."""
    plan, value = planned(hardware), jnp.float32(value)

    def sample(value, key):
        k_w, k_x, k_chip, k_read = jax.random.split(key, 4)
        set_plan, weight = knob(plan, value)
        # The first row keeps the scale; every other weight moves by up to half a level, every input by half a code.
        w = weight + jax.random.uniform(k_w, WEIGHT.shape, minval=-0.5, maxval=0.5).at[0].set(0.0) / 7
        x = X + jax.random.uniform(k_x, X.shape, minval=-0.5, maxval=0.5) * RANGE / 16
        return loss(ax.analog(fn)(k_read, ax.program(k_chip, set_plan, w), x))

    def both(key):
        difference = (sample(value + width, key) - sample(value - width, key)) / (2 * width)
        return jax.grad(sample)(value, key), difference

    keys = jax.random.split(KEYS[3], SAMPLES)
    gradient, difference = (
        np.asarray(v, np.float64) for v in jax.jit(lambda k: lax.map(both, k, batch_size=CHUNK))(keys)
    )
    paired = (gradient - difference).std() / np.sqrt(SAMPLES)
    return gradient.mean(), difference.mean(), paired


def hardware_knob(change):
    return lambda plan, value: (replace(plan, hardware=(change(plan.hardware[0], value),)), WEIGHT)


def adc(name):
    return hardware_knob(lambda hw, v: replace(hw, adc=replace(hw.adc, **{name: v})))


def device(name):
    return hardware_knob(lambda hw, v: replace(hw, device=replace(hw.device, **{name: v})))


V_MAX = hardware_knob(lambda hw, v: replace(hw, dac=replace(hw.dac, v_max=v)))


def weight_knob(plan, value):
    return plan, WEIGHT.at[5, 1].set(value)


CASES = {
    "adc full scale": (linear_loss, gaussian(), adc("full_scale"), 2.0, 0.05),
    "v_max, vcm": (linear_loss, vcm(), V_MAX, 0.6, 0.01),
    "v_max, gaussian": (square_loss, gaussian(), V_MAX, 0.3, 0.01),
    "sigma": (square_loss, gaussian(), device("sigma"), 0.05, 0.005),
    "g_max": (square_loss, gaussian(), device("g_max"), 2e-6, 2e-7),
    # Slices that saturate differently have no common slope: the weight's case stays inside the range.
    "weight": (linear_loss, gaussian(full_scale=6.0, bandwidth=None), weight_knob, 0.4, 0.1),
    "weight, vcm": (linear_loss, vcm(), weight_knob, 0.4, 0.1),
}


SLOW = ("v_max, vcm", "v_max, gaussian", "sigma", "weight")  # as "weight, vcm" and "g_max"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES])
def test_gradient_is_that_of_the_dithered_loss(name):
    gradient, difference, error = averages(*CASES[name])
    assert np.isfinite(gradient)
    assert abs(difference) > 40 * error, "the case must resolve a derivative: 5 % has to be more than 2 standard errors"
    assert abs(gradient - difference) <= 0.05 * abs(difference), (gradient, difference, error)


def test_step_gradient_averages_to_that_of_the_dithered_loss():
    """The mean output of a dithered ADC does not depend on its step: both sides are 0 to their standard error."""
    gradient, difference, error = averages(linear_loss, gaussian(), adc("step"), 0.125, 0.01)
    size = float(jnp.sum(jnp.abs(MIX)))
    assert abs(gradient - difference) < 5 * error
    assert abs(gradient) < 0.05 * size


def test_step_gradient_of_one_conversion_is_the_formula():
    """d/ds and d/dz of s * clip(round(z / s), -F / s, F / s) with F / s = 6, written out in float64; no z on a tie."""
    z = np.linspace(-3, 3, 60)

    def convert(step, z):
        return ax.ADC(full_scale=1.8, step=step).convert(z, jnp.float32(1.8))

    by_step, by_z = jax.vmap(jax.grad(convert, (0, 1)), (None, 0))(jnp.float32(0.3), jnp.asarray(z, jnp.float32))
    inside = np.abs(z) <= 1.8
    np.testing.assert_allclose(by_step, np.where(inside, np.round(z / 0.3) - z / 0.3, 0.0), atol=2e-5)
    np.testing.assert_allclose(by_z, inside, atol=1e-6)
