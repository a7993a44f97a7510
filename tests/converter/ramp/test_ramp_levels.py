import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_ramp as reference
from reference_ramp import GOLDEN, close

from anaxon.converter import ramp

LISTED = ["logistic", "tanh", "softplus", "softsign", "elu", "selu"]


@pytest.mark.parametrize("bits", ["3", "4", "5"])
def test_listed_thresholds_and_conductances(bits):
    listed = GOLDEN["edges_logistic"][bits]
    half = 2 ** (int(bits) - 1)
    for name, scale in (("logistic", 1.0), ("tanh", 0.5)):
        made = ramp.design(name, int(bits))
        v, g = made.thresholds, ramp.conductances(made) * 150
        assert all(close(a, scale * b) for a, b in zip(v[:half], listed["thresholds"], strict=True))
        assert all(close(a, b) for a, b in zip(g[: half - 1], listed["uS"], strict=True))
        np.testing.assert_allclose(v, -v[::-1], atol=1e-15)
        np.testing.assert_allclose(g, g[::-1], rtol=1e-12)


def test_listed_steps():
    for bits, listed in GOLDEN["steps_logistic"].items():
        made = ramp.design("sigmoid", int(bits))
        g = ramp.conductances(made) * 150
        bias = ramp.bias_devices(made)
        found = {
            "max": made.increments.max(),
            "min": made.increments.min(),
            "ratio": 1 / ramp.conductances(made).min(),
            "sum_uS": g.sum(),
            "min_uS": g.min(),
            "bias_uS": bias.count * bias.conductance * 150,
        }
        assert all(close(found[key], value) for key, value in listed.items())


def test_listed_centres():
    made, listed = ramp.design("logistic", 5, convention="centres"), GOLDEN["centres_logistic_5"]
    g = ramp.conductances(made)
    assert len(made.levels) == 32 and len(made.thresholds) == 31  # the counter of 32 codes stops at 31
    assert all(close(a, b) for a, b in zip(made.levels[:4], listed["thresholds"], strict=True))
    assert close(1 / g.min(), listed["ratio"]) and close(150 * g[1], listed["uS_2"])
    assert close(150 * g.min(), listed["uS_min"]) and ramp.bias_devices(made).count == 4


@pytest.mark.parametrize("name", LISTED)
def test_listed_finite_ranges(name):
    made = ramp.design(name, 5, convention="range")
    g = ramp.conductances(made)
    bias = ramp.bias_devices(made)
    ratio, smallest = 1 / g.min(), 150 * g.min()
    found = [*made.levels[[1, 2, 3, 16]], ratio, smallest, g.sum(), bias.count * bias.conductance]
    assert all(close(a, b) for a, b in zip(found, GOLDEN["range_5"][name], strict=True))
    assert len(g) == 32


