"""Counts by hand, energies against the component file, and what depends on the plan's numbers."""

import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.components import UNITS, load_components
from anaxon.interpret.cost import adc_energy, cost
from anaxon.presets import hardware_from, preset
from anaxon.types import replace

FOLDER = Path(__file__).parent.parent.parent / "configs" / "components"
FILES = sorted(FOLDER.glob("*.toml"))
TABLE = {
    f"{section}.{name}": entry["value"]
    for section, entries in tomllib.loads((FOLDER / "cmos32.toml").read_text()).items()
    if isinstance(entries, dict)
    for name, entry in entries.items()
}
ANALOG = {"device": {"kind": "ideal", "g_max": 20e-6}, "array": {"weight_bits": "analog"}, "adc": {"bits": 6}}


def bill_of(fn, hardware, params, *inputs):
    return cost(ax.place(fn, hardware)(params, *inputs))


def counts_of(fn, hardware, params, *inputs):
    return {s.path: s.counts for s in bill_of(fn, hardware, params, *inputs).sites}


def dense(params, x):
    return x @ params["w"]


def mlp(params, x):
    return jax.nn.relu(x @ params["a"]) @ params["b"]


MLP = {"a": jnp.ones((300, 200)), "b": jnp.ones((200, 10))}
BATCH = jnp.ones((4, 300))


def test_mlp_counted_by_hand():
    # 4-bit weights: 3 slices of pairs; 300 x 200 on 128 x 128 arrays: 3 x 2 tiles, 36 arrays; 4 vectors.
    a, b = counts_of(mlp, preset("vcm-4bit"), MLP, BATCH).values()
    assert a.linear_conversions == 4 * 200 * 3 * 3
    assert a.ramp_conversions == 0
    assert a.dac_conversions == 4 * 300
    assert a.row_drives == 4 * 300 * 2 * 3 * 2
    assert a.cell_reads == 4 * 300 * 200 * 3 * 2
    assert a.array_cycles == 4 * 36
    assert a.shift_adds == 4 * 200 * (3 * 3 - 1)
    assert a.scalings == 4 * 200
    assert a.buffer_bits == 4 * 300 * 8 + 4 * 200 * 8
    assert (a.cells, a.arrays, a.converters, a.rows) == (300 * 200 * 6, 36, 18, 300)
    assert (b.linear_conversions, b.array_cycles, b.arrays) == (4 * 10 * 2 * 3, 4 * 12, 12)
    total = bill_of(mlp, preset("vcm-4bit"), MLP, BATCH).counts
    assert total.conversions == 7200 + 240
    assert total.digital == 4 * 200 * 9 + 4 * 10 * 6


def test_bit_serial_inputs_convert_every_cycle():
    hardware = hardware_from({"preset": "vcm-4bit", "dac": {"bits": 5, "encoding": "bit-serial"}})
    a = counts_of(mlp, hardware, MLP, BATCH)["a"]
    assert a.linear_conversions == 5 * 4 * 200 * 3 * 3
    assert a.dac_conversions == 5 * 4 * 300
    assert a.cell_reads == 5 * 4 * 300 * 200 * 6
    assert a.shift_adds == 4 * 200 * (5 * 3 * 3 - 1)
    assert a.buffer_bits == 4 * 300 * 5 + 4 * 200 * 8


