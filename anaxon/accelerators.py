"""Tables of what an attention accelerator's operations cost, from TOML; every entry has a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anaxon.attention.energy import UnitCosts
from anaxon.configs import config_path
from anaxon.settings import check_keys, read_toml

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
    path = Path(source) if source.endswith(".toml") else _shipped(source)
    table = read_toml(path)
    check_keys(table, ("name", "description", *UNITS), str(path))
    for section, units in UNITS.items():
        check_keys(table.get(section, {}), units, f"{path}: {section}")
    values, sources = {}, {}
    for section, units in UNITS.items():
        given = table.get(section, {})
        for name, unit in units.items():
            field = name if name == "clock" else f"{section}_{name}"
            values[field], sources[f"{section}.{name}"] = _entry(given, name, unit, f"{path}: {section}.{name}")
    return AcceleratorTable(
        str(table.get("name", path.stem)), str(table.get("description", "")), UnitCosts(**values), sources
    )


def _shipped(name: str) -> Path:
    names = sorted(p.stem for p in config_path("accelerators").glob("*.toml"))
    if name not in names:
        raise ValueError(f"accelerator: expected the path of a .toml file or one of {', '.join(names)}; got {name!r}")
    return config_path("accelerators", f"{name}.toml")


def _entry(given: Mapping[str, Any], name: str, unit: str, where: str) -> tuple[float, str]:
    entry = given.get(name)
    if not isinstance(entry, Mapping) or set(entry) != {"value", "unit", "source"}:
        raise ValueError(f"{where}: expected {{ value, unit = {unit!r}, source }}; got {entry!r}")
    value, source = entry["value"], entry["source"]
    if entry["unit"] != unit:
        raise ValueError(f"{where}: expected the unit {unit!r}; got {entry['unit']!r}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: expected a number; got {value!r}")
    if not isinstance(source, str) or not source.strip():
        raise ValueError(f"{where}: expected a source; got {source!r}")
    return float(value), source
