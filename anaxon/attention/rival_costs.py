"""Cycles and energy of other ways of pruning, in the parts that the accelerator's own table has.

All get the accelerator's lanes, widths, buffers and back end; what they need beside them is in "selection".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from anaxon.attention.energy import UnitCosts, Work, baseline_energy, baseline_work, buffer_bits, energy, score_bits
from anaxon.attention.pipeline import simulate
from anaxon.attention.rivals import Selection
from anaxon.attention.tile import Tile
from anaxon.check import choice

MODES = ("learned", "top_k", "predicted", "adaptive")
SORTING = 3.0  # assumption: comparisons of a score in the quick-select of a row
PREDICTED_PER_CYCLE = 2  # assumption: keys that a predictor takes in a cycle; 4-bit multipliers are 1/9 of 12-bit ones


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One way of pruning beside the baseline.

    Attributes:
      mode: one of `MODES`.
      pruning_rate: share of the valid pairs.
      mean_bits: of a key's element that were read for a pair, second readings included.
      cycles: of the tile, summed over heads.
      speed_up: of the baseline's cycles.
      energy: by part [J].
      energy_ratio: of the baseline's energy.
    """

    mode: str
    pruning_rate: float
    mean_bits: float
    cycles: float
    speed_up: float
    energy: dict[str, float]
    energy_ratio: float


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
    work = Work(head=head, pairs=pairs, steps=steps, bits=bits, kept=kept, cycles=0.0)
    base = baseline_work(work, tile).cycles
    if mode in ("learned", "adaptive"):
        cycles = sum(float(jnp.sum(simulate(s.cycles, s.kept, tile, head).cycles)) for s in several)
    else:
        cycles = base if mode == "top_k" else max(base / PREDICTED_PER_CYCLE, base * kept / max(pairs, 1.0))
    work = replace(work, cycles=cycles)
    parts = {"learned": energy, "adaptive": _adaptive, "top_k": _top_k, "predicted": _predicted}[mode](
        work, tile, costs
    )
    theirs = sum(baseline_energy(work, tile, costs).values())
    return Outcome(
        mode=mode,
        pruning_rate=1.0 - kept / max(pairs, 1.0),
        mean_bits=bits / max(pairs, 1.0),
        cycles=cycles,
        speed_up=base / max(cycles, 1.0),
        energy=parts,
        energy_ratio=theirs / max(sum(parts.values()), 1e-300),
    )


def _adaptive(work: Work, tile: Tile, costs: UnitCosts) -> dict[str, float]:
    """Two bounds, the row's running maximum and the comparison every cycle; a margin a query costs next to nothing."""
    parts = energy(work, tile, costs)
    each = 4 * costs.energy_add_bit * score_bits(tile, work.head)
    return parts | {"selection": costs.technology_scale * work.steps * each}


def _top_k(work: Work, tile: Tile, costs: UnitCosts) -> dict[str, float]:
    """Whole dot products of all pairs, sorted; values of survivors only."""
    parts = energy(work, tile.baseline(), costs, decision="none")
    bits = score_bits(tile, work.head)
    each = SORTING * bits * costs.energy_add_bit + bits * costs.energy_fifo_bit
    return parts | {"selection": costs.technology_scale * work.pairs * each}


def _predicted(work: Work, tile: Tile, costs: UnitCosts, bits: int = 4) -> dict[str, float]:
    """Dot products of few bits for all pairs, whole ones for survivors, whose keys are read again."""
    second = replace(work, steps=work.kept, bits=work.kept * tile.bits)
    parts = energy(second, tile.baseline(), costs, decision="none")
    first = work.pairs * costs.technology_scale
    compute = first * (work.head * costs.multiply_add(bits, bits) + costs.energy_exponential)
    read = first * work.head * bits * costs.read(buffer_bits(tile, tile.bits))
    return parts | {"key_read": parts["key_read"] + read, "selection": compute}
