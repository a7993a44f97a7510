import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.converter.ramp import sample, thresholds
from anaxon.training import disturb_weights, scaled_noise
from anaxon.types import replace

KEY = jax.random.key(0)
PARAMS = {"kernel": jnp.full((200, 200), 0.5).at[0, 0].set(-4.0), "bias": jnp.ones(200)}


def product(params, x):
    return x @ params["kernel"]


def plan_of(hardware):
    return ax.place(product, hardware)(PARAMS, jnp.ones((3, 200)))


def test_weight_noise_is_relative_to_the_largest_weight_and_spares_biases():
    noisy = disturb_weights(KEY, PARAMS, 0.05)
    z = np.asarray(noisy["kernel"] - PARAMS["kernel"]) / (0.05 * 4.0)
    n = z.size
    assert abs(z.mean()) * np.sqrt(n) < 5 and abs(z.var() - 1) * np.sqrt(n / 2) < 5
    np.testing.assert_array_equal(noisy["bias"], PARAMS["bias"])
    assert disturb_weights(KEY, PARAMS, 0.0) is PARAMS


def test_matrices_are_disturbed_independently_and_keep_their_dtype():
    params = {"a": jnp.ones((30, 30), jnp.bfloat16), "b": jnp.ones((30, 30))}
    noisy = disturb_weights(KEY, params, jnp.float32(0.5))
    assert noisy["a"].dtype == jnp.bfloat16
    a, b = (np.asarray(noisy[n], np.float64).ravel() - 1 for n in "ab")
    assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(a.size) < 5


def test_every_noise_is_scaled_and_nothing_else():
    device = ax.Gaussian(sigma=0.02, sigma_rel=0.1, read_sigma=0.01, bandwidth=1e8, g_max=1e-4, g_min=1e-6)
    adc = ax.ADC.uniform(bits=6, full_scale=2.0, noise=0.1, offset_sigma=0.2, gain_sigma=0.3)
    before = ax.Hardware(device=device, adc=adc, dac=ax.DAC(bits=4))
    after = scaled_noise(plan_of(before), 0.5).hardware[0]
    wanted = replace(
        before,
        device=replace(device, sigma=0.01, sigma_rel=0.05, read_sigma=0.005, bandwidth=0.25e8),
        adc=replace(adc, noise=0.05, offset_sigma=0.1, gain_sigma=0.15),
    )
    assert jax.tree.structure(after) == jax.tree.structure(wanted)
    np.testing.assert_allclose(jax.tree.leaves(after), jax.tree.leaves(wanted), rtol=1e-6)


@pytest.mark.parametrize("name", ["sigma", "sigma_rel", "read_sigma", "bandwidth"])
def test_the_outputs_noise_follows_the_factor(name):
    """Each kind by itself, with the same keys: the error is the factor times the error, exactly but for rounding."""
    value = 1e12 if name == "bandwidth" else 0.03
    device = ax.Gaussian(**{"sigma": 0.0, name: value})
    hw = ax.Hardware(device=device, array=ax.Array(weight_bits=None))
    plan, x = plan_of(hw), jnp.ones((3, 200)) * 0.7

    @jax.jit
    def error(factor):
        def outputs(params):
            chip = ax.program(KEY, scaled_noise(plan, factor), params)
            return ax.analog(product)(KEY, chip, x)

        y, pullback = jax.vjp(outputs, PARAMS)
        return y - product(PARAMS, x), pullback(jnp.ones_like(y))

    (full, _), (half, _), (none, slopes) = (error(f) for f in (1.0, 0.5, 0.0))
    assert np.abs(full).max() > 0.1
    np.testing.assert_allclose(half, 0.5 * np.asarray(full), atol=2e-3 * np.abs(full).max())
    np.testing.assert_allclose(none, 0, atol=1e-3)
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(slopes))  # where a schedule starts


def test_noise_that_is_off_stays_off_and_ideal_parts_pass():
    plan = plan_of(ax.Hardware(device=ax.IdealDevice(), adc=ax.ADC.uniform(bits=6)))
    assert jax.tree.structure(scaled_noise(plan, 0.5)) == jax.tree.structure(plan)
    assert scaled_noise(plan_of(ax.ideal()), 0.5).hardware[0].is_ideal


RAMPS = {
    "normal": {"sigma": 0.04},
    "truncated": {"sigma": 0.04, "tolerance": 0.06},
    "uniform": {"tolerance": 0.06},
}


@pytest.mark.parametrize("distribution", list(RAMPS))
def test_a_ramps_errors_are_scaled(distribution):
    """The same key: thresholds move in proportion, from the ideal ones at factor 0."""
    hw = ax.preset("ramp-5bit")
    ramp = ax.Ramp(bits=4, distribution=distribution, read_sigma=0.02, **RAMPS[distribution])
    plan = plan_of(replace(hw, activation=ramp))

    @jax.jit
    def moved(factor):
        scaled = scaled_noise(plan, factor).hardware[0].activation
        return jnp.sum(jnp.abs(sample(KEY, scaled, "tanh") - jnp.asarray(thresholds("tanh", 4), jnp.float32)))

    none, small, large = (float(moved(f)) for f in (0.0, 1e-2, 2e-2))
    assert none < 1e-5 and large == pytest.approx(2 * small, rel=1e-2) and small > 1e-3
    after = scaled_noise(plan, 0.25).hardware[0]
    assert float(after.activation.read_sigma) == pytest.approx(0.005)
    assert float(after.device.sigma) == pytest.approx(0.25 * float(hw.device.sigma))


def test_cells_whose_noise_is_no_number_are_refused():
    with pytest.raises(TypeError, match="VCM has no noise that one factor scales; train without a schedule"):
        scaled_noise(plan_of(ax.preset("vcm-4bit")), 0.5)
