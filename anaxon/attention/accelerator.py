"""What pruned attention costs on an accelerator: from the cycles and survivors of a layer to a table.

    rows = account(cycles, kept, tile=Tile.area_efficient(), costs=load_accelerator().costs, head=64)

Each row stands beside the baseline (one whole key a cycle, no pruning, the tile's latency and normalising) and splits
its energy ratio into pruning only (every pair takes all T cycles in the same units and queues, its score is compared
once, nothing makes margins) and early termination; the two factors multiply to the whole. A sum over heads and examples
is of what each takes by itself.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anaxon.attention.counts import Counts as Counts
from anaxon.attention.counts import count as count
from anaxon.attention.counts import joined as joined
from anaxon.attention.counts import swept
from anaxon.attention.energy import UnitCosts, Work, baseline_energy, energy
from anaxon.attention.tile import Tile
from anaxon.check import require
from anaxon.types import Array

LENGTHS = (32, 128, 256, 512)  # longest sequence of each bucket; beyond them, powers of two


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; sums over examples, and over heads where `head` is None.

    Attributes:
      layer: as given.
      head: number of the head; None for all.
      length: longest sequence of the bucket; None for all.
      units, per_cycle: of the tile.
      pairs: valid pairs.
      pruning_rate: share of them that is pruned.
      mean_cycles: E[t] of a pair.
      mean_bits: of a key's element, sign included, that a pair took.
      emptied: rows that lost every score.
      cycles, baseline_cycles: of tile and baseline.
      speed_up: their ratio.
      speed_up_bound: pairs over the sum of each head's and example's `max(sum t / N, kept)`: no rounding to units, no
        queues, no barrier, no latency and no normalising, in the baseline neither.
      speed_up_pruning: with pruning only, simulated in the same units and queues.
      utilisation: share of the cycles in which the back end took a survivor.
      speed_up_range: 10 % and 90 % quantiles of the speed-ups of single examples.
      stalls: cycles of a unit in which its FIFO was full.
      energy, baseline_energy: by part [J], see `anaxon.attention.energy.PARTS`.
      energy_ratio: baseline to pruned.
      energy_ratio_pruning, energy_ratio_termination: its two factors.
    """

    layer: int | str
    head: int | None
    length: int | None
    units: int
    per_cycle: int
    pairs: int
    pruning_rate: float
    mean_cycles: float
    mean_bits: float
    emptied: int
    cycles: int
    baseline_cycles: int
    speed_up: float
    speed_up_range: tuple[float, float]
    speed_up_bound: float
    speed_up_pruning: float
    utilisation: float
    stalls: int
    energy: dict[str, float]
    baseline_energy: dict[str, float]
    energy_ratio: float
    energy_ratio_pruning: float
    energy_ratio_termination: float


def account(
    cycles: Array,
    kept: Array,
    *,
    tile: Tile,
    costs: UnitCosts,
    head: int,
    layer: int | str = 0,
    lengths: Sequence[int] = LENGTHS,
) -> list[Row]:
    """The table of a layer: all heads; each head; each bucket of lengths.

    Args:
      cycles: of each pair, `[..., heads, q, k]`, 1 to T; 0 for a pair that is not valid.
      kept: survivors, `[..., heads, q, k]`.
      tile: the design.
      costs: of its operations.
      head: elements d of a query.
      layer: its number or name, for the table.
      lengths: bounds of the buckets; an example belongs to the first that its longest row does not exceed.

    Raises:
      ValueError: for cycles outside 0..T, survivors that are not valid, other shapes, or too many keys.
    """
    return table(count(cycles, kept, tile, head), tile=tile, costs=costs, head=head, layer=layer, lengths=lengths)


