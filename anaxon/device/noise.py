"""Read noise of linear cells, in column units (a current of 1 is one weight step at full input).

A weight step is the conductance window `g_max - g_min` at `v_max`, so every variance below is divided by the square of
`(g_max - g_min) * v_max`. The noise is fresh at every read and independent from cell to cell: one normal per column.
"""

import jax.numpy as jnp

from anaxon.types import Array
from anaxon.units import BOLTZMANN, ELEMENTARY_CHARGE

Number = float | Array


def johnson_shot(
    volts: Array, v_max: Number, *, bandwidth: Number, temperature: Number, g_max: Number, g_min: Number
) -> Array:
    """`chi(U)` of Johnson and shot noise, to be multiplied by the sum of the normalised conductances g / g_max.

    A cell of conductance G at voltage U has the variance `4 kB T G BW + 2 e |U| G BW` [A^2] (Nyquist; Schottky), which
    is linear in G, hence one term; at U = 0 the Johnson part stays.

    Args:
      volts: `[...]` read voltage [V].
      v_max: full input voltage [V].
      bandwidth: of the read [Hz]; temperature [K]; g_max, g_min [S].

    Returns:
      `[...]` in column units squared.
    """
    per_siemens = bandwidth * (4 * BOLTZMANN * temperature + 2 * ELEMENTARY_CHARGE * jnp.abs(volts))
    return per_siemens * (g_max / ((g_max - g_min) * v_max) ** 2)


def cell_noise(volts: Array, v_max: Number, *, read_sigma: Number, g_max: Number, g_min: Number) -> Array:
    """`chi(U)` of conductance noise of std `read_sigma` (relative to g_max) that every cell has, whatever its state.

    `[...]` in column units squared; a pair of cells has twice this.
    """
    return (volts / v_max * read_sigma * (g_max / (g_max - g_min))) ** 2


def johnson_shot_row(bandwidth: Number, temperature: Number, g_max: Number) -> tuple[str, str]:
    """The row of `explain`, with the size at 0.2 V, which is a usual read voltage."""
    volts = 0.2
    variance = float(bandwidth) * (4 * BOLTZMANN * float(temperature) + 2 * ELEMENTARY_CHARGE * volts) * float(g_max)
    relative = variance**0.5 / (float(g_max) * volts)
    return (
        "read noise",
        f"Johnson + shot, bandwidth {float(bandwidth):.3g} Hz, {float(temperature):.4g} K, fresh at every read: "
        f"std {variance**0.5 * 1e9:.3g} nA ({relative:.2%} of its current) for a cell at g_max and {volts} V",
    )
