"""The figures of a speech recognition run: word errors by condition, KL beside them, and the trainings."""

from typing import Any

import numpy as np

from anaxon.report import asr_layer_figures as of_layers
from anaxon.report.asr_tables import by_bits
from anaxon.report.style import BAND, CHIPS, DIGITAL, MUTED, figure, png

Rows = dict[str, np.ndarray]
MARKERS = "osD^vP*X"


def figures(record: dict[str, Any], rows: Rows) -> dict[str, bytes]:
    """PNG files by name, in the order of the page; what the run does not have is left out."""
    drawn = {"wer": wer(record, rows)}
    for bits in by_bits(record["layers"]):
        drawn[f"columns_{bits}"] = of_layers.columns(record, rows, bits)
        drawn[f"saturation_{bits}"] = of_layers.saturation(record, bits)
        drawn[f"arrays_{bits}"] = of_layers.arrays(record, rows, bits)
        drawn[f"error_{bits}"] = of_layers.error(record, bits)
    drawn |= {"kl": kl(record), "losses": losses(record)}
    return {name: image for name, image in drawn.items() if image is not None}


def _percent(values: Any) -> np.ndarray:
    """In percent, NaN for what is not known or endless."""
    found = 100 * np.array(values, dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def _bar(estimate: dict[str, Any]) -> np.ndarray:
    """Distances of the ends from the mean in percent `[2, 1]`, 0 where there is no interval."""
    return np.nan_to_num(np.abs(_percent(estimate["ci95"]) - _percent(estimate["mean"])))[:, None]


def wer(record: dict[str, Any], rows: Rows) -> bytes | None:
    """WER by condition with intervals and single chips; a panel for each resolution, a line for the digital network."""
    found = by_bits(record["conditions"])
    if not found:
        return None
    names = list(dict.fromkeys(c["condition"] for c in record["conditions"]))
    across = min(3, len(found))
    down = -(-len(found) // across)
    size = (max(6.4, 1.6 + 3.4 * across), down * (1.3 + 0.42 * len(names)))
    with figure(*size, nrows=down, ncols=across, sharey=True, squeeze=False) as (drawing, axes):
        for ax, (bits, mine) in zip(axes.flat, found.items(), strict=False):
            for c in mine:
                _draw_condition(ax, names.index(c["condition"]), c)
            _draw_digital(ax, rows, bits, names)
            ax.set(title=f"{bits}-bit weights", xlabel="word error rate [%]", ylim=(len(names) - 0.5, -0.5))
            ax.set_yticks(range(len(names)), names)
            ax.grid(axis="x")
        for ax in axes.flat[len(found) :]:
            ax.set_visible(False)
        drawing.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def _draw_condition(ax: Any, place: int, c: dict[str, Any]) -> None:
    chips = [_percent(seed) for seed in c["by_chip"]]  # the seeds of a condition lie below one another
    levels = place + 0.22 + 0.16 * np.linspace(-1, 1, len(chips)) * (len(chips) > 1)
    labels = {"chips": "single chip", "mean": "mean of the chips, 95 %"} if place == 0 else {}
    for level, values in zip(levels, chips, strict=True):
        ax.plot(values, np.full(len(values), level), ".", color=BAND, ms=5, label=labels.pop("chips", None))
    ax.errorbar(_percent([c["wer"]["mean"]]), [place - 0.12], xerr=_bar(c["wer"]), fmt="o", color=CHIPS, ms=6,
                elinewidth=1.8, capsize=3, label=labels.get("mean"))  # fmt: skip


def _draw_digital(ax: Any, rows: Rows, bits: int, names: list[str]) -> None:
    """A line across for the network as configured; across its own condition for one that was trained otherwise."""
    words = rows["words"].sum()
    for key, errors in rows.items():
        start, _, kind = key.rpartition("/")
        if start != f"digital/{bits}":
            continue
        value = 100 * errors.sum() / (words * len(errors))
        if not kind:
            ax.axvline(value, color=DIGITAL, lw=1.5, label="digital, quantised")
        elif kind in names:
            place = names.index(kind)
            ax.plot([value, value], [place - 0.45, place + 0.45], color=DIGITAL, lw=3)


def kl(record: dict[str, Any]) -> bytes | None:
    """KL to the digital posteriors against WER: a colour for each condition, a marker for each resolution."""
    shown = [c for c in record["conditions"] if (c["kl"]["mean"] or 0) > 0]
    if not shown:
        return None
    names = list(dict.fromkeys(c["condition"] for c in record["conditions"]))
    bits = list(by_bits(record["conditions"]))
    with figure(7.0, 5.0) as (drawing, ax):
        for c in shown:
            xerr = _bar(c["kl"]) * 10  # in mnats: 1000 instead of 100
            ax.errorbar([1e3 * c["kl"]["mean"]], _percent([c["wer"]["mean"]]), xerr=xerr, yerr=_bar(c["wer"]),
                        fmt=_marker(bits, c["bits"]), color=_colour(names, c["condition"]), ms=6,
                        elinewidth=0.8)  # fmt: skip
        ax.set(xscale="log", xlabel="KL to the digital posteriors [mnats/frame]", ylabel="word error rate [%]",
               title="Posteriors and words")  # fmt: skip
        for axis in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
            axis("{x:g}")
        ax.tick_params(axis="x", which="minor", labelsize=7.5)
        ax.grid()
        _explain(ax, names, bits)
        drawing.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
        return png(drawing)


def _colour(names: list[str], name: str) -> Any:
    import matplotlib

    return matplotlib.colormaps["tab20"](names.index(name) % 20)


def _marker(bits: list[int], which: int) -> str:
    return MARKERS[bits.index(which) % len(MARKERS)]


def _explain(ax: Any, names: list[str], bits: list[int]) -> None:
    """Entries of the legend: conditions by colour, resolutions by marker where there are several."""
    for name in names:
        ax.plot([], [], "s", color=_colour(names, name), label=name)
    for b in bits if len(bits) > 1 else ():
        ax.plot([], [], _marker(bits, b), color=MUTED, label=f"{b}-bit weights")


def losses(record: dict[str, Any]) -> bytes | None:
    """Losses of the float trainings and of the quantised ones that follow."""
    import matplotlib

    networks = record["networks"]
    if not networks:
        return None
    first = networks[0]["bits"]
    floats = [n for n in networks if n["bits"] == first]  # the same float networks at all resolutions
    bits = sorted({n["bits"] for n in networks})
    shades = matplotlib.colormaps["viridis"](np.linspace(0.1, 0.85, len(bits)))
    with figure(7.0, 3.9, ncols=2) as (drawing, axes):
        for n in floats:
            label = n["kind"] or "as configured"
            _lines(axes[0], n["float_loss"], label, DIGITAL if not n["kind"] else MUTED, "-")
        for n in networks:
            label = f"{n['bits']} bits{n['kind'] and ', ' + n['kind']}"
            _lines(axes[1], n["quantised_loss"], label, shades[bits.index(n["bits"])], ":" if n["kind"] else "-")
        for ax, title in zip(axes, ("Float", "Quantised"), strict=True):
            ax.set(title=title, xlabel="epoch", ylabel="CTC loss [nats/token]")
            ax.grid()
            ax.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return png(drawing)


def _lines(ax: Any, seeds: Any, label: str, colour: Any, dashes: str) -> None:
    for i, loss in enumerate(seeds):
        values = _percent(loss) / 100
        ax.plot(1 + np.arange(len(values)), values, dashes, marker=".", color=colour, lw=1.3,
                label=label if i == 0 else None)  # fmt: skip
