"""VCM cells pulse by pulse: the reference of one-shot programming, and arbitrary set, reset and partial-reset pulses.

One cycle of a device: RESET ends in a high-resistance state; SET at its (negative) set threshold; low-resistance
state; RESET begins at its (positive) reset threshold, which is when the next cycle's features are drawn. Semantics and
equations: the vectorised program of Hennen et al. 2024 (arXiv 2404.06344); its Python port differs in the flags of
fresh cells and overwrites the drawn reset threshold. Pulses have no width; reads change nothing.

Cells are `[*shape]`; every function is pure and takes `jit` and `vmap`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon import prng
from anaxon.device.vcm_current import (
    chord_conductances,
    current,
    noise_per_conductance,
    state_of_current,
    state_of_resistance,
)
from anaxon.device.vcm_parameters import (
    COMPONENTS,
    FEATURES,
    HIGH_RESISTANCE,
    LOW_RESISTANCE,
    RESET_THRESHOLD,
    SET_THRESHOLD,
    Parameters,
    default_parameters,
)
from anaxon.numerics import contract
from anaxon.types import Array, ArrayLike, pytree, replace, static
from anaxon.units import ROOM_TEMPERATURE

WEAR_PULSES = 15  # random pulses of one unit of wear, Rossenbach et al. 2025 (arXiv 2505.24721)
WEAR_VOLTS = 2.0
RESET_PULSE, SET_PULSE = 2.0, -2.0  # full pulses [V]


@pytree
class VCMCells:
    """The full state of VCM cells `[*shape]`.

    Attributes:
      parameters: their technology.
      r: conduction state, 0 at the low-resistance bound, 1 at the high-resistance bound.
      history: `[p, 4, *shape]` latent vectors of the last p cycles, oldest first.
      mean, scale: `[4, *shape]` of the device's features.
      features: `[4, *shape]` of this cycle: log10 R_HRS [log10 ohm], U_set [V], R_LRS [ohm], U_reset [V].
      threshold: running reset threshold [V]; a partial reset raises it to its own voltage.
      high, low: whether fully reset, whether set; neither after a partial reset.
      gain, floor: of the reset curve `I = gain |U_full - U|^eta + floor` [A V^-eta, A].
      cycle: number of cycles begun after the first.
    """

    parameters: Parameters = static()
    r: Array
    history: Array
    mean: Array
    scale: Array
    features: Array
    threshold: Array
    high: Array
    low: Array
    gain: Array
    floor: Array
    cycle: Array


@partial(jax.jit, static_argnums=(1, 2), static_argnames=("shape", "parameters"))
def fresh(key: Array, shape: tuple[int, ...], parameters: Parameters | None = None) -> VCMCells:
    """Fresh cells: devices drawn from the mixture, in the high-resistance state of cycle 0.

    The latent history before cycle 0 is zero, not stationary, as in the published program.
    """
    parameters = parameters or default_parameters()
    device_key, latent_key = jax.random.split(prng.check_key(key))
    mean, scale = _devices(device_key, shape, parameters)
    innovation = jnp.asarray(parameters.innovation, jnp.float32)
    latent = _matmul(innovation, jax.random.normal(latent_key, (FEATURES, *shape), jnp.float32))
    empty = jnp.zeros((parameters.order - 1, FEATURES, *shape), jnp.float32)
    features = mean + scale * standardised(parameters, latent)
    zero, no = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, bool)
    return VCMCells(
        parameters=parameters,
        r=state_of_resistance(parameters, 10 ** features[HIGH_RESISTANCE]),
        history=jnp.concatenate([empty, latent[None]]),
        mean=mean,
        scale=scale,
        features=features,
        threshold=features[RESET_THRESHOLD],
        high=~no,
        low=no,
        gain=zero,
        floor=zero,
        cycle=jnp.zeros(shape, jnp.int32),
    )


def _devices(key: Array, shape: tuple[int, ...], parameters: Parameters) -> tuple[Array, Array]:
    """Feature means and scales `[4, *shape]` of devices drawn from the three-component mixture."""
    component_key, normal_key = jax.random.split(key)
    edges = jnp.asarray(np.cumsum(parameters.mixture)[:-1], jnp.float32)
    component = jnp.searchsorted(edges, jax.random.uniform(component_key, shape), side="right")
    normals = jax.random.normal(normal_key, (2 * FEATURES, *shape), jnp.float32)
    factor = jnp.asarray(parameters.factor, jnp.float32).reshape(COMPONENTS * 2 * FEATURES, 2 * FEATURES)
    mean = jnp.asarray(parameters.mean, jnp.float32)
    spread = _matmul(factor, normals).reshape(COMPONENTS, 2 * FEATURES, *shape)
    drawn = mean.T.reshape(COMPONENTS, 2 * FEATURES, *(1,) * len(shape)) + spread
    drawn = jnp.where(component == 0, drawn[0], jnp.where(component == 1, drawn[1], drawn[2]))
    return drawn[:FEATURES], drawn[FEATURES:]


def _matmul(matrix: Array, vectors: Array) -> Array:
    return contract(matrix, vectors, (((1,), (0,)), ((), ())))


def latent_step(parameters: Parameters, noise: Array, history: Array) -> Array:
    """`x_n = L eps_n + sum_l A_l x_(n-l)` `[4, *shape]` from `eps` `[4, *shape]` and the history, oldest first."""
    coefficients = jnp.asarray(np.concatenate([parameters.innovation, *parameters.lags], axis=1), jnp.float32)
    return _matmul(coefficients, jnp.concatenate([noise[None], history]).reshape(-1, *noise.shape[1:]))


def _next_latent(key: Array, history: Array, parameters: Parameters) -> Array:
    """The history `[p, 4, *shape]` one cycle on."""
    noise = jax.random.normal(key, history.shape[1:], jnp.float32)
    return jnp.concatenate([history[1:], latent_step(parameters, noise, history)[None]])


def standardised(parameters: Parameters, latent: Array) -> Array:
    """Gamma: the quantile map of latent vectors `[4, ...]`, each feature's degree-4 polynomial."""
    columns = jnp.asarray(parameters.quantile_map, jnp.float32).T.reshape(5, FEATURES, *(1,) * (latent.ndim - 1))
    value = columns[0]
    for column in columns[1:]:
        value = value * latent + column
    return value


