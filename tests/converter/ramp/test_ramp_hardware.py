import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_ramp import levels
from scipy.special import expit

import anaxon as ax
from anaxon.converter import ramp
from anaxon.converter.ramp import Ramp
from anaxon.presets import hardware_from
from anaxon.types import replace

KEY = jax.random.key(5)
ERRORS = {"sigma": 0.02, "p_off": 0.01, "p_on": 0.01, "read_sigma": 1e-3, "gain": 1.01, "v_ratio": 0.9}


@pytest.mark.parametrize("convention", ["edges", "centres", "range"])
@pytest.mark.parametrize("name", ["logistic", "silu"])
def test_without_errors_a_sample_is_the_design(name, convention):
    hardware = Ramp(convention=convention, calibration="one-point")
    v = jax.jit(lambda h: ramp.sample(KEY, h, name))(hardware)
    assert v.dtype == jnp.float32
    np.testing.assert_array_equal(v, np.float32(ramp.design_of(hardware, name).thresholds))


def test_errors_of_size_zero_are_none():
    hardware = Ramp(sigma=0.0, copies=3, bias="blind", calibration="one-point", gain=1.0, p_off=0.0, p_on=0.0)
    v = jax.jit(lambda h: ramp.sample(KEY, h, "tanh"))(hardware)
    np.testing.assert_array_equal(v, np.float32(ramp.thresholds("tanh", 5)))


def test_a_sample_is_a_function_of_key_and_name():
    hardware = Ramp(bits=3, **ERRORS)
    sample = jax.jit(lambda k, h: (ramp.sample(k, h, "sigmoid"), ramp.sample(k, h, "tanh")))
    keys = jax.random.split(KEY, 4)
    many = jax.jit(jax.vmap(lambda k: ramp.sample(k, hardware, "logistic")))(keys)
    sigmoid, tanh = sample(keys[2], hardware)
    np.testing.assert_allclose(many[2], sigmoid, rtol=1e-6, atol=1e-7)
    assert len(np.unique(many[:, 0])) > 1 or len(np.unique(many[:, 5])) == 4
    assert np.abs(np.diff(sigmoid) - 2 * np.diff(tanh)).max() > 0.01  # their errors are their own


def test_measured_columns_replace_targets_and_errors():
    design = ramp.design("tanh", 3)
    g = 0.9 * ramp.conductances(design) + 0.05
    hardware = Ramp(bits=3, sigma=0.5, measured={"tanh": g})
    np.testing.assert_allclose(ramp.sample(KEY, hardware, "tanh"), ramp.thresholds_of(design, g), rtol=1e-6)
    calibrated = replace(hardware, calibration="one-point")
    expected = ramp.one_point(design, ramp.thresholds_of(design, g))
    np.testing.assert_allclose(ramp.sample(KEY, calibrated, "tanh"), expected, atol=1e-6)
    assert np.abs(ramp.sample(KEY, hardware, "sigmoid") - ramp.thresholds("sigmoid", 3)).max() > 0.1
    aliased = Ramp(bits=3, measured={"sigmoid": g})
    np.testing.assert_allclose(
        ramp.sample(KEY, aliased, "logistic"), 2 * ramp.thresholds_of(design, g), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="tanh at 4 bits has 14 ramp devices; got conductances of shape"):
        ramp.sample(KEY, replace(hardware, bits=4), "tanh")


def test_conductances_below_g_min_are_refused_unless_clamped():
    hardware = Ramp(bits=8, g_min=5e-6)
    ideal = levels("logistic", 8, "edges")
    steps = np.diff(ideal)
    least = np.maximum(steps, steps.max() * 5 / 150)
    walk = np.concatenate([[0.0], np.cumsum(least - steps)])
    worst = 256 * np.abs(expit(ideal + walk - walk[127]) - expit(ideal)).max()
    sentence = (
        rf"Ramp.g_min: {np.sum(least > steps)} of 254 ramp devices of logistic at 8 bits need less than g_min = 5 uS "
        rf"\(the smallest 3.362 uS\); programmed as g_min the largest \|INL_out\| is {worst:.3g} LSB after one-point"
    )
    with pytest.raises(ValueError, match=sentence):
        ramp.design_of(hardware, "sigmoid")
    clamped = replace(hardware, below_g_min="clamp", calibration="one-point")
    design = ramp.design_of(clamped, "sigmoid")
    target = ramp.conductances(design)
    v = ramp.sample(KEY, clamped, "sigmoid")
    expected = ramp.one_point(design, ramp.thresholds_of(design, np.maximum(target, 5 / 150)))
    np.testing.assert_allclose(v, expected, atol=1e-5)
    assert ramp.design_of(Ramp(bits=5, g_min=5e-6), "sigmoid").bits == 5


