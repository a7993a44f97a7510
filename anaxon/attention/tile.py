"""The tile that one attention head runs on: how many front-end units, how wide, how they are synchronised.

Sizes of the two designs and of their buffers are recollections of Li et al., ISCA 2022, arXiv 2204.03227, not verified
against the paper.
"""

import math
from dataclasses import dataclass, replace

from anaxon.check import choice, integer

BARRIERS = ("none", "rippled", "registered")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A front end of bit-serial dot-product units, a FIFO behind each, and one back end for the survivors.

    Attributes:
      units: front-end units N; key j is unit `j mod N`'s. 1 together with `per_cycle = bits` is the baseline.
      lanes: multipliers of a unit, and of the back end.
      bits: of a query's and a key's element, sign included.
      per_cycle: bits B of a key's element that a unit takes in a cycle.
      fifo: survivors that a unit's FIFO holds; a unit with a survivor stalls while it is full.
      barrier: "none": each unit runs ahead to the next query (two query registers). "registered": all units start a
        query in the cycle after the last one has finished the one before. "rippled": the release passes down the
        units in their order within the cycle, so that those behind the last one to finish start at once.
      latency: of the pipeline, added once per head [cycles].
      row_cycles: back-end cycles that normalising a row with survivors takes; rows are normalised in order.
      value_bits: of a probability and of a value's element.
      keys: that the buffers hold, of `lanes` elements each.
      packed: heads of at most half the lanes put two (or more) keys side by side in a unit and two survivors in the
        back end; in the baseline, too. Otherwise the rest of the lanes idles in both.
    """

    units: int
    lanes: int = 64
    bits: int = 12
    per_cycle: int = 2
    fifo: int = 8
    barrier: str = "rippled"
    latency: int = 0
    row_cycles: int = 0
    value_bits: int = 16
    keys: int = 512
    packed: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("units", 1, 4096),
            ("lanes", 1, 4096),
            ("bits", 2, 16),
            ("per_cycle", 1, self.bits),
            ("fifo", 1, 2**20),
            ("latency", 0, 2**20),
            ("row_cycles", 0, 2**16),
            ("value_bits", 2, 32),
            ("keys", 1, 2**24),
        ):
            integer(f"Tile.{name}", getattr(self, name), low, high)
        choice("Tile.barrier", self.barrier, BARRIERS)

    @classmethod
    def area_efficient(cls, **changes: int | str | bool) -> "Tile":
        """Six units: about the baseline's area (recollection)."""
        return cls(**{"units": 6, **changes})  # type: ignore[arg-type]

    @classmethod
    def high_performance(cls, **changes: int | str | bool) -> "Tile":
        """Eight units: about 15 % more area than the baseline (recollection)."""
        return cls(**{"units": 8, **changes})  # type: ignore[arg-type]

    @property
    def steps(self) -> int:
        """Cycles T of a whole dot product."""
        return math.ceil(self.bits / self.per_cycle)

    def baseline(self) -> "Tile":
        """The same lanes, widths and buffers with one unit that takes a whole key a cycle and never terminates."""
        return replace(self, units=1, per_cycle=self.bits, barrier="none")

    def passes(self, head: int) -> int:
        """How often a unit goes over its lanes for one bit plane of a key of `head` elements.

        A head wider than the lanes is cut into parts of `lanes` elements. A plane of all parts is summed before
        the bound is compared, for the margin needs all of them: every cycle, of survivors too, counts `passes` times.
        """
        integer("head", head, 1, 2**16)
        return math.ceil(head / self.lanes)

    def side_by_side(self, head: int) -> int:
        """Keys that one unit takes at the same time."""
        return max(1, self.lanes // head) if self.packed else 1

    def mapping(self, head: int) -> str:
        """How a head of so many elements stands on the lanes, in words."""
        told = f"heads of {head} elements on {self.lanes} lanes"
        idle = self.lanes - head * self.side_by_side(head) if head <= self.lanes else -head % self.lanes
        if (passes := self.passes(head)) > 1:
            told += f": {passes} passes for each {self.per_cycle}-bit plane, summed before the bound is compared"
        elif (keys := self.side_by_side(head)) > 1:
            told += f": {keys} keys side by side in a unit"
        return f"{told}, in the baseline likewise; {idle} lanes idle" + (" in the last pass" if passes > 1 else "")

    def room(self, head: int) -> int:
        """Keys of a head that the buffers hold."""
        return self.keys * self.side_by_side(head) // self.passes(head)

    def check_fits(self, keys: int, head: int) -> None:
        """Raises a `ValueError` where the buffers do not hold the keys of a head."""
        room = self.room(head)
        if keys > room:
            raise ValueError(
                f"keys: the tile's buffers hold {room} keys of {head} elements ({self.lanes} lanes, "
                f"{self.passes(head)} pass(es)); got {keys}; give Tile(keys={math.ceil(self.keys * keys / room)})"
            )