@jax.jit
def apply_voltage(key: Array, cells: VCMCells, volts: ArrayLike) -> VCMCells:
    """The cells after one pulse of `volts` [V], broadcast to the cells; `key` draws the cycles that begin.

    A pulse at or below the set threshold sets; one above the running reset threshold resets, fully from the full
    reset voltage on and otherwise along the reset curve, which starts at the cell's own current.
    """
    p = cells.parameters
    volts = jnp.broadcast_to(jnp.asarray(volts, jnp.float32), cells.r.shape)
    sets = ~cells.low & (volts <= cells.features[SET_THRESHOLD])
    resets = ~cells.high & (volts > cells.threshold)
    full = resets & (volts >= p.full_volts)
    partial = resets & ~full
    begins = cells.low & resets
    r = jnp.where(sets, state_of_resistance(p, cells.features[LOW_RESISTANCE]), cells.r)
    threshold = jnp.where(sets, cells.features[RESET_THRESHOLD], cells.threshold)
    history, features, cycle = _begin_cycle(key, cells, begins)
    target = state_of_resistance(p, 10 ** features[HIGH_RESISTANCE])
    gain, floor = reset_curve(p, r, threshold, target)
    gain = jnp.where(begins & ~full, gain, cells.gain)
    floor = jnp.where(begins & ~full, floor, cells.floor)
    part = partial_state(p, gain, floor, jnp.where(partial, volts, 1.0))
    return replace(
        cells,
        r=jnp.where(full, target, jnp.where(partial, part, r)),
        history=history,
        features=features,
        cycle=cycle,
        threshold=jnp.where(resets, volts, threshold),
        high=(cells.high & ~sets) | full,
        low=(cells.low | sets) & ~resets,
        gain=gain,
        floor=floor,
    )


def _begin_cycle(key: Array, cells: VCMCells, begins: Array) -> tuple[Array, Array, Array]:
    """History, features and cycle number, advanced where a cycle begins; nothing is drawn where none does."""

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        history, features, cycle = state
        following = _next_latent(key, history, cells.parameters)
        drawn = cells.mean + cells.scale * standardised(cells.parameters, following[-1])
        return jnp.where(begins, following, history), jnp.where(begins, drawn, features), cycle + begins

    return lax.cond(jnp.any(begins), advance, lambda s: s, (cells.history, cells.features, cells.cycle))


