"""CSV of ramps: the programming table that a lab is given, and the measured conductances it gives back.

A programming table has a row per device: `activation,device,role,sign,target [uS]`. Measured tables are read in the
same layout with a column `g`, for example `activation,device,g [uS]`: a lab may add its column to the table it got.
"""

import csv
import difflib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from anaxon.converter.ramp.activation import find
from anaxon.converter.ramp.column import bias_devices, conductances
from anaxon.converter.ramp.design import Design
from anaxon.device.table_csv import PREFIX

COLUMNS = ("activation", "device", "role", "sign", "target", "g")
ROLES = ("ramp", "bias", "spare")
SIEMENS = ("target", "g")
UNITS = tuple(f"{prefix}S" for prefix in ("", "m", "u", "n"))

Rows = list[tuple[int, dict[str, str]]]  # line number, cells by column


def programming_table(designs: Design | Iterable[Design], g_max: float = 150e-6, unit: str = "uS") -> str:
    """CSV text of what to program, a row per device.

    Ramp devices are in the order in which they are switched on; bias devices come before the ramp and have the sign
    of their read voltage; spare devices are left off.

    Args:
      designs: of one or several columns, concrete.
      g_max: conductance of the largest step [S].
      unit: of the targets: S, mS, uS or nS.

    Raises:
      ValueError: for another unit.
    """
    scale = g_max / _factor("programming_table.unit", unit)
    lines = [f"activation,device,role,sign,target [{unit}]"]
    for design in [designs] if isinstance(designs, Design) else designs:
        lines += [f"{design.activation},{row}" for row in _rows(design, scale)]
    return "\n".join(lines) + "\n"


def _rows(design: Design, scale: float) -> list[str]:
    steps, bias = np.asarray(conductances(design)), bias_devices(design)
    spare = range(len(steps) + 1, design.devices + 1)
    return [
        *(f"{n},ramp,1,{g * scale:.6g}" for n, g in enumerate(steps, 1)),
        *(f"{n},spare,0,0" for n in spare),
        *(f"{n},bias,{bias.sign},{bias.conductance * scale:.6g}" for n in range(1, bias.count + 1)),
    ]


def write_programming_table(
    path: str | Path, designs: Design | Iterable[Design], g_max: float = 150e-6, unit: str = "uS"
) -> None:
    """Writes `programming_table` to a file."""
    Path(path).write_text(programming_table(designs, g_max, unit), encoding="utf-8")


def read_conductances(path: str | Path, g_max: float = 150e-6, activation: str | None = None) -> dict[str, np.ndarray]:
    """Measured ramp columns, `{activation: [devices]}` relative to `g_max`: `Ramp(measured=...)`.

    Bias and spare devices (column `role`) are left out; devices are in the order of column `device`, else of the rows.

    Args:
      path: of a CSV file; lines that start with `#` are comments.
      g_max: that the conductances become relative to [S].
      activation: of all rows, for a file without that column.

    Raises:
      ValueError: naming file and line, for a missing, unknown or doubled column, a unit that is none of conductance, a
        cell that is no number, a negative conductance, a device that comes twice, an unknown activation.
    """
    units, rows = _table(path)
    if activation is None and "activation" not in units:
        raise ValueError(f"{path}: missing column 'activation'; add it, or say activation= for the whole file")
    found: dict[str, list[tuple[float, float]]] = {}
    for n, cells in rows:
        if _role(path, n, cells) != "ramp":
            continue
        name = _name(path, n, cells.get("activation") or str(activation))
        column = found.setdefault(name, [])
        order = _number(path, n, "device", cells["device"]) if "device" in cells else len(column)
        g = _number(path, n, "g", cells["g"]) * units["g"] / g_max
        if g < 0:
            raise ValueError(f"{path}:{n}: g: expected a conductance >= 0; got {cells['g']}")
        if any(order == other for other, _ in column):
            raise ValueError(f"{path}:{n}: device {cells['device']} of {name} comes twice")
        column.append((order, g))
    if not found:
        raise ValueError(f"{path}: expected rows of ramp devices; got none")
    return {name: np.array([g for _, g in sorted(column)]) for name, column in found.items()}


def _table(path: str | Path) -> tuple[dict[str, float], Rows]:
    """Scale factor by column, and the rows."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a CSV text file in UTF-8") from None
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    table = [(n, [cell.strip() for cell in next(csv.reader([line]))]) for n, line in numbered]
    if not table:
        raise ValueError(f"{path}: expected a header such as 'activation,device,g [uS]'; the file has no rows")
    head, cells = table[0]
    columns = [_column(f"{path}:{head}", cell) for cell in cells]
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}:{head}: a column is named twice in {', '.join(names)}")
    if "g" not in names:
        raise ValueError(f"{path}:{head}: missing column 'g [uS]', the measured conductance; got {', '.join(names)}")
    for n, row in table[1:]:
        if len(row) != len(names):
            raise ValueError(f"{path}:{n}: expected {len(names)} cells, one per column; got {len(row)}")
    return dict(columns), [(n, dict(zip(names, row, strict=True))) for n, row in table[1:]]


def _column(where: str, cell: str) -> tuple[str, float]:
    name, bracket, unit = (part.strip() for part in cell.partition("["))
    if name not in COLUMNS:
        near = difflib.get_close_matches(name, COLUMNS, 1)
        hint = f" (do you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{where}: unknown column {name!r}{hint}; accepted: {', '.join(COLUMNS)}")
    if name not in SIEMENS:
        if bracket:
            raise ValueError(f"{where}: {name} needs no unit; got {cell!r}")
        return name, 1.0
    return name, _factor(f"{where}: {name}", unit.removesuffix("]").strip())


def _factor(where: str, unit: str) -> float:
    plain = unit.replace("µ", "u").replace("μ", "u")
    if plain not in UNITS:
        raise ValueError(
            f"{where}: expected a unit of conductance, one of {', '.join(UNITS)}; got {unit or 'no unit'!r}"
        )
    return PREFIX[plain.removesuffix("S")]


def _role(path: str | Path, n: int, cells: dict[str, str]) -> str:
    role = cells.get("role", "ramp")
    if role not in ROLES:
        raise ValueError(f"{path}:{n}: role: expected one of {', '.join(ROLES)}; got {role!r}")
    return role


def _name(path: str | Path, n: int, name: str) -> str:
    try:
        return find(name).name
    except ValueError as error:
        raise ValueError(f"{path}:{n}: {error}") from None


def _number(path: str | Path, n: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{path}:{n}: {column}: expected a finite number; got {cell!r}")
    return value
