"""What the pages of all network jobs say about placed weights and what they cost."""

from html import escape
from typing import Any

from anaxon.report.html import card, mean_and_std, quantity, table


def layers(entries: list[dict[str, Any]]) -> str:
    """A table with a line for each placed weight (`layers` of `results.json`)."""
    rows = []
    for layer in entries:
        rows.append([
            f"<code>{escape(layer['path'])}</code>",
            "×".join(map(str, layer["shape"])),
            f"{layer['rows']} × {layer['cols']}",
            str(layer.get("arrays", "–")),
            f"{layer['cells']:,}" if "cells" in layer else "–",
            mean_and_std(layer["error"]),
            mean_and_std(layer["saturation"]),
        ])  # fmt: skip
    head = ["weight", "shape", "rows × columns", "arrays", "cells", "error, mean ± std over chips", "saturated"]
    return card(table(head, rows, (2, 3, 4, 5, 6)))


def cost(bill: dict[str, Any]) -> str:
    """The bill weight by weight (`cost` of `results.json`), with the sources of its prices."""
    total: dict[str, Any] = {**bill, "path": "total"}
    rows = [
        [f"<code>{escape(s['path'])}</code>", f"{_conversions(s):,}", f"{s['counts']['cell_reads']:,}",
         quantity(s["energy"], "J"), quantity(s["latency"], "s"), f"{s['area'] * 1e6:.3g} mm²"]
        for s in (*bill["sites"], total)
    ]  # fmt: skip
    parts = ", ".join(f"{name} {quantity(value, 'J')}" for name, value in bill["energy_by_part"].items() if value)
    sources = table(["entry", "source"], [[f"<code>{escape(n)}</code>", escape(s)] for n, s in
                                          bill["components"]["sources"].items()])  # fmt: skip
    head = ["weight", "conversions", "cell reads", "energy", "latency", "area"]
    return (
        f"{card(table(head, rows, (1, 2, 3, 4, 5)))}"
        f"<p>Energy by part: {escape(parts or 'none')}. Programming a chip once: "
        f"{quantity(bill['programming'], 'J')}. Counts follow from shapes and are exact; prices are those of the "
        f"component table <b>{escape(bill['components']['name'])}</b>: {escape(bill['components']['description'])} "
        "Digital operations outside the arrays, data movement between them and leakage are not counted.</p>"
        f'<details><summary>Sources of the prices</summary><div class="scroll">{sources}</div></details>'
    )


def _conversions(counted: dict[str, Any]) -> int:
    return counted["counts"]["linear_conversions"] + counted["counts"]["ramp_conversions"]
