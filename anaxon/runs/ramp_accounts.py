"""The statements about what a network on ramps does in one step: V13 and V14 of the validation.

Counted by `place` and `cost` on an LSTM of the published sizes (Yang et al., Nat. Commun. 16:1136, 2025, Table 1).
"""

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.hardware import Hardware
from anaxon.interpret.components import load_components
from anaxon.interpret.cost import cost
from anaxon.interpret.counts import Counts
from anaxon.interpret.place import place
from anaxon.presets import preset
from anaxon.runs.validation import Statement, close
from anaxon.types import Array, replace

KEYWORDS, CHARACTERS = (40, 32, 32), (129, 504, 2016)  # inputs (with a bias), state, units


def statements() -> list[Statement]:
    """V13 and V14."""
    keywords, characters = (step_counts(sizes, _ramps(sizes)) for sizes in (KEYWORDS, CHARACTERS))
    linear = step_counts((40, 512, 512), replace(_ramps((40, 512, 512)), activation=None, bias="digital"))
    table, steps = load_components(), 2**5
    cycles = [linear.functions / 32 * n / 64 for n in (2, 3, 4)]
    return [
        close("V13", "memory of the arrays of both published networks, a bit a weight [kB]", (1.125, 623.1),
              [c.cells / 2 / 8192 for c in (keywords, characters)], 0.0, 0.05),
        close("V13", "operations of one step, a multiplication and an addition a weight: memristors, two a weight",
              (18_432, 10_209_024), (keywords.cells, characters.cells)),
        close("V13", "5-bit conversion: time [ns] and energy [pJ] from the component table", (32.0, 0.335),
              (steps * table["ramp.step_time"] * 1e9, steps * table["ramp.energy_per_step"] * 1e12), (0, 0.02)),
        close("V14", "share of an LSTM's activations that the ADC computes", 0.8,
              keywords.ramp_conversions / (keywords.ramp_conversions + keywords.functions)),
        close("V14", "without a ramp: digital activations of 512 units on 32 processors, 2, 3 and 4 cycles each, over "
              "the 64 cycles of a 5-bit product; the published range is 2 to 5", (2.5, 3.75, 5.0), cycles),
    ]  # fmt: skip


def _ramps(sizes: tuple[int, int, int]) -> Hardware:
    """The 5-bit ramp preset with one array that takes the whole network."""
    hardware = preset("ramp-5bit")
    rows, cols = sizes[0] + sizes[1], 4 * sizes[2]
    return replace(hardware, array=replace(hardware.array, rows=rows, cols=cols))


def step_counts(sizes: tuple[int, int, int], hardware: Hardware) -> Counts:
    """What one step of an LSTM makes the hardware do; shapes only."""
    inputs, state, units = sizes
    shape = lambda *dims: jax.ShapeDtypeStruct(dims, np.float32)  # noqa: E731
    params = {"input": shape(inputs, 4 * units), "state": shape(state, 4 * units)}
    return cost(place(_step, hardware)(params, shape(1, inputs), shape(1, state), shape(1, units))).counts


def _step(params: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, g, o = jnp.split(x @ params["input"] + h @ params["state"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
