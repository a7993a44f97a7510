"""The figures of a keyword run, each from the record and the rows of its folder."""

from typing import Any

import numpy as np

from anaxon.report.network_figures import energy, layer_strips
from anaxon.report.style import BAND, CHIPS, DIGITAL, PERFECT, figure, outlined, png

Rows = dict[str, np.ndarray]


def figures(record: dict[str, Any], rows: Rows) -> dict[str, bytes]:
    """PNG files by name, in the order of the page; what a hardware does not have is left out."""
    drawn = {
        "accuracy": accuracy(record, rows),
        "layer_error": layer_strips(rows, "error", "Error per layer", "relative error of the products [%]"),
        "layer_saturation": layer_strips(rows, "saturation", "Saturation per layer", "saturated conversions [%]"),
        "classes": classes(record, rows),
        "confusion": confusion(record, rows),
        "energy": energy(record["cost"]),
    }
    return {name: image for name, image in drawn.items() if image is not None}


def accuracy(record: dict[str, Any], rows: Rows) -> bytes:
    """Histogram of the chips' accuracies on the panel, with the digital network and the interval."""
    values, metrics = 100 * rows["accuracy"], record["metrics"]
    clips = rows["correct"].shape[1]
    step = 100 / clips * max(1, round(np.ptp(values) / 40 / (100 / clips)))
    low = values.min() - step / 2  # a bin holds whole clips
    edges = np.arange(low, values.max() + step, step)
    with figure(6.4, 3.7) as (drawing, axes):
        lo, hi = (100 * v for v in metrics["chip_accuracy"]["ci95"])
        axes.axvspan(lo, hi, color=BAND, alpha=0.45, lw=0, label="95 % interval of the mean, chips and clips")
        axes.hist(values, edges, color=CHIPS, edgecolor="white", linewidth=0.6)
        lines = (
            ("float_accuracy_panel", "digital, float32", DIGITAL, "-"),
            ("chip_accuracy", "mean chip", "black", "-"),
        )
        for name, label, colour, style in lines:
            mean = 100 * metrics[name]["mean"]
            axes.axvline(mean, color=colour, ls=style, lw=1.6, label=f"{label}: {mean:.1f} %")
        axes.axvline(100 * quantised_on_panel(rows), color=PERFECT, ls="--", lw=1.6, path_effects=outlined(),
                     label=f"perfect cells: {100 * quantised_on_panel(rows):.1f} %")  # fmt: skip
        axes.set(xlabel="accuracy on the panel [%]", ylabel="chips", title=f"{len(values):,} chips")
        axes.grid(axis="y")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def quantised_on_panel(rows: Rows) -> float:
    """Accuracy of perfect cells behind the same converters, on the panel."""
    return float((rows["quantised"] == rows["labels"])[rows["panel"]].mean())


def classes(record: dict[str, Any], rows: Rows) -> bytes:
    """Accuracy of every class on the panel: the digital network, the mean chip, and 5 to 95 % of the chips."""
    names, labels = record["data"]["classes"], rows["labels"][rows["panel"]]
    digital = (rows["digital"] == rows["labels"])[rows["panel"]]
    with figure(6.4, 4.2) as (drawing, axes):
        for i in range(len(names)):
            mine = labels == i
            if not mine.any():
                continue
            chips = 100 * rows["correct"][:, mine].mean(1)
            low, high = np.quantile(chips, (0.05, 0.95))
            axes.plot([low, high], [i, i], color=BAND, lw=7, solid_capstyle="butt", zorder=1)
            axes.plot(chips.mean(), i, "o", color=CHIPS, ms=6, zorder=3)
            axes.plot(100 * digital[mine].mean(), i, "|", color=DIGITAL, ms=14, mew=2.2, zorder=2)
        axes.plot([], [], color=BAND, lw=7, label="5 to 95 % of the chips")
        axes.plot([], [], "o", color=CHIPS, label="mean chip")
        axes.plot([], [], "|", color=DIGITAL, ms=12, mew=2.2, label="digital, float32")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel="accuracy on the panel [%]", title="Accuracy per class")
        axes.grid(axis="x")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def confusion(record: dict[str, Any], rows: Rows) -> bytes:
    """What the chips answer more (or less) often than the digital network, in percentage points."""
    names = record["data"]["classes"]
    change = confusion_change(rows, len(names))
    bound = max(1.0, float(np.abs(change).max()))
    with figure(6.4, 5.2) as (drawing, axes):
        image = axes.imshow(change, cmap="RdBu_r", vmin=-bound, vmax=bound)
        for i, j in zip(*np.nonzero(np.abs(change) >= 1), strict=True):
            dark = abs(change[i, j]) > 0.6 * bound
            axes.text(j, i, f"{change[i, j]:+.0f}", ha="center", va="center", fontsize=7.5,
                      color="white" if dark else "black")  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="answer", ylabel="spoken", title="Confusion: chips minus digital")
        drawing.colorbar(image, ax=axes, shrink=0.8, label="percentage points")
        return png(drawing)


def confusion_change(rows: Rows, count: int) -> np.ndarray:
    """Share of answers `[spoken, answer]` of the mean chip minus the digital network's, in percentage points."""
    labels = rows["labels"][rows["panel"]]
    digital = rows["digital"][rows["panel"]]
    chips = np.stack([(rows["classes"] == j).mean(0) for j in range(count)], -1)  # [clips, answer]
    excess = chips - np.eye(count)[digital]
    spoken = np.eye(count)[labels]
    return 100 * spoken.T @ excess / np.maximum(1, spoken.sum(0))[:, None]
