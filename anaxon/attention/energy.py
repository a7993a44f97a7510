"""Energy and area of one tile, part by part, beside a tile without pruning.

Of the baseline's pair: `E = E_qk + E_k + E_v + E_vr + E_sm`, `E_qk = d (mul(b, b) + add)`, `E_k = b d sram(K buffer)`,
`E_v`, `E_vr` with the widths of values. Bit-serial: the first two are of the bits that a pair takes, at most B a cycle;
bounds every cycle; the rest only for survivors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from anaxon.attention.tile import Tile
from anaxon.check import choice, number, require

PARTS = ("qk_compute", "key_read", "selection", "fifo", "softmax", "value_compute", "value_read", "leakage")
AREAS = ("front_end", "selection", "fifos", "softmax", "back_end", "key_buffer", "value_buffer")
# What decides on a pair: nothing, as in the baseline; its whole score against the threshold; a bound after each cycle.
DECISIONS = ("none", "score", "bound")
_SRAM = 32 * 1024 * 8  # bits of the memory that `sram_bit` is of


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """What one operation costs; `anaxon.accelerators.load_accelerator` reads them with their sources.

    Attributes:
      technology_scale: multiplies all energies but leakage.
      clock: of the tile [Hz].
      energy_multiply_bit2: of a multiplication, per product of its widths [J].
      energy_add_bit: of an addition, per bit [J].
      energy_sram_bit: of reading a bit of a 32 KiB memory, times sqrt(size / 32 KiB) for others [J].
      energy_fifo_bit: of a FIFO's bit, written and read [J].
      energy_exponential: of a survivor's exponential and its share of the sum [J].
      energy_leakage_bit: power of a bit of memory [W].
      energy_leakage_area: power of logic [W/m2].
      area_full_adder, area_multiply_bit2, area_register_bit, area_sram_bit, area_exponential: [m2].
    """

    technology_scale: float
    clock: float
    energy_multiply_bit2: float
    energy_add_bit: float
    energy_sram_bit: float
    energy_fifo_bit: float
    energy_exponential: float
    energy_leakage_bit: float
    energy_leakage_area: float
    area_full_adder: float
    area_multiply_bit2: float
    area_register_bit: float
    area_sram_bit: float
    area_exponential: float

    def __post_init__(self) -> None:
        for f in fields(self):
            rate = f.name in ("technology_scale", "clock")
            number(f"UnitCosts.{f.name}", getattr(self, f.name), "a number > 0" if rate else "a number >= 0", low=0.0,
                   open_low=rate)  # fmt: skip

    def multiply_add(self, first: int, second: int) -> float:
        """A multiplication of two widths and an addition as wide as the product [J]."""
        return self.energy_multiply_bit2 * first * second + self.energy_add_bit * (first + second)

    def read(self, bits: float) -> float:
        """A bit from a memory of so many [J]."""
        return self.energy_sram_bit * math.sqrt(bits / _SRAM)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a head (or a sum of heads of one size) asks of a tile.

    Attributes:
      head: elements d of a key.
      pairs: valid pairs.
      steps: cycles of termination over all pairs, `sum t`; for whole dot products, pairs times T.
      bits: of a key's element that they take, `sum min(t B, b)`: the last cycle has fewer than B where B does not
        divide b.
      kept: survivors.
      cycles: of the tile, for leakage.
    """

    head: int
    pairs: float
    steps: float
    bits: float
    kept: float
    cycles: float

    def __post_init__(self) -> None:
        for f in fields(self)[1:]:
            number(f"Work.{f.name}", getattr(self, f.name), "a count >= 0", low=0.0)
        require(self.kept <= self.pairs, "Work.kept", self.kept, f"at most the pairs, {self.pairs}")


def score_bits(tile: Tile, head: int) -> int:
    """Width of a score, sign included: `|S| <= d (2^(b-1) - 1)^2`."""
    return math.ceil(math.log2(head * (2 ** (tile.bits - 1) - 1) ** 2 + 1)) + 1


def survivor_bits(tile: Tile, head: int) -> int:
    """Width of a FIFO's entry: the score and the key's index."""
    return score_bits(tile, head) + math.ceil(math.log2(max(tile.keys, 2)))


def energy(work: Work, tile: Tile, costs: UnitCosts, *, decision: str = "bound") -> dict[str, float]:
    """Energy of each of `PARTS` [J].

    Args:
      work: what is done.
      tile: on what; `tile.baseline()` for the baseline.
      costs: of the operations.
      decision: one of `DECISIONS`. "bound" is early termination: the margin of every pair, its bound and a comparison
        every cycle; "score" is pruning alone: one comparison a pair, no margins. Both queue their survivors.
        A head wider than the lanes reads and multiplies each element once in any case.
    """
    choice("decision", decision, DECISIONS)
    d, w = work.head, work
    multiply, add = costs.energy_multiply_bit2, costs.energy_add_bit
    dynamic = {
        # what `multiply_add` is of the bits of each cycle, summed over cycles
        "qk_compute": d * (multiply * tile.bits * w.bits + add * (tile.bits * w.steps + w.bits)),
        "key_read": w.bits * d * costs.read(buffer_bits(tile, tile.bits)),
        "selection": _selection(work, tile, costs, decision),
        "fifo": w.kept * survivor_bits(tile, d) * costs.energy_fifo_bit * (decision != "none"),
        "softmax": w.kept * costs.energy_exponential,
        "value_compute": w.kept * d * costs.multiply_add(tile.value_bits, tile.value_bits),
        "value_read": w.kept * d * tile.value_bits * costs.read(buffer_bits(tile, tile.value_bits)),
    }
    leaks = leakage(tile, costs, decision=decision) * w.cycles / costs.clock
    return {name: costs.technology_scale * value for name, value in dynamic.items()} | {"leakage": leaks}


