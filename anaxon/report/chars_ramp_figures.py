"""The figures of a character run, each from the record and the rows of its folder."""

from typing import Any

import numpy as np

from anaxon.report.network_figures import energy
from anaxon.report.style import BAND, CHIPS, DIGITAL, GRID, MUTED, PERFECT, figure, png

Rows = dict[str, np.ndarray]
Series = list[dict[str, Any]]
LOOKS = {("ramp", False): (CHIPS, "--", "o"), ("ramp", True): (CHIPS, "-", "o"),
         ("linear", False): (PERFECT, "--", "s"), ("linear", True): (PERFECT, "-", "s")}  # fmt: skip


def figures(record: dict[str, Any], rows: Rows) -> dict[str, bytes]:
    """PNG files by name, in the order of the page; what a run does not have is left out."""
    drawn = {
        "bits": bits(record),
        "above_float": above_float(record),
        "chips": chips(record, rows),
        "text": text(record, rows),
        "training": training(rows),
        "energy": energy(record["cost"]),
    }
    return {name: image for name, image in drawn.items() if image is not None}


def _series(record: dict[str, Any]) -> dict[tuple[str, bool], Series]:
    """Points of one design and training, by resolution."""
    found: dict[tuple[str, bool], Series] = {}
    for p in sorted(record["points"], key=lambda p: p["bits"]):
        found.setdefault((p["kind"], p["aware"]), []).append(p)
    return found


def _lines(axes: Any, record: dict[str, Any], what: str) -> None:
    """Every series with its intervals, a little apart from each other."""
    series = _series(record)
    for i, (kind, points) in enumerate(series.items()):
        colour, style, mark = LOOKS[kind]
        x = np.array([p["bits"] for p in points]) + 0.07 * (i - (len(series) - 1) / 2)
        y = np.array([p[what]["mean"] for p in points])
        lo, hi = np.array([p[what]["ci95"] for p in points]).T
        label = f"{points[0]['converter']}, {points[0]['training']}"
        full = colour if kind[1] else "white"
        axes.errorbar(x, y, [y - lo, hi - y], color=colour, ls=style, marker=mark, ms=5.5, mfc=full, lw=1.5,
                      elinewidth=1.1, capsize=2.5, label=label)  # fmt: skip
    axes.set_xticks(record["config"]["points"]["bits"])
    axes.set_xlabel("bits of inputs and converters")
    axes.grid(axis="y")


def bits(record: dict[str, Any]) -> bytes:
    """Bits per character against resolution."""
    with figure(6.4, 4.3) as (drawing, axes):
        lowest = record["floats"][record["better_float"]]
        axes.axhspan(*lowest["ci95"], color=BAND, alpha=0.35, lw=0)
        for name, m in record["floats"].items():
            best = name == record["better_float"]
            axes.axhline(m["mean"], color=DIGITAL, lw=1.5, ls="-" if best else ":", label=f"{name}: {m['mean']:.3f}")
        _lines(axes, record, "bits_per_character")
        axes.set(ylabel="bits per character", title="Bits per character against resolution")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def above_float(record: dict[str, Any]) -> bytes:
    """What the hardware costs: bits per character above the float network on the same text."""
    with figure(6.4, 4.3) as (drawing, axes):
        axes.axhline(0.0, color=DIGITAL, lw=1.2, label=record["better_float"])
        for goal in record["goals"]:
            axes.axhline(
                goal["limit"],
                color=MUTED,
                lw=1.2,
                ls=":",
                label=f"goal at {record['config']['points']['main_bits']} bit",
            )
        _lines(axes, record, "above_float")
        ends = np.array([p["above_float"]["ci95"] for p in record["points"]])
        axes.set_yscale("symlog", linthresh=0.1, linscale=1.2)
        axes.set_ylim(min(-0.01, 1.2 * ends.min()), max(0.1, 1.4 * ends.max()))
        ticks = [
            t for t in (-0.5, -0.1, 0, 0.03, 0.1, 0.2, 0.5, 1, 2, 5) if ends.min() <= t <= 1.4 * ends.max() or t == 0
        ]
        axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axes.set(ylabel="bits per character above float", title="What the hardware costs")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def _main(record: dict[str, Any], rows: Rows) -> dict[str, np.ndarray]:
    name = f"bits/ramp-{record['config']['points']['main_bits']}/"
    return {k.removeprefix(name): v for k, v in rows.items() if k.startswith(name)}