def test_convolution_counted_by_hand():
    def conv(params, x):
        return jax.lax.conv_general_dilated(
            x, params["k"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
        )

    # 2 groups of 3 x 3 x 4 = 36 rows and 5 columns; 5 x 5 positions of 2 images.
    k = counts_of(conv, hardware_from(ANALOG), {"k": jnp.ones((3, 3, 4, 10))}, jnp.ones((2, 10, 10, 8)))["k"]
    assert k.linear_conversions == 50 * 10
    assert k.cell_reads == 50 * 36 * 10 * 2
    assert k.array_cycles == 50 * 2 * 2
    assert (k.arrays, k.cells, k.rows) == (4, 36 * 10 * 2, 72)
    assert (k.dac_conversions, k.shift_adds, k.scalings) == (0, 0, 500)


def lstm(params, x):
    """Returns the class scores `[5]` of a sequence `[steps, 7]`."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ params["wx"] + h @ params["wh"] + params["b"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = (jnp.zeros(3), jnp.zeros(3))
    return jax.lax.scan(step, start, x)[0][0] @ params["out"]


LSTM = {"wx": jnp.ones((7, 12)), "wh": jnp.ones((3, 12)), "b": jnp.ones(12), "out": jnp.ones((3, 5))}
STEPS = 11


def test_lstm_under_linear_converters_converts_every_weight_at_every_step():
    counts = counts_of(lstm, preset("vcm-3bit"), LSTM, jnp.ones((STEPS, 7)))
    assert set(counts) == {"wx", "wh", "out"}
    assert counts["wx"].linear_conversions == STEPS * 12 * 2
    assert counts["wh"].linear_conversions == STEPS * 12 * 2
    assert counts["wx"].cell_reads == STEPS * 7 * 12 * 4
    assert counts["out"].linear_conversions == 5 * 2


def test_a_ramp_converts_once_per_output():
    bill = bill_of(lstm, preset("ramp-5bit"), LSTM, jnp.ones((STEPS, 7)))
    counts = {s.path: s.counts for s in bill.sites}
    assert sum(c.ramp_conversions for c in counts.values()) == STEPS * 12
    assert sum(c.linear_conversions for c in counts.values()) == 5
    assert sum(c.scalings for c in counts.values()) == 5
    assert sum(c.cell_reads for c in counts.values()) == 2 * (STEPS * (7 + 3 + 1) * 12 + 3 * 5)
    assert sum(c.row_drives for c in counts.values()) == 2 * (STEPS * (7 + 3 + 1) + 3)
    # One pair of arrays holds both weights and the bias, one the output layer.
    assert sum(c.arrays for c in counts.values()) == 4
    assert sum(c.array_cycles for c in counts.values()) == 2 * (STEPS + 1)
    # 16 ns of pulse, 32 ns of ramp, tanh of three cells by the digital units; at the end 16 ns and 5 conversions.
    assert bill.functions.counts.functions == STEPS * 3
    last = 16e-9 + 5 * TABLE["adc.conversion_time"]
    digital = TABLE["function.cycles"] * TABLE["function.cycle_time"]
    np.testing.assert_allclose(bill.latency, STEPS * (48e-9 + digital) + last, rtol=1e-6)
    adc = STEPS * 12 * 32 * TABLE["ramp.energy_per_step"] + 5 * 256 * TABLE["adc.energy_per_step"]
    np.testing.assert_allclose(bill.parts.adc, adc, rtol=1e-6)


def test_scanned_layers_have_their_own_arrays():
    def fn(params, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params["w"])[0]

    w = counts_of(fn, hardware_from(ANALOG), {"w": jnp.ones((6, 20, 20))}, jnp.ones((3, 20)))["w"]
    assert w.linear_conversions == 6 * 3 * 20
    assert (w.arrays, w.cells, w.rows) == (12, 6 * 400 * 2, 120)


def test_a_while_loop_counts_once_and_the_table_says_so():
    def fn(params, x):
        return jax.lax.while_loop(lambda x: jnp.sum(x) < 100, lambda x: x @ params["w"], x)

    bill = bill_of(fn, hardware_from(ANALOG), {"w": jnp.ones((5, 5))}, jnp.ones(5))
    assert bill.counts.conversions == 5
    assert "w*" in repr(bill)
    assert "*: inside a while loop, whose unknown number of turns counts as one" in repr(bill)
    assert "while" not in repr(bill_of(dense, hardware_from(ANALOG), {"w": jnp.ones((5, 5))}, jnp.ones(5)))


def test_energy_latency_and_area_from_the_table():
    # g_min = 2 uS, 25 % of cells on: 2 + 0.25 * 18 = 6.5 uS.
    device = {"kind": "gaussian", "g_max": 20e-6, "g_min": 2e-6}
    dac = {"bits": 4, "v_max": 0.3}
    bill = bill_of(
        dense, hardware_from(ANALOG | {"device": device, "dac": dac}), {"w": jnp.ones((200, 50))}, jnp.ones(200)
    )
    parts, t = bill.parts, TABLE
    square = 0.3**2 / 3
    expected = {
        "adc": 2 * 50 * 2**6 * t["adc.energy_per_step"],
        "dac": 200 * 2**4 * t["dac.unit_capacitance"] * t["dac.supply"] ** 2,
        "lines": 200 * 2 * 128 * t["array.line_capacitance"] * square,
        "cells": 200 * 50 * 2 * square * 6.5e-6 * t["array.read_time"],
        "digital": 50 * t["digital.add"] + 50 * t["digital.multiply"] * 6 / 32,
        "buffers": (200 * 4 + 50 * 6) * t["digital.buffer_bit"],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(parts, name), value, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(bill.energy, sum(expected.values()), rtol=1e-6)
    np.testing.assert_allclose(bill.latency, t["array.read_time"] + 50 * t["adc.conversion_time"], rtol=1e-6)
    area = 4 * 128 * 128 * t["array.cell_area"] + 2 * t["adc.area"] + 2 * t["digital.adder_area"]
    np.testing.assert_allclose(bill.area, area + 200 * t["dac.area"] * 2**3, rtol=1e-6)
    np.testing.assert_allclose(bill.programming, 200 * 50 * 2 * t["programming.energy_per_cell"], rtol=1e-6)


def test_drivers_in_time_need_one_bit():
    costs = {}
    for encoding in ("amplitude", "pulse-width", "bit-serial"):
        dac = {"bits": 4, "v_max": 0.3, "encoding": encoding}
        costs[encoding] = bill_of(
            dense, hardware_from(ANALOG | {"dac": dac}), {"w": jnp.ones((10, 5))}, jnp.ones(10)
        ).parts
    one_bit = 10 * 2 * TABLE["dac.unit_capacitance"] * TABLE["dac.supply"] ** 2
    np.testing.assert_allclose(costs["amplitude"].dac, 8 * one_bit, rtol=1e-6)
    np.testing.assert_allclose(costs["pulse-width"].dac, one_bit, rtol=1e-6)
    np.testing.assert_allclose(costs["bit-serial"].dac, 4 * one_bit, rtol=1e-6)
    full = 10 * 5 * 2 * 0.3**2 * 0.25 * 20e-6
    np.testing.assert_allclose(costs["amplitude"].cells, full / 3 * 10e-9, rtol=1e-6)
    np.testing.assert_allclose(costs["pulse-width"].cells, full / 2 * 8e-9, rtol=1e-6)
    np.testing.assert_allclose(costs["bit-serial"].cells, full / 2 * 4 * 10e-9, rtol=1e-6)


def test_adc_energy_is_waldens_then_schreiers():
    table = load_components()
    np.testing.assert_allclose(adc_energy(8, table), 3.1e-3 / 1.2e9, rtol=2e-3)  # Kull et al. 2013
    assert adc_energy(9, table) / adc_energy(8, table) == pytest.approx(2)
    assert adc_energy(16, table) / adc_energy(15, table) == pytest.approx(10**0.602)


def test_energy_has_gradients_to_voltage_and_conductance():
    plan = ax.place(mlp, preset("gaussian-8bit"))(MLP, BATCH)
    bill, grad = jax.value_and_grad(lambda p: cost(p).energy)(plan)
    parts, hardware = cost(plan).parts, plan.hardware[0]
    np.testing.assert_allclose(bill, cost(plan).energy, rtol=1e-5)
    v_max, g_max = hardware.dac.v_max, hardware.device.g_max
    np.testing.assert_allclose(grad.hardware[0].dac.v_max, 2 * (parts.cells + parts.lines) / v_max, rtol=1e-5)
    np.testing.assert_allclose(grad.hardware[0].device.g_max, parts.cells / g_max, rtol=1e-5)
    assert float(grad.hardware[0].device.sigma) == 0.0


def test_a_bill_passes_jit_and_vmap():
    plan = ax.place(mlp, preset("vcm-4bit"))(MLP, BATCH)
    np.testing.assert_allclose(jax.jit(cost)(plan).energy, cost(plan).energy, rtol=1e-5)

    def energy(v_max):
        hardware = replace(plan.hardware[0], dac=replace(plan.hardware[0].dac, v_max=v_max))
        return cost(replace(plan, hardware=(hardware,))).parts.cells

    cells = jax.vmap(energy)(jnp.array([0.3, 0.6]))
    np.testing.assert_allclose(cells[1] / cells[0], 4, rtol=1e-5)


def test_weights_without_hardware_are_not_priced():
    plan = ax.place(mlp, {"a": preset("vcm-4bit"), "b": ax.ideal()})(MLP, BATCH)
    bill = cost(plan)
    assert bill.sites[1].energy.total == 0
    assert bill.sites[1].latency == 0
    assert bill.sites[0].energy.total > 0
    assert "b (digital)" in repr(bill)
    assert "(digital): no hardware, not priced" in repr(bill)


def test_without_converters_nothing_converts():
    hardware = hardware_from({"device": {"kind": "ideal"}})
    c = counts_of(mlp, hardware, MLP, BATCH)["a"]
    assert (c.conversions, c.dac_conversions, c.converters) == (0, 0, 0)
    assert c.cell_reads > 0


def test_the_table_ends_in_totals_and_says_per_what():
    lines = repr(bill_of(mlp, preset("vcm-4bit"), MLP, BATCH)).splitlines()
    assert lines[0] == "Bill: one call of the function at the traced shapes, components 'cmos32'"
    assert [line.split()[0] for line in lines[1:5]] == ["weight", "a", "b", "total"]
    assert lines[4].split()[1:5] == ["7,440", "1,488,000", "192", "7,440"]
    assert lines[5].startswith("energy: adc ")
    assert lines[7].startswith("latency: weights and their vectors one after another")
    assert lines[8].startswith("not counted: operations outside the placed products")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_component_line_has_a_source(path):
    section, entries = None, 0
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section and line and not line.startswith("#"):
            entry = tomllib.loads(line)
            (value,) = entry.values()
            assert len(value["source"]) > 20, line
            assert value["source"].startswith("Assumption") or any(c.isdigit() for c in value["source"]), line
            entries += 1
    assert entries == sum(len(names) for names in UNITS.values())
    assert load_components(path).name == path.stem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'area = { value = 1.2e-9, unit = "m2", source = "A. Shaf',
            'area = { value = 1.2e-9, unit = "m2", sauce = "A',
            "value, unit, source",
        ),
        (
            "unit_capacitance = { value = 0.5e-15",
            "unit_capacitance = { value = -0.5e-15",
            "dac.unit_capacitance: .*number >= 0",
        ),
        (
            'supply = { value = 1.0, unit = "V"',
            'supply = { value = 1.0, unit = "mV"',
            "dac.supply: expected the unit 'V'",
        ),
        ("multiply =", "multiplies =", "digital: unknown key 'multiplies'; did you mean 'multiply'"),
        ("[ramp]", "[rump]", "unknown key 'rump'; did you mean 'ramp'"),
        ("read_time = {", "# read_time = {", "array.read_time: missing"),
        ("value = 3.1e-12", "value = true", "digital.multiply: expected a finite number"),
    ],
)
def test_a_bad_component_table_is_refused(tmp_path, old, new, message):
    text = (FOLDER / "cmos32.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_components(path)


def test_an_unknown_component_table_names_the_shipped_ones():
    with pytest.raises(ValueError, match=r"one of .*cmos32; got 'cmos7'"):
        load_components("cmos7")


@pytest.mark.parametrize(("cycles", "ratio"), [(2, 2.5), (4, 5.0)])
def test_digital_activations_take_two_to_five_times_the_product_of_512_units(tmp_path, cycles, ratio):
    """512 units, 5 activations each, 32 processors: 80 N_cyc cycles beside 64 of product and conversion.

    The model of V14 of Fig. 1c of Yang et al., Nat. Commun. 16:1136 (2025), which shows 2 to 5 times.
    """
    text = (FOLDER / "cmos32.toml").read_text()
    path = tmp_path / "cycles.toml"
    path.write_text(text.replace("cycles = { value = 3.0,", f"cycles = {{ value = {cycles}.0,"))
    units = 512

    def step(p, x):
        i, f, g, o = jnp.split(x @ p["w"], 4, axis=-1)
        c = jax.nn.sigmoid(f) + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c)

    linear = replace(preset("ramp-5bit"), activation=None, bias="digital")
    shapes = {"w": jax.ShapeDtypeStruct((units, 4 * units), jnp.float32)}
    plan = ax.place(step, linear)(shapes, jax.ShapeDtypeStruct((1, units), jnp.float32))
    bill = cost(plan, path)
    assert bill.functions.counts.functions == 5 * units
    assert float(bill.functions.latency) == pytest.approx(80 * cycles * 1e-9)
    assert float(bill.functions.latency) / 64e-9 == pytest.approx(ratio)
