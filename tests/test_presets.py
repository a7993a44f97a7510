import jax
import jax.numpy as jnp
import pytest

from anaxon.converter.adc import ADC
from anaxon.converter.dac import DAC
from anaxon.device.gaussian import Gaussian
from anaxon.device.ideal import IdealDevice
from anaxon.device.vcm import VCM
from anaxon.presets import hardware_from, preset, preset_table, presets

NAMES = {
    *("ideal", "qat-8bit", "vcm-3bit", "vcm-4bit", "vcm-8bit", "vcm-4bit-legacy"),
    *("gaussian-8bit", "pcm", "ramp-5bit"),
}


def test_the_shipped_presets():
    assert set(presets()) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_preset_says_what_it_is_and_where_it_is_from(name):
    table = preset_table(name)
    assert len(table["description"]) > 20
    assert len(table["source"]) > 20
    hardware = preset(name)
    assert all(jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) for leaf in jax.tree.leaves(hardware))


def test_vcm_4bit_is_the_papers_hardware():
    hardware = preset("vcm-4bit")
    assert isinstance(hardware.device, VCM)
    assert hardware.device.noise == "physical"
    assert (hardware.array.rows, hardware.array.cols, hardware.array.weight_bits, hardware.array.slices) == (
        *(128, 128),
        *(4, 3),
    )
    assert hardware.dac == DAC(bits=8, v_max=0.6)
    assert hardware.adc == ADC.bits(range_bits=4, precision_bits=4)
    assert hardware.activation is None
    assert (preset("vcm-3bit").array.weight_bits, preset("vcm-8bit").array.weight_bits) == (3, 8)
    assert preset("vcm-4bit-legacy").device.noise == "legacy"


def test_other_presets():
    assert preset("ideal").is_ideal
    assert isinstance(preset("qat-8bit").device, IdealDevice)
    assert preset("qat-8bit").array.slices == 1
    assert isinstance(preset("gaussian-8bit").device, Gaussian)
    assert preset("gaussian-8bit").array.weight_bits is None
    assert preset("pcm").device.name == "pcm_ibm"
    ramp = preset("ramp-5bit")
    assert (ramp.activation.bits, ramp.bias, ramp.dac.encoding) == (5, "row", "pulse-width")


def test_a_table_may_start_from_a_preset():
    assert hardware_from("vcm-3bit").array.weight_bits == 3
    changed = hardware_from({"preset": "vcm-4bit", "array": {"weight_bits": 3}, "dac": {"v_max": 0.3}})
    assert (changed.array.weight_bits, changed.array.rows, changed.dac) == (3, 128, DAC(bits=8, v_max=0.3))
    other = hardware_from({"preset": "vcm-4bit", "device": {"kind": "gaussian", "sigma": 0.1}})
    assert other.device == Gaussian(sigma=0.1)
    uniform = hardware_from({"preset": "vcm-4bit", "adc": {"bits": 6, "full_scale": 4}})
    assert uniform.adc == ADC.uniform(bits=6, full_scale=4.0)
    assert hardware_from({"preset": "vcm-4bit", "adc": "none", "dac": "none"}).adc is None


def test_integers_become_floats_where_floats_are_meant():
    hardware = hardware_from({"device": {"kind": "ideal"}, "dac": {"v_max": 1}})
    assert type(hardware.dac.v_max) is float
    assert type(hardware.dac.bits) is int


GOOD = {"device": {"kind": "gaussian"}, "dac": {"bits": 8}, "adc": {"bits": 8}}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dacc": {}}, ValueError, "hardware: unknown key 'dacc'; did you mean 'dac'"),
        (
            {"dac": {"bit": 8}},
            ValueError,
            "hardware.dac: unknown key 'bit'; did you mean 'bits'. accepted: bits, v_max",
        ),
        ({"dac": {"bits": 40}}, ValueError, "hardware.dac: DAC.bits: expected an integer from 2 to 16; got 40"),
        ({"dac": {"bits": 8.0}}, TypeError, "hardware.dac.bits: expected an integer; got 8.0"),
        ({"dac": {"bits": True}}, TypeError, "hardware.dac.bits: expected an integer; got True"),
        ({"dac": {"v_max": "0.6"}}, TypeError, "hardware.dac.v_max: expected a number; got '0.6'"),
        ({"dac": {"encoding": "sound"}}, ValueError, "hardware.dac: DAC.encoding: expected one of"),
        ({"dac": {"encoding": 3}}, TypeError, "hardware.dac.encoding: expected one of 'amplitude'"),
        ({"dac": 8}, TypeError, r"hardware.dac: expected a table, \[dac\]; got 8"),
        ({"adc": {"bits": 8, "range_bits": 4}}, ValueError, "hardware.adc: either bits, or range_bits"),
        ({"adc": {"noise": 0.1}}, ValueError, "hardware.adc: expected bits, or range_bits and precision_bits"),
        ({"adc": {"bits": 8, "noise": -0.1}}, ValueError, "hardware.adc: ADC.noise"),
        ({"adc": {"bits": 8, "noise": "x"}}, TypeError, "hardware.adc.noise: expected a number"),
        ({"adc": {"range_bits": 4, "precison_bits": 4}}, ValueError, "did you mean 'precision_bits'"),
        ({"device": {"kind": "gauss"}}, ValueError, "hardware.device.kind: expected one of vcm, gaussian"),
        ({"device": {}}, ValueError, "hardware.device.kind: expected one of .*; got None"),
        ({"device": {"kind": "none", "sigma": 1}}, ValueError, "unknown key 'sigma'; accepted: none"),
        ({"device": {"kind": "gaussian", "sigma": -1.0}}, ValueError, "hardware.device: Gaussian.sigma"),
        ({"device": {"kind": "vcm", "noize": "off"}}, ValueError, "hardware.device: .*did you mean 'noise'"),
        ({"device": {"kind": "vcm"}}, ValueError, "hardware: .*VCM"),
        ({"device": {"kind": "table"}}, ValueError, "hardware.device.file: missing"),
        ({"device": {"kind": "table", "file": "no.csv"}}, ValueError, "'no.csv' is neither a file nor"),
        ({"array": {"weight_bits": "none"}}, TypeError, "hardware.array.weight_bits: expected an integer"),
        ({"array": {"rows": 0}}, ValueError, "hardware.array: Array.rows"),
        ({"bias": "row"}, ValueError, "hardware: Hardware.bias"),
        ({"activation": {"kind": "relu"}}, ValueError, "hardware.activation.kind: expected 'ramp'; got 'relu'"),
        ({"activation": {"bits": 20}}, ValueError, "hardware.activation: Ramp.bits"),
        ({"preset": "vcm-4bits"}, ValueError, "hardware.preset: unknown name 'vcm-4bits'; did you mean 'vcm-4bit'"),
        ({"preset": 4}, TypeError, "hardware.preset: expected a name"),
    ],
)
def test_bad_tables_are_refused_where_they_are_bad(change, error, message):
    table = GOOD | {"array": {"weight_bits": "analog"}} | change
    with pytest.raises(error, match=message):
        hardware_from(table)


def test_a_table_needs_a_device():
    with pytest.raises(ValueError, match="hardware.device: missing"):
        hardware_from({"dac": {"bits": 8}})


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="preset: unknown name 'vcm4bit'; did you mean 'vcm-4bit'"):
        preset("vcm4bit")
    with pytest.raises(ValueError, match="preset: unknown name"):
        preset("../devices/vcm")
