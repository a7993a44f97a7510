"""V3-V5: the pulse simulation against the reference cell by cell, and its statistics against the golden figures."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_vcm as reference

from anaxon.device import vcm_cycle
from anaxon.device.vcm_current import current
from anaxon.device.vcm_parameters import default_parameters

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vcm.json").read_text())
P = default_parameters()
N = 200_000
fresh, apply_voltage = vcm_cycle.fresh, vcm_cycle.apply_voltage


@pytest.fixture(scope="module")
def cells():
    return fresh(jax.random.key(11), (N,))


@pytest.fixture(scope="module")
def cycled():
    """Features `[cycle, 4, cell]` of 100,000 cells over 60 full cycles."""

    def cycle(cells, key):
        keys = jax.random.split(key)
        cells = vcm_cycle.apply_voltage(keys[0], cells, -2.0)
        cells = vcm_cycle.apply_voltage(keys[1], cells, 2.0)
        return cells, cells.features

    start = fresh(jax.random.key(12), (100_000,))
    end, features = jax.jit(lambda c, k: jax.lax.scan(cycle, c, k))(start, jax.random.split(jax.random.key(13), 60))
    assert (np.asarray(end.cycle) == 60).all() and end.high.all()
    return np.concatenate([np.asarray(start.features)[None], np.asarray(features)])


def correlations_match(features, golden, atol):
    measured = np.corrcoef(features)
    for pair, value in golden.items():
        assert abs(measured[int(pair[0]), int(pair[1])] - value) < atol, pair


def test_fresh_features(cells):
    """V3: mean 0.2 %, sd 1.5 %, correlations 0.01."""
    features, golden = np.asarray(cells.features, np.float64), GOLDEN["fresh"]
    np.testing.assert_allclose(features.mean(1), golden["mean"], rtol=2e-3)
    np.testing.assert_allclose(features.std(1), golden["sd"], rtol=0.015)
    correlations_match(features, golden["correlation"], 0.01)
    features[0] = 10 ** features[0]
    # Five standard errors of two samples of 2e5 at the extreme quantiles are 2 %.
    quantiles = np.quantile(features, golden["probability"], axis=1).T
    np.testing.assert_allclose(quantiles, golden["quantile"], rtol=0.02)
    assert cells.high.all() and not cells.low.any()


def test_features_of_later_cycles(cycled):
    """V3: growth from the zero history towards the stationary spread."""
    golden = GOLDEN["cycle_60"]
    np.testing.assert_allclose(cycled[60].mean(1), golden["mean"], rtol=2e-3)
    np.testing.assert_allclose(cycled[60].std(1), golden["sd"], rtol=0.015)
    growth = GOLDEN["growth_of_low_sd"]
    np.testing.assert_allclose(cycled[growth["cycle"], 2].std(1), growth["ohm"], rtol=0.015)


def test_autocorrelation():
    """V4: of the standardised features within a device, 500 devices over 500 cycles, within 0.02.

    The estimate of a finite series is biased downwards alike in the golden figures (500 cycles, device mean removed).
    """

    def step(carry, key):
        history = vcm_cycle._next_latent(key, carry, P)
        return history, vcm_cycle.standardised(P, history[-1])

    empty = jnp.zeros((10, 4, 500))
    _, series = jax.jit(lambda h, k: jax.lax.scan(step, h, k))(empty, jax.random.split(jax.random.key(5), 500))
    series = np.asarray(series, np.float64)
    series -= series.mean(0)
    for lag, golden in zip(GOLDEN["autocorrelation"]["lag"], GOLDEN["autocorrelation"]["feature"], strict=True):
        measured = ((series[lag:] * series[:-lag]).mean(0) / (series**2).mean(0)).mean(1)
        np.testing.assert_allclose(measured, golden, atol=0.02)


def test_set_probability(cells):
    """V5 within 0.005."""
    golden = GOLDEN["set_probability"]
    for volts, share in zip(golden["volts"], golden["share"], strict=True):
        assert abs(float(apply_voltage(jax.random.key(0), cells, volts).low.mean()) - share) < 0.005


def test_partial_reset(cells):
    """V5: -2 V, then one pulse; the mean within 0.01 weight steps, the share started within 0.005."""
    golden = GOLDEN["partial_reset"]
    on = apply_voltage(jax.random.key(0), cells, -2.0)
    assert on.low.all()
    started = dict(zip(golden["started_volts"], golden["started"], strict=True))
    for volts, mean in zip(golden["volts"], golden["mean"], strict=True):
        after = apply_voltage(jax.random.key(1), on, volts)
        assert abs(float(8020 * current(P, after.r, 0.6).mean()) - mean) < 0.01, volts
        if volts in started:
            assert abs(float((after.cycle == 1).mean()) - started[volts]) < 0.005, volts


def test_published_assertions(cells):
    """What the published program asserts: 0 < I(0.2 V) < 1e-4 A fresh; -2 V sets all; 1.46 V resets all; less, none."""
    amperes = vcm_cycle.read(jax.random.key(0), cells, 0.2)
    assert (amperes > 0).all() and (amperes < 1e-4).all()
    on = apply_voltage(jax.random.key(1), cells, -2.0)
    assert on.low.all() and not on.high.any()
    off = apply_voltage(jax.random.key(2), on, P.full_volts)
    assert off.high.all() and not off.low.any()
    between = apply_voltage(jax.random.key(3), on, 0.999 * P.full_volts)
    assert not (between.high | between.low).any()


def test_full_pulses_alternate(cells):
    """+2, -2, +2 V leaves no cell set: the drawn reset threshold survives a running threshold of 2 V."""
    for i, volts in enumerate([2.0, -2.0, 2.0]):
        cells = apply_voltage(jax.random.key(i), cells, volts)
    assert cells.high.all() and (np.asarray(cells.cycle) == 1).all()


def as_dicts(cells):
    names = ("r", "threshold", "high", "low", "gain", "floor", "cycle")
    columns = {name: np.asarray(getattr(cells, name)) for name in names}
    features = np.asarray(cells.features, np.float64)
    return [
        {"features": features[:, i]} | {name: column[i].item() for name, column in columns.items()}
        for i in range(features.shape[1])
    ]


def test_every_pulse_equals_the_reference_cell_by_cell():
    """50 pulses of U(-2, 2) V, another for each cell: flags exact, states to 2e-4 (float32 near flat curves)."""
    cells = fresh(jax.random.key(21), (60,))
    rng = np.random.default_rng(1)
    seen = set()
    for i in range(50):
        volts = rng.uniform(-2, 2, 60).astype(np.float32)
        after = apply_voltage(jax.random.key(i), cells, volts)
        latent = np.asarray(after.history[-1], np.float64)
        drawn = np.asarray(cells.mean) + np.asarray(cells.scale) * reference.gamma(latent)
        for j, (before, now) in enumerate(zip(as_dicts(cells), as_dicts(after), strict=True)):
            expected = reference.pulse(before, float(volts[j]), drawn[:, j])
            for name in ("high", "low", "cycle"):
                assert now[name] == expected[name], (i, j, name)
            for name in ("r", "threshold", "gain", "floor"):
                np.testing.assert_allclose(now[name], expected[name], rtol=2e-4, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(now["features"], expected["features"], rtol=1e-4)
            seen.add((expected["high"], expected["low"]))
        cells = after
    assert seen == {(True, False), (False, True), (False, False)}
    assert float(cells.cycle.mean()) > 5


def test_history_shifts_only_where_a_cycle_begins():
    first = np.arange(60) < 32
    cells = apply_voltage(jax.random.key(0), fresh(jax.random.key(22), (60,)), np.where(first, -2.0, 0.0))
    after = apply_voltage(jax.random.key(1), cells, np.full(60, 2.0))
    np.testing.assert_array_equal(after.history[:-1, :, :32], cells.history[1:, :, :32])
    np.testing.assert_array_equal(after.history[:, :, 32:], cells.history[:, :, 32:])
    np.testing.assert_array_equal(after.cycle, first)


@pytest.mark.slow
def test_vmap_simulates_the_same_cells():
    keys = jax.random.split(jax.random.key(4), 2)

    def life(key):
        cells = vcm_cycle.fresh(key, (60,))
        for volts in (-2.0, 1.0):
            cells = vcm_cycle.apply_voltage(key, cells, jnp.full(60, volts))
        return cells.r, cells.cycle

    one = [life(k) for k in keys]
    r, cycle = jax.vmap(life)(keys)
    np.testing.assert_allclose(r, [o[0] for o in one], rtol=3e-5)
    np.testing.assert_array_equal(cycle, [o[1] for o in one])


@pytest.mark.parametrize("volts", [0.6, -0.6, 0.2, 0.0])
def test_read_noise(cells, volts):
    """Johnson + shot against the reference, cell by cell normalised: a chi-square over 2e5 cells."""
    amperes = np.asarray(vcm_cycle.read(jax.random.key(9), cells, volts), np.float64)
    clean = np.asarray(current(P, cells.r, jnp.float32(volts)), np.float64)
    score = (amperes - clean) / np.sqrt(reference.noise_variance(np.asarray(cells.r, np.float64), volts))
    assert abs(score.mean()) < 5 / np.sqrt(N)
    # Currents of 1e-4 A leave float32 steps of 7e-12 A, a thousandth of the noise.
    assert abs(score.var() - 1) < 5 * np.sqrt(2 / N)


def test_write_verify(cells):
    """Cells outside the tolerance become rare, only they are pulsed, and the mean pulse count is small."""
    target = (jnp.arange(N) % 2).astype(jnp.float32)
    cells = vcm_cycle.program_pulses(jax.random.key(1), cells, target)
    means, tolerance = (0.8417, 0.1593), 0.05

    def outside(cells):
        aim = jnp.where(target > 0.5, means[1], means[0])
        return np.abs(np.asarray(cells.r - aim)) > tolerance * (means[0] - means[1])

    before = outside(cells)
    after, pulses = vcm_cycle.verified(jax.random.key(3), cells, target, tolerance=tolerance, means=means)
    assert before.mean() > 0.15 and outside(after).mean() < 0.25 * before.mean()
    assert (np.asarray(pulses)[~before] == 0).all() and (np.asarray(pulses)[before] >= 2).all()
    np.testing.assert_array_equal(np.asarray(after.r)[~before], np.asarray(cells.r)[~before])
    assert (np.asarray(after.low) == np.asarray(target > 0.5)).all()
