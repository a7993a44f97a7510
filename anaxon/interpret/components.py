"""What one conversion, read or addition costs: a table from TOML in which every entry has a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anaxon.configs import config_path
from anaxon.settings import check_keys, read_toml

DEFAULT = "cmos32"
UNITS = {
    "adc": {
        "energy_per_step": "J",
        "schreier": "dB",
        "conversion_time": "s",
        "columns_per_converter": "1",
        "area": "m2",
    },
    "ramp": {"energy_per_step": "J", "step_time": "s", "area": "m2"},
    "dac": {"unit_capacitance": "F", "supply": "V", "area": "m2"},
    "array": {
        "read_time": "s",
        "mean_square_input": "1",
        "mean_input": "1",
        "mean_state": "1",
        "line_capacitance": "F",
        "cell_area": "m2",
    },
    "function": {"energy": "J", "cycles": "1", "units": "1", "cycle_time": "s", "area": "m2"},
    "digital": {"add": "J", "multiply": "J", "buffer_bit": "J", "adder_area": "m2"},
    "programming": {"energy_per_cell": "J", "pulses_per_cell": "1"},
}


@dataclass(frozen=True)
class Component:
    """One entry: a value in SI units and where it is from."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Components:
    """A component table; `components["adc.area"]` is a value.

    Attributes:
      name: for reports.
      description: one sentence.
      entries: by `section.name`.
    """

    name: str
    description: str
    entries: Mapping[str, Component]

    def __getitem__(self, name: str) -> float:
        return self.entries[name].value

    def __repr__(self) -> str:
        lines = [f"  {name:<28}{e.value:<12.4g}{e.unit:<4}{e.source}" for name, e in self.entries.items()]
        return "\n".join([f"Components {self.name}: {self.description}", *lines])


def load_components(source: str | Path | None = None) -> Components:
    """A table from a file, or a shipped one by its name; the default is `cmos32`.

    Raises:
      ValueError: for a missing or unknown entry, a wrong unit, a value < 0 or an entry without a source.
    """
    return _load(str(source or DEFAULT))


@cache
def _load(source: str) -> Components:
    path = Path(source)
    if path.suffix != ".toml":
        path = _shipped(source)
    table = read_toml(path)
    check_keys(table, ("name", "description", *UNITS), str(path))
    entries = {}
    for section, units in UNITS.items():
        given = table.get(section, {})
        check_keys(given, units, f"{path}: {section}")
        for name, unit in units.items():
            entries[f"{section}.{name}"] = _entry(given, name, unit, f"{path}: {section}.{name}")
    return Components(str(table.get("name", path.stem)), str(table.get("description", "")), entries)


def _shipped(name: str) -> Path:
    names = sorted(p.stem for p in config_path("components").glob("*.toml"))
    if name not in names:
        raise ValueError(f"components: expected the path of a .toml file or one of {', '.join(names)}; got {name!r}")
    return config_path("components", f"{name}.toml")


def _entry(given: Mapping[str, Any], name: str, unit: str, where: str) -> Component:
    if name not in given:
        raise ValueError(f"{where}: missing; expected {{ value, unit = {unit!r}, source }}")
    entry = given[name]
    if not isinstance(entry, Mapping) or set(entry) != {"value", "unit", "source"}:
        raise ValueError(f"{where}: expected {{ value, unit, source }}; got {entry!r}")
    if entry["unit"] != unit:
        raise ValueError(f"{where}: expected the unit {unit!r}; got {entry['unit']!r}")
    if (
        isinstance(entry["value"], bool)
        or not isinstance(entry["value"], int | float)
        or not 0 <= entry["value"] < 1e30
    ):
        raise ValueError(f"{where}: expected a finite number >= 0; got {entry['value']!r}")
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise ValueError(f"{where}: expected a source; got {entry['source']!r}")
    return Component(float(entry["value"]), unit, entry["source"])
