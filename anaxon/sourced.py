"""Tables of numbers from TOML in which every entry has its unit and says where it is from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from anaxon.configs import config_path
from anaxon.settings import check_keys, read_toml

Units = Mapping[str, Mapping[str, str]]  # section -> name -> unit


@dataclass(frozen=True)
class Component:
    """One entry: a value in SI units and where it is from."""

    value: float
    unit: str
    source: str


class Table(NamedTuple):
    """A file's name, sentence and entries, those by `section.name`."""

    name: str
    description: str
    entries: Mapping[str, Component]


def read_table(source: str | Path, folder: str, units: Units) -> Table:
    """A table of just these entries from a `.toml` file, or a shipped one of `configs/<folder>` by its name.

    Raises:
      ValueError: for a missing or unknown entry, a wrong unit, a value < 0 or an entry without a source.
    """
    path = Path(source) if str(source).endswith(".toml") else _shipped(str(source), folder)
    table = read_toml(path)
    check_keys(table, ("name", "description", *units), str(path))
    for section, names in units.items():  # all of them first: a misspelt entry is a missing one, too
        check_keys(table.get(section, {}), names, f"{path}: {section}")
    entries = {
        f"{section}.{name}": _entry(table.get(section, {}), name, unit, f"{path}: {section}.{name}")
        for section, names in units.items()
        for name, unit in names.items()
    }
    return Table(str(table.get("name", path.stem)), str(table.get("description", "")), entries)


def _shipped(name: str, folder: str) -> Path:
    names = sorted(p.stem for p in config_path(folder).glob("*.toml"))
    if name not in names:
        raise ValueError(f"{folder}: expected the path of a .toml file or one of {', '.join(names)}; got {name!r}")
    return config_path(folder, f"{name}.toml")


def _entry(given: Mapping[str, Any], name: str, unit: str, where: str) -> Component:
    if name not in given:
        raise ValueError(f"{where}: missing; expected {{ value, unit = {unit!r}, source }}")
    entry = given[name]
    if not isinstance(entry, Mapping) or set(entry) != {"value", "unit", "source"}:
        raise ValueError(f"{where}: expected {{ value, unit, source }}; got {entry!r}")
    if entry["unit"] != unit:
        raise ValueError(f"{where}: expected the unit {unit!r}; got {entry['unit']!r}")
    value, source = entry["value"], entry["source"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e30:
        raise ValueError(f"{where}: expected a finite number >= 0; got {value!r}")
    if not isinstance(source, str) or not source.strip():
        raise ValueError(f"{where}: expected a source; got {source!r}")
    return Component(float(value), unit, source)
