"""Known means of operands, taken off the rows and added after conversion."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax

import anaxon as ax
from anaxon import adc_ranges
from anaxon.row_offsets import without_offsets

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
EXACT = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(rows=8, weight_bits=None))


def data(*shape):
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


def weight(*shape):
    """More positive than not: with inputs of one sign, the columns have an offset."""
    return jnp.asarray(RNG.uniform(-0.5, 1, shape), jnp.float32)


def dense(w, x):
    return x @ w


def conv(w, x):
    """Zeros at both ends: there a row is driven by less its mean."""
    return lax.conv_general_dilated(x, w, (2,), [(2, 1)], dimension_numbers=("NWC", "WIO", "NWC"))


def depthwise(w, x):
    return lax.conv_general_dilated(
        x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=w.shape[-1]
    )


def stacked(w, x):
    return jnp.einsum("lmi,lij->lmj", x, w)


def scanned(w, xs):
    return lax.scan(lambda c, wx: (c, wx[1] @ wx[0]), 0, (w, xs))[1]


def viewed(w, x):
    return (x @ w.T[1:].T.reshape(4, 5, 6).reshape(20, 6)) * 2.0


def twice(w, x):
    return x @ w[:, :3], (2 * x) @ w[:, 3:]


def spread(rows):
    """The largest magnitude of rows `[..., vectors, rows]` less their means."""
    rows = np.asarray(rows, np.float64)
    return np.abs(rows - rows.mean(-2, keepdims=True)).max()


def patches(window, stride, pad):
    return lambda x: spread(reference.conv1d_patches(x, window, stride, 1, pad)[0])


MEANS = jnp.asarray(RNG.uniform(2, 5, 20), jnp.float32)  # of the rows
CASES = {  # function, weight, operand, and the range of the operand without its means
    "dense": (dense, weight(20, 7), data(30, 20) + MEANS, spread),
    "convolution": (conv, weight(3, 4, 5), data(2, 9, 4) + MEANS[:4], patches(3, 2, (2, 1))),
    "depthwise": (depthwise, weight(3, 1, 4), data(2, 9, 4) + MEANS[:4], patches(3, 1, (1, 1))),
    "stack": (stacked, weight(3, 20, 7), data(3, 30, 20) + MEANS, spread),
    "scan": (scanned, weight(3, 20, 7), data(3, 30, 20) + MEANS, spread),
    "views": (viewed, weight(20, 7), data(30, 20) + MEANS, spread),
    "slices": (twice, weight(20, 7), data(30, 20) + MEANS, lambda x: 2 * spread(x)),
}


def offset_plan(fn, hardware, w, x):
    plan = ax.calibrate(fn)(KEY, ax.place(fn, hardware)(w, x), w, x)
    return plan, without_offsets(fn)(KEY, plan, w, x)


@cache
def reader(fn):
    return jax.jit(lambda plan, w, x: ax.observe(fn)(KEY, ax.program(KEY, plan, w), w, x))


def read(fn, plan, w, x):
    y, layers = reader(fn)(plan, w, x)
    return y, layers["weight"]


@pytest.mark.parametrize("name", CASES)
def test_without_converters_the_output_is_the_digital_one(name):
    fn, w, x, _ = CASES[name]
    digital = jax.jit(fn)(w, x)
    largest = max(float(jnp.abs(y).max()) for y in jax.tree.leaves(digital))
    for plan in offset_plan(fn, EXACT, w, x):
        y, _ = read(fn, plan, w, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6 * largest), y, digital)


@pytest.mark.parametrize("name", CASES)
def test_the_rows_are_driven_by_what_is_left_of_their_own_inputs(name):
    fn, w, x, left = CASES[name]
    before, after = offset_plan(fn, EXACT, w, x)
    np.testing.assert_allclose(before.ranges[0].input, jnp.abs(x).max() * (2 if name == "slices" else 1), rtol=1e-6)
    np.testing.assert_allclose(after.ranges[0].input, left(x), rtol=1e-5)
    np.testing.assert_allclose(read(fn, after, w, x)[1].input_max, left(x), rtol=1e-5)


@pytest.mark.parametrize("name", ["dense", "convolution", "scan"])
def test_columns_and_errors_shrink_behind_a_converter(name):
    fn, w, x, _ = CASES[name]
    array, dac = ax.Array(rows=16, weight_bits=8), ax.DAC(bits=8)
    hw = ax.Hardware(device=ax.IdealDevice(), array=array, dac=dac, adc=ax.ADC.bits(2, 5))
    before, after = (read(fn, plan, w, x)[1] for plan in offset_plan(fn, hw, w, x))
    assert float(before.saturation) > 0.15 and float(after.saturation) < 0.4 * float(before.saturation)
    assert float(after.error) < 0.4 * float(before.error)


def test_what_is_added_is_the_product_with_the_weight_as_it_was_mapped():
    """Else taking a mean off would change the layer: here levels are a seventh of the largest weight."""
    fn, w, x, _ = CASES["dense"]
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(rows=8, weight_bits=4))
    level, scale = reference.levels(w, 4, None)
    expected, mean = np.asarray(x, np.float64) @ (level * scale), np.asarray(x, np.float64).mean(0)
    plan = offset_plan(fn, hw, w, x)[1]
    y, _ = read(fn, plan, w, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    unmapped = mean @ np.asarray(w, np.float64) - mean @ (level * scale)
    assert np.abs(unmapped).max() > 0.1
    chip = ax.program(KEY, plan, w)
    np.testing.assert_allclose(chip.tree.compensation[0], mean @ (level * scale), rtol=1e-5)


def test_the_noise_of_the_cells_is_that_of_what_is_left():
    """A mean that is not on the rows meets no wrong conductances."""
    fn, w, x, _ = CASES["dense"]
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.05), array=ax.Array(rows=8, weight_bits=None))
    before, after = (read(fn, plan, w, x)[1] for plan in offset_plan(fn, hw, w, x))
    assert float(after.error) < 0.4 * float(before.error)


def two_layers(p, x):
    return jnp.tanh(x @ p["a"]) @ p["b"]


TWO = {"a": weight(20, 7), "b": weight(7, 3)}


def test_only_the_named_weights_change():
    x = CASES["dense"][2]
    plan = ax.calibrate(two_layers)(KEY, ax.place(two_layers, EXACT)(TWO, x), TWO, x)
    changed = without_offsets(two_layers, ["a"])(KEY, plan, TWO, x)
    assert changed.sites == plan.sites and changed.hardware == plan.hardware
    assert changed.ranges[1].offset is None and changed.ranges[1].input == plan.ranges[1].input
    np.testing.assert_allclose(changed.ranges[0].offset, np.asarray(x).mean(0)[:, None], rtol=1e-5)


def test_a_plan_and_a_chip_keep_their_offsets(tmp_path):
    fn, w, x, _ = CASES["depthwise"]
    plan = offset_plan(fn, EXACT, w, x)[1]
    chip = ax.program(KEY, plan, w)
    ax.save(tmp_path / "plan", plan)
    ax.save(tmp_path / "chip", chip)
    np.testing.assert_array_equal(ax.load(tmp_path / "plan").ranges[0].offset, plan.ranges[0].offset)
    run = jax.jit(ax.analog(fn))
    np.testing.assert_array_equal(run(KEY, ax.load(tmp_path / "chip", w), x), run(KEY, chip, x))
    np.testing.assert_array_equal(ax.load(tmp_path / "chip", w).tree.compensation, chip.tree.compensation)


def test_a_ramp_and_rows_that_a_reshape_has_cut_are_refused():
    ramp = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), activation=ax.Ramp(bits=5))
    x, w = jnp.ones((2, 6)), jnp.ones((6, 4))
    sigmoid = lambda w, x: jax.nn.sigmoid(x @ w)  # noqa: E731
    plan = ax.calibrate(sigmoid)(KEY, ax.place(sigmoid, ramp)(w, x), w, x)
    says = r"paths: 'weight' is no weight whose whole rows end in a linear ADC; expected some of \[\]"
    with pytest.raises(ValueError, match=says):
        without_offsets(sigmoid, ["weight"])(KEY, plan, w, x)
    assert without_offsets(sigmoid)(KEY, plan, w, x).ranges[0].offset is None
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), adc=ax.ADC.bits(4, 4))
    cut = lambda w, x: x[:, :4] @ w.reshape(4, 6)  # noqa: E731
    plan = ax.calibrate(cut)(KEY, ax.place(cut, hw)(w, x), w, x)
    with pytest.raises(ValueError, match=says):
        without_offsets(cut, ["weight"])(KEY, plan, w, x)


def test_an_offset_of_another_shape_is_refused():
    fn, w, x, _ = CASES["dense"]
    plan = adc_ranges.changed(ax.place(fn, EXACT)(w, x), {"weight": {"offset": jnp.ones(20)}})
    with pytest.raises(ValueError, match=r"ranges.offset: weight has shape \(20, 7\); got \(20,\)"):
        ax.program(KEY, plan, w)
    plan = adc_ranges.changed(plan, {"weight": {"offset": jnp.ones((7, 1))}})
    with pytest.raises(ValueError, match=r"ranges.offset: weight has shape \(20, 7\); got \(7, 1\)"):
        ax.program(KEY, plan, w)
