"""The figures of an attention job, each from the record."""

from typing import Any

import numpy as np

from anaxon.report.attention_named import KINDS, points_of
from anaxon.report.style import CHIPS, DIGITAL, PERFECT, figure, png

COLOURS = (CHIPS, DIGITAL, PERFECT, "#e9c46a", "#9d4edd", "#6c757d")


def figures(record: dict[str, Any]) -> dict[str, bytes]:
    """PNG files by name, in the order of the page."""
    return {
        "curve": against(
            record["tasks"], lambda point: 100 * point["pruning_rate"], "pairs pruned [%]", "At what loss?"
        ),
        "pareto": against(
            record["tasks"], lambda point: whole(point)["energy_ratio"], "energy ratio to the baseline", "For what?"
        ),
        "histogram": histogram(record["tasks"][0]["learned"][shown(record)]),
        "cumulative": cumulative(record["tasks"][0]),
        "history": history(list(record["tasks"][0]["history"].values())[shown(record)]),
        "sweep": sweep(record["tasks"][0]["learned"][shown(record)]),
    }


def shown(record: dict[str, Any]) -> int:
    """Which learned point is told in detail: of those that lose at most 0.2 point the one of least energy, or the best.

    Chosen on the test set where there are several, by integer decisions; the page says so.
    """
    rows = record["pooled"]
    loss = [record["tasks"][0]["unit"][1] * row["difference"]["mean"] for row in rows]
    fine = [i for i, x in enumerate(loss) if x >= -0.2]
    return max(fine, key=lambda i: rows[i]["energy_ratio"]) if fine else int(np.argmax(loss))


def whole(point: dict[str, Any]) -> dict[str, Any]:
    """The row of all layers."""
    return next(row for row in point["rows"] if row["layer"] == "all")


def against(tasks: list[dict[str, Any]], place: Any, label: str, title: str) -> bytes:
    """Loss of quality to the model without thresholds, calibrated (lines) and learned (points), with intervals."""
    with figure(6.4, 3.9) as (drawing, axes):
        axes.axhline(0, color="#999999", lw=0.8)
        for task, colour in zip(tasks, COLOURS * len(tasks), strict=False):
            factor = task["unit"][1]
            for kind, style in (("free", "o-"), ("after", "s--"), ("learned", "D")):
                points = sorted(task[kind], key=place)
                mean = factor * np.array([p["difference"]["mean"] for p in points])
                ends = factor * np.array([p["difference"]["ci95"] for p in points])
                words = KINDS[kind].removesuffix(", penalty")
                axes.errorbar([place(p) for p in points], mean, np.abs(ends.T - mean), fmt=style, ms=5, capsize=3,
                              color=colour, mfc=colour if kind == "learned" else "white",
                              label=f"{task['name']}, {words}, seed {task['seed']}")  # fmt: skip
        axes.set(xlabel=label, ylabel=f"difference [{tasks[0]['unit'][0]}]", title=title)
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
        return png(drawing)


def histogram(point: dict[str, Any]) -> bytes:
    """Key bits that a pair took, of pruned and kept pairs."""
    found = point["histogram"]
    with figure(6.4, 3.4) as (drawing, axes):
        bits = np.arange(len(found["pruned"]))
        total = max(1, sum(found["pruned"]) + sum(found["kept"]))
        axes.bar(bits, 100 * np.array(found["pruned"]) / total, color=DIGITAL, label="pruned")
        axes.bar(bits, 100 * np.array(found["kept"]) / total, color=CHIPS, label="kept",
                 bottom=100 * np.array(found["pruned"]) / total)  # fmt: skip
        axes.set(xlabel="bits of the key, sign included", ylabel="pairs [%]", title="When is a pair decided?")
        axes.legend()
        return png(drawing)


def cumulative(task: dict[str, Any]) -> bytes:
    """Share of the pruned pairs that are decided by so many bits."""
    with figure(6.4, 3.4) as (drawing, axes):
        shown = [(name, point) for name, point in points_of(task) if point not in task["after"]]
        for (name, point), colour in zip(shown, COLOURS * 9, strict=False):
            pruned = np.array(point["histogram"]["pruned"], float)
            axes.plot(
                np.arange(len(pruned)), 100 * np.cumsum(pruned) / max(1.0, pruned.sum()), color=colour, label=name
            )
        axes.set(xlabel="bits of the key", ylabel="of the pruned pairs [%]", title="Bits against cumulative pruning")
        axes.grid()
        axes.legend(fontsize=8)
        return png(drawing)


def history(found: dict[str, Any]) -> bytes:
    """Thresholds of the layers and the pruned share (1 - L0) along training."""
    with figure(6.4, 3.6) as (drawing, axes):
        for layer, line in enumerate(np.array(found["thresholds"]).T):
            axes.plot(line, color=CHIPS, alpha=0.35 + 0.65 * layer / len(found["thresholds"][0]),
                      label="thresholds, by layer" if layer == len(found["thresholds"][0]) - 1 else None)  # fmt: skip
        axes.set(xlabel="step", ylabel="threshold [score]", title="Thresholds and sparsity along training")
        share = axes.twinx()
        share.plot(100 * (1 - np.array(found["share"])), color=DIGITAL, lw=1, label="pruned pairs (1 - L0)")
        share.set(ylabel="pruned [%]", ylim=(0, 100))
        handles = [h for a in (axes, share) for h in a.get_legend_handles_labels()[0]]
        axes.legend(handles, [h.get_label() for h in handles], fontsize=8)
        return png(drawing)


def sweep(point: dict[str, Any]) -> bytes:
    """Speed-up against bits a cycle for several numbers of units."""
    rows = point["sweep"]
    with figure(6.4, 3.4) as (drawing, axes):
        for units, colour in zip(sorted({r["units"] for r in rows}), COLOURS, strict=False):
            own = [r for r in rows if r["units"] == units]
            middle, shift = np.array([r["speed_up"] for r in own]), 0.04 * (COLOURS.index(colour) - 1.5)
            low, high = np.array([r["speed_up_range"] for r in own], float).T
            bars = np.nan_to_num(np.maximum(0, [middle - low, high - middle]))
            axes.errorbar([r["per_cycle"] + shift for r in own], middle, bars, fmt="o-", capsize=3, color=colour,
                          label=f"{units} units")  # fmt: skip
        axes.set(xlabel="bits of a key a cycle", ylabel="speed-up", title="Bits a cycle and units")
        axes.grid()
        axes.legend()
        return png(drawing)