def reset_curve(parameters: Parameters, r: Array, threshold: Array, target: Array) -> tuple[Array, Array]:
    """Gain and floor of the current during a reset from state r at its threshold [V] to the state `target`."""
    start = current(parameters, r, threshold)
    floor = current(parameters, target, jnp.float32(parameters.full_volts))
    span = jnp.abs(parameters.full_volts - threshold)
    span = jnp.where(span > 0, span, 1.0)
    return (start - floor) / span**parameters.curvature, floor


def partial_state(parameters: Parameters, gain: Array, floor: Array, volts: Array) -> Array:
    """r on the reset curve at `volts` [V]."""
    amperes = gain * jnp.abs(parameters.full_volts - volts) ** parameters.curvature + floor
    return state_of_current(parameters, amperes, volts)


def read(
    key: Array,
    cells: VCMCells,
    volts: ArrayLike,
    *,
    bandwidth: Array | float = 1e8,
    temperature: Array | float = ROOM_TEMPERATURE,
) -> Array:
    """Current [A] of every cell at `volts` [V] with Johnson and shot noise of a bandwidth [Hz], white."""
    volts = jnp.broadcast_to(jnp.asarray(volts, jnp.float32), cells.r.shape)
    low, high = chord_conductances(cells.parameters, volts)
    conductance = jnp.abs((1 - cells.r) * low + cells.r * high)
    sigma = jnp.sqrt(bandwidth * noise_per_conductance(volts, temperature) * conductance)
    return current(cells.parameters, cells.r, volts) + sigma * jax.random.normal(key, cells.r.shape, jnp.float32)


@partial(jax.jit, static_argnums=2, static_argnames="units")
def worn(key: Array, cells: VCMCells, units: int) -> VCMCells:
    """The cells after `15 * units` pulses, each one voltage from U(-2, 2) V for all of them (about 2.4 cycles a unit).

    Source: the wear of Rossenbach et al. 2025, whose hardware runs differ by it.
    """

    def pulse(cells: VCMCells, key: Array) -> tuple[VCMCells, None]:
        volts_key, cycle_key = jax.random.split(key)
        volts = jax.random.uniform(volts_key, (), jnp.float32, -WEAR_VOLTS, WEAR_VOLTS)
        return apply_voltage(cycle_key, cells, volts), None

    return lax.scan(pulse, cells, jax.random.split(key, WEAR_PULSES * units))[0]


@jax.jit
def program_pulses(key: Array, cells: VCMCells, target: Array) -> VCMCells:
    """+2 V on all cells, then -2 V on those whose target `[*shape]` is above one half."""
    reset_key, set_key = jax.random.split(key)
    cells = apply_voltage(reset_key, cells, RESET_PULSE)
    return apply_voltage(set_key, cells, jnp.where(target > 0.5, SET_PULSE, 0.0))


@partial(jax.jit, static_argnames="rounds")
def verified(
    key: Array, cells: VCMCells, target: Array, *, tolerance: float, means: tuple[float, float], rounds: int = 10
) -> tuple[VCMCells, Array]:
    """Write-verify: programmed cells re-programmed until within `tolerance` of their target's mean state.

    The error of a cell is that of its current against the mean cell of its target in units of the pair's difference,
    which is the same at any test voltage because the current is linear in r: `(r - mean) / (mean_off - mean_on)`.
    Only cells outside are pulsed: a reset and a set for target 1, the reverse for target 0.

    Args:
      means: mean r at target 0 and at target 1, `VCM.state_means`.

    Returns:
      The cells, and the number of pulses each received `[*shape]` int32.
    """
    off, on = means
    aim = jnp.where(target > 0.5, on, off)

    def attempt(state: tuple[VCMCells, Array], key: Array) -> tuple[tuple[VCMCells, Array], None]:
        cells, pulses = state
        outside = jnp.abs(cells.r - aim) > tolerance * abs(off - on)
        first, second = jax.random.split(key)
        sign = jnp.where(outside, jnp.where(target > 0.5, 1.0, -1.0), 0.0)
        cells = apply_voltage(first, cells, sign * RESET_PULSE)
        cells = apply_voltage(second, cells, -sign * RESET_PULSE)
        return (cells, pulses + 2 * outside), None

    start = (cells, jnp.zeros(cells.r.shape, jnp.int32))
    return lax.scan(attempt, start, jax.random.split(key, rounds))[0]