def test_a_ramp_is_a_pytree_of_its_numbers():
    hardware = Ramp(span=2.0, tolerance=0.03, distribution="truncated", **ERRORS)
    leaves = jax.tree.leaves(hardware)
    assert len(leaves) == 10 and jax.tree.structure(hardware) != jax.tree.structure(Ramp())
    assert len(jax.tree.leaves(Ramp(measured={"tanh": np.ones(30)}))) == 3


def test_explain_names_what_is_on():
    rows = dict(Ramp(calibration="one-point", bias="sequential", copies=4, **ERRORS).explain())
    assert "std 0.02 of g_max (3 uS)" in rows["ramp programming"]
    assert "one-point" in rows["ramp calibration"] and "best of 4" in rows["ramp calibration"]
    assert "cancels" in rows["ramp read voltage"] and "101 %" in rows["ramp gain"]
    plain = dict(Ramp().explain())
    assert plain["ramp programming"] == "exact" and "ramp gain" not in plain and "32 codes" in plain["ramp"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"bits": 9}, "Ramp.bits: expected an integer from 2 to 8; got 9"),
        ({"bits": 4.0}, "Ramp.bits: expected an integer from 2 to 8; got 4.0"),
        ({"copies": 0}, "Ramp.copies: expected an integer from 1 to 1024; got 0"),
        ({"devices": 0}, "Ramp.devices: expected an integer"),
        ({"convention": "B"}, "Ramp.convention: expected one of .*; got 'B'"),
        ({"calibration": "centre"}, "Ramp.calibration: expected one of .*; got 'centre'"),
        ({"bias": "perfect"}, "Ramp.bias: expected one of .*; got 'perfect'"),
        ({"digital": "lut"}, "Ramp.digital: expected one of .*; got 'lut'"),
        ({"span": -1.0}, "Ramp.span: expected None or a number > 0; got -1.0"),
        ({"sigma": -0.1}, "Ramp.sigma: expected None or a number >= 0, relative to g_max; got -0.1"),
        ({"p_off": 1.5}, "Ramp.p_off: expected None or a probability, 0 to 1; got 1.5"),
        ({"g_min": 2e-4}, "Ramp.g_min: expected less than g_max = 0.00015 S; got 0.0002"),
        ({"tolerance": 0.1}, "Ramp.distribution: 'normal' needs sigma and nothing else; got tolerance"),
        (
            {"distribution": "truncated", "sigma": 0.1},
            "'truncated' needs sigma and tolerance and nothing else; got sigma",
        ),
        ({"distribution": "uniform"}, "Ramp.distribution: 'uniform' needs tolerance and nothing else; got neither"),
        ({"measured": {"tanh": [-0.1, 0.2]}}, r"Ramp.measured\['tanh'\]: expected finite conductances from 0 to 2"),
        ({"measured": {"tahn": [0.1, 0.2]}}, "did you mean 'tanh'?"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Ramp(**arguments)


def test_measured_must_be_a_dict():
    with pytest.raises(TypeError, match="Ramp.measured: expected a dict of conductances by activation; got ndarray"):
        Ramp(measured=np.ones(3))


def table(**activation):
    return {"preset": "ramp-5bit", "activation": activation}


def test_from_a_table_of_settings(tmp_path):
    for name in ("tanh", "sigmoid"):
        text = ramp.programming_table(ramp.design(name, 5), g_max=100e-6).replace("target", "g")
        (tmp_path / f"{name}.csv").write_text(text)
    files = [str(tmp_path / f"{name}.csv") for name in ("tanh", "sigmoid")]
    made = hardware_from(table(sigma=0.02, calibration="one-point", span=3, g_max=1e-4, measured=files)).activation
    assert made is not None and made.measured is not None and (made.sigma, made.span) == (0.02, 3.0)
    assert set(made.measured) == {"tanh", "logistic"}
    np.testing.assert_allclose(made.measured["tanh"], ramp.conductances(ramp.design("tanh", 5)), rtol=1e-5)
    one = hardware_from(table(g_max=1e-4, measured=files[0])).activation
    assert one is not None and one.measured is not None and set(one.measured) == {"tanh"}
    with pytest.raises(ValueError, match="hardware.activation.measured: tanh is in two files"):
        hardware_from(table(measured=[files[0], files[0]]))
    with pytest.raises(ValueError, match="hardware.activation.measured: 'no.csv' is neither a file nor"):
        hardware_from(table(measured="no.csv"))
    with pytest.raises(ValueError, match="hardware.activation.*did you mean 'sigma'"):
        hardware_from(table(sigmas=0.1))


def test_public_names():
    assert ax.Ramp is Ramp and ax.activation is ramp.activation
