"""The exact marginals: against an independent quadrature, against Monte Carlo, and the moments they come from."""

import json
from pathlib import Path

import numpy as np
import pytest
import reference_vcm as reference
from scipy.special import ndtri

from anaxon import prng
from anaxon.device import vcm_marginal as marginal
from anaxon.device.vcm_parameters import default_parameters

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vcm.json").read_text())
P = default_parameters()


def test_device_to_device_moments():
    """V2: of the mixture, analytic."""
    mean, cov = marginal.device_moments(P)
    weight = P.mixture[:, None]
    total = (weight * mean).sum(0)
    sd = np.sqrt((weight * (np.diagonal(cov, axis1=1, axis2=2) + (mean - total) ** 2)).sum(0))
    np.testing.assert_allclose(total, GOLDEN["device_to_device"]["mean"], rtol=3e-6)  # six printed digits
    # V2 asks for 1 %; the golden figures carry the cancellation of mean^2 in float32, up to 4e-4.
    np.testing.assert_allclose(sd, GOLDEN["device_to_device"]["sd"], rtol=5e-4)


def test_latent_covariance():
    """V2: from the innovation of a fresh cell to the stationary covariance."""
    np.testing.assert_allclose(marginal.latent_covariance(P, 0), reference.L @ reference.L.T, rtol=1e-12)
    stationary = marginal.latent_covariance(P, 10_000)
    np.testing.assert_allclose(np.diag(stationary), GOLDEN["stationary"]["covariance"], atol=6e-6)
    for pair, value in GOLDEN["stationary"]["off_diagonal"].items():
        assert abs(stationary[int(pair[0]), int(pair[1])] - value) < 6e-6
    # The second cycle by hand: x_1 = L eps_1 + A_1 L eps_0.
    two = reference.A[-1] @ reference.L
    np.testing.assert_allclose(marginal.latent_covariance(P, 1), two @ two.T + reference.L @ reference.L.T, rtol=1e-10)


@pytest.mark.parametrize("feature", range(4))
def test_distribution_equals_the_nested_integral(feature):
    """Centre and tails down to 1e-9 against the integral over (scale, latent) instead of the latent alone."""
    y = marginal.feature_quantile(P, feature, 0, np.array([-6, -4.3, -2, -0.5, 0.7, 3, 4.3, 6]))
    below, above = marginal.feature_tails(P, feature, 0, y)
    np.testing.assert_allclose(below, [reference.fresh_cdf(feature, v) for v in y], rtol=1e-4, atol=1e-13)
    np.testing.assert_allclose(below + above, 1, atol=1e-12)


@pytest.mark.parametrize("feature", range(4))
def test_quantile_inverts_the_distribution(feature):
    score = np.linspace(-6.5, 6.5, 401)
    below, above = marginal.feature_tails(P, feature, 7, marginal.feature_quantile(P, feature, 7, score))
    back = np.where(score < 0, ndtri(below), -ndtri(above))
    np.testing.assert_allclose(back, score, atol=2e-6)


def test_table_against_monte_carlo():
    """KS < 1e-3 of the tabulated states against 3e6 fresh cells of the float64 reference."""
    features = reference.fresh_features(np.random.default_rng(3), 3_000_000)
    table = marginal.state_table(P, 0)[:, : prng.HALF]
    for row, resistance in [(table[0], 10 ** features[0]), (table[1], features[2])]:
        share = np.searchsorted(np.sort(reference.state(resistance)), row) / resistance.size
        assert np.abs(share - prng.probabilities()[: prng.HALF]).max() < 1e-3


def test_table_is_monotone_and_its_tails_continue_it():
    table = marginal.state_table(P, 0)
    half = prng.HALF
    for row in table:
        ordered = np.concatenate([row[half : 2 * half], row[1 : half - 1], row[2 * half :]])
        assert (np.diff(ordered) >= 0).all()
    assert (table < 0.89007).all()  # no positive resistance has a larger state


@pytest.mark.parametrize(("cycles", "suffix"), [(0, ""), (60, "_cycle_60")])
def test_state_moments(cycles, suffix):
    """The golden figures are Monte Carlo with 1e5 to 2e5 cells: five of their standard errors."""
    (off, off_sd), (on, on_sd) = marginal.state_moments(P, cycles)
    for mean, sd, golden in [
        (off, off_sd, GOLDEN["state"]["high" + suffix]),
        (on, on_sd, GOLDEN["state"]["low" + suffix]),
    ]:
        assert abs(mean - golden[0]) < 5 * golden[1] / np.sqrt(1e5) + 5e-5
        assert abs(sd / golden[1] - 1) < 0.015


def test_set_probability():
    """V5 within 0.005 of the Monte Carlo figures, and the exact value at -0.6 V, which is 0.1113."""
    golden = GOLDEN["set_probability"]
    for volts, share in zip(golden["volts"], golden["share"], strict=True):
        exact = marginal.set_probability(P, 0, volts)
        assert abs(exact - share) < 0.005
        np.testing.assert_allclose(exact, 1 - reference.fresh_cdf(1, volts), atol=1e-10)
    assert abs(marginal.set_probability(P, 0, -0.6) - 0.11131) < 1e-5
    assert abs(marginal.set_probability(P, 0, -0.5) - 0.0005) < 5e-5
