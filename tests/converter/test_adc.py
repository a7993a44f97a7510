import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax

KEY = jax.random.key(3)


def column(adc, w=1.0, chip_key=KEY, read_key=KEY, vectors=1, columns=1):
    """`[vectors, columns]` conversions of a cell that carries `w`."""
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), adc=adc)
    weight, x = jnp.concatenate([jnp.full((1, columns), w), jnp.ones((1, columns))]), jnp.ones((vectors, 2))
    x = x.at[:, 1].set(0.0)
    fn = lambda w, x: x @ w  # noqa: E731
    chip = ax.program(chip_key, ax.place(fn, hw)(weight, x), weight)
    return np.asarray(jax.jit(ax.analog(fn))(read_key, chip, x), np.float64)


@pytest.mark.parametrize(("w", "code"), [(0.03, 0.0), (0.032, 0.0625), (0.5, 0.5), (-0.47, -0.5), (1.0, 1.0)])
def test_bits_is_step_and_range(w, code):
    assert column(ax.ADC.bits(range_bits=1, precision_bits=4), w).item() == code


def test_saturates_at_its_range():
    assert column(ax.ADC.bits(range_bits=0, precision_bits=4), 0.9).item() == 0.5


def test_uniform_has_symmetric_codes():
    adc = ax.ADC.uniform(bits=3, full_scale=1.0)
    codes = np.unique(adc.convert(jnp.linspace(-2, 2, 1001), jnp.float32(1.0)))
    np.testing.assert_allclose(codes, np.arange(-3, 4) / 3, rtol=1e-6)


def test_offsets_belong_to_the_chip_and_noise_to_the_read():
    other = jax.random.key(4)
    offset, noise = ax.ADC(full_scale=1e3, step=1e-6, offset_sigma=0.1), ax.ADC(full_scale=1e3, step=1e-6, noise=0.1)
    a = column(offset, columns=500, vectors=2)
    assert np.array_equal(a[0], a[1])
    assert np.array_equal(a, column(offset, columns=500, vectors=2, read_key=other))
    assert not np.array_equal(a, column(offset, columns=500, vectors=2, chip_key=other))
    b = column(noise, columns=500, vectors=2)
    assert not np.array_equal(b[0], b[1])
    assert not np.array_equal(b, column(noise, columns=500, vectors=2, read_key=other))
    assert np.array_equal(b, column(noise, columns=500, vectors=2, chip_key=other))
    for y in (a[0] - 1, b.ravel() - 1):
        assert abs(np.mean(y)) / 0.1 * np.sqrt(y.size) < 5
        assert abs(np.var(y) / 0.01 - 1) / np.sqrt(2 / y.size) < 5


def test_gain_errors_scale_with_the_column():
    adc = ax.ADC(full_scale=1e3, step=1e-6, gain_sigma=0.05)
    y = column(adc, 0.5, columns=1000)[0]
    assert abs(np.std(y) / 0.025 - 1) < 5 / np.sqrt(2 * y.size)
    np.testing.assert_allclose(column(adc, 0.25, columns=1000)[0], y / 2, atol=2e-6)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ax.ADC(full_scale=0.0), "full_scale"),
        (lambda: ax.ADC(full_scale=1.0, step=-1.0), "step"),
        (lambda: ax.ADC(step=0.1), "full_scale"),
        (lambda: ax.ADC(noise=-0.1), "noise"),
        (lambda: ax.ADC.uniform(bits=1), "bits"),
        (lambda: ax.ADC.bits(range_bits=-1), "range_bits"),
    ],
)
def test_bad_fields(make, field):
    with pytest.raises(ValueError, match=f"{field}.*; got"):
        make()
