"""What a run tells, the ranges it fixes, and what it does to cells."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax
from layer_table import data

import anaxon as ax
from anaxon.types import replace

KEY = jax.random.key(0)
P = {"w": data(9, 5, seed=1), "u": data(5, 3, seed=2)}
X = data(6, 9)


def net(p, x):
    return jnp.tanh(x @ p["w"]) @ p["u"]


def hardware(**kwargs):
    array = ax.Array(rows=4, weight_bits=4)
    return ax.Hardware(**{"device": ax.IdealDevice(), "array": array, "dac": ax.DAC(v_max=0.5)} | kwargs)


def observed(fn, hw, params=P, *inputs, plan=None):
    inputs = inputs or (X,)
    plan = plan or ax.place(fn, hw)(params, *inputs)
    chip = ax.program(KEY, plan, params)
    return jax.jit(ax.observe(fn))(KEY, chip, params, *inputs)


def reference_columns(x, w):
    settings = {"bits": 4, "cell_bits": 1, "rows": 4, "dac_bits": 8, "encoding": "amplitude"}
    return [z for _, z in reference.columns(x, w, **settings, scale_axes=None, clip_sigma=None)[0]]


def test_saturation_is_what_numpy_counts():
    """9 rows are 3 tiles, the last of them with one row."""
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    _, layers = observed(fn, hardware(adc=ax.ADC(full_scale=0.75, step=0.25)))
    columns = reference_columns(X, P["w"])
    beyond = sum(np.sum(np.abs(z) > 0.75) for z in columns)
    assert 0 < beyond < sum(z.size for z in columns)
    stats = layers["w"]
    assert int(stats.saturated) == beyond
    assert int(stats.conversions) == sum(z.size for z in columns) == 3 * 3 * 6 * 5
    np.testing.assert_allclose(stats.saturation, beyond / 270, rtol=1e-6)
    np.testing.assert_allclose(stats.column_max, max(np.abs(z).max() for z in columns), rtol=1e-5)
    np.testing.assert_allclose(stats.input_max, np.abs(X).max(), rtol=1e-6)


def test_the_result_and_the_error_are_those_of_the_run():
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    hw = hardware(adc=ax.ADC.bits(3, 2))
    y, layers = observed(fn, hw)
    chip = ax.program(KEY, ax.place(fn, hw)(P, X), P)
    assert np.array_equal(y, jax.jit(ax.analog(fn))(KEY, chip, X))
    exact = np.asarray(X, np.float64) @ np.asarray(P["w"], np.float64)
    np.testing.assert_allclose(layers["w"].error, np.linalg.norm(y - exact) / np.linalg.norm(exact), rtol=1e-4)


def test_an_error_is_that_of_its_own_layer():
    """The second layer is compared at the inputs it got, not at the digital ones."""
    _, layers = observed(net, {"w": hardware(adc=ax.ADC(full_scale=0.5, step=0.5)), "u": hardware()})
    assert float(layers["w"].error) > 0.3
    assert float(layers["u"].error) < 0.2


def test_loops_add_up():
    def fn(p, x):
        return lax.scan(lambda c, x: (c, x @ p["w"]), 0.0, x)[1]

    stack = jnp.stack([X, 2 * X])
    _, layers = observed(fn, hardware(adc=ax.ADC.bits(4, 4)), P, stack)
    assert int(layers["w"].conversions) == 2 * 270
    np.testing.assert_allclose(layers["w"].input_max, 2 * np.abs(X).max(), rtol=1e-6)


def test_calibrated_ranges():
    plan = ax.place(net, hardware(adc=ax.ADC.uniform(bits=6)))(P, X)
    new = jax.jit(ax.calibrate(net))(KEY, plan, P, X)
    u, w = new.ranges
    assert [s.path for s in new.sites] == ["u", "w"]
    np.testing.assert_allclose(w.input, np.abs(X).max(), rtol=1e-6)
    np.testing.assert_allclose(w.column, 1.05 * max(np.abs(z).max() for z in reference_columns(X, P["w"])), rtol=1e-5)
    assert 0.3 < float(u.input) < 1  # of tanh
    # A range now belongs to the plan: a small input no longer stretches to full scale, a large one is limited.
    chip = ax.program(KEY, new, P)
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    read = jax.jit(ax.analog(fn))
    y = read(KEY, chip, 1e-4 * X)
    np.testing.assert_array_equal(y, 0 * y)
    np.testing.assert_array_equal(read(KEY, chip, 1e4 * jnp.sign(X)), read(KEY, chip, 1e5 * jnp.sign(X)))


def test_a_fixed_adc_stays():
    plan = ax.place(net, hardware(adc=ax.ADC.bits(4, 4)))(P, X)
    assert all(r.column is None and r.input is not None for r in ax.calibrate(net)(KEY, plan, P, X).ranges)


def test_calibration_takes_the_largest_of_all_uses():
    fn = lambda p, x: lax.scan(lambda c, s: (c, (s * x) @ p["w"]), 0.0, jnp.array([1.0, 5.0, 2.0]))[1]  # noqa: E731
    plan = ax.calibrate(fn)(KEY, ax.place(fn, hardware())(P, X), P, X)
    np.testing.assert_allclose(plan.ranges[0].input, 5 * np.abs(X).max(), rtol=1e-6)


def test_a_ramp_is_calibrated_and_observed_too():
    hw = ax.Hardware(
        device=ax.IdealDevice(), array=ax.Array(weight_bits=None), dac=ax.DAC(), activation=ax.Ramp(bits=8)
    )
    params = P | {"b": data(5, seed=5)}
    fn = lambda p, x: jnp.tanh(x @ p["w"] + p["b"])  # noqa: E731
    _, layers = observed(fn, {"w": hw}, params)
    assert int(layers["w"].conversions) == 30
    assert int(layers["w"].saturated) == 0
    assert 0 < float(layers["w"].error) < 0.01
    plan = ax.calibrate(fn)(KEY, ax.place(fn, {"w": hw})(params, X), params, X)
    ranges = dict(zip([s.path for s in plan.sites], plan.ranges, strict=True))
    np.testing.assert_allclose(ranges["w"].input, np.abs(X).max(), rtol=1e-6)


# Read disturb: on VCM cells, fresh and unread but for this run.

DISTURBED = ax.Hardware(device=ax.VCM(noise="off"), array=ax.Array(weight_bits=2), dac=ax.DAC(v_max=0.6))
BIG = {"w": data(48, 48, seed=4)}


@cache
def compiled(fn):
    return jax.jit(ax.disturb(fn))


def disturbed(fn, inputs, hw=DISTURBED, params=BIG, times=1):
    chip = ax.program(KEY, ax.place(fn, hw)(params, inputs), params)
    before, counts = chip.tree["w"].cells, []
    for _ in range(times):
        chip, count = compiled(fn)(KEY, chip, inputs)
        counts.append(int(count["w"]))
    return np.asarray(before), np.asarray(chip.tree["w"].cells), counts


def product(p, x):
    return x @ p["w"]


HRS = 0.45  # between the populations


def test_an_eleventh_of_the_off_cells_at_the_lowest_voltage():
    before, after, (first, again) = disturbed(product, -jnp.ones((1, 48)), times=2)
    off = int(np.sum(before > HRS))
    assert np.sum(after != before) == first
    assert np.all(before[after != before] > HRS)
    assert np.all(after[after != before] < HRS)
    share = DISTURBED.device.disturb_share(-0.6)
    assert abs(share - 0.111) < 0.002
    assert abs(first - share * off) / np.sqrt(off * share * (1 - share)) < 5
    assert again == 0


def test_positive_voltages_do_nothing():
    before, after, counts = disturbed(product, jnp.ones((1, 48)))
    assert counts == [0]
    assert np.array_equal(before, after)


def test_only_rows_that_were_driven():
    x = jnp.where(jnp.arange(48) < 24, -1.0, 1.0)[None]
    before, after, counts = disturbed(product, x)
    changed = np.any(after != before, axis=(0, 1, 3))
    assert np.all(changed[:24])
    assert not np.any(changed[24:])


def test_the_lowest_of_all_steps_and_vectors_counts():
    """Scanned, batched or in one vector: the same cells see the same lowest voltage."""
    x = data(4, 48, seed=6) / jnp.max(jnp.abs(data(4, 48, seed=6)))
    plan = replace_ranges(ax.place(product, DISTURBED)(BIG, x), 1.0)
    scan = lambda p, x: lax.scan(lambda c, x: (c, x @ p["w"]), 0.0, x)[1]  # noqa: E731
    chip = ax.program(KEY, plan, BIG)
    lowest = jnp.min(x, axis=0)[None]
    results = [compiled(fn)(KEY, chip, v)[0].tree["w"].cells for fn, v in ((product, x), (scan, x), (product, lowest))]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    assert not np.array_equal(results[0], chip.tree["w"].cells)


def replace_ranges(plan, value):
    return replace(plan, ranges=tuple(replace(r, input=jnp.float32(value)) for r in plan.ranges))


@pytest.mark.parametrize("encoding", ["pulse-width", "bit-serial"])
def test_pulses_of_full_height_disturb_at_any_input(encoding):
    hw = replace(DISTURBED, dac=ax.DAC(encoding=encoding))
    x = jnp.concatenate([-jnp.ones((1, 24)), -0.1 * jnp.ones((1, 24))], 1)
    _, _, (count,) = disturbed(product, x, hw)
    _, _, (amplitude,) = disturbed(product, x)
    _, _, (full,) = disturbed(product, -jnp.ones((1, 48)))
    assert count == full > amplitude


def test_views_lead_back_to_the_cells():
    """A kernel that is transposed, reshaped and convolved: disturbed cells are those of negative channels."""
    params = {"w": data(6, 4, 3, seed=7)}
    x = jnp.stack([-jnp.ones(8), jnp.ones(8), -jnp.ones(8), jnp.ones(8)])[None]
    fn = lambda p, x: lax.conv(x, p["w"], (1,), "VALID")  # noqa: E731
    before, after, counts = disturbed(fn, x, params=params)
    changed = np.any(after != before, axis=(0, 1, 2, 4))
    assert counts[0] > 0
    assert not changed[1]
    assert not changed[3]


def test_a_ramp_disturbs_too():
    hw = ax.Hardware(device=ax.VCM(noise="off"), array=ax.Array(weight_bits=2), dac=ax.DAC(), activation=ax.Ramp())
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    *_, (count,) = disturbed(fn, -jnp.ones((1, 48)), hw)
    *_, (linear,) = disturbed(product, -jnp.ones((1, 48)))
    assert count == linear > 0


def test_devices_without_disturb_stay():
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    before, after, counts = disturbed(fn, -jnp.ones((1, 48)), hardware())
    assert counts == [0]
    assert np.array_equal(before, after)