def _selection(work: Work, tile: Tile, costs: UnitCosts, decision: str) -> float:
    """Comparisons with the threshold, and what makes the bounds [J], without the technology's scale."""
    d, add = work.head, costs.energy_add_bit
    compare = add * score_bits(tile, d)
    if decision == "score":
        return work.pairs * compare
    if decision == "none":
        return 0.0
    tree = d * add * (tile.bits + math.ceil(math.log2(d + 1))) / 2  # |q| of the lanes that agree
    return work.pairs * tree + work.steps * 2 * compare


def baseline_work(work: Work, tile: Tile, cycles: float | None = None) -> Work:
    """The same pairs as whole dot products that all survive.

    Args:
      work: of the pruned pairs.
      tile: that they run on.
      cycles: of the baseline, `counts.baseline_cycles`; if not given one key a cycle, or the passes that it needs,
        without latency, normalising and rows that are no whole number of packed keys.
    """
    if cycles is None:
        cycles = work.pairs * tile.passes(work.head) / tile.side_by_side(work.head)
    bits = work.pairs * tile.bits
    return Work(head=work.head, pairs=work.pairs, steps=work.pairs, bits=bits, kept=work.pairs, cycles=cycles)


def baseline_energy(work: Work, tile: Tile, costs: UnitCosts, cycles: float | None = None) -> dict[str, float]:
    """Energy of each part of the baseline for the same pairs [J]; arguments as of `baseline_work`."""
    return energy(baseline_work(work, tile, cycles), tile.baseline(), costs, decision="none")


def key_share(tile: Tile, head: int, costs: UnitCosts) -> float:
    """phi: the share of scores and key reads in the baseline's dynamic energy, softmax left out."""
    one = Work(head=head, pairs=1, steps=1, bits=tile.bits, kept=1, cycles=0)
    parts = energy(one, tile.baseline(), costs, decision="none")
    front = parts["qk_compute"] + parts["key_read"]
    return front / (front + parts["value_compute"] + parts["value_read"])


def energy_ratio(share: float, kept: float, cycles: float, steps: int, overhead: float = 1.0) -> float:
    """The first-order ratio `1 / (phi beta E[t]/T + (1 - phi)(1 - rho))` of baseline to pruned.

    Args:
      share: phi, see `key_share`.
      kept: share of pairs that survive, 1 - rho.
      cycles: mean cycles E[t] of a pair.
      steps: cycles T of a whole dot product.
      overhead: beta >= 1, what bit-serial work costs beside bit-parallel.
    """
    return 1.0 / (share * overhead * cycles / steps + (1.0 - share) * kept)


def area(tile: Tile, costs: UnitCosts, *, decision: str = "bound") -> dict[str, float]:
    """Area of each of `AREAS` [m2]: an estimate from gate counts, not verified against a layout.

    Args:
      tile: of what; `tile.baseline()` with the decision "none" for the baseline.
      costs: of gates and bits.
      decision: one of `DECISIONS`: whether the tile compares scores, makes bounds, has FIFOs.
    """
    choice("decision", decision, DECISIONS)
    n, lanes, b = tile.units, tile.lanes, tile.bits
    score = score_bits(tile, lanes)
    tree = b + tile.per_cycle + math.ceil(math.log2(lanes)) / 2  # mean width of the adder tree
    unit = lanes * (costs.area_multiply_bit2 * b * tile.per_cycle + costs.area_full_adder * tree)
    unit += score * (costs.area_full_adder + costs.area_register_bit)
    compare = score * costs.area_full_adder
    margin = lanes * costs.area_full_adder * (b + math.ceil(math.log2(lanes)) / 2)
    margin += score * (costs.area_full_adder + costs.area_register_bit)
    wide = 2 * tile.value_bits
    lane = costs.area_multiply_bit2 * tile.value_bits**2 + wide * (costs.area_full_adder + costs.area_register_bit)
    queues = n * tile.fifo * survivor_bits(tile, lanes) * costs.area_register_bit
    return {
        "front_end": n * unit + lanes * b * costs.area_register_bit,
        "selection": n * {"none": 0.0, "score": compare, "bound": compare + margin}[decision],
        "fifos": queues * (decision != "none"),
        "softmax": costs.area_exponential,
        "back_end": lanes * lane,
        "key_buffer": buffer_bits(tile, b) * costs.area_sram_bit,
        "value_buffer": buffer_bits(tile, tile.value_bits) * costs.area_sram_bit,
    }


def areas(tile: Tile, costs: UnitCosts) -> dict[str, dict[str, float]]:
    """Area of each of `AREAS` [m2] of the baseline and of both designs, with the widths and buffers of a tile."""
    same = {f.name: getattr(tile, f.name) for f in fields(tile) if f.name != "units"}
    designs = {"area-efficient": Tile.area_efficient(**same), "high-performance": Tile.high_performance(**same)}
    return {"baseline": area(tile.baseline(), costs, decision="none")} | {
        name: area(design, costs) for name, design in designs.items()
    }


def leakage(tile: Tile, costs: UnitCosts, *, decision: str = "bound") -> float:
    """Power that the tile leaks [W]."""
    parts: Mapping[str, float] = area(tile, costs, decision=decision)
    logic = sum(value for name, value in parts.items() if not name.endswith("_buffer"))
    memory = buffer_bits(tile, tile.bits) + buffer_bits(tile, tile.value_bits)
    return costs.energy_leakage_area * logic + costs.energy_leakage_bit * memory


def buffer_bits(tile: Tile, bits: int) -> int:
    """Size of the buffer of keys or values, whose elements have so many bits."""
    return tile.keys * tile.lanes * bits