@pytest.mark.parametrize("bits", [3, 4, 5, 8])
@pytest.mark.parametrize("convention", ["edges", "centres", "range"])
@pytest.mark.parametrize("name", LISTED)
def test_levels_are_the_inverse_found_by_bisection(name, convention, bits):
    made, levels = ramp.design(name, bits, convention=convention), reference.levels(name, bits, convention)
    np.testing.assert_allclose(made.levels, levels, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(ramp.conductances(made), np.diff(levels) / np.diff(levels).max(), rtol=1e-5)


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_a_column_is_a_power_of_two_and_as_many_bias_devices_as_bits(bits):
    p = 2**bits
    made = ramp.design("logistic", bits)
    assert (made.devices, ramp.bias_devices(made).count) == (p, bits)
    ratio = np.log(p - 1) / np.log(2 * (p - 1) / (p - 2))
    bias = ramp.bias_devices(made)
    assert close(bias.count * bias.conductance, GOLDEN["bias_ratio_edges"][str(bits)]) and bias.sign == -1
    np.testing.assert_allclose(bias.count * bias.conductance, ratio, rtol=1e-12)
    np.testing.assert_allclose(ramp.conductances(made).sum(), 2 * ratio, rtol=1e-12)


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_tanh_and_sigmoid_are_one_column(bits):
    sigmoid, tanh = (ramp.conductances(ramp.design(name, bits)) for name in ("sigmoid", "tanh"))
    np.testing.assert_allclose(tanh, sigmoid, rtol=1e-12)


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_quantisation_error_of_normal_inputs(name, bits):
    g, low, high = reference.FUNCTIONS[name]
    z = np.linspace(-16, 16, 400_001)
    density = np.exp(-(z**2) / 8) / np.exp(-(z**2) / 8).sum()
    errors = {}
    for kind in ("mid-rise", "floor", "ends"):
        made = ramp.design(name, bits, reconstruction=kind)
        errors[kind] = made.output(np.searchsorted(made.thresholds, z, side="right")) - g(z)
    lsb = (high - low) / 2**bits
    assert np.abs(errors["mid-rise"]).max() <= lsb / 2 * (1 + 1e-9)
    assert lsb / 2 < np.abs(errors["floor"]).max() <= lsb * (1 + 1e-9)
    assert np.abs(errors["ends"]).max() <= lsb * (1 + 1e-9)
    made = ramp.design(name, bits, reconstruction="ends")
    np.testing.assert_allclose(made.output(np.array([0, 2**bits - 1])), [low, high], atol=1e-12)
    rms = np.sqrt(np.sum(density * errors["mid-rise"] ** 2))
    np.testing.assert_allclose(rms, GOLDEN["rms_error_normal_2"][name][str(bits)], rtol=0.01)


@pytest.mark.parametrize(("bits", "smoothed", "own"), [(5, 0.0007, 0.016), (4, 0.063, 0.073)])
def test_a_dithered_ramp_has_the_slope_of_its_activation(bits, smoothed, own):
    """Why g' is the surrogate: the slope of E[Q(z + u)], u ~ N(0, 0.25^2), against g' smoothed alike and g' itself."""
    made = ramp.design("logistic", bits)
    z, dither = np.linspace(-2, 2, 401), 0.25
    density = lambda u: np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    slope = lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2  # noqa: E731
    dithered = (made.lsb * density((made.thresholds - z[:, None]) / dither) / dither).sum(axis=1)
    u = np.linspace(-8, 8, 4001)
    alike = (slope(z[:, None] + dither * u) * density(u)).sum(axis=1) * (u[1] - u[0])
    assert 0.5 * smoothed < np.abs(dithered / alike - 1).max() <= 1.05 * smoothed
    assert 0.5 * own < np.abs(dithered / slope(z) - 1).max() <= 1.05 * own


@pytest.mark.parametrize("convention", ["edges", "centres", "range"])
@pytest.mark.parametrize("name", ["tanh", "softplus", "elu"])
def test_a_traced_span_is_the_same_ramp_and_differentiable(name, convention):
    levels = lambda span: ramp.design(name, 4, convention=convention, span=span).levels  # noqa: E731
    traced, forward, reverse = jax.jit(lambda s: (levels(s), jax.jacfwd(levels)(s), jax.jacrev(levels)(s)))(1.7)
    np.testing.assert_allclose(traced, levels(1.7), rtol=2e-5, atol=2e-6)
    slope = (levels(1.7 + 1e-5) - levels(1.7 - 1e-5)) / 2e-5
    np.testing.assert_allclose(forward, slope, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(reverse, slope, rtol=1e-3, atol=1e-4)


def test_a_span_limits_the_output():
    made = ramp.design("tanh", 3, span=1.0)
    np.testing.assert_allclose([made.low, made.low + 8 * made.lsb], [np.tanh(-1), np.tanh(1)], rtol=1e-7)
    assert made.thresholds[0] > -1 and made.thresholds[-1] < 1
    np.testing.assert_array_equal(ramp.thresholds("tanh", 3, span=jnp.float32(1.0)), made.thresholds)


def test_a_flat_part_is_not_ramped():
    made = ramp.design("relu", 3, convention="range", span=2.0)
    np.testing.assert_allclose(made.levels, np.arange(9) / 4)
    made = ramp.design("hard_sigmoid", 2, convention="range", span=9.0)
    np.testing.assert_allclose(made.levels, [-3, -1.5, 0, 1.5, 3])


def test_spare_devices():
    assert ramp.design("logistic", 3, devices=6).devices == 6
    sentence = "logistic at 3 bits in convention 'edges' needs 6 ramp devices, one per step; got 5"
    with pytest.raises(ValueError, match=f"design.devices: {sentence}"):
        ramp.design("logistic", 3, devices=5)
    with pytest.raises(ValueError, match="convention 'range' needs 8 ramp devices"):
        ramp.design("logistic", 3, convention="range", devices=7)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"bits": 1}, "design.bits: expected an integer from 2 to 8; got 1"),
        ({"convention": "center"}, r"design.convention: expected one of \('edges', 'centres', 'range'\); got 'center'"),
        ({"reconstruction": "mid"}, "design.reconstruction: expected one of .*; got 'mid'"),
        ({"span": 0.0}, "design.span: expected a finite number > 0, in units of the pre-activation; got 0.0"),
        ({"span": np.inf}, "design.span: expected a finite number > 0.*; got inf"),
        ({"span": "wide"}, "design.span: expected a finite number > 0.*; got 'wide'"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ramp.design("tanh", **arguments)


def test_a_traced_span_needs_a_monotone_function():
    with pytest.raises(TypeError, match="span: 'gelu' turns, so its crossings are found on the host"):
        jax.jit(lambda span: ramp.design("gelu", 4, span=span).levels)(2.0)
