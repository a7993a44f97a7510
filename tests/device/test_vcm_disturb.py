"""Read disturb: the share of cells set, and the joint distribution with their states, against the pulse simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_vcm as reference
from scipy.special import ndtr, ndtri

from anaxon.device import vcm_disturb
from anaxon.device.vcm import VCM
from anaxon.device.vcm_marginal import feature_quantile
from anaxon.device.vcm_parameters import HIGH_RESISTANCE, SET_THRESHOLD, default_parameters
from anaxon.types import replace

KEY = jax.random.key(31)
N = 500_000
P = default_parameters()
DEVICE = VCM()
disturb = jax.jit(lambda device, cells, volts: device.disturb(KEY, cells, volts))


@pytest.fixture(scope="module")
def cells():
    """HRS cells `[2, 1, N]` of programmed pairs (target 0 in both)."""
    return DEVICE.program(KEY, jnp.zeros((2, 1, N)))


@pytest.fixture(scope="module")
def features():
    """Fresh features `[4, 1e6]` of the float64 reference."""
    return reference.fresh_features(np.random.default_rng(8), 1_000_000)


@pytest.mark.parametrize("volts", [-0.5, -0.55, -0.6, -0.65, -0.8])
def test_share_of_cells_set(cells, volts):
    """V5: five standard errors of 1e6 cells about the exact share (0.1113 at -0.6 V, 0.0005 at -0.5 V)."""
    after, count = disturb(DEVICE, cells, volts)
    exact = DEVICE.disturb_share(volts)
    assert abs(int(count) / cells.size - exact) < 5 * np.sqrt(exact * (1 - exact) / cells.size)
    assert int(count) == int(jnp.sum(after != cells))


@pytest.mark.parametrize("volts", [-0.5, -0.55, -0.6, -0.65, -0.8])
def test_conditional_table_averages_to_the_marginal(volts):
    """The table's P(set | state), averaged over the states, is the exact marginal to 1e-4."""
    conditional = vcm_disturb.conditional_quantiles(P, HIGH_RESISTANCE, SET_THRESHOLD, 0)
    rows, columns = conditional.table.shape
    scores = conditional.start[1] + conditional.step[1] * np.arange(columns)
    share = [ndtr(-np.interp(volts, row, scores)) for row in conditional.table]
    states = feature_quantile(P, HIGH_RESISTANCE, 0, ndtri((np.arange(20_000) + 0.5) / 20_000))
    average = np.interp(states, conditional.start[0] + conditional.step[0] * np.arange(rows), share).mean()
    assert abs(average - DEVICE.disturb_share(volts)) < 1e-4


def test_repeated_reads_of_a_chip_change_nothing_more(cells):
    once, count = disturb(DEVICE, cells, -0.6)
    twice, more = disturb(DEVICE, once, -0.6)
    assert int(count) > 0 and int(more) == 0
    np.testing.assert_array_equal(once, twice)
    # A lower voltage sets a superset, to the same states.
    lower, _ = disturb(DEVICE, cells, -0.65)
    changed = np.asarray(once != cells)
    np.testing.assert_array_equal(np.asarray(lower)[changed], np.asarray(once)[changed])


def test_voltage_of_a_row_reaches_both_polarities_and_no_other_row():
    cells = DEVICE.program(KEY, jnp.zeros((2, 3, 400, 50)))
    lowest = jnp.where(jnp.arange(400) < 200, -0.7, 0.0)[:, None]
    after, _ = disturb(DEVICE, cells, lowest)
    changed = np.asarray(after != cells)
    assert not changed[:, :, 200:].any()
    share = changed[:, :, :200].mean((2, 3))
    assert share.shape == (2, 3) and (np.abs(share - DEVICE.disturb_share(-0.7)) < 5 * 0.47 / 100).all()


def test_low_resistance_cells_stay():
    cells = DEVICE.program(KEY, jnp.ones((2, 1, N)))
    after, count = disturb(DEVICE, cells, -2.0)
    # r of an LRS cell reaches the HRS criterion with probability 7e-8.
    assert int(count) == 0
    np.testing.assert_array_equal(after, cells)


def test_thresholds_given_the_state(cells, features):
    """P(set at -0.6 V) and the mean threshold in eighths of the state: 1e6 reference cells, five standard errors."""
    drawn = np.asarray(vcm_disturb.set_thresholds(P, 0, KEY, cells), np.float64).ravel()
    state, simulated = np.asarray(cells, np.float64).ravel(), reference.state(10 ** features[0])
    edges = np.quantile(simulated, [0, 0.001, 0.02, 0.2, 0.5, 0.8, 0.98, 0.999, 1])
    for lo, hi in zip(edges[:-1], edges[1:], strict=True):
        mine, theirs = drawn[(state >= lo) & (state < hi)], features[1][(simulated >= lo) & (simulated < hi)]
        error = np.sqrt(1 / mine.size + 1 / theirs.size)
        assert abs(mine.mean() - theirs.mean()) < 5 * theirs.std() * error
        share = (theirs >= -0.6).mean()
        assert abs((mine >= -0.6).mean() - share) < 5 * np.sqrt(share) * error
    assert abs(np.corrcoef(np.log10(state), drawn)[0, 1] - np.corrcoef(np.log10(simulated), features[1])[0, 1]) < 0.005


def test_states_after_a_set_by_a_read(cells, features):
    """The LRS states of the cells that -0.6 V sets have the moments of the reference's set cells, not of all."""
    after, _ = disturb(DEVICE, cells, -0.6)
    mine = np.asarray(after, np.float64)[np.asarray(after != cells)]
    theirs = reference.state(features[2][features[1] >= -0.6])
    error = np.sqrt(1 / mine.size + 1 / theirs.size)
    assert abs(mine.mean() - theirs.mean()) < 5 * theirs.std() * error
    assert abs(mine.std() / theirs.std() - 1) < 5 * error  # kurtosis near 3
    everyone = reference.state(features[2]).mean()
    assert abs(theirs.mean() - everyone) > 20 * theirs.std() * error  # so the conditional matters


def test_disturb_of_worn_cells_and_of_ideal_ones(cells):
    device = replace(DEVICE, cycles=60)
    assert device.disturb_share(-0.6) > DEVICE.disturb_share(-0.6) + 0.005
    later = device.program(KEY, jnp.zeros((2, 1, N)))
    share = int(disturb(device, later, -0.6)[1]) / later.size
    assert abs(share - device.disturb_share(-0.6)) < 5 * np.sqrt(0.12 / later.size)
    assert DEVICE.disturb_share(0.0) == 0
    with pytest.raises(ValueError, match="programming: read disturb"):
        VCM(programming="ideal").disturb(KEY, cells, jnp.float32(-0.6))
