"""Cycles and energy of other ways of pruning, in the parts that the accelerator's own table has.

All get the accelerator's lanes, widths, buffers and back end; what they need beside them is in "selection". Times are
row by row: where a rule needs its whole row before a survivor is known, the back end takes a row's survivors while the
front end is at the next row, with room for them and no stalls (in favour of these rivals; the accelerator's own queues
are simulated).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention.counts import baseline_cycles
from anaxon.attention.energy import UnitCosts, Work, area, baseline_energy, buffer_bits, energy, score_bits
from anaxon.attention.pipeline import simulate
from anaxon.attention.rivals import Selection
from anaxon.attention.tile import Tile
from anaxon.check import choice
from anaxon.types import Array

MODES = ("learned", "top_k", "predicted", "adaptive")
SORTING = 3.0  # assumption: comparisons of a score in the quick-select of a row
PREDICTOR_BITS = 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One way of pruning beside the baseline.

    Attributes:
      mode: one of `MODES`.
      pruning_rate: share of the valid pairs.
      mean_bits: of a key's element that were read for a pair, second readings included.
      cycles: of the tile, summed over heads.
      speed_up: of the baseline's cycles.
      speed_up_most: with a second front end and a second port of the key buffer for the predictor, beside the first
        ones: both stages at once. Of other modes `speed_up` again.
      energy: by part [J].
      energy_ratio: of the baseline's energy.
      area: of the tile that `speed_up` is of, the rule's own part included [m2]; an estimate.
    """

    mode: str
    pruning_rate: float
    mean_bits: float
    cycles: float
    speed_up: float
    speed_up_most: float
    energy: dict[str, float]
    energy_ratio: float
    area: float


def outcomes(
    selections: Mapping[str, Sequence[Selection]], tile: Tile, costs: UnitCosts, head: int
) -> list[Outcome]:  # fmt: skip
    """One row for each way of pruning.

    Args:
      selections: by mode, of batches and layers of any shape, which are summed; `"learned"` is the tile's own:
        `Selection(kept, bits, cycles)` of its termination.
      tile: the design, whose baseline the others run on.
      costs: of operations.
      head: elements d of a query.

    Raises:
      ValueError: for an unknown mode.
    """
    rows = []
    for mode, several in selections.items():
        choice("selections", mode, MODES)
        rows.append(_outcome(mode, several, tile, costs, head))
    return rows


def _outcome(mode: str, several: Sequence[Selection], tile: Tile, costs: UnitCosts, head: int) -> Outcome:
    counted = [[float(jnp.sum(x)) for x in (s.cycles > 0, s.kept, s.cycles, s.bits)] for s in several]
    pairs, kept, steps, bits = np.sum(counted, 0).tolist()
    base = float(sum(baseline_cycles(s.cycles, tile, head).sum() for s in several))
    cycles, least = np.sum([_times(mode, s, tile, head) for s in several], 0).tolist()
    work = Work(head=head, pairs=pairs, steps=steps, bits=bits, kept=kept, cycles=cycles)
    parts = {"learned": energy, "adaptive": _adaptive, "top_k": _top_k, "predicted": _predicted}[mode](
        work, tile, costs
    )
    theirs = sum(baseline_energy(work, tile, costs, base).values())
    return Outcome(
        mode=mode,
        pruning_rate=1.0 - kept / max(pairs, 1.0),
        mean_bits=bits / max(pairs, 1.0),
        cycles=cycles,
        speed_up=base / max(cycles, 1.0),
        speed_up_most=base / max(least, 1.0),
        energy=parts,
        energy_ratio=theirs / max(sum(parts.values()), 1e-300),
        area=_area(mode, tile, costs),
    )


