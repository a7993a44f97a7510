"""Read disturb of VCM cells: a negative read voltage sets the HRS cells whose set threshold lies above it.

A programmed cell keeps only its state r. Its set threshold is drawn, when a read asks for it, from the conditional
distribution given r, and the LRS state it would switch to from the conditional distribution given that threshold.
Both conditionals are quantile tables computed in float64 on the host by quadrature over the two latent variables.
The threshold of a cell is a function of its key and coordinate, so that repeated reads of a chip agree.
"""

from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import ndtr, ndtri

from anaxon import prng
from anaxon.device.vcm_current import horner, resistance_of_state, state_of_resistance
from anaxon.device.vcm_marginal import feature_quantile, given_latent, latent_covariance
from anaxon.device.vcm_parameters import HIGH_RESISTANCE, LOW_RESISTANCE, SET_THRESHOLD, Parameters
from anaxon.types import Array

# Between the populations (7.5 kohm): 6e-6 of fresh HRS cells lie below it and are taken for LRS, 7e-8 of LRS above.
HRS_STATE = 0.45

_STEP = 0.3  # of the trapezoidal rule over each latent variable, in standard deviations
_SCORES = np.linspace(-6.4, 6.4, 129)
_GIVEN_SCORES = 4.5  # the conditions tabulated: quantiles from 3e-6 to 1 - 3e-6
_GIVEN = 41
_REFINED = 4  # rows interpolated between two computed ones


class Conditional(NamedTuple):
    """A quantile table `[given, score]` on uniform grids from `start`, with spacing `step`."""

    table: np.ndarray
    start: tuple[float, float]
    step: tuple[float, float]


@lru_cache(maxsize=16)
def conditional_quantiles(parameters: Parameters, given: int, feature: int, cycles: int) -> Conditional:
    """Quantiles of `feature` at normal scores, given the value of another feature of the same cycle."""
    lo, hi = feature_quantile(parameters, given, cycles, np.array([-_GIVEN_SCORES, _GIVEN_SCORES]))
    conditions = np.linspace(lo, hi, _GIVEN)
    values = feature_quantile(parameters, feature, cycles, np.linspace(-6.8, 6.8, 137))
    nodes = _latent_nodes(parameters, given, feature, cycles)
    rows = [_quantiles(nodes, condition, values) for condition in conditions]
    fine = np.linspace(lo, hi, (_GIVEN - 1) * _REFINED + 1)
    step = (fine[1] - fine[0], _SCORES[1] - _SCORES[0])
    return Conditional(CubicSpline(conditions, np.array(rows))(fine), (lo, _SCORES[0]), step)


def _latent_nodes(parameters: Parameters, i: int, j: int, cycles: int) -> tuple[np.ndarray, ...]:
    """Per node of (component, x_i, x_j): weight, mean and sd of y_i, mean of y_j, slope on y_i, and sd given y_i."""
    covariance = latent_covariance(parameters, cycles)[np.ix_([i, j], [i, j])]
    grid = np.arange(-22, 23) * _STEP
    z = np.stack(np.meshgrid(grid, grid, indexing="ij")).reshape(2, -1)
    x = np.linalg.cholesky(covariance) @ z
    gamma_i = horner(parameters.quantile_map[i], x[0])
    gamma_j = horner(parameters.quantile_map[j], x[1])
    mean_i, mean_j, cov = given_latent(parameters, i, j, gamma_i, gamma_j)
    var_i = given_latent(parameters, i, i, gamma_i, gamma_i)[2]
    var_j = given_latent(parameters, j, j, gamma_j, gamma_j)[2]
    weight = parameters.mixture[:, None] * np.exp(-(z**2).sum(0) / 2)
    slope = cov / var_i
    sd_j = np.sqrt(var_j - slope * cov)
    return tuple(a.ravel() for a in (weight, mean_i, np.sqrt(var_i), mean_j, slope, sd_j))


def _quantiles(nodes: tuple[np.ndarray, ...], condition: float, values: np.ndarray) -> np.ndarray:
    """Quantiles at `_SCORES` of y_j given y_i = condition, from its distribution function at `values`."""
    weight, mean_i, sd_i, mean_j, slope, sd_j = nodes
    density = weight / sd_i * np.exp(-(((condition - mean_i) / sd_i) ** 2) / 2)
    keep = density > 1e-8 * density.max()
    density = density[keep] / density[keep].sum()
    centre = (mean_j + slope * (condition - mean_i))[keep]
    tail = np.where(values < density @ centre, 1.0, -1.0)  # the tail that is below one half keeps its precision
    score = tail * ndtri(ndtr(tail[:, None] * (values[:, None] - centre) / sd_j[keep]) @ density)
    inside = np.abs(score) < 8
    return PchipInterpolator(score[inside], values[inside])(_SCORES)


def _interpolated(table: Conditional, given: Array, score: Array) -> Array:
    """The conditional quantile, bilinear, clamped to the table."""
    rows, columns = table.table.shape
    flat = jnp.asarray(table.table.ravel(), jnp.float32)
    row = jnp.clip((given - table.start[0]) / table.step[0], 0, rows - 1)
    column = jnp.clip((score - table.start[1]) / table.step[1], 0, columns - 1)
    i = jnp.minimum(row.astype(jnp.int32), rows - 2)
    j = jnp.minimum(column.astype(jnp.int32), columns - 2)
    u, v = row - i, column - j
    at = i * columns + j
    low = (1 - v) * flat[at] + v * flat[at + 1]
    high = (1 - v) * flat[at + columns] + v * flat[at + columns + 1]
    return (1 - u) * low + u * high


def set_thresholds(parameters: Parameters, cycles: int, key: Array, state: Array) -> Array:
    """The set threshold [V] of HRS cells of state r, of the shape of `state`; the same for the same key."""
    log_resistance = jnp.log10(jnp.abs(resistance_of_state(parameters, jnp.minimum(state, 0.89))))
    score = prng.normal(prng.fold_name(key, "set threshold"), state.shape)
    table = conditional_quantiles(parameters, HIGH_RESISTANCE, SET_THRESHOLD, cycles)
    return _interpolated(table, log_resistance, score)


def set_states(parameters: Parameters, cycles: int, key: Array, thresholds: Array) -> Array:
    """The LRS state r that cells with these set thresholds [V] switch to."""
    score = prng.normal(prng.fold_name(key, "set state"), thresholds.shape)
    table = conditional_quantiles(parameters, SET_THRESHOLD, LOW_RESISTANCE, cycles)
    return state_of_resistance(parameters, _interpolated(table, thresholds, score))


def disturbed(parameters: Parameters, cycles: int, key: Array, state: Array, lowest: Array) -> tuple[Array, Array]:
    """States after reads down to `lowest` [V] (broadcasts to `state`), and the number of cells that were set."""
    thresholds = set_thresholds(parameters, cycles, key, state)
    switched = (state > HRS_STATE) & (thresholds >= lowest)
    after = jnp.where(switched, set_states(parameters, cycles, key, thresholds), state)
    return after, jnp.sum(switched)
