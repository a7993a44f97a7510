"""Tables of what an attention accelerator's operations cost, from TOML; every entry has a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anaxon.attention.energy import UnitCosts
from anaxon.sourced import read_table

DEFAULT = "leopard65"
UNITS = {
    "technology": {"scale": "1", "clock": "Hz"},
    "energy": {
        "multiply_bit2": "J",
        "add_bit": "J",
        "sram_bit": "J",
        "fifo_bit": "J",
        "exponential": "J",
        "leakage_bit": "W",
        "leakage_area": "W/m2",
    },
    "area": {
        "full_adder": "m2",
        "multiply_bit2": "m2",
        "register_bit": "m2",
        "sram_bit": "m2",
        "exponential": "m2",
    },
}


@dataclass(frozen=True)
class AcceleratorTable:
    """Costs of operations and where each is from.

    Attributes:
      name: for reports.
      description: one sentence.
      costs: for `anaxon.attention.energy` and `anaxon.attention.accelerator`.
      sources: by `section.name`.
    """

    name: str
    description: str
    costs: UnitCosts
    sources: Mapping[str, str]

    def __repr__(self) -> str:
        lines = [f"  {name:<24}{source}" for name, source in self.sources.items()]
        return "\n".join([f"AcceleratorTable {self.name}: {self.description}", *lines])


def load_accelerator(source: str | Path | None = None) -> AcceleratorTable:
    """A table from a file, or a shipped one by its name; the default is `leopard65`.

    Raises:
      ValueError: for a missing or unknown entry, a wrong unit, a value out of range or an entry without a source.
    """
    return _load(str(source or DEFAULT))


@cache
def _load(source: str) -> AcceleratorTable:
    name, description, entries = read_table(source, "accelerators", UNITS)
    field = lambda key: "clock" if key == "technology.clock" else key.replace(".", "_")  # noqa: E731
    costs = UnitCosts(**{field(key): entry.value for key, entry in entries.items()})
    return AcceleratorTable(name, description, costs, {key: entry.source for key, entry in entries.items()})
