"""The figures of an error budget, each from the record."""

from typing import Any

import numpy as np

from anaxon.report.style import BAND, CHIPS, DIGITAL, PERFECT, figure, png

COLOURS = {"uniform": DIGITAL, "tensor": "#e9c46a", "layer": CHIPS, "column": PERFECT, "refined": "#6a4c93",
           "layer, no box": "#8ab17d", "column, no box": "#b56576"}  # fmt: skip


def figures(record: dict[str, Any]) -> dict[str, bytes]:
    """PNG files by name, in the order of the page."""
    return {
        "error": error(record["networks"]),
        "ratio": ratio(record["networks"]),
        "window": window(record["networks"][record["config"]["study"]["networks"][0]]["windows"]),
        "budget": budget(record),
        "pareto": pareto(record["tuned"]["rows"]),
        "accuracy": accuracy(record["tuned"]["rows"]),
    }


def error(networks: dict[str, Any]) -> bytes:
    """Mean squared error against sigma: predicted lines, sampled points with intervals."""
    with figure(6.4, 3.8) as (drawing, axes):
        for (kind, net), colour in zip(networks.items(), (CHIPS, DIGITAL, PERFECT), strict=False):
            sigma = [line["sigma"] for line in net["lines"]]
            axes.plot(sigma, [line["predicted"] for line in net["lines"]], color=colour, label=f"{kind}, predicted")
            axes.plot(sigma, [line["linearised"] for line in net["lines"]], ":", color=colour, label="first order")
            mean = np.array([line["sampled"]["mean"] for line in net["lines"]])
            ends = np.array([line["sampled"]["ci95"] for line in net["lines"]])
            bars = np.abs(ends.T - mean)
            axes.errorbar(sigma, mean, bars, fmt="o", ms=4, color=colour, capsize=3, label="sampled chips")
        axes.set(xscale="log", yscale="log", xlabel="std of a cell [full scale]", ylabel="mean squared error of logits",
                 title="Error against programming noise")  # fmt: skip
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def ratio(networks: dict[str, Any]) -> bytes:
    """Predicted over sampled error, with the sampling's interval."""
    with figure(6.4, 3.8) as (drawing, axes):
        axes.axhspan(0.99, 1.01, color=BAND, alpha=0.5, lw=0, label="± 1 %")
        for (kind, net), colour in zip(networks.items(), (CHIPS, DIGITAL, PERFECT), strict=False):
            sigma = np.array([line["sigma"] for line in net["lines"]])
            width = [abs(line["sampled"]["ci95"][1] / line["sampled"]["mean"] - 1) for line in net["lines"]]
            axes.errorbar(sigma, [line["ratio"] for line in net["lines"]], width, fmt="o-", ms=4, color=colour,
                          capsize=3, label=f"{kind}, moments")  # fmt: skip
            axes.plot(sigma, [line["ratio_linearised"] for line in net["lines"]], "s:", ms=4, color=colour,
                      label=f"{kind}, first order")  # fmt: skip
        axes.set(xscale="log", xlabel="std of a cell [full scale]", ylabel="predicted / sampled", title="Is it right?")
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def window(lines: list[dict[str, Any]]) -> bytes:
    """Mean squared error against one window of all weights."""
    lines = sorted(lines, key=lambda line: line["window"])
    with figure(6.4, 3.8) as (drawing, axes):
        shares = [line["window"] for line in lines]
        axes.plot(shares, [line["predicted"] for line in lines], color=CHIPS, label="predicted")
        axes.plot(shares, [line["linearised"] for line in lines], ":", color=CHIPS, label="first order")
        mean = np.array([line["sampled"]["mean"] for line in lines])
        bars = np.abs(np.array([line["sampled"]["ci95"] for line in lines]).T - mean)
        axes.errorbar(shares, mean, bars, fmt="o", ms=4, color=CHIPS, capsize=3, label="sampled chips")
        axes.set(xscale="log", yscale="log", xlabel="window [share of full scale]",
                 ylabel="mean squared error of logits", title="Error against the window")  # fmt: skip
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        axes.grid()
        axes.legend()
        return png(drawing)


def budget(record: dict[str, Any]) -> bytes:
    """What each layer adds at the shown sigma, for every network."""
    shown = record["config"]["study"]["sigma"]
    with figure(6.4, 3.8) as (drawing, axes):
        for i, (kind, net) in enumerate(record["networks"].items()):
            line = next(line for line in net["lines"] if line["sigma"] == shown)
            names = list(line["cells"])
            total = line["linearised"]
            places = np.arange(len(names)) + 0.4 * i - 0.2
            axes.barh(places, [100 * line["cells"][n] / total for n in names], 0.38, color=(CHIPS, DIGITAL)[i % 2],
                      label=kind)  # fmt: skip
            axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel="share of the mean squared error [%]", title="Error by layer (programming)")
        axes.grid(axis="x")
        axes.legend()
        return png(drawing)


def _by_choice(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["choice"], []).append(row)
    return found


def pareto(rows: list[dict[str, Any]]) -> bytes:
    """Error against power for every choice of windows."""
    with figure(6.4, 3.8) as (drawing, axes):
        for name, mine in _by_choice(rows).items():
            power = [row["power"] for row in mine]
            mean = np.array([row["sampled"]["mean"] for row in mine])
            bars = np.abs(np.array([row["sampled"]["ci95"] for row in mine]).T - mean)
            axes.plot(power, [row["predicted"] for row in mine], ":", color=COLOURS[name])
            axes.errorbar(power, mean, bars, fmt="o-", ms=4, capsize=3, color=COLOURS[name], label=name)
        axes.set(xscale="log", yscale="log", xlabel="power [g_max v_max²]", ylabel="mean squared error of logits",
                 title="Windows at equal power")  # fmt: skip
        axes.grid()
        axes.legend()
        return png(drawing)


def accuracy(rows: list[dict[str, Any]]) -> bytes:
    """Accuracy of the chips against power."""
    with figure(6.4, 3.8) as (drawing, axes):
        for name, mine in _by_choice(rows).items():
            mean = 100 * np.array([row["accuracy"]["mean"] for row in mine])
            bars = np.abs(100 * np.array([row["accuracy"]["ci95"] for row in mine]).T - mean)
            axes.errorbar([row["power"] for row in mine], mean, bars, fmt="o-", ms=4, capsize=3, color=COLOURS[name],
                          label=name)  # fmt: skip
        axes.set(
            xscale="log", xlabel="power [g_max v_max²]", ylabel="accuracy of a chip [%]", title="Accuracy against power"
        )
        axes.grid()
        axes.legend()
        return png(drawing)