def chips(record: dict[str, Any], rows: Rows) -> bytes:
    """The chips at the main point, one value each."""
    tables = _main(record, rows)
    means = {training: table.mean(1) for training, table in tables.items()}
    every = np.concatenate(list(means.values()))
    edges = np.linspace(every.min(), every.max(), 36) if np.ptp(every) > 0 else 10
    words = {"plain": "float weights", "aware": "trained for the chips"}
    with figure(6.4, 3.7) as (drawing, axes):
        for (training, values), colour in zip(means.items(), (BAND, CHIPS), strict=False):
            axes.hist(values, edges, color=colour, edgecolor="white", linewidth=0.5, label=words[training])
        best = record["floats"][record["better_float"]]["mean"]
        axes.axvline(best, color=DIGITAL, lw=1.6, label=f"{record['better_float']}: {best:.3f}")
        count, main = len(next(iter(means.values()))), record["config"]["points"]["main_bits"]
        axes.set(xlabel="bits per character", ylabel="chips", title=f"{count} chips with {main}-bit ramps")
        axes.grid(axis="y")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def text(record: dict[str, Any], rows: Rows) -> bytes:
    """The chips at the main point, row of text by row of text."""
    tables, digital = _main(record, rows), rows[f"float/{record['better_float']}"]
    table = tables.get("aware", tables["plain"])
    with figure(6.4, 3.7) as (drawing, axes):
        x = np.arange(1, len(digital) + 1)
        low, high = np.quantile(table, (0.05, 0.95), axis=0)
        axes.vlines(x, low, high, color=BAND, lw=5, label="5 to 95 % of the chips")
        axes.plot(x, table.mean(0), "o", color=CHIPS, ms=4, label="mean chip")
        axes.plot(x, digital, "_", color=DIGITAL, ms=9, mew=1.8, label=record["better_float"])
        axes.set(xlabel="place in the test text, in order", ylabel="bits per character", title="Along the test text")
        axes.grid(axis="y", color=GRID)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def training(rows: Rows) -> bytes:
    """Training loss, smoothed over 25 steps; all trainings after the first start where that one ended."""
    losses = {k.removeprefix("loss/"): v for k, v in rows.items() if k.startswith("loss/")}
    first = losses["float"]
    shades = iter(np.linspace(0.15, 0.85, max(1, len(losses) - 2)))
    from matplotlib import colormaps

    with figure(12.8, 3.9, ncols=2) as (drawing, both):
        for axes in both:
            axes.set(xlabel="step", ylabel="training loss [bits per character]")
            axes.grid(axis="y")
        both[0].plot(*_smooth(first, 0), color=DIGITAL, lw=1.2)
        both[0].set_title("Float")
        both[0].set_ylim(top=min(float(first.max()), 4.0))
        for name, loss in sorted(losses.items(), key=lambda item: (len(item[0].split("-")), item[0])):
            if name == "float":
                continue
            aware = name.startswith("aware")
            colour = colormaps["viridis"](next(shades)) if aware else DIGITAL
            both[1].plot(
                *_smooth(loss, len(first)), color=colour, lw=1.2, label=name.replace("-", " ") + " bit" * aware
            )
        both[1].set_title("From there: trained on in float, and for chips")
        both[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
        return png(drawing)


def _smooth(loss: np.ndarray, start: int, width: int = 25) -> tuple[np.ndarray, np.ndarray]:
    width = min(width, len(loss))
    values = np.convolve(loss, np.full(width, 1 / width), "valid")
    return start + width / 2 + np.arange(len(values)), values
