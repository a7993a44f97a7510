"""Small text tables and numbers with units, for the `repr` of results."""

from collections.abc import Sequence
from math import floor, log10
from typing import Any

from anaxon.types import is_concrete

_PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of cells aligned in columns; those in `right` are aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def quantity(value: Any, unit: str) -> str:
    """Three digits with an SI prefix, such as `1.23 nJ`; "traced" where the value is not known yet."""
    if not is_concrete(value):
        return "traced"
    number = float(value)
    if number == 0:
        return f"0 {unit}"
    power = min(12, max(-18, 3 * floor((log10(abs(number)) + 1e-12) / 3)))
    return f"{number / 10.0**power:.3g} {_PREFIXES[power]}{unit}"


def amount(value: int) -> str:
    """An exact count with separators, or four digits and an exponent."""
    return f"{value:,}" if abs(value) < 10**9 else f"{value:.3e}"
