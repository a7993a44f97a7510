import jax
import numpy as np
import pytest
import scipy.special
from reference_ramp import GOLDEN, codes

from anaxon.converter import ramp
from anaxon.converter.ramp import Ramp

KEY = jax.random.key(0)


def shifted(name, bits=4, n=6):
    """A design and thresholds `[n, K]` around it, in order."""
    design = ramp.design(name, bits)
    rng = np.random.default_rng(1)
    return design, np.sort(design.thresholds + 0.05 * rng.standard_normal((n, len(design.thresholds))), axis=1)


def test_definitions():
    design, v = shifted("logistic")
    g, ideal = scipy.special.expit, design.thresholds
    np.testing.assert_allclose(ramp.inl(design, v), 16 * (g(v) - g(ideal)), atol=1e-5)
    np.testing.assert_allclose(ramp.inl_input(design, v), (v - ideal) / np.diff(ideal).mean(), atol=1e-5)
    np.testing.assert_allclose(ramp.dnl(design, v), np.diff(v, axis=1) / np.diff(ideal) - 1, atol=1e-5)
    for row, found in zip(v, ramp.best_fit_inl(design, v), strict=True):
        slope, offset = np.polyfit(16 * g(ideal), 16 * g(row), 1)
        np.testing.assert_allclose(found, 16 * g(row) - slope * 16 * g(ideal) - offset, atol=1e-5)
    assert set(ramp.DEFINITIONS) == {"INL_out", "INL_in", "DNL", "INL_bestfit"}


@pytest.mark.parametrize("reconstruction", ["floor", "ends"])
def test_inl_does_not_depend_on_the_reconstruction(reconstruction):
    design, v = shifted("tanh")
    other = ramp.design("tanh", 4, reconstruction=reconstruction)
    np.testing.assert_allclose(ramp.inl(other, v), ramp.inl(design, v), rtol=1e-6)


def test_gain_and_offset_are_not_in_the_best_fit():
    design = ramp.design("linear", 5)
    v = 1.1 * design.thresholds + 0.2
    np.testing.assert_allclose(ramp.best_fit_inl(design, v), 0, atol=1e-4)
    assert np.abs(ramp.inl(design, v)).max() > 1


@pytest.mark.parametrize("name", ["logistic", "silu"])
def test_missing_codes(name):
    design = ramp.design(name, 4)
    v = np.array(design.thresholds)
    assert int(ramp.missing_codes(design, v)) == 0
    v[10] = v[11] = v[12]  # two codes that the upper branch only gives
    given = set(codes(np.float32(v), np.linspace(-9, 9, 200_001), design.signs, design.first_code))
    assert int(ramp.missing_codes(design, v)) == design.codes - len(given) == 2


def test_missing_codes_of_many():
    design, v = shifted("logistic")
    v[2, 4:8] = v[2, 4]
    np.testing.assert_array_equal(ramp.missing_codes(design, v), [0, 0, 3, 0, 0, 0])


def test_share_within():
    errors = np.array([[0.1, -0.6], [0.5, 0.2], [-0.2, 0.1], [0.0, 0.9]])
    np.testing.assert_allclose(ramp.share_within(errors), 0.5)
    np.testing.assert_allclose(ramp.share_within(errors, 0.7), 0.75)
    np.testing.assert_allclose(ramp.share_within(np.stack([errors, 0 * errors])), [0.5, 1.0])


@pytest.mark.parametrize("row", GOLDEN["gain"]["rows"])
def test_a_gain_error_of_the_ramp(row):
    gain, largest, mean = row
    design = ramp.design("logistic", 5)
    errors = np.abs(ramp.inl(design, ramp.sample(KEY, Ramp(gain=gain), "logistic")))
    np.testing.assert_allclose([errors.max(), errors.mean()], [largest, mean], atol=6e-4)


@pytest.mark.parametrize("row", GOLDEN["fixed_reference"]["rows"])
def test_read_voltage_cancels_unless_the_reference_is_fixed(row):
    volts, largest, mean = row
    design = ramp.design("logistic", 5)
    z = np.linspace(-4, 4, 80_001)
    code = codes(design.thresholds, z)
    v = {
        kind: ramp.sample(KEY, Ramp(v_ratio=volts / 0.2, reference=kind), "logistic") for kind in ("tracking", "fixed")
    }
    np.testing.assert_array_equal(v["tracking"], design.thresholds.astype(np.float32))
    change = np.abs(codes(v["fixed"], z) - code)
    assert change.max() == largest if volts != 0.2 else change.max() <= 1  # float32 at an edge
    np.testing.assert_allclose(change.mean(), mean, rtol=0.01, atol=1e-3)
