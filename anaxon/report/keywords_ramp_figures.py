"""The figures of a comparison of converters, each from the record and the rows of its folder."""

from typing import Any

import numpy as np

from anaxon.report.style import BAND, CHIPS, DIGITAL, MUTED, PERFECT, figure, png

Rows = dict[str, np.ndarray]
LINES = {  # (converter, training): (label, colour, dashes, marker)
    ("ramp", "aware"): ("ramp ADC, trained for its chips", CHIPS, "-", "o"),
    ("ramp", "plain"): ("ramp ADC, plain training", CHIPS, ":", "o"),
    ("linear", "aware"): ("linear ADC, trained for its chips", PERFECT, "-", "s"),
    ("linear", "plain"): ("linear ADC, plain training", PERFECT, ":", "s"),
}


def figures(record: dict[str, Any], rows: Rows) -> dict[str, bytes]:
    """PNG files by name, in the order of the page."""
    sizes = [t["hidden"] for t in record["training"]]
    drawn = {f"accuracy_{h}": accuracy(record, h) for h in sizes}
    drawn |= {f"chips_{h}": chips(record, rows, h) for h in sizes}
    return drawn | {"steps": steps(record)}


def accuracy(record: dict[str, Any], hidden: int) -> bytes:
    """Accuracy on the panel against resolution, with intervals over chips and clips, and the digital network."""
    points = [p for p in record["points"] if p["hidden"] == hidden]
    bits = sorted({p["bits"] for p in points})
    with figure(6.4, 4.0) as (drawing, axes):
        digital = 100 * record["metrics"][f"{hidden} units, float, panel"]["mean"]
        axes.axhline(digital, color=DIGITAL, lw=1.5, label=f"digital, float32: {digital:.1f} %")
        for i, ((kind, training), (label, colour, dashes, marker)) in enumerate(LINES.items()):
            mine = sorted(
                (p for p in points if (p["kind"], p["training"]) == (kind, training)), key=lambda p: p["bits"]
            )
            if not mine:
                continue
            x = np.array([bits.index(p["bits"]) for p in mine]) + 0.06 * (i - 1.5)
            y = np.array([100 * p["accuracy"]["mean"] for p in mine])
            ends = 100 * np.array([p["accuracy"]["ci95"] for p in mine]).T
            axes.errorbar(x, y, np.abs(ends - y), color=colour, ls=dashes, marker=marker, ms=5, lw=1.5, elinewidth=1,
                          capsize=2, label=label, mfc=colour if training == "aware" else "white")  # fmt: skip
        axes.set_xticks(range(len(bits)), [str(b) for b in bits])
        axes.set(xlabel="bits of inputs and outputs", ylabel="accuracy on the panel [%]", title=f"{hidden} units")
        axes.grid(axis="y")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def chips(record: dict[str, Any], rows: Rows, hidden: int) -> bytes:
    """Histogram of the chips at the ramp's main resolution, for both trainings."""
    bits = record["config"]["chips"]["main_bits"]
    labels = rows["labels"][rows["panel"]]
    found = {t: 100 * (rows[f"classes/{hidden}-ramp-{bits}/{t}"] == labels).mean(1) for t in ("plain", "aware")}
    step = 100 / len(labels)
    low, high = min(v.min() for v in found.values()), max(v.max() for v in found.values())
    edges = np.arange(low - step / 2, high + step, step)  # a bin holds whole clips
    with figure(6.4, 3.6) as (drawing, axes):
        digital = 100 * record["metrics"][f"{hidden} units, float, panel"]["mean"]
        for (training, values), colour in zip(found.items(), (BAND, CHIPS), strict=True):
            label = f"{'plain training' if training == 'plain' else 'trained for the chips'}: {values.mean():.1f} %"
            axes.hist(values, edges, color=colour, alpha=0.75, label=label)
        axes.axvline(digital, color=DIGITAL, lw=1.6, label=f"digital, float32: {digital:.1f} %")
        title = f"{len(found['plain']):,} chips, {bits}-bit ramp, {hidden} units"
        axes.set(xlabel="accuracy on the panel [%]", ylabel="chips", title=title)
        axes.grid(axis="y")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def steps(record: dict[str, Any]) -> bytes:
    """Time and energy of one step by both designs, from the component table."""
    entries = record["efficiency"]
    names = [f"{e['name']}, {e['bits']} bit" for e in entries]
    with figure(7.6, 1.2 + 0.42 * len(entries), ncols=2, sharey=True) as (drawing, axes):
        bars = (("time", "activations_time", 1e9, "time of a step [ns]"),
                ("energy", "activations_energy", 1e12, "energy of a step [pJ]"))  # fmt: skip
        for ax, (whole, part, unit, label) in zip(axes, bars, strict=True):
            digital = np.array([e[part] for e in entries]) * unit
            rest = np.array([e[whole] for e in entries]) * unit - digital
            ax.barh(names, rest, color=CHIPS, label="array and converters")
            ax.barh(names, digital, left=rest, color=DIGITAL, label="digital activations")
            ax.set(xlabel=label)
            ax.grid(axis="x")
            ax.tick_params(axis="y", labelsize=8, colors=MUTED)
        axes[0].invert_yaxis()
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)
