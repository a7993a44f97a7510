"""What one conversion, read or addition costs: a table from TOML in which every entry has a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anaxon.sourced import Component, read_table

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
    return Components(*read_table(source, "components", UNITS))
