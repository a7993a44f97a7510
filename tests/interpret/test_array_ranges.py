"""ADC ranges of a weight and of each of its physical arrays (bit slice, stack, row tile, column tile)."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax

import anaxon as ax
from anaxon.types import replace

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, COLS, BITS = 4, 3, 4
ARRAY = ax.Array(rows=ROWS, cols=COLS, weight_bits=BITS)
STEPS = 128  # of ADC.bits(4, 4), on each side


def data(*shape):
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


W, X = data(10, 8), data(6, 10)  # 3 slices, 3 row tiles, 3 column tiles, the last of either not full


def hardware(adc=None, **kwargs):
    dac = ax.DAC(bits=6, **kwargs)
    return ax.Hardware(device=ax.IdealDevice(), array=ARRAY, dac=dac, adc=adc or ax.ADC.bits(4, 4))


def dense(w, x):
    return x @ w


def planned(fn, w, x, column, hw=None):
    plan = ax.place(fn, hw or hardware())(w, x)
    return replace(plan, ranges=(replace(plan.ranges[0], column=column),))


@cache
def reader(fn):
    """A range and a split are leaves of the plan: one program reads with all of them."""
    return jax.jit(lambda plan, w, x: ax.observe(fn)(KEY, ax.program(KEY, plan, w), w, x))


def read(fn, plan, w, x):
    y, layers = reader(fn)(plan, w, x)
    return np.asarray(y), layers["weight"]


def random_ranges(*shape):
    """Powers of two: columns are then whole numbers of a fraction of a step, and no code depends on rounding."""
    return 2.0 ** RNG.integers(-3, 2, shape)


def slow(x, w, ranges, scale=None, encoding="amplitude", bits=6):
    """`x [M, N] @ w [N, C]`, an array at a time: `ranges [S, T, K]`; the output, and how many columns saturate."""
    level, own = reference.levels(w, BITS, None)
    level, scale = (level, own.item()) if scale is None else (np.round(np.asarray(w, np.float64) / scale), scale)
    code, full_scale = reference.dac(x, bits)
    y, beyond = np.zeros((len(code), w.shape[1])), 0
    for s, (worth, g) in enumerate(reference.pairs(level, BITS, 1)):
        for t, top in enumerate(range(0, w.shape[0], ROWS)):
            for k, left in enumerate(range(0, w.shape[1], COLS)):
                rows, cols, limit = slice(top, top + ROWS), slice(left, left + COLS), ranges[s, t, k]
                for value, drive in reference.cycles(code, bits, encoding):
                    z = drive[:, rows] @ g[rows, cols]
                    beyond += np.sum(np.abs(z) > limit)
                    y[:, cols] += worth * value * reference.adc(z, limit, limit / STEPS)
    return y * scale * full_scale, beyond


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_range_at_equal_bits_is_the_converter_of_that_split(bits):
    chosen = read(dense, planned(dense, W, X, jnp.float32(2.0 ** (bits - 1))), W, X)
    built = read(dense, planned(dense, W, X, None, hardware(ax.ADC.bits(bits, 8 - bits))), W, X)
    np.testing.assert_array_equal(chosen[0], built[0])
    assert int(chosen[1].saturated) == int(built[1].saturated)


@pytest.mark.parametrize("encoding", ["amplitude", "bit-serial"])
def test_every_array_converts_over_its_own_range(encoding):
    ranges = random_ranges(3, 1, 3, 3)
    y, stats = read(dense, planned(dense, W, X, jnp.asarray(ranges), hardware(encoding=encoding)), W, X)
    expected, beyond = slow(X, W, ranges[:, 0], encoding=encoding)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert int(stats.saturated) == beyond > 0
    assert int(stats.conversions) == 3 * 3 * 6 * 8 * (6 if encoding == "bit-serial" else 1)
    other, _ = slow(X, W, ranges[:, 0].transpose(0, 2, 1), encoding=encoding)
    assert np.abs(other - expected).max() > 0.01, "which array is which matters here"


@pytest.mark.parametrize("common", [(0,), (2,), (3,), (0, 2, 3)], ids=["slices", "rows", "columns", "all"])
def test_an_axis_of_one_is_common(common):
    ranges = random_ranges(*(1 if a in common else n for a, n in enumerate((3, 1, 3, 3))))
    y, stats = read(dense, planned(dense, W, X, jnp.asarray(ranges)), W, X)
    expected, beyond = slow(X, W, np.broadcast_to(ranges, (3, 1, 3, 3))[:, 0])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert int(stats.saturated) == beyond


def test_the_arrays_of_a_stack_and_of_a_scan():
    """Side by side every weight has its own ranges; in a loop one array's range holds for all turns."""
    w = data(2, 10, 8) * jnp.array([1.0, 0.3])[:, None, None]
    stack = lambda w, x: jnp.einsum("lmi,lij->lmj", jnp.stack([x, x]), w)  # noqa: E731
    scan = lambda w, x: lax.scan(lambda c, w: (c, x @ w), 0, w)[1]  # noqa: E731
    own = random_ranges(3, 2, 3, 3)
    y, stats = read(stack, planned(stack, w, X, jnp.asarray(own)), w, X)
    slows = [slow(X, w[i], own[:, i]) for i in range(2)]
    np.testing.assert_allclose(y, [s[0] for s in slows], atol=1e-5)
    assert int(stats.saturated) == sum(s[1] for s in slows)

    y, stats = read(scan, planned(scan, w, X, jnp.asarray(own[:, :1])), w, X)
    slows = [slow(X, w[i], own[:, 0]) for i in range(2)]
    np.testing.assert_allclose(y, [s[0] for s in slows], atol=1e-5)
    assert int(stats.saturated) == sum(s[1] for s in slows)


