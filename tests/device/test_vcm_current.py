"""V1: polynomials, states, the latent step and the reset curve against the golden figures (tests/golden/vcm.json)."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import reference_vcm as reference

from anaxon.device import vcm_current, vcm_cycle
from anaxon.device.vcm_parameters import default_parameters, load_parameters

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vcm.json").read_text())
P = default_parameters()


def f32(x):
    return jnp.asarray(x, jnp.float32)


def assert_close(value, golden, rtol=1e-5):
    value = np.asarray(value)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, golden, rtol=rtol, atol=0)


def test_bounds_of_the_current():
    golden = GOLDEN["bounds"]
    assert_close(vcm_current.low_current(P, f32(golden["volts"])), golden["low"])
    assert_close(vcm_current.high_current(P, f32(golden["volts"])), golden["high"])
    np.testing.assert_allclose([P.low_conductance, P.high_conductance], golden["conductance"], rtol=1e-7)


def test_current_between_the_bounds():
    golden = GOLDEN["current_at_0.6V"]
    assert_close(vcm_current.current(P, f32(golden["r"]), f32(0.6)), golden["ampere"])


def test_states_and_resistances():
    golden = GOLDEN["state_of_resistance"]
    r = vcm_current.state_of_resistance(P, f32(golden["ohm"]))
    assert_close(r, golden["r"])
    assert_close(
        vcm_current.resistance_of_state(P, r), golden["ohm"], rtol=2e-4
    )  # 1e6 ohm is 0.3 % of a siemens' range
    r = np.linspace(0.05, 0.85, 9)
    amperes = vcm_current.current(P, f32(r), f32(0.4))
    np.testing.assert_allclose(vcm_current.state_of_current(P, amperes, f32(0.4)), r, rtol=1e-5)


def test_quantile_map():
    golden = GOLDEN["gamma"]
    x = jnp.broadcast_to(f32(golden["x"]), (4, 7))
    assert_close(vcm_cycle.standardised(P, x), golden["y"])


def test_latent_step():
    golden = GOLDEN["latent"]
    ramp = (np.arange(44) + 1) / 44
    zero, none = np.zeros(4), np.zeros((10, 4))
    newest = none.copy()
    newest[-1] = 1
    for name, noise, history in [
        ("ramp", ramp[:4], ramp[4:].reshape(10, 4)),
        ("newest_lag_ones", zero, newest),
        ("noise_ones", zero + 1, none),
    ]:
        step = vcm_cycle.latent_step(P, f32(noise), f32(history))
        assert_close(step, golden[name])
        np.testing.assert_allclose(step, reference.latent(noise, history), rtol=1e-5)


def test_reset_curve():
    golden = GOLDEN["reset_curve"]
    start = vcm_current.state_of_resistance(P, f32(golden["low_ohm"]))
    target = vcm_current.state_of_resistance(P, f32(golden["high_ohm"]))
    assert_close(vcm_current.current(P, start, f32(golden["threshold"])), golden["start"])
    gain, floor = vcm_cycle.reset_curve(P, start, f32(golden["threshold"]), target)
    assert_close(gain, golden["gain"])
    assert_close(floor, golden["floor"])
    r = vcm_cycle.partial_state(P, gain, floor, f32(golden["volts"]))
    assert_close(r, golden["r"])
    assert_close(vcm_current.current(P, r, f32(golden["volts"])), golden["current"])


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ("curvature = 3.0567", "exponent = 3.0567", "reset.curvature is missing"),
        ("curvature = 3.0567", "curvature = nan", "reset.curvature: finite"),
        ("curvature = 3.0567", 'curvature = "steep"', "reset.curvature: numbers"),
        ("weights = [0.483732, 0.4742247, 0.04204324]", "weights = [0.5, 0.5]", r"shape \[3\]; got shape \(2,\)"),
        ("-3.29897627e-05, 0.0]", "-3.29897627e-05, 1e-6]", "current.high: a polynomial without constant term"),
    ],
)
def test_bad_parameter_files(tmp_path, line, changed, message):
    text = reference.FILE.read_text()
    assert line in text
    path = tmp_path / "device.toml"
    path.write_text(text.replace(line, changed))
    with pytest.raises(ValueError, match=message):
        load_parameters(path)
