"""What programming errors do to a ramp: the statistics of 20,000 columns, and a column's own physics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from reference_ramp import GOLDEN, codes, walk_std

from anaxon.converter import ramp
from anaxon.converter.ramp import Ramp
from anaxon.types import replace

KEY, N, G_MAX = jax.random.key(3), 20_000, 150.0  # uS


@jax.jit
def columns(hardware, design):
    """Thresholds `[N, K]` of as many samples."""
    return jax.vmap(lambda k: ramp.sample(k, hardware, design.activation))(jax.random.split(KEY, N))


@jax.jit
def programmed(target, sigma):
    """Conductances `[N, D]` of as many columns."""
    return jax.vmap(lambda k: ramp.program(k, target, sigma=sigma))(jax.random.split(KEY, N))


@jax.jit
def nonlinearity(design, g):
    """INL_out `[N, K]` before and after one-point calibration, and DNL `[N, K - 1]`."""
    v = ramp.thresholds_of(design, g)
    return ramp.inl(design, v), ramp.inl(design, ramp.one_point(design, v)), ramp.dnl(design, v)


def inl_of(design, sigma, calibration):
    """INL_out `[N, K]`, from the pieces that `test_a_sample_is_its_pieces` holds a sample to be made of."""
    found = nonlinearity(design, programmed(np.float32(ramp.conductances(design)), sigma))
    return np.asarray(found[["none", "one-point", "dnl"].index(calibration)], np.float64)


def figures(errors):
    """Mean, rms, mean of the largest, 95th percentile of the largest |INL| of `[N, K]`."""
    largest = np.abs(errors).max(axis=1)
    return np.array([np.abs(errors).mean(), np.sqrt((errors**2).mean()), largest.mean(), np.quantile(largest, 0.95)])


def assert_listed(found, listed, digits=3):
    """2 % of a mean, 4 % of a largest, and the last digit listed."""
    limit = np.array([0.02, 0.02, 0.04, 0.04])[: len(listed)] * listed + 0.5 * 10.0**-digits
    assert np.all(np.abs(found - listed) <= limit), (found, listed)


def test_a_sample_is_its_pieces():
    """Programmed, calibrated, and then shifted by what the bias devices leave."""
    design = ramp.design("logistic", 5)
    kinds = [
        Ramp(sigma=0.02),
        *(Ramp(sigma=0.02, bias="sequential", calibration=c) for c in ("none", "one-point", "two-point")),
    ]
    exact, none, one, two = jax.jit(lambda: [columns(h, design) for h in kinds])()
    shift = np.asarray(none - exact, np.float64)
    np.testing.assert_allclose(shift.std(), 0.02 * design.increments.max(), rtol=5 / np.sqrt(2 * N))
    np.testing.assert_allclose(one, ramp.one_point(design, exact) + shift, atol=3e-6)
    np.testing.assert_allclose(two, ramp.two_point(design, exact) + shift, atol=3e-6)
    apart = ramp.thresholds_of(design, programmed(np.float32(ramp.conductances(design)), 0.02))
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(moment(exact, axis=0), moment(apart, axis=0), atol=5 * 0.0145 * np.sqrt(60 / N))


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_errors_walk_from_the_start_or_from_the_centre(bits):
    """First order in r = sigma / G_max; per code against `P g' max dV r sqrt(steps)` at a z-bound of 5."""
    r, listed = 0.002, np.array(GOLDEN["first_order"][str(bits)])
    found = []
    for calibration in ("one-point", "none"):
        errors = inl_of(ramp.design("logistic", bits), r, calibration)
        std = walk_std("logistic", bits, r, calibration == "one-point")
        assert np.all(np.abs(errors.std(axis=0) / np.maximum(std, 1e-9) - 1)[std > 0] < 5 / np.sqrt(2 * N) + 0.01)
        assert np.all(np.abs(errors.mean(axis=0)) <= 5 * std / np.sqrt(N) + 0.02 * std.max())
        assert np.abs(errors[:, std == 0]).max() < 1e-4
        found += [np.abs(errors).mean() / r, np.sqrt((errors**2).mean()) / r]
        listed_std = listed[4 if calibration == "one-point" else 5]
        np.testing.assert_allclose(errors.std(axis=0).max() / r, listed_std, rtol=0.03)
    np.testing.assert_allclose(found, listed[:4], rtol=0.03)


@pytest.mark.parametrize("kind", ["none, exact", "one-point, exact", "one-point, sequential", "none, blind"])
def test_listed_nonlinearity_of_five_bits(kind):
    design, (calibration, bias) = ramp.design("logistic", 5), kind.split(", ")
    for sigma, listed in zip(GOLDEN["inl_5"]["sigma_uS"], GOLDEN["inl_5"][kind], strict=True):
        if bias == "exact":
            errors = inl_of(design, sigma / G_MAX, calibration)
        else:
            hardware = Ramp(sigma=sigma / G_MAX, calibration=calibration, bias=bias)
            errors = np.asarray(ramp.inl(design, columns(hardware, design)), np.float64)
        assert_listed(figures(errors), np.array(listed))


def test_listed_differential_nonlinearity():
    for sigma, listed in zip(GOLDEN["inl_5"]["sigma_uS"], GOLDEN["inl_5"]["dnl_rms_and_mean_max"], strict=True):
        errors = inl_of(ramp.design("logistic", 5), sigma / G_MAX, "dnl")
        assert_listed(figures(errors)[[1, 2]], np.array(listed))


@pytest.mark.parametrize("case", GOLDEN["inl_2.73"])
def test_listed_nonlinearity_of_other_ramps(case):
    bits, name, convention, calibration = case.split()
    errors = inl_of(ramp.design(name, int(bits), convention=convention), 2.73 / G_MAX, calibration)
    assert_listed(figures(errors), np.array(GOLDEN["inl_2.73"][case]))


@pytest.mark.parametrize(("calibration", "largest"), [("none", 0.815), ("one-point", 0.537)])
def test_listed_nonlinearity_of_centres(calibration, largest):
    errors = inl_of(ramp.design("logistic", 5, convention="centres"), 2.73 / G_MAX, calibration)
    np.testing.assert_allclose(figures(errors)[2], largest, rtol=0.04)


@pytest.mark.parametrize(("sigma", "mean", "largest"), [(2.73, 2.69, 7.8), (0.14, 0.144, 0.43)])
def test_listed_nonlinearity_of_eight_bits(sigma, mean, largest):
    found = figures(inl_of(ramp.design("logistic", 8), sigma / G_MAX, "one-point"))
    np.testing.assert_allclose(found[0], mean, rtol=0.02)
    np.testing.assert_allclose(found[2], largest, rtol=0.04)


def test_read_fluctuation_is_small_against_programming():
    """0.14 uS: the fluctuation of a read (ReADC, Nat. Commun. 2025) as if it were programmed, one-point calibrated."""
    found = figures(inl_of(ramp.design("logistic", 5), 0.14 / G_MAX, "one-point"))
    assert_listed(found[[0, 2]], np.array([0.0066, 0.018]), digits=4)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("step", ["1", "2", "5", "8", "15", "16", "30"])
def test_one_dead_device(step, order):
    design = ramp.design("logistic", 5)
    g = np.array(ramp.conductances(design))
    g[int(step) - 1] = 0.0
    dead = ramp.thresholds_of(design, g)
    errors = np.abs(ramp.inl(design, dead if order == "before" else ramp.one_point(design, dead)))
    listed = GOLDEN["dead_step"].get(step, [None, None, 0.032])
    if order == "after":
        np.testing.assert_allclose([errors.max(), errors.mean()], [1.0, listed[2]], atol=1e-3)
    elif listed[0] is not None:
        np.testing.assert_allclose([errors.max(), errors.mean()], listed[:2], atol=1e-3)
    assert int(ramp.missing_codes(design, dead)) == 1
    v = np.asarray(dead, np.float64)
    assert int(step) not in codes(v, np.linspace(-8, 8, 100_001))
    assert v[int(step)] == v[int(step) - 1]


def test_two_points_are_exact_and_a_shared_gain_is_gone():
    design = ramp.design("tanh", 5)
    measured = ramp.thresholds_of(design, programmed(np.float32(ramp.conductances(design)), 0.02)[:100])
    v = np.asarray(ramp.two_point(design, measured))
    np.testing.assert_allclose(v[:, [7, 23]] - design.thresholds[[7, 23]], 0, atol=1e-6)
    np.testing.assert_allclose(ramp.two_point(design, 1.1 * measured + 0.3), v, atol=2e-6)
    np.testing.assert_allclose(np.diff(v, axis=1), np.diff(measured, axis=1) * _stretch(design, measured), atol=2e-6)
    flat = jnp.zeros_like(measured[0])
    assert np.all(np.isfinite(ramp.two_point(design, flat)))


def _stretch(design, measured):
    ideal, v = design.thresholds, np.asarray(measured, np.float64)
    return ((ideal[23] - ideal[7]) / (v[:, 23] - v[:, 7]))[:, None]


@pytest.mark.parametrize(
    ("arguments", "std"),
    [
        ({"sigma": 0.02}, 0.02),
        ({"sigma": 0.02, "tolerance": 0.03, "distribution": "truncated"}, 0.02 * scipy.stats.truncnorm.std(-1.5, 1.5)),
        ({"tolerance": 0.03, "distribution": "uniform"}, 0.03 / np.sqrt(3)),
    ],
    ids=["normal", "truncated", "uniform"],
)
def test_programming_errors(arguments, std):
    e = np.asarray(ramp.program(KEY, jnp.full((40_000,), 0.5), **arguments), np.float64) - 0.5
    kurtosis = scipy.stats.kurtosis(e)  # the spread of a std depends on it
    assert abs(e.mean()) < 5 * std / np.sqrt(e.size)
    assert abs(e.std() / std - 1) < 5 * np.sqrt((kurtosis + 2) / 4 / e.size)
    if "tolerance" in arguments:
        assert 0.0299 < np.abs(e).max() <= 0.03 + 1e-6


def test_conductances_stay_above_g_min():
    g = np.asarray(ramp.program(KEY, jnp.full((40_000,), 0.02), sigma=0.02))
    assert g.min() == 0.0 and abs((g == 0).mean() - scipy.stats.norm.cdf(-1)) < 5 * np.sqrt(0.16 * 0.84 / g.size)
    assert np.asarray(ramp.program(KEY, jnp.full((100,), 0.02), sigma=0.02, g_min=0.015)).min() == np.float32(0.015)
    np.testing.assert_allclose(ramp.program(KEY, jnp.array([0.1, 0.6]), g_min=0.2), [0.2, 0.6])


def test_stuck_devices():
    g = np.asarray(ramp.program(KEY, jnp.full((40_000,), 0.5), p_off=0.03, p_on=0.1, g_min=0.01))
    for stuck, p in ((0.01, 0.03), (1.0, 0.1), (0.5, 0.87)):
        assert abs((g == np.float32(stuck)).mean() - p) < 5 * np.sqrt(p * (1 - p) / g.size)


def test_the_best_of_several_columns():
    """The largest |INL| of the best of 4 exceeds a value as often as a single one does, to the fourth power."""
    design = ramp.design("logistic", 5)
    single = inl_of(design, 0.02, "one-point")
    median = np.median(np.abs(single).max(axis=1))
    hardware, keys = Ramp(sigma=0.02, calibration="one-point", copies=4), jax.random.split(KEY, 4_000)
    best = ramp.inl(design, jax.jit(jax.vmap(lambda k: ramp.sample(k, hardware, "sigmoid")))(keys))
    share = (np.abs(best).max(axis=1) > median).mean()
    assert abs(share - 1 / 16) < 5 * np.sqrt(15 / 16**2 / 4_000)
    some = ramp.thresholds_of(design, programmed(np.float32(ramp.conductances(design)), 0.02)[:8])
    worst = np.abs(ramp.inl(design, some)).max(axis=1)
    np.testing.assert_array_equal(ramp.best(design, some), some[np.argmin(worst)])


@pytest.mark.parametrize("convention", ["edges", "range"])
def test_read_noise_accumulates_along_a_pass(convention):
    """Every device adds sigma; so do the bias devices, to all thresholds alike."""
    hardware = Ramp(bits=4, read_sigma=0.001, convention=convention)
    design = ramp.design_of(hardware, "logistic")
    noise = np.asarray(ramp.read_noise(KEY, hardware, design, (N, 1)), np.float64)
    assert noise.shape == (N, 1, 15)
    first = 0 if convention == "edges" else 1
    devices = ramp.bias_devices(design).count + first + np.arange(15)
    std = 0.001 * design.increments.max() * np.sqrt(devices)
    assert np.all(np.abs(noise.std(axis=0)[0] / std - 1) < 5 / np.sqrt(2 * N))
    together = np.corrcoef(noise[:, 0, 3], noise[:, 0, 12])[0, 1]
    assert abs(together - np.sqrt(devices[3] / devices[12])) < 5 / np.sqrt(N)
    np.testing.assert_array_equal(ramp.read_noise(KEY, Ramp(), design, (2,)), np.zeros((2, 15)))


def test_wrong_number_of_devices():
    design = ramp.design("tanh", 3)
    with pytest.raises(ValueError, match=r"tanh at 3 bits has 6 ramp devices; got conductances of shape \(8,\)"):
        ramp.thresholds_of(design, np.ones(8))


def test_conductances_that_are_the_targets_give_the_design_exactly():
    for convention in ("edges", "centres", "range"):
        design = ramp.design("softplus", 5, convention=convention)
        v = ramp.thresholds_of(design, ramp.conductances(design), start_error=jnp.array([0.0, 0.5]))
        np.testing.assert_array_equal(v[0], design.thresholds.astype(np.float32))
        np.testing.assert_allclose(v[1] - v[0], 0.5, atol=1e-6)


def test_thresholds_are_the_sum_of_the_steps():
    rng = np.random.default_rng(0)
    for name, convention in (("logistic", "edges"), ("elu", "centres"), ("silu", "range")):
        design = ramp.design(name, 4, convention=convention)
        g = rng.uniform(0, 1, (5, len(ramp.conductances(design))))
        start = design.levels[0]
        levels = np.concatenate(
            [np.full((5, 1), start), start + np.cumsum(g * design.increments.max(), axis=1)], axis=1
        )
        first = 1 if convention == "range" else 0
        expected = levels[:, first : first + len(design.thresholds)]
        np.testing.assert_allclose(ramp.thresholds_of(design, g), expected, rtol=1e-5, atol=1e-5)


def test_gradients_of_a_sampled_column():
    hardware = Ramp(bits=4, sigma=0.02, span=2.0, gain=1.02, calibration="one-point", bias="blind")
    total = jax.jit(jax.value_and_grad(lambda h: jnp.sum(jnp.arange(15.0) * ramp.sample(KEY, h, "tanh"))))
    slopes = total(hardware)[1]
    for field, step in (("sigma", 1e-3), ("span", 2e-2), ("gain", 1e-2)):
        up, down = (replace(hardware, **{field: getattr(hardware, field) + d}) for d in (step, -step))
        np.testing.assert_allclose(getattr(slopes, field), (total(up)[0] - total(down)[0]) / (2 * step), rtol=0.02)
