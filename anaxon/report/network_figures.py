"""Figures of all network jobs: errors layer by layer, and where the energy goes."""

from typing import Any

import numpy as np

from anaxon.interpret.text import quantity
from anaxon.report.style import BAND, CHIPS, GRID, MUTED, PARTS, figure, png


def layer_strips(rows: dict[str, np.ndarray], kind: str, title: str, label: str) -> bytes | None:
    """One box a weight: median, quartiles, 1 to 99 % of the chips, the rest as dots."""
    names = [k.removeprefix(f"{kind}/") for k in rows if k.startswith(f"{kind}/")]
    if not names:
        return None
    values = [100 * rows[f"{kind}/{name}"] for name in names]
    with figure(6.4, 1.5 + 0.52 * len(names)) as (drawing, axes):
        boxes = axes.boxplot(
            values, orientation="horizontal", whis=(1, 99), widths=0.55, patch_artist=True,
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": MUTED, "alpha": 0.5},
            medianprops={"color": "black"}, whiskerprops={"color": MUTED}, capprops={"color": MUTED},
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=BAND, edgecolor=CHIPS)
        axes.set_yticks(range(1, len(names) + 1), names)
        axes.invert_yaxis()
        top = max(float(v.max()) for v in values)
        axes.set_xlim(0, top * 1.22 if top > 0 else 1)
        for i, value in enumerate(values):
            words = f"{np.median(value):.3g} %" if value.max() > 0 else "none on any chip"
            axes.annotate(words, (value.max(), i + 1), (6, 0), textcoords="offset points", va="center", color=MUTED)
        axes.set(xlabel=label, title=title)
        axes.grid(axis="x")
        return png(drawing)


def energy(bill: dict[str, Any]) -> bytes | None:
    """Where the energy of one inference goes, weight by weight."""
    sites = bill["sites"]
    if not bill["energy"] > 0:
        return None
    unit, name = _unit(max(s["energy"] for s in sites))
    with figure(6.4, 1.7 + 0.52 * len(sites)) as (drawing, axes):
        left = np.zeros(len(sites))
        for part, colour in PARTS.items():
            width = np.array([s["energy_by_part"][part] for s in sites]) / unit
            if width.sum() > 0:
                axes.barh(range(len(sites)), width, left=left, color=colour, height=0.6, label=part, edgecolor="white",
                          linewidth=0.4)  # fmt: skip
            left += width
        for i, site in enumerate(sites):
            words = quantity(site["energy"], "J").replace("u", "µ")
            axes.annotate(words, (left[i], i), (6, 0), textcoords="offset points", va="center", color=MUTED)
        axes.set_xlim(0, left.max() * 1.15)
        axes.set_yticks(range(len(sites)), [s["path"] for s in sites])
        axes.invert_yaxis()
        axes.set(xlabel=f"energy per inference [{name}]", title="Energy per inference")
        axes.grid(axis="x", color=GRID)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8.5)
        return png(drawing)


def _unit(value: float) -> tuple[float, str]:
    for size, name in ((1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")):
        if value >= size:
            return size, name
    return 1e-12, "pJ"
