"""The column read of a nonlinear, noisy device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.analog import observed
from anaxon.interpret.observe import by_path

KEY = jax.random.key(0)
MEANS = ax.VCM(programming="ideal", noise="off")  # cells are the bounds of the fit: nothing is random


def transfer(x, dac, device=MEANS):
    """What each input of `x` becomes on a full cell [column units]; one input at a time, exact columns."""
    hw = ax.Hardware(device=device, array=ax.Array(weight_bits=2), dac=dac)
    w = jnp.ones((1, 1))
    fn = lambda w, x: x @ w  # noqa: E731
    plan = ax.place(fn, hw)(w, x[:, None])
    return np.asarray(jax.jit(ax.analog(fn))(KEY, ax.program(KEY, plan, w), x[:, None]), np.float64)[:, 0]


def full_current(volts):
    """Column units a full cell carries, from the device alone."""
    return np.asarray(MEANS.drive(jnp.asarray(volts, jnp.float32), jnp.float32(0.6))[0], np.float64)


X = jnp.arange(-64, 65) / 64.0


def test_amplitude_follows_the_curve():
    np.testing.assert_allclose(transfer(X, ax.DAC(bits=7)), full_current(0.6 * X), rtol=1e-5, atol=1e-6)
    assert np.abs(full_current(0.6 * X) - np.asarray(X)).max() > 0.02  # the curve is bent


def test_pulse_width_is_straight_on_either_side():
    y = transfer(X, ax.DAC(bits=7, encoding="pulse-width"))
    low, high = full_current([-0.6, 0.6])
    x = np.asarray(X, np.float64)
    np.testing.assert_allclose(y, np.where(x < 0, -x * low, x * high), rtol=1e-5, atol=1e-6)


def test_bit_serial_sums_planes_of_the_two_end_currents():
    y = transfer(X, ax.DAC(bits=7, encoding="bit-serial"))
    low, high = full_current([-0.6, 0.6])
    x = np.asarray(X, np.float64)
    np.testing.assert_allclose(y, np.where(x < 0, -x * low, x * high), rtol=1e-5, atol=1e-6)


def test_predistortion_makes_the_transfer_linear():
    y = transfer(X, ax.DAC(bits=7, predistortion="inverse"))
    np.testing.assert_allclose(y, X, atol=2e-5)  # table of 513 points of the curve


def test_read_noise_has_the_variance_of_the_sum_and_is_fresh_for_each_vector():
    """Row voltage 0.6 V and 0 V on pairs: Johnson noise does not vanish at 0 V, shot noise does."""
    device = ax.VCM(programming="ideal", noise="physical")
    hw = ax.Hardware(device=device, array=ax.Array(weight_bits=2, rows=64), dac=ax.DAC())
    w, x = jnp.ones((10, 1)), jnp.concatenate([jnp.ones((4000, 6)), jnp.zeros((4000, 4))], 1)
    fn = lambda w, x: x @ w  # noqa: E731
    y = np.asarray(jax.jit(ax.analog(fn))(KEY, ax.program(KEY, ax.place(fn, hw)(w, x), w), x), np.float64)[:, 0]
    volts = jnp.array([0.6, 0.0])
    pair = sum(chi * omega for chi, omega in zip(device.noise_drive(volts, 0.6), (2.0, 1.0), strict=True))  # r = 0 + 1
    expected = float(6 * pair[0] + 4 * pair[1])
    z = (np.var(y) / expected - 1) / np.sqrt(2 / len(y))
    assert abs(z) < 5
    assert abs(np.corrcoef(y[:-1], y[1:])[0, 1]) * np.sqrt(len(y)) < 5
    assert float(pair[1]) > 0


@pytest.mark.parametrize("encoding", ["amplitude", "pulse-width"])
def test_padded_rows_are_silent(encoding):
    """A tile that is mostly empty draws the noise of the rows it has."""
    device = ax.VCM(programming="ideal", noise="physical")
    w, x = jnp.ones((3, 1)), jnp.ones((5, 3))
    fn = lambda w, x: x @ w  # noqa: E731
    ys = []
    for rows in (3, 128):
        array = ax.Array(weight_bits=2, rows=rows)
        hw = ax.Hardware(device=device, array=array, dac=ax.DAC(encoding=encoding))
        ys.append(jax.jit(ax.analog(fn))(KEY, ax.program(KEY, ax.place(fn, hw)(w, x), w), x))
    np.testing.assert_allclose(ys[0], ys[1], rtol=1e-6)


def test_every_column_of_every_slice_and_tile_draws_for_itself():
    """Four slices, two tiles, three columns: 24 series of one reading, each with its own variance."""
    device = ax.VCM(programming="ideal", noise="physical")
    hw = ax.Hardware(device=device, array=ax.Array(weight_bits=5, rows=4), dac=ax.DAC(), adc=ax.ADC.bits(8, 8))
    w, x = jnp.ones((7, 3)), jnp.ones((6000, 7))
    fn = lambda w, x: x @ w  # noqa: E731
    chip = ax.program(KEY, ax.place(fn, hw)(w, x), w)
    columns = lambda reading: {("sum", "z"): reading.columns}  # noqa: E731
    seen = by_path(jax.jit(lambda: observed(fn, (columns,), KEY, chip, w, x)[1])())
    z = np.asarray(next(iter(seen.values()))["z"], np.float64)[:, 0]  # [slices, tiles, vectors, columns]
    assert z.shape == (4, 2, 6000, 3)
    volts = jnp.float32(0.6)
    pair = sum(chi * omega for chi, omega in zip(device.noise_drive(volts, 0.6), (2.0, 1.0), strict=True))
    for tile, rows in enumerate((4, 3)):
        score = (z[:, tile].var(1) / (rows * float(pair)) - 1) / np.sqrt(2 / 6000)
        assert np.abs(score).max() < 5
    series = np.moveaxis(z, 2, -1).reshape(24, -1)
    correlation = np.corrcoef(series) - np.eye(24)
    assert np.abs(correlation).max() * np.sqrt(6000) < 5
    assert np.abs(np.corrcoef(series[:, 1:], series[:, :-1])[24:, :24]).max() * np.sqrt(6000) < 5.5


def test_cycles_of_a_bit_serial_read_draw_for_themselves():
    """The variance of a sum over planes is that of independent reads, weighted as the planes are."""
    device = ax.Gaussian(sigma=0.0, read_sigma=0.1)
    w, x = jnp.ones((5, 1)), jnp.ones((20_000, 5))
    fn = lambda w, x: x @ w  # noqa: E731
    variances = {}
    for encoding in ("amplitude", "bit-serial"):
        hw = ax.Hardware(device=device, array=ax.Array(weight_bits=2), dac=ax.DAC(bits=3, encoding=encoding))
        y = jax.jit(ax.analog(fn))(KEY, ax.program(KEY, ax.place(fn, hw)(w, x), w), x)
        variances[encoding] = float(np.var(np.asarray(y, np.float64)))
    assert variances["amplitude"] > 0
    planes = np.array([0.0, 0.0, 1.0])  # full input is the code 2**(bits - 1): its highest plane alone is on
    weights = 2.0 ** np.arange(3) / 4
    ratio = variances["bit-serial"] / variances["amplitude"]
    assert abs(ratio / float(planes @ weights**2) - 1) < 5 * np.sqrt(4 / 20_000)
