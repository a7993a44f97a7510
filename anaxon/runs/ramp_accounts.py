"""The statements about what a network on ramps does in one step: V13 and V14 of the validation.

Counted by `place` and `cost` on an LSTM of the published sizes (Yang et al., Nat. Commun. 16:1136, 2025, Table 1).
"""

from anaxon.interpret.components import load_components
from anaxon.interpret.cost import cost
from anaxon.interpret.counts import Counts
from anaxon.presets import preset
from anaxon.runs.converters import Kind, at_bits
from anaxon.runs.efficiency import lstm_step
from anaxon.runs.validation import Statement, close

KEYWORDS, CHARACTERS = (40, 32, 32), (129, 504, 2016)  # inputs (with a bias), state, units
# The model behind Fig. 1c: 32 digital processors, and a product of 32 cycles of pulse width and 32 of conversion. (The
# component table's 5-bit pulse takes 16, since its sign is apart.)
PROCESSORS, PRODUCT = 32, 64


def statements() -> list[Statement]:
    """V13 and V14."""
    keywords, characters = (step_counts(sizes, "ramp") for sizes in (KEYWORDS, CHARACTERS))
    linear = step_counts((40, 512, 512), "linear")
    table, steps = load_components(), 2**5
    cycles = [linear.functions / PROCESSORS * n / PRODUCT for n in (2, 3, 4)]
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
              "64 cycles of a 5-bit product, a model of the paper's Fig. 1c; the published range is 2 to 5",
              (2.5, 3.75, 5.0), cycles),
    ]  # fmt: skip


def step_counts(sizes: tuple[int, int, int], kind: Kind) -> Counts:
    """What one step of an LSTM of (inputs, state, units) makes 5-bit converters do; shapes only."""
    inputs, state, units = sizes
    rows, cols = inputs + state, 4 * units
    return cost(lstm_step(at_bits(preset("ramp-5bit"), kind, 5, rows, cols), rows, cols)).counts