def predicted_per_cycle(tile: Tile, bits: int = PREDICTOR_BITS) -> int:
    """Keys of a few bits that the baseline's front end takes in a cycle.

    Its multipliers' area would do for `(b / bits)**2`, the bits that it reads of the key buffer for `b / bits`.
    """
    return max(1, min(tile.bits**2 // bits**2, tile.bits // bits))


def _times(mode: str, selection: Selection, tile: Tile, head: int) -> tuple[float, float]:
    """Cycles, and the least with a second front end, summed over heads."""
    if mode == "learned":
        each = both = simulate(selection.cycles, selection.kept, tile, head).cycles
    elif mode == "top_k":
        each = both = baseline_cycles(selection.cycles, tile, head)
    else:
        side = tile.side_by_side(head)
        units = tile.units * side if mode == "adaptive" else side * predicted_per_cycle(tile)
        whole = {"adaptive": _planes, "predicted": _stages}[mode]
        found = whole(selection.cycles, selection.kept, units, side, tile.row_cycles, steps=tile.steps)
        each, both = (np.where(x > 0, tile.passes(head) * np.asarray(x, np.int64) + tile.latency, 0) for x in found)
    return float(np.asarray(each, np.int64).sum()), float(np.asarray(both, np.int64).sum())


@partial(jax.jit, static_argnames="steps")
def _planes(cycles: Array, kept: Array, units: int, side: int, row_cycles: int, *, steps: int) -> tuple[Array, Array]:
    """Plane by plane, `[...]` of `[..., q, k]`: all keys of a row that are left before the next plane of any.

    The bar after a plane is of all keys, so `sum_t ceil(left_t / N)` cycles a row; its survivors are known then.
    """
    front = sum(-(-jnp.sum(cycles >= t, -1, dtype=jnp.int32) // units) for t in range(1, steps + 1))
    whole = _in_turn(jnp.asarray(front), _back(kept, side, row_cycles))
    return whole, whole


@partial(jax.jit, static_argnames="steps")
def _stages(cycles: Array, kept: Array, ahead: int, side: int, row_cycles: int, *, steps: int) -> tuple[Array, Array]:
    """A predictor's pass over a row, then whole products of its survivors, which go on to the back end at once.

    Both stages share multipliers and the port of the key buffer; or (the second result) each has its own.
    """
    first = -(-jnp.sum(cycles > 0, -1, dtype=jnp.int32) // ahead)
    second = _back(kept, side, row_cycles)
    return jnp.sum(first + second, -1), _in_turn(first, second)


def _back(kept: Array, side: int, row_cycles: int) -> Array:
    """Cycles of the back end for each row, `[..., q]`."""
    left = jnp.sum(kept, -1, dtype=jnp.int32)
    return -(-left // side) + row_cycles * (left > 0)


def _in_turn(front: Array, back: Array) -> Array:
    """Cycles until the last of rows `[..., q]` has left the second of two stages, with room between them.

    The largest, over rows i, of all first stages to i and all second stages from i on.
    """
    after = jnp.flip(jnp.cumsum(jnp.flip(back, -1), -1), -1)
    return jnp.max(jnp.cumsum(front, -1) + after, -1)


def _area(mode: str, tile: Tile, costs: UnitCosts) -> float:
    """Front end, back end and buffers, with a scoreboard or a sorter's row of scores where the rule needs one [m2]."""
    if mode == "learned":
        return sum(area(tile, costs).values())
    row = _scoreboard(tile, tile.lanes) * costs.area_register_bit
    if mode == "adaptive":
        return sum(area(tile, costs, decision="score").values()) + row
    return sum(area(tile.baseline(), costs, decision="none").values()) + row


def _scoreboard(tile: Tile, head: int) -> int:
    """Bits of a row's partial sums, or of its scores."""
    return tile.keys * score_bits(tile, head)


def _adaptive(work: Work, tile: Tile, costs: UnitCosts) -> dict[str, float]:
    """Two bounds, the row's running maximum and the comparison every cycle; a margin a query costs next to nothing.

    A plane of all keys goes before the next, so partial sums wait in a scoreboard: written and read every cycle.
    """
    parts = energy(work, tile, costs, decision="score")
    bits = score_bits(tile, work.head)
    each = 4 * costs.energy_add_bit * bits + costs.energy_fifo_bit * bits
    leaks = costs.energy_leakage_bit * _scoreboard(tile, work.head) * work.cycles / costs.clock
    selection = costs.technology_scale * work.steps * each
    return parts | {"selection": selection, "leakage": parts["leakage"] + leaks}


def _top_k(work: Work, tile: Tile, costs: UnitCosts) -> dict[str, float]:
    """Whole dot products of all pairs, sorted; values of survivors only."""
    parts = energy(work, tile.baseline(), costs, decision="none")
    bits = score_bits(tile, work.head)
    each = SORTING * bits * costs.energy_add_bit + bits * costs.energy_fifo_bit
    return parts | {"selection": costs.technology_scale * work.pairs * each}


def _predicted(work: Work, tile: Tile, costs: UnitCosts, bits: int = PREDICTOR_BITS) -> dict[str, float]:
    """Dot products of few bits for all pairs, whole ones for survivors, whose keys are read again."""
    second = replace(work, steps=work.kept, bits=work.kept * tile.bits)
    parts = energy(second, tile.baseline(), costs, decision="none")
    first = work.pairs * costs.technology_scale
    compute = first * (work.head * costs.multiply_add(bits, bits) + costs.energy_exponential)
    read = first * work.head * bits * costs.read(buffer_bits(tile, tile.bits))
    return parts | {"key_read": parts["key_read"] + read, "selection": compute}
