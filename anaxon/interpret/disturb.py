"""Read disturb: what the reads of a run do to the cells they pass."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.crossbar import array as xbar
from anaxon.interpret.analog import observed
from anaxon.interpret.plan import Chip, Crossbar
from anaxon.interpret.program import is_crossbar
from anaxon.interpret.reads import Reading
from anaxon.prng import fold_name
from anaxon.types import Array, PyTree, replace


def lowest_voltage(reading: Reading) -> dict[tuple[str, str], Array]:
    """The most negative voltage on each cell's row `[*weight]` [V]; 0 for a cell that no read reached."""
    hw, weight = reading.weight.hardware, reading.weight
    dac = hw.dac or xbar.EXACT_DAC
    planes = xbar.cycles(hw.dac, reading.code)
    lowest = jnp.min(xbar.voltages(hw.cells, dac, planes), axis=1)  # [G, N]
    assert weight.index is not None, "observers that need it run with the digital weights"
    index = reading.product.weight(weight.index)  # [G, N, C]: which weight each crosspoint is
    size = weight.elements
    cells = jnp.zeros(size).at[index.reshape(-1)].min(jnp.broadcast_to(lowest[..., None], index.shape).reshape(-1))
    return {("min", "volts"): cells}


def disturb(fn: Callable[..., Any]) -> Callable[..., tuple[Chip, dict[str, Array]]]:
    """Transforms `fn` into `(read_key, chip, *inputs) -> (chip, counts)`: the chip after these reads.

    Each high-resistance cell whose set threshold lies above the most negative voltage it saw is set. A threshold is
    drawn from its distribution given the cell's state, by the cell's own index under the chip's key: running the same
    inputs twice changes nothing more.

    Returns:
      The disturbed chip and, per weight, how many cells were set.
    """

    def run(read_key: Array, chip: Chip, *inputs: PyTree) -> tuple[Chip, dict[str, Array]]:
        digital = jax.tree.map(_stand_in, chip.tree, is_leaf=is_crossbar)
        _, stats = observed(fn, (lowest_voltage,), read_key, chip, digital, *inputs)
        volts = {path: value for (_, path, _), value in stats.items()}
        counts: dict[str, Array] = {}

        def change(node: Any) -> Any:
            if not is_crossbar(node) or node.path not in volts:
                return node
            changed, counts[node.path] = _disturbed(chip, node, volts[node.path])
            return changed

        tree = jax.tree.map(change, chip.tree, is_leaf=is_crossbar)
        return replace(chip, tree=tree), counts

    return run


def _stand_in(node: Any) -> Any:
    """Numbers for the observers' sake; they look at voltages only."""
    if not is_crossbar(node):
        return node
    return jnp.zeros(node.shape, node.dtype) if node.digital is None else node.digital


def _disturbed(chip: Chip, crossbar: Crossbar, volts: Array) -> tuple[Crossbar, Array]:
    device = chip.plan.of(chip.plan.sites[chip.plan.index(crossbar.path)]).device
    if not hasattr(device, "disturb"):
        return crossbar, jnp.int32(0)
    key = fold_name(chip.key, crossbar.path)
    cells, count = device.disturb(key, crossbar.cells, volts.reshape(crossbar.shape))
    return replace(crossbar, cells=cells), count
