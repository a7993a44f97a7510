import jax
import jax.numpy as jnp
import pytest

import anaxon as ax
from anaxon.interpret.explain import explain
from anaxon.interpret.plan import Ranges
from anaxon.presets import hardware_from, preset, presets
from anaxon.types import replace


def rows_of(subject):
    ((_, rows),) = explain(subject).sections
    return dict(rows)


def sites_of(plan):
    head, *rows = explain(plan).sites
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def mlp(params, x):
    return jax.nn.relu(x @ params["a"] + params["bias"]) @ params["b"]


PARAMS = {"a": jnp.ones((300, 200)), "b": jnp.ones((200, 10)), "bias": jnp.ones(200)}


@pytest.fixture(scope="module")
def plan():
    return ax.place(mlp, preset("vcm-4bit"))(PARAMS, jnp.ones((4, 300)))


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_explained(name):
    rows = rows_of(preset(name))
    assert "device" in rows
    if name != "ideal":
        assert {"weights", "array", "inputs", "columns", "bias", "not modelled"} <= set(rows)


def test_ideal_hardware_is_digital():
    assert rows_of(ax.ideal()) == {"device": "none: products stay the digital ones, bit for bit"}


def test_sizes_and_units_of_the_vcm_hardware():
    rows = rows_of(preset("vcm-4bit"))
    assert "15 levels; 3 slice(s) of 1 bit in pairs: 6 cells per weight" in rows["weights"]
    assert rows["array"].startswith("128 x 128; 6 arrays per tile")
    assert "DAC 8 bit, 257 levels over +-0.6 V by amplitude" in rows["inputs"]
    assert "step 0.0625, saturates at +-8 column units" in rows["columns"]
    assert "-0.6 V, sets 11.1" in rows["disturb here"]
    assert "wire resistance" in rows["not modelled"]
    assert "drift" in rows["not modelled"]


def test_disturb_is_at_the_hardwares_own_voltage():
    lower = rows_of(hardware_from({"preset": "vcm-4bit", "dac": {"v_max": 0.5}}))
    assert "-0.5 V, sets 0.05% of" in lower["disturb here"]
    assert "disturb here" not in rows_of(preset("gaussian-8bit"))


def test_drift_is_not_modelled_where_the_device_has_none():
    assert rows_of(preset("gaussian-8bit"))["not modelled"].endswith("drift")
    pcm = rows_of(preset("pcm"))
    assert "exponent" in pcm["drift"]
    assert "drift" not in pcm["not modelled"]


def test_converters_and_their_errors():
    table = {"device": {"kind": "ideal"}, "adc": {"bits": 6, "full_scale": 31, "noise": 0.5, "gain_sigma": 0.02}}
    rows = rows_of(hardware_from(table))
    assert "step 1, saturates at +-31 column units" in rows["columns"]
    assert rows["ADC noise"] == "std 0.5 column units, every conversion"
    assert rows["ADC gain"] == "std 0.02 relative, once per chip and column"
    assert "ADC offset" not in rows
    assert rows["inputs"].startswith("no DAC: exact voltages")
    assert rows_of(hardware_from({"device": {"kind": "ideal"}}))["columns"].startswith("no ADC: exact sums")
    assert (
        "8 reads per vector" in rows_of(hardware_from(table | {"dac": {"bits": 8, "encoding": "bit-serial"}}))["inputs"]
    )
    inverse = rows_of(hardware_from({"preset": "vcm-4bit", "dac": {"predistortion": "inverse"}}))
    assert "predistorted" in inverse["inputs"]


def test_scales_shared():
    assert "one scale per weight" in rows_of(preset("vcm-4bit"))["weights"]
    assert "all on one array have one column unit" in rows_of(preset("ramp-5bit"))["weights"]
    column = hardware_from({"preset": "vcm-4bit", "array": {"scale": "column", "clip_sigma": 2.5}})
    assert rows_of(column)["weights"].endswith("one scale per column, limited to 2.5 standard deviations")


def test_arrays_of_a_plan(plan):
    sites = sites_of(plan)
    assert list(sites) == ["a", "b"]
    assert (sites["a"]["rows x cols"], sites["a"]["arrays"], sites["a"]["of at most"]) == ("300 x 200", "36", "128")
    assert sites["a"]["cells used"] == f"{300 * 200 / (6 * 128 * 128):.0%}"
    assert (sites["b"]["arrays"], sites["b"]["cells used"]) == ("12", f"{2000 / (2 * 128 * 128):.0%}")
    assert (sites["a"]["input range"], sites["a"]["ADC range"], sites["a"]["ends in"]) == ("absmax", "8", "linear")


def test_calibrated_ranges_are_shown(plan):
    calibrated = replace(plan, ranges=(Ranges(input=jnp.float32(1.5), column=jnp.float32(3.25)), Ranges()))
    sites = sites_of(calibrated)
    assert (sites["a"]["input range"], sites["a"]["ADC range"]) == ("1.5", "3.25")
    assert (sites["b"]["input range"], sites["b"]["ADC range"]) == ("absmax", "8")


def test_a_ramp_shares_its_arrays():
    def fn(params, x):
        return jax.nn.sigmoid(x @ params["w"] + params["b"])

    shared = ax.place(fn, preset("ramp-5bit"))({"w": jnp.ones((31, 64)), "b": jnp.ones(64)}, jnp.ones(31))
    sites = sites_of(shared)
    assert (sites["w"]["arrays"], sites["w"]["ends in"], sites["w"]["cells used"]) == ("2", "logistic", "12%")
    assert (sites["b"]["arrays"], sites["b"]["ends in"], sites["b"]["input range"]) == ("shared", "bias row", "1")


def test_two_kinds_of_hardware_are_told_apart():
    rules = {"a": preset("vcm-4bit"), "b": ax.ideal()}
    text = repr(explain(ax.place(mlp, rules)(PARAMS, jnp.ones((4, 300)))))
    assert "Hardware 0 of 1 weight(s): a" in text
    assert "Hardware 1 of 1 weight(s): b" in text
    assert "digital product" in text


def test_the_table_is_aligned(plan):
    text = repr(explain(plan))
    assert text.startswith("Hardware of 2 weight(s): a, b\n  device")
    head = next(line for line in text.splitlines() if line.startswith("  weight "))
    row = next(line for line in text.splitlines() if line.startswith("  a "))
    assert head.index("arrays") == row.index("36")


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="expected a Hardware or a Plan; got dict"):
        explain({})