def sweep(
    traces: Sequence[tuple[Array, Array]],
    *,
    tile: Tile,
    costs: UnitCosts,
    head: int,
    per_cycle: Iterable[int] = (1, 2, 3, 4, 6),
    units: Iterable[int] = (4, 6, 8, 12),
    layer: int | str = 0,
) -> list[Row]:
    """All heads of a layer for every number of bits a cycle and of units, from one simulation of single bits.

    Args:
      traces: batches of any lengths, each cycles at one bit a cycle (`t_B = ceil(t_1 / B)` for every pair) and
        survivors, `[..., heads, q, k]`.
      tile: everything but what is swept.
      costs, head, layer: as in `account`.
      per_cycle: bits per cycle.
      units: front-end units.
    """
    require(len(traces) > 0, "traces", "none", "at least one batch of cycles and survivors")
    units = tuple(units)
    tiles = [replace(tile, units=n, per_cycle=bits) for bits in per_cycle for n in units]
    batches = (swept(cycles, kept, tiles, head) for cycles, kept in traces)
    found = zip(tiles, zip(*batches, strict=True), strict=True)
    return [_row(joined(counts), slice(None), one, costs, head, layer=layer) for one, counts in found]


def table(
    counts: Counts,
    *,
    tile: Tile,
    costs: UnitCosts,
    head: int,
    layer: int | str = 0,
    lengths: Sequence[int] = LENGTHS,
) -> list[Row]:
    """The rows of `account` from counts of one batch or several."""
    bucket = np.vectorize(lambda n: _bucket(int(n), lengths))(counts.length.max(1))
    rows = [_row(counts, slice(None), tile, costs, head, layer=layer)]
    for h in range(counts.pairs.shape[1]):
        rows.append(_row(counts, np.s_[:, h], tile, costs, head, layer=layer, number=h))
    for bound in sorted(set(bucket.tolist())):
        rows.append(_row(counts, bucket == bound, tile, costs, head, layer=layer, length=bound))
    return rows


def _bucket(length: int, lengths: Sequence[int]) -> int:
    return min((n for n in lengths if n >= length), default=1 << max(length - 1, 0).bit_length())


def _row(counts: Counts, where: Any, tile: Tile, costs: UnitCosts, head: int, *, layer: int | str,
         number: int | None = None, length: int | None = None) -> Row:  # fmt: skip
    """One row of the counts in `where`."""
    n = {name: values[where].sum().item() for name, values in counts._asdict().items()}
    pairs, kept, some = n["pairs"], n["kept"], max(n["pairs"], 1)
    stretch = tile.passes(head) / tile.side_by_side(head)
    work = Work(head=head, pairs=pairs, steps=n["steps"], bits=n["bits"], kept=kept, cycles=n["cycles"])
    whole = replace(work, steps=pairs * tile.steps, bits=pairs * tile.bits, cycles=n["whole"])
    ours, theirs = energy(work, tile, costs), baseline_energy(work, tile, costs, n["baseline"])
    unterminated = sum(energy(whole, tile, costs, decision="score").values())
    return Row(
        layer=layer,
        head=number,
        length=length,
        units=tile.units,
        per_cycle=tile.per_cycle,
        pairs=pairs,
        pruning_rate=1.0 - kept / some,
        mean_cycles=n["steps"] / some,
        mean_bits=n["bits"] / some,
        emptied=n["emptied"],
        cycles=n["cycles"],
        baseline_cycles=n["baseline"],
        speed_up=_ratio(n["baseline"], n["cycles"]),
        speed_up_range=_range(counts, where),
        speed_up_bound=_ratio(pairs, n["bound"]),
        speed_up_pruning=_ratio(n["baseline"], n["whole"]),
        utilisation=kept * stretch / max(n["cycles"], 1),
        stalls=n["stalls"],
        energy=ours,
        baseline_energy=theirs,
        energy_ratio=_ratio(sum(theirs.values()), sum(ours.values())),
        energy_ratio_pruning=_ratio(sum(theirs.values()), unterminated),
        energy_ratio_termination=_ratio(unterminated, sum(ours.values())),
    )


def _range(counts: Counts, where: Any) -> tuple[float, float]:
    """Of single examples' speed-ups, those of all heads in `where` together."""
    baseline, cycles = (x[where].reshape(len(x[where]), -1).sum(1) for x in (counts.baseline, counts.cycles))
    each = baseline[cycles > 0] / cycles[cycles > 0]
    if not each.size:
        return math.nan, math.nan
    low, high = np.quantile(each, [0.1, 0.9])
    return float(low), float(high)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan
