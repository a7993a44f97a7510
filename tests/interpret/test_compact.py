"""Chips with 16-bit cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.program import cells_of

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PARAMS = {
    "a": jnp.asarray(RNG.normal(size=(40, 12)), jnp.float32),
    "b": jnp.asarray(RNG.normal(size=(12, 5)), jnp.float32),
    "bias": jnp.ones(5),
}
X = jnp.asarray(RNG.normal(size=(30, 40)), jnp.float32)
HALVES = {"float16": (jnp.float16, 2.0**-12), "bfloat16": (jnp.bfloat16, 2.0**-9)}  # and half a step below 1


def net(p, x):
    return jnp.tanh(x @ p["a"]) @ p["b"] + p["bias"]


def chip_of(fn=net, device=None, **kwargs):
    array = ax.Array(rows=16, weight_bits=None, **kwargs)
    hw = ax.Hardware(device=device or ax.Gaussian(sigma=0.05), array=array)
    params = PARAMS if fn is net else {"a": PARAMS["a"]}
    return ax.program(KEY, ax.place(fn, hw)(params, X), params)


@pytest.mark.parametrize("name", HALVES)
def test_every_cell_is_rounded_once(name):
    dtype, step = HALVES[name]
    chip = chip_of()
    small = ax.compact(chip, dtype)
    for path, cells in cells_of(chip).items():
        for a, b in zip(jax.tree.leaves(cells), jax.tree.leaves(cells_of(small)[path]), strict=True):
            assert b.dtype == dtype and b.shape == a.shape
            np.testing.assert_array_equal(b, a.astype(dtype))
            lost = np.abs(np.asarray(b, np.float64) - np.asarray(a, np.float64))
            size = np.maximum(1.0, 2.0 ** np.floor(np.log2(np.maximum(np.abs(a), 1e-9))) * 2)
            assert np.all(lost <= step * size) and lost.max() > step / 4
    assert small.plan == chip.plan and small.tree["bias"] is chip.tree["bias"]
    np.testing.assert_array_equal(small.tree["a"].scale, chip.tree["a"].scale)


@pytest.mark.parametrize("name", HALVES)
def test_the_error_of_a_layer_is_that_of_its_rounded_cells(name):
    """`|dy| <= scale sum_n |x_n| |dg_n|`, rounding of the sums in float32 apart."""
    dtype, step = HALVES[name]
    fn = lambda p, x: x @ p["a"]  # noqa: E731
    chip = chip_of(fn)
    read = jax.jit(ax.analog(fn))
    full, half = (np.asarray(read(KEY, c, X), np.float64) for c in (chip, ax.compact(chip, dtype)))
    scale = float(chip.tree["a"].scale)
    a, b = (np.asarray(jax.tree.leaves(cells_of(c)["a"])[0], np.float64) for c in (chip, ax.compact(chip, dtype)))
    moved = (b - a)[0, 0] if len(a) == 1 else (b - a)[0, 0] - (b - a)[1, 0]
    x = np.asarray(X, np.float64)
    np.testing.assert_allclose(half - full, scale * x @ moved, atol=1e-5 * np.abs(full).max())
    bound = 2 * 2 * step * scale * np.abs(x).sum(1, keepdims=True)  # a pair, of cells up to 2
    assert np.all(np.abs(half - full) < bound)
    assert np.abs(half - full).max() > 1e-2 * bound.max(), "cells are in fewer bits"


def test_a_net_on_float16_cells_is_that_on_float32_cells_to_a_thousandth():
    """Ten times less than what cells with a spread of 5 % do to the output."""
    chip = chip_of()
    read = jax.jit(ax.analog(net))
    full, half = read(KEY, chip, X), read(KEY, ax.compact(chip), X)
    size = jnp.linalg.norm(full)
    assert 0 < float(jnp.linalg.norm(half - full) / size) < 1e-3
    assert float(jnp.linalg.norm(full - net(PARAMS, X)) / size) > 1e-2


def test_read_noise_and_converters_work_on_compact_cells():
    adc, array = ax.ADC.bits(6, 6), ax.Array(rows=16, weight_bits=None)
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.05, read_sigma=0.01), array=array, dac=ax.DAC(), adc=adc)
    fn = lambda p, x: x @ p["a"]  # noqa: E731
    params = {"a": PARAMS["a"]}
    chip = ax.program(KEY, ax.place(fn, hw)(params, X), params)
    read = jax.jit(ax.analog(fn))
    full, half = read(KEY, chip, X), read(KEY, ax.compact(chip), X)
    assert half.dtype == jnp.float32
    # A code of the ADC may move by one where a column lies at its edge.
    assert float(jnp.linalg.norm(half - full) / jnp.linalg.norm(full)) < 0.01
    assert not np.array_equal(read(jax.random.key(1), ax.compact(chip), X), half)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int8, jnp.int16, jnp.float64])
def test_only_sixteen_bit_floats_are_compact(dtype):
    with pytest.raises(TypeError, match=f"compact: expected float16 or bfloat16; got {jnp.dtype(dtype).name}"):
        ax.compact(chip_of(), dtype)
