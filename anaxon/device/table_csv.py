"""Reads a measured device table: a CSV whose header names columns and units."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

COLUMNS = ("g", "sigma", "nu", "nu_sigma", "q")
CONSTANTS = {"g_min": "S", "g_max": "S", "t0": "s", "t_read": "s"}
PREFIX = {"": 1.0, "k": 1e3, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12}


def read_table(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The columns `{name: [rows]}` and the constants of a table file, in SI units.

    The first line that is not a comment is the header, for example `g [uS],sigma [uS],nu,nu_sigma,q`; `g` and `sigma`
    are required and carry a unit. Comments start with `#`; `# t0 = 20 s` sets one of the constants g_min, g_max, t0,
    t_read.

    Raises:
      ValueError: naming file and line, for a bad header, unit or number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a CSV text file in UTF-8") from None
    rows = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    constants = dict(_constant(path, n, line) for n, line in rows if _is_constant(line))
    table = [(n, [c.strip() for c in line.split(",")]) for n, line in rows if not line.startswith("#")]
    if not table:
        raise ValueError(f"{path}: expected a header such as 'g [uS],sigma [uS]'; the file has no rows")
    header = [_column(f"{path}:{table[0][0]}", cell) for cell in table[0][1]]
    names = [name for name, _ in header]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}:{table[0][0]}: a column is named twice in {names}")
    numbers = np.array([_numbers(f"{path}:{n}", cells, len(names)) for n, cells in table[1:]]).reshape(-1, len(names))
    return {name: numbers[:, i] * scale for i, (name, scale) in enumerate(header)}, constants


def _is_constant(line: str) -> bool:
    name, equals, _ = line.lstrip("# ").partition("=")
    return line.startswith("#") and bool(equals) and name.strip() in CONSTANTS


def _constant(path: str | Path, n: int, line: str) -> tuple[str, float]:
    name, _, value = (part.strip() for part in line.lstrip("# ").partition("="))
    number, _, unit = value.partition(" ")
    return name, _numbers(f"{path}:{n}", [number], 1)[0] * _unit(f"{path}:{n}", name, unit.strip(), CONSTANTS[name])


def _column(where: str, cell: str) -> tuple[str, float]:
    name, bracket, unit = (part.strip() for part in cell.partition("["))
    if name not in COLUMNS:
        near = difflib.get_close_matches(name, COLUMNS, 1)
        hint = f" (do you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{where}: unknown column {name!r}{hint}; accepted: {', '.join(COLUMNS)}")
    if bracket and not unit.endswith("]"):
        raise ValueError(f"{where}: expected a unit in brackets, such as {name} [uS]; got {cell!r}")
    return name, _unit(where, name, unit.rstrip("] "), "S" if name in ("g", "sigma") else "1")


def _unit(where: str, name: str, unit: str, base: str) -> float:
    if base == "1" and unit in ("", "1"):
        return 1.0
    if base != "1" and unit.endswith(base) and unit.removesuffix(base) in PREFIX:
        return PREFIX[unit.removesuffix(base)]
    accepted = "no unit" if base == "1" else f"a unit such as u{base} or {base}"
    raise ValueError(f"{where}: {name} needs {accepted}; got {unit or 'no unit'!r}")


def _numbers(where: str, cells: list[str], count: int) -> list[float]:
    if len(cells) != count:
        raise ValueError(f"{where}: expected {count} numbers; got {len(cells)}")
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        raise ValueError(f"{where}: expected {count} numbers; got {','.join(cells)!r}") from None


def check_columns(columns: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The columns as float64 `[rows]`, checked.

    Raises:
      ValueError: for a missing or unknown column, fewer than two rows, unequal lengths, a number that is not finite,
        a conductance that does not increase from row to row, a negative std.
    """
    unknown = sorted(set(columns) - set(COLUMNS))
    missing = [name for name in ("g", "sigma") if name not in columns]
    if unknown or missing:
        what = f"missing column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}"
        raise ValueError(f"{where}: {what}; accepted: {', '.join(COLUMNS)} (g and sigma required)")
    if ("nu_sigma" in columns) and ("nu" not in columns):
        raise ValueError(f"{where}: column nu_sigma needs a column nu")
    table = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    rows = table["g"].shape
    for name, values in table.items():
        if values.ndim != 1 or values.shape != rows or len(values) < 2:
            raise ValueError(f"{where}: column {name} has shape {values.shape}; expected at least 2 rows, as many as g")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{where}: column {name} row {int(np.argmin(np.isfinite(values)))} is not a finite number")
        if name != "nu" and np.any(values < 0):
            raise ValueError(f"{where}: column {name} row {int(np.argmax(values < 0))} is negative")
    if np.any(np.diff(table["g"]) <= 0):
        row = int(np.argmax(np.diff(table["g"]) <= 0)) + 1
        raise ValueError(f"{where}: g must increase from row to row; row {row} does not")
    return table
