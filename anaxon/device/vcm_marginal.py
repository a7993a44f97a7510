"""Exact marginal distributions of the VCM features, by quadrature in float64 on the host.

A feature is `y = mu + sigma * Gamma(x)`: (mu, sigma) is a three-component Gaussian mixture over devices, x ~ N(0, v)
the latent process at one cycle, Gamma a degree-4 polynomial that need not be monotone. Given x and the component, y is
normal, so its distribution is a smooth one-dimensional integral over x, on which the trapezoidal rule converges
exponentially. Source of the model: Hennen et al. 2024 (arXiv 2404.06344).
"""

from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr, ndtri

from anaxon import prng
from anaxon.device.vcm_current import horner, state_of_resistance
from anaxon.device.vcm_parameters import FEATURES, HIGH_RESISTANCE, LOW_RESISTANCE, SET_THRESHOLD, Parameters

# Trapezoidal nodes of a standard normal: at a step of 0.1 the error is far below 1e-12 for these widths.
_NODES = np.arange(-90, 91) * 0.1
_WEIGHTS = np.exp(-(_NODES**2) / 2) * 0.1 / np.sqrt(2 * np.pi)
_STATIONARY = 2000  # cycles after which the covariance has converged (spectral radius 0.968)


@lru_cache(maxsize=64)
def latent_covariance(parameters: Parameters, cycles: int) -> np.ndarray:
    """Covariance `[4, 4]` of the latent vector at cycle n (0: fresh), whose history before cycle 0 is zero."""
    coefficients = np.concatenate(parameters.lags, axis=1)  # oldest lag first
    size = coefficients.shape[1]
    step = np.eye(size, k=FEATURES)
    step[-FEATURES:] = coefficients
    innovation = np.zeros((size, size))
    innovation[-FEATURES:, -FEATURES:] = np.array(parameters.innovation) @ np.array(parameters.innovation).T
    covariance = innovation
    for _ in range(min(cycles, _STATIONARY)):
        covariance = step @ covariance @ step.T + innovation
    return covariance[-FEATURES:, -FEATURES:]


def device_moments(parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[3, 8]` and covariance `[3, 8, 8]` of each mixture component."""
    factor = np.array(parameters.factor)
    return np.array(parameters.mean).T, factor @ factor.swapaxes(1, 2)


def given_latent(parameters: Parameters, i: int, j: int, gamma_i: np.ndarray, gamma_j: np.ndarray) -> tuple:
    """Means of features i and j and their covariance given the standardised features, each `[3, *gamma]`."""
    mean, cov = device_moments(parameters)
    i_scale, j_scale = i + FEATURES, j + FEATURES

    def entry(a: int, b: int) -> np.ndarray:
        return cov[:, a, b].reshape((-1,) + (1,) * np.ndim(gamma_i))

    def centre(a: int) -> np.ndarray:
        return mean[:, a].reshape((-1,) + (1,) * np.ndim(gamma_i))

    covariance = entry(i, j) + entry(i_scale, j) * gamma_i + entry(i, j_scale) * gamma_j
    covariance = covariance + entry(i_scale, j_scale) * gamma_i * gamma_j
    return centre(i) + centre(i_scale) * gamma_i, centre(j) + centre(j_scale) * gamma_j, covariance


def feature_tails(parameters: Parameters, feature: int, cycles: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`P(Y <= y)` and `P(Y > y)` `[n]`, each without cancellation, of a feature at one cycle."""
    sd = np.sqrt(latent_covariance(parameters, cycles)[feature, feature])
    gamma = horner(parameters.quantile_map[feature], sd * _NODES)
    mean, _, variance = given_latent(parameters, feature, feature, gamma, gamma)
    weight = (parameters.mixture[:, None] * _WEIGHTS).ravel()
    score = (np.asarray(y)[:, None] - mean.ravel()) / np.sqrt(variance).ravel()
    return ndtr(score) @ weight, ndtr(-score) @ weight


@lru_cache(maxsize=64)
def _quantile(parameters: Parameters, feature: int, cycles: int) -> PchipInterpolator:
    """y as a monotone cubic of its normal score `ndtri(F(y))`, through the exact distribution on a fine grid."""
    mean, cov = device_moments(parameters)
    centre = parameters.mixture @ mean[:, feature]
    spread = parameters.mixture @ (mean[:, feature + FEATURES] + np.sqrt(cov[:, feature, feature]))
    y = centre + 0.5 * spread * np.sinh(np.linspace(-5.2, 5.2, 1601))  # out to 45 spreads
    below, above = feature_tails(parameters, feature, cycles, y)
    score = np.where(below < above, ndtri(below), -ndtri(above))
    inside = np.abs(score) < 7
    return PchipInterpolator(score[inside], y[inside])


def feature_quantile(parameters: Parameters, feature: int, cycles: int, score: np.ndarray) -> np.ndarray:
    """The feature's quantile at normal scores in [-6.9, 6.9]: R_HRS is in log10 ohm, the rest in V and ohm."""
    return _quantile(parameters, feature, cycles)(score)


@lru_cache(maxsize=1)
def _code_scores() -> np.ndarray:
    """Normal scores of every code of `prng.probabilities`, the upper tail by symmetry."""
    probability = prng.probabilities()
    score = ndtri(probability[: 2 * prng.HALF])
    return np.concatenate([score, -score[: prng.HALF - 1 : -1]])


@lru_cache(maxsize=16)
def state_table(parameters: Parameters, cycles: int) -> np.ndarray:
    """r of every uniform code, `[2, TABLE_SIZE]` float32: of a cell left in (row 0) HRS, (row 1) set to LRS."""
    score = _code_scores()
    high = 10 ** feature_quantile(parameters, HIGH_RESISTANCE, cycles, score)
    low = feature_quantile(parameters, LOW_RESISTANCE, cycles, score)
    table = np.stack([state_of_resistance(parameters, high), state_of_resistance(parameters, low)])
    return table.astype(np.float32)


@lru_cache(maxsize=16)
def state_moments(parameters: Parameters, cycles: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and standard deviation of r, of HRS and of LRS, exactly as `state_table` draws it."""
    half = prng.HALF
    weight = np.concatenate([np.full(half, 1 / half), np.full(2 * half, 1 / half**2)])
    weight[[0, half - 1]] = 0  # subdivided by the two tails
    table = state_table(parameters, cycles).astype(np.float64)
    mean = table @ weight
    sd = np.sqrt((table - mean[:, None]) ** 2 @ weight)
    return (float(mean[0]), float(sd[0])), (float(mean[1]), float(sd[1]))


def set_probability(parameters: Parameters, cycles: int, volts: float) -> float:
    """Share of HRS cells that one pulse of `volts` [V] sets: P(set threshold >= volts)."""
    return float(feature_tails(parameters, SET_THRESHOLD, cycles, np.array([volts]))[1][0])
