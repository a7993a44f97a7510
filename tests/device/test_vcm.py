"""V6-V10: one-shot programming, read current and read noise of VCM pairs through the device interface."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_vcm as reference

from anaxon.device import vcm_cycle
from anaxon.device.vcm import VCM, fitted_current_scale
from anaxon.types import replace

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vcm.json").read_text())
KEY = jax.random.key(17)
N = 200_000


def targets(positive, negative, n=N):
    return jnp.stack([jnp.full((1, n), float(positive)), jnp.full((1, n), float(negative))])


def pair_current(device, cells, volts=0.6):
    """Noiseless current of every pair in column units, `[n]` float64."""
    drive = device.drive(jnp.float32(volts), 0.6)[0]
    return np.asarray(drive * device.response(cells)[0], np.float64)[0]


def ks_distance(a, b):
    grid = np.sort(np.concatenate([a, b]))
    return np.abs(np.searchsorted(np.sort(a), grid) / a.size - np.searchsorted(np.sort(b), grid) / b.size).max()


def assert_pairs(values, golden, mean_atol=0.002, sd_rtol=0.02):
    assert abs(values.mean() - golden[0]) < mean_atol
    assert abs(values.std() / golden[1] - 1) < sd_rtol


def test_pair_statistics():
    """V6: mean 0.002, sd 2 %, quantiles of 2e5 pairs within five standard errors."""
    device, golden = VCM(), GOLDEN["pairs"]
    cells = device.program(KEY, targets(1, 0))
    single = 8020 * reference.current(np.asarray(cells, np.float64), 0.6)
    assert_pairs(single[0], golden["on"])
    assert_pairs(single[1], golden["off"])
    on, off = pair_current(device, cells), pair_current(device, device.program(KEY, targets(0, 0)))
    assert_pairs(on, golden["pair10"])
    assert_pairs(off, golden["pair00"])
    np.testing.assert_allclose(np.quantile(on, golden["probability"]), golden["pair10_quantile"], atol=0.005)
    np.testing.assert_allclose(np.quantile(off, [0.01, 0.99]), golden["pair00_quantile_1_99"], atol=0.004)
    np.testing.assert_allclose(pair_current(device, device.program(KEY, targets(0, 1))).mean(), -on.mean(), atol=0.002)


def test_pairs_of_worn_cells():
    """V6 by pulses: 15 random pulses a unit of wear, then +2 V, and -2 V on the targets."""
    cells = vcm_cycle.fresh(KEY, (2, N // 4))
    target = jnp.stack([jnp.arange(N // 4) % 2, jnp.zeros(N // 4)])
    golden = GOLDEN["pairs"]
    checked = []
    for wear in range(6):
        key = jax.random.fold_in(KEY, wear)
        if wear:
            cells = vcm_cycle.worn(key, cells, 1)
        if wear not in (0, 1, 2, 5):
            continue
        pairs = pair_current(VCM(), vcm_cycle.program_pulses(key, cells, target).r[:, None])
        pair10, pair00 = golden["wear"][str(wear)] if wear else (golden["pair10"], golden["pair00"])
        assert_pairs(pairs[1::2], (pair10[0] or 1.0098, pair10[1]))
        assert_pairs(pairs[::2], pair00)
        checked.append(wear)
    assert checked == [0, 1, 2, 5] and float(cells.cycle.mean()) > 5


@pytest.mark.parametrize("cycles", [0, 3])
def test_one_shot_equals_the_pulse_simulation(cycles):
    """Two-sample KS of 4e5 states each: the 0.1 % bound for equal distributions is 1.95 sqrt(2 / n) = 0.0044."""
    key = jax.random.fold_in(KEY, cycles)
    cells = vcm_cycle.fresh(key, (2 * N,))
    for i in range(cycles):
        cells = vcm_cycle.apply_voltage(jax.random.fold_in(key, 2 * i), cells, -2.0)
        cells = vcm_cycle.apply_voltage(jax.random.fold_in(key, 2 * i + 1), cells, 2.0)
    on = vcm_cycle.apply_voltage(key, cells, -2.0)
    device = VCM(cycles=cycles)
    for target, simulated in [(0, cells), (1, on)]:
        drawn = np.asarray(device.program(key, targets(target, target))).ravel()
        assert ks_distance(drawn, np.asarray(simulated.r)) < 0.0044


def test_cells_of_a_pair_and_neighbours_are_independent():
    r = np.asarray(VCM().program(KEY, targets(1, 1)), np.float64)[:, 0]
    assert abs(np.corrcoef(r)[0, 1]) < 5 / np.sqrt(N)
    assert abs(np.corrcoef(r[0, 1:], r[0, :-1])[0, 1]) < 5 / np.sqrt(N)


def test_scaling_constants():
    """V7: 1,000 batches of 100 pairs, 8031 +- 53 within 1 % (the sd within 10 %); ideal 5476.5 +- 0.1."""
    golden = GOLDEN["scaling"]
    r = np.asarray(VCM().program(KEY, targets(1, 0, 100_000)), np.float64).reshape(2, 1000, 100)
    volts = np.arange(1, 7) / 10
    difference = np.polyval(reference.LLRS, volts) - np.polyval(reference.HHRS, volts)
    scale = np.mean(volts / difference) / 0.6 / (r[1] - r[0]).mean(1)
    np.testing.assert_allclose(scale.mean(), golden["batch_mean"], rtol=0.01)
    np.testing.assert_allclose(scale.std(), golden["batch_sd"], rtol=0.1)
    np.testing.assert_allclose(fitted_current_scale(), scale.mean(), rtol=5 * 53 / 8031 / np.sqrt(1000))
    np.testing.assert_allclose(VCM().current_scale, golden["published"], rtol=0)
    assert abs(fitted_current_scale(programming="ideal") - golden["ideal"]) < 0.1
    assert abs(VCM(programming="ideal").current_scale - golden["ideal"]) < 1


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_equivalent_deviation_and_gain(bits):
    """V8: the programming error of normal weights (absmax at 4 sigma) in weight steps is dev sqrt(2 sum 4^i)."""
    rng = np.random.default_rng(bits)
    top = 2 ** (bits - 1) - 1
    weight = np.rint(np.clip(rng.standard_normal(N) / 4, -1, 1) * top).astype(int)
    planes = np.arange(bits - 1)
    magnitude = (np.abs(weight) >> planes[:, None]) & 1
    target = jnp.asarray(np.stack([magnitude * (weight > 0), magnitude * (weight < 0)]), jnp.float32)
    device = VCM()
    cells = device.program(KEY, target)
    read = np.asarray(device.drive(jnp.float32(0.6), 0.6)[0] * device.response(cells)[0], np.float64)
    value = (2.0 ** planes[:, None] * read).sum(0)
    gain = (value @ weight) / (weight @ weight)
    deviation = np.std(value - gain * weight) / np.sqrt(2 * np.sum(4.0**planes))
    assert abs(gain / 1.010 - 1) < 0.02
    assert abs(deviation / GOLDEN["pairs"]["equivalent_deviation"] - 1) < 0.02


def test_transfer():
    """V10: the mean pair's normalised transfer within 0.002."""
    device, golden = VCM(), GOLDEN["transfer"]
    off, on = device.state_means
    transfer = device.drive(jnp.asarray(golden["x"]) * 0.6, 0.6)[0] * (off - on)
    np.testing.assert_allclose(transfer, golden["y"], atol=0.002)
    # The same current at another full input voltage is in units of that voltage.
    half = device.drive(jnp.float32(0.3), 0.3)[0]
    np.testing.assert_allclose(half, 2 * device.drive(jnp.float32(0.3), 0.6)[0], rtol=1e-6)


