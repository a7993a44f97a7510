"""Current, state and read noise of a VCM cell: `I(U, r) = (1 - r) L(U) + r H(U)`.

Every function takes NumPy or JAX arrays. Units: V, A, ohm; r is the state, 0 at the low-resistance bound L, 1 at the
high-resistance bound H. Source: Hennen et al. 2024 (arXiv 2404.06344) and the published program.
"""

from typing import Any

import jax.numpy as jnp

from anaxon.device.vcm_parameters import Parameters
from anaxon.types import Array
from anaxon.units import BOLTZMANN, ELEMENTARY_CHARGE

Numbers = Any  # a NumPy or a JAX array


def horner(coefficients: tuple[float, ...], x: Numbers) -> Numbers:
    """The polynomial with these coefficients (highest power first) at `x`, in the precision of `x`."""
    value = coefficients[0] + 0 * x
    for c in coefficients[1:]:
        value = value * x + c
    return value


def low_current(parameters: Parameters, volts: Array) -> Array:
    """L(U) [A], the bound r = 0."""
    return horner(parameters.low, volts)


def high_current(parameters: Parameters, volts: Array) -> Array:
    """H(U) [A], the bound r = 1."""
    return horner(parameters.high, volts)


def current(parameters: Parameters, state: Array, volts: Array) -> Array:
    """I(r, U) [A]; meaningful from -0.6 V to the full reset voltage, 1.46 V."""
    return (1 - state) * low_current(parameters, volts) + state * high_current(parameters, volts)


def state_of_resistance(parameters: Parameters, resistance: Numbers) -> Numbers:
    """r of a resistance [ohm] at the reference voltage: `(G_L - 1/R) / (G_L - G_H)`; at most 0.890."""
    low, high = parameters.low_conductance, parameters.high_conductance
    return (low - 1 / resistance) / (low - high)


def resistance_of_state(parameters: Parameters, state: Numbers) -> Numbers:
    """R [ohm] at the reference voltage; negative where r > 0.890, which no physical state reaches."""
    low, high = parameters.low_conductance, parameters.high_conductance
    return 1 / (low - state * (low - high))


def state_of_current(parameters: Parameters, amperes: Array, volts: Array) -> Array:
    """r of a cell that carries this current at this voltage."""
    low = low_current(parameters, volts)
    return (amperes - low) / (high_current(parameters, volts) - low)


def chord_conductances(parameters: Parameters, volts: Array) -> tuple[Array, Array]:
    """L(U)/U and H(U)/U [S] as polynomials, so that they are the small-signal conductances at 0 V."""
    return horner(parameters.low[:-1], volts), horner(parameters.high[:-1], volts)


def noise_per_conductance(volts: Array, temperature: Array | float, charge: Array | float = ELEMENTARY_CHARGE) -> Array:
    """`4 k T + 2 e |U|`: times the chord conductance I/U it is Johnson `4 k T I/U` plus shot `2 e |I|` [A^2/Hz]."""
    return 4 * BOLTZMANN * temperature + 2 * charge * jnp.abs(volts)
