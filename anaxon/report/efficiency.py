"""The table of what a step costs, by both designs and in the published chip."""

from html import escape
from typing import Any

from anaxon.report.html import card, quantity, table
from anaxon.runs.efficiency import PAPER

HEAD = ["design", "bits", "time of a step", "energy of a step", "TOPS/W", "TOPS/mm²", "area", "power"]


def efficiency(entries: list[dict[str, Any]], published: list[dict[str, Any]], components: dict[str, Any]) -> str:
    """A table of designs (`efficiency` of `results.json`) with the paper's rows beside, and what is assumed."""
    rows = [_row(escape(e["name"]), e) for e in entries]
    rows += [_row(f"<i>published: {escape(e['name'])}</i>", e) for e in published]
    units = [e for e in entries if e["activations_time"] > 0]
    digital = "; ".join(
        f"{e['name']} at {e['bits']} bit {quantity(e['activations_time'], 's')} and "
        f"{quantity(e['activations_energy'], 'J')}"
        for e in units
    )
    sources = table(
        ["entry", "source"],
        [[f"<code>{escape(n)}</code>", escape(s)] for n, s in components["sources"].items()],
    )
    return (
        f"{card(table(HEAD, rows, tuple(range(1, len(HEAD)))))}"
        f"<p>Our rows are estimates by the component table <b>{escape(components['name'])}</b> "
        f"({escape(components['description'])}): counts follow from shapes, prices are assumptions with sources, at "
        "other nodes than the paper's. Arrays, drivers, converters, buffers and digital activation units are counted; "
        "products of gates, projection, output layer, leakage, control and off-chip transfers are not. An operation is "
        "half a multiplication and addition; every cell pair of the array is two. Of these, digital activations take: "
        f"{escape(digital or 'nothing')}.</p>"
        f"<p>Rows in italics are <b>published</b>: {escape(PAPER)}; their time and energy of a step are derived from "
        "its power and TOPS/W. They are not results of this program, and what they include is the paper's choice.</p>"
        f'<details><summary>Sources of the prices</summary><div class="scroll">{sources}</div></details>'
    )


def _row(name: str, e: dict[str, Any]) -> list[str]:
    return [
        name,
        str(e["bits"]),
        quantity(e["time"], "s"),
        quantity(e["energy"], "J"),
        f"{e['tops_per_watt']:.3g}",
        f"{e['tops_per_mm2']:.3g}",
        f"{e['area'] * 1e6:.3g} mm²",
        quantity(e["power"], "W"),
    ]