def pair_variance(device, cells, volts):
    chi, omega = device.noise_drive(jnp.float32(volts), 0.6), device.noise_response(cells)
    return np.asarray(sum(c * w for c, w in zip(chi, omega, strict=True)), np.float64) / device.current_scale**2


LEGACY = {"charge": np.e, "bandwidth": 1e-8}


@pytest.mark.parametrize("volts", [-0.6, -0.3, 1e-3, 0.0, 0.05, 0.2, 0.6])
@pytest.mark.parametrize(("noise", "constants"), [("physical", {}), ("legacy", LEGACY)])
@pytest.mark.parametrize("programming", ["one-shot", "ideal"])
def test_noise_variance_of_a_pair(noise, constants, programming, volts):
    """The two linear terms equal the sum of the cells' own variances, at 0 V too."""
    device = VCM(noise=noise, programming=programming)
    cells = device.program(KEY, targets(1, 0, 1000))
    if noise == "legacy" and volts == 0:  # the port adds no noise at 0 V; here 2e-16 A of Johnson noise remain
        assert (pair_variance(device, cells, volts) < 1e-30).all()
        return
    expected = reference.noise_variance(np.asarray(cells, np.float64), volts, **constants).sum(0)
    np.testing.assert_allclose(pair_variance(device, cells, volts), expected, rtol=1e-5)


