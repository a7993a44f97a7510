"""Figures of a ramp design: yield, redundancy and single faults."""

from typing import Any

import numpy as np

from anaxon.report.ramp_curves import SCHEME_COLOURS, Rows
from anaxon.report.style import BAND, CHIPS, DIGITAL, MUTED, PERFECT, figure, png
from anaxon.statistics import wilson


def worst_inl(record: dict[str, Any], rows: Rows) -> bytes:
    """Largest |INL| of a ramp for every activation and calibration, shown resolution."""
    columns = record["config"]["columns"]
    names, bits, schemes = columns["activations"], columns["shown"], list(SCHEME_COLOURS)
    with figure(9.6, 3.6) as (drawing, axes):
        for j, scheme in enumerate(schemes):
            x = np.arange(len(names)) + 0.14 * (j - (len(schemes) - 1) / 2)
            values = [rows[f"max_inl/{name}/{bits}/{scheme}"] for name in names]
            low, high = np.quantile(values, (0.05, 0.95), axis=1)
            axes.vlines(x, low, high, color=SCHEME_COLOURS[scheme], lw=5, alpha=0.45)
            axes.plot(x, np.mean(values, 1), "o", color=SCHEME_COLOURS[scheme], ms=6, label=scheme)
        axes.axhline(columns["limit"], color=MUTED, ls="--", lw=0.9, label=f"limit {columns['limit']:g} LSB")
        axes.set_xticks(range(len(names)), names)
        axes.set_ylim(0)
        axes.set(ylabel="largest |INL| [LSB of the output]",
                 title=f"{bits} bit: mean (dot) and 5 to 95 % of the ramps (bar)")  # fmt: skip
        axes.grid(axis="y")
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8.5)
        return png(drawing)


def yields(record: dict[str, Any], rows: Rows) -> bytes:
    """Share of good ramps against sigma, a panel a resolution."""
    config = record["config"]
    bits, sigma = config["columns"]["bits"], 1e6 * np.asarray(config["sweep"]["sigma"])
    order = np.argsort(sigma)
    with figure(9.6, 3.0, ncols=len(bits), sharey=True, squeeze=False) as (drawing, axes):
        for ax, width in zip(axes.flat, bits, strict=True):
            for scheme, colour in SCHEME_COLOURS.items():
                if (label := f"yield/{width}/{scheme}") in rows:
                    _yield_line(ax, sigma[order], rows[label][:, order], config["columns"]["limit"], colour, scheme)
            ax.axvline(1e6 * config["devices"]["sigma"], color=MUTED, ls="--", lw=0.9, label="sigma of the devices")
            ax.set(xlabel="sigma [µS]", title=f"{width} bit", ylim=(-3, 103), xscale="log")
            ax.set_xticks(ticks := [t for t in (0.01, 0.1, 1, 10) if sigma.min() <= t <= sigma.max()], ticks)
            ax.minorticks_off()
            ax.grid()
        axes.flat[0].set_ylabel("ramps within the limit [%]")
        drawing.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8.5)
        return png(drawing)


def _yield_line(ax: Any, sigma: np.ndarray, worst: np.ndarray, limit: float, colour: str, label: str) -> None:
    share = (worst < limit).mean(0)
    low, high = np.transpose([wilson(float(s), len(worst)) for s in share])
    ax.fill_between(sigma, 100 * low, 100 * high, color=colour, alpha=0.3, lw=0)
    ax.plot(sigma, 100 * share, color=colour, marker="o", ms=3, label=label)


def copies(record: dict[str, Any], rows: Rows) -> bytes:
    """Largest |INL| of the best of R columns: mean and 5 to 95 % of the arrays."""
    config = record["config"]
    counts = sorted(config["sweep"]["copies"])
    with figure(4.7, 3.4) as (drawing, axes):
        for scheme in ("none", "one-point"):
            values = [rows[f"copies/{count}/{scheme}"] for count in counts]
            low, high = np.quantile(values, (0.05, 0.95), axis=1)
            axes.fill_between(counts, low, high, color=SCHEME_COLOURS[scheme], alpha=0.2, lw=0)
            axes.plot(
                counts, np.mean(values, 1), "o-", ms=4, color=SCHEME_COLOURS[scheme], label=f"calibration: {scheme}"
            )
        axes.axhline(config["columns"]["limit"], color=MUTED, ls="--", lw=0.9)
        axes.set(xlabel="columns programmed, the best is kept", ylabel="largest |INL| [LSB of the output]",
                 title="Redundant columns", xscale="log", ylim=(0, None))  # fmt: skip
        axes.set_xticks(counts, counts)
        axes.minorticks_off()
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def dead(record: dict[str, Any], rows: Rows) -> bytes:
    """One device stuck at OFF: largest |INL| by its place in the ramp, before and after calibration."""
    del rows
    found = record["faults"]["dead"]
    with figure(4.7, 3.4) as (drawing, axes):
        axes.plot(found["step"], found["before"], "o-", ms=3.5, color=DIGITAL, label="as programmed")
        axes.plot(found["step"], found["after"], "o-", ms=3.5, color=CHIPS, label="one-point calibration")
        axes.set(xlabel="ramp device stuck at OFF", ylabel="largest |INL| [LSB of the output]",
                 title="One dead device", ylim=(0, None))  # fmt: skip
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def v_read(record: dict[str, Any], rows: Rows) -> bytes:
    """Change of the code with the read voltage: a ramp that follows it and a fixed reference."""
    del rows
    found = record["faults"]["v_read"]
    with figure(4.7, 3.4) as (drawing, axes):
        ratio = np.asarray(found["v_ratio"])
        order = np.argsort(ratio)
        for kind, colour in (("fixed", DIGITAL), ("tracking", CHIPS)):
            axes.plot(ratio[order], np.asarray(found[kind]["max"])[order], "o-", ms=3.5, color=colour,
                      label=f"{kind}: largest")  # fmt: skip
            axes.plot(ratio[order], np.asarray(found[kind]["mean"])[order], "--", color=colour, label=f"{kind}: mean")
        axes.set(xlabel="read voltage / nominal", ylabel="change of the code", title="Read voltage", ylim=(-0.1, None))
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def gain(record: dict[str, Any], rows: Rows) -> bytes:
    """INL of a ramp whose gain is not that of the dot product."""
    del rows
    found = record["faults"]["gain"]
    order = np.argsort(found["kappa"])
    with figure(4.7, 3.4) as (drawing, axes):
        for kind, colour in (("max", PERFECT), ("mean", BAND)):
            words = "largest" if kind == "max" else "mean"
            axes.plot(np.asarray(found["kappa"])[order], np.asarray(found[kind])[order], "o-", ms=3.5, color=colour,
                      label=f"{words} |INL|")  # fmt: skip
        axes.set(xlabel="gain of the ramp / gain of the dot product", ylabel="|INL| [LSB of the output]",
                 title="Gain error", ylim=(0, None))  # fmt: skip
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)