def test_the_arrays_of_a_depthwise_convolution():
    """Each channel is a weight of its own, of 6 rows (two tiles) and one column."""
    w, x = data(6, 1, 3), data(2, 9, 3)

    def conv(w, x):
        return lax.conv_general_dilated(
            x, w, (1,), [(2, 1)], dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=3
        )

    ranges = random_ranges(3, 3, 2, 1)
    y, stats = read(conv, planned(conv, w, x, jnp.asarray(ranges)), w, x)
    _, scale = reference.levels(w, BITS, None)
    beyond, largest = 0, np.abs(np.asarray(x, np.float64)).max()
    for channel in range(3):
        rows, positions = reference.conv1d_patches(x[:, :, channel : channel + 1], 6, 1, 1, (2, 1))
        rows = np.concatenate([rows, np.full((1, 6), largest)])  # the DAC's range is that of all channels
        one, _ = slow(rows, w[:, :, channel], ranges[:, channel], scale=scale.item())
        np.testing.assert_allclose(y[:, :, channel], one[:-1].reshape(2, positions), atol=1e-5)
        beyond += slow(rows, w[:, :, channel], ranges[:, channel], scale=scale.item())[1]
        beyond -= slow(rows[-1:], w[:, :, channel], ranges[:, channel], scale=scale.item())[1]
    assert int(stats.saturated) == beyond > 0


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 1, 3), (3, 2, 3, 3), (3, 1, 3, 8), (2, 1, 3, 3), (3, 1, 3, 3, 1)])
def test_ranges_of_other_arrays_are_refused(shape):
    says = (
        r"ranges.column: weight is read on arrays \(3, 1, 3, 3\) \(bit slice, stack, row tile, column tile\); "
        rf"expected one number or that shape \(1 where it is common\); got \({', '.join(map(str, shape))}"
    )
    with pytest.raises(ValueError, match=says):
        read(dense, planned(dense, W, X, jnp.ones(shape)), W, X)


def gradient(column, weights):
    """Of `sum(weights * y)` to the ranges."""

    def total(column):
        plan = planned(dense, W, X, column)
        return jnp.sum(weights * ax.analog(dense)(KEY, ax.program(KEY, plan, W), X))

    return jax.jit(jax.grad(total))(column)


def test_the_gradient_to_every_range_is_that_of_the_quantiser():
    """`d (s clip(round(z / s), -n, n)) / d R` with `s = R / n`, straight through: (q - z) / R inside, else the sign."""
    weights, ranges = RNG.normal(size=(6, 8)), random_ranges(3, 1, 3, 3)
    level, scale = reference.levels(W, BITS, None)
    code, full_scale = reference.dac(X, 6)
    expected = np.zeros(ranges.shape)
    for s, (worth, g) in enumerate(reference.pairs(level, BITS, 1)):
        for t in range(3):
            for k in range(3):
                rows, cols = slice(ROWS * t, ROWS * t + ROWS), slice(COLS * k, COLS * k + COLS)
                z, limit = code[:, rows] @ g[rows, cols], ranges[s, 0, t, k]
                q = reference.adc(z, limit, limit / STEPS)
                slope = np.where(np.abs(z) > limit, np.sign(z), (q - z) / limit)
                expected[s, 0, t, k] = np.sum(weights[:, cols] * worth * slope) * scale.item() * full_scale
    found = gradient(jnp.asarray(ranges, jnp.float32), jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_gradients_of_arrays_add_up_to_that_of_one_range():
    weights = jnp.asarray(RNG.normal(size=(6, 8)), jnp.float32)
    each, one = gradient(jnp.full((3, 1, 3, 3), 0.5), weights), gradient(jnp.float32(0.5), weights)
    assert abs(float(one)) > 0.1
    np.testing.assert_allclose(each.sum(), one, rtol=1e-4)