def test_noise_table():
    """V9: sigma of the mean cells within 1 %, to the digits given."""
    golden = GOLDEN["noise"]

    def sigma(noise, r, volts, **leaves):
        return np.sqrt(pair_variance(VCM(noise=noise, **leaves), jnp.full((2, 1), r), volts)[0] / 2)

    low, high = GOLDEN["state"]["low"][0], GOLDEN["state"]["high"][0]
    for volts, ratio in zip(*list(golden["legacy_over_physical"].values())[:2], strict=True):
        np.testing.assert_allclose(sigma("legacy", low, volts) / sigma("physical", low, volts), ratio, rtol=0.01)
    cold = sigma("legacy", low, 0.6) / sigma("physical", low, 0.6, temperature=1e-9)
    np.testing.assert_allclose(cold, golden["legacy_over_physical"]["shot_limit"], rtol=1e-3)
    np.testing.assert_allclose(
        [sigma("legacy", low, 0.6), sigma("legacy", high, 0.6)], golden["legacy_sigma_low_high"], rtol=0.01
    )
    physical, shot = sigma("physical", low, 0.6), sigma("physical", low, 0.6, temperature=1e-9)
    np.testing.assert_allclose(physical, golden["physical_low"]["sigma"], rtol=0.01)
    np.testing.assert_allclose(shot, golden["physical_low"]["shot"], rtol=0.01)
    np.testing.assert_allclose(np.sqrt(physical**2 - shot**2), golden["physical_low"]["johnson"], rtol=0.03)  # 2 digits


def test_noise_off_has_no_terms():
    device = VCM(noise="off")
    assert device.noise_drive(jnp.zeros(3), 0.6) == () and device.noise_response(jnp.zeros((2, 1, 3))) == ()


def test_straight_through_derivative():
    """d r / d target is the mean step in every cell, and the spread's derivative is that of its formula."""
    device, target = VCM(), targets(1, 0, 64)
    off, on = device.state_means
    gradient = jax.grad(lambda t: device.program(KEY, t).sum())(target)
    np.testing.assert_allclose(gradient, on - off, rtol=1e-6)
    slope = jax.grad(lambda v: replace(device, variability=v).program(KEY, target).sum())(1.0)
    mean = np.array([on, off])[:, None, None]
    np.testing.assert_allclose(slope, np.sum(np.asarray(device.program(KEY, target)) - mean), rtol=1e-3, atol=1e-4)
    ideal = VCM(programming="ideal")
    np.testing.assert_array_equal(ideal.program(KEY, target), 1 - target)
    np.testing.assert_array_equal(jax.grad(lambda t: ideal.program(KEY, t).sum())(target), -np.ones(target.shape))


def test_no_variability_gives_the_means():
    cells = VCM(variability=0.0).program(KEY, targets(1, 0, 8))
    np.testing.assert_allclose(cells[:, 0, 0], VCM().state_means[::-1], rtol=1e-6)


def test_program_under_vmap_and_jit_draws_the_same_cells():
    device, target, keys = VCM(), targets(1, 0, 33), jax.random.split(KEY, 4)
    one = [np.asarray(device.program(k, target)) for k in keys]
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda k: device.program(k, target)))(keys), one)
    inside = jax.jit(lambda k: VCM(cycles=4).program(k, target))(KEY)  # made inside a trace
    np.testing.assert_array_equal(inside, VCM(cycles=4).program(KEY, target))


def test_replace_rebuilds_the_tables():
    changed = replace(VCM(), cycles=60)
    np.testing.assert_array_equal(changed.tables.table, VCM(cycles=60).tables.table)
    assert not np.array_equal(changed.tables.table, VCM().tables.table)
    leaves, structure = jax.tree.flatten(changed)
    assert jax.tree.unflatten(structure, leaves).tables.table is changed.tables.table


def test_explain_names_every_effect():
    rows = dict(VCM(noise="legacy").explain())
    assert "0.02189" in rows["read noise"] and "torch port" in rows["read noise"]
    assert "11 % at -0.6 V" in rows["read disturb"]
    assert "0.1593 +- 0.0367" in rows["programming"] and "1.01 of a weight step" in rows["nonlinearity"]
    assert "drift" in rows["not modelled"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise": "loud"}, "noise: one of physical, legacy, off; got 'loud'"),
        ({"programming": "perfect"}, "programming: one of one-shot, ideal"),
        ({"cycles": -1}, "cycles: a number of cycles, 0 or more; got -1"),
        ({"cycles": 1.5}, "cycles"),
        ({"bandwidth": -1.0}, "bandwidth: a finite positive number; got -1.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"variability": -0.1}, "variability: a finite number >= 0"),
        ({"current_scale": "auto"}, "current_scale: a number"),
        ({"programming": "ideal", "current_scale": 8020.0}, "8020 belongs to one-shot cells"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        VCM(**fields)


def test_voltages_beyond_the_fit_are_refused():
    with pytest.raises(ValueError, match=r"v_max: at most 1.46 V"):
        VCM().drive(jnp.zeros(2), 2.0)
    with pytest.raises(TypeError, match="parameters"):
        VCM(parameters={"name": "x"})
