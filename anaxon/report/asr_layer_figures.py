"""Figures of layers: column values against the ADC's range, saturation and error by condition."""

from typing import Any

import numpy as np

from anaxon.report.style import CHIPS, DIGITAL, MUTED, figure, png

Rows = dict[str, np.ndarray]
LEAST = 1e-5  # smallest share that is drawn
Entries = list[dict[str, Any]]


def kind_of(path: str) -> str:
    """`attention/linear_pos` of `blocks/0/attention/linear_pos/kernel`."""
    parts = [p for p in path.removesuffix("/kernel").split("/") if p != "blocks"]
    return "/".join(parts[1:] if parts[0].isdigit() else parts)


def _by_kind(paths: list[str], encodings: set[str]) -> dict[str, list[str]]:
    """Paths by kind of layer, those of encodings first."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths, key=lambda p: p not in encodings):
        found.setdefault(kind_of(path), []).append(path)
    return found


def columns(record: dict[str, Any], rows: Rows, bits: int) -> bytes | None:
    """Histograms of column values by kind of layer, a curve a block, with the own and the chosen ranges."""
    entries = [x for x in record["layers"] if x["bits"] == bits]
    condition = _shown(record, rows, bits)
    if condition is None:
        return None
    start = f"histogram/{bits}/{condition.replace('/', '_')}/"
    seen = {name.removeprefix(start): np.asarray(v) for name, v in rows.items() if name.startswith(start)}
    kinds = _by_kind(list(seen), {x["path"] for x in entries if x["encodings"]})
    chosen = _chosen(record, entries)
    across = min(4, len(kinds))
    down = -(-len(kinds) // across)
    size = (2.9 * across + 0.6, 2.2 * down + 0.9)
    with figure(*size, nrows=down, ncols=across, sharex=True, sharey=True, squeeze=False) as (drawing, axes):
        for i, (kind, paths) in enumerate(kinds.items()):
            lost = [x["saturation"] for x in entries if x["condition"] == condition and x["path"] in paths]
            axes.flat[i].set_title(f"{kind}\n{_percent(lost)} saturated", fontsize=8.5)
            _draw_columns(axes.flat[i], [seen[p] for p in paths], rows["histogram_edges"],
                          [r for p in paths for r in chosen.get(p, [])])  # fmt: skip
        for ax in axes.flat[len(kinds) :]:
            ax.set_visible(False)
        drawing.supxlabel("column value / ADC range", fontsize=9.5)
        drawing.supylabel("share of column values in a bin", fontsize=9.5)
        drawing.suptitle(f"{bits}-bit weights, condition {condition}", fontsize=11, fontweight="bold")
        return png(drawing)


def _shown(record: dict[str, Any], rows: Rows, bits: int) -> str | None:
    """The default condition, or the first one of equal bits, whose histograms have the hardware's own unit."""
    names = [c["condition"] for c in record["conditions"] if c["bits"] == bits and c["equal_bits"]]
    ordered = [*(n for n in names if n == "default"), *names]
    kept = (n for n in ordered if any(k.startswith(f"histogram/{bits}/{n.replace('/', '_')}/") for k in rows))
    return next(kept, None)


def _chosen(record: dict[str, Any], entries: Entries) -> dict[str, list[float]]:
    """Ranges that the first automatic condition chose, by path, in units of the hardware's own."""
    adc = (record["config"]["hardware"].get("resolved") or {}).get("adc") or {}
    own = adc.get("full_scale")
    automatic = [c["condition"] for c in record["conditions"] if c["automatic"] and c["equal_bits"]]
    if not own or not automatic:
        return {}
    return {x["path"]: [v / own for v in x["full_scale"] if v] for x in entries if x["condition"] == automatic[0]}


def _draw_columns(ax: Any, shares: list[np.ndarray], edges: np.ndarray, chosen: list[float]) -> None:
    for i, share in enumerate(shares):
        values = np.where(share > 0, share, np.nan)
        ax.stairs(np.maximum(values, LEAST), edges, color=CHIPS, alpha=1 - 0.7 * i / max(1, len(shares) - 1), lw=1)
    for side in (-1, 1):
        ax.axvline(side, color=DIGITAL, lw=1.4)
        for value in {min(chosen), max(chosen)} if chosen else ():
            if value < edges[-1]:
                ax.axvline(side * value, color=MUTED, lw=1, ls="--")
    ax.set(yscale="log", ylim=(LEAST, 1.0))
    ax.grid()


def _percent(shares: list[float | None]) -> str:
    """The mean of what is known: `12 %`, or `none`."""
    known = [s for s in shares if s is not None and np.isfinite(s)]
    mean = 100 * float(np.mean(known)) if known else 0.0
    return f"{mean:.2g} %" if mean >= 0.001 else "none" if mean == 0 else "< 0.001 %"


def saturation(record: dict[str, Any], bits: int) -> bytes | None:
    """Saturated conversions of every layer, and of its worst array, by condition."""
    panels = {"saturation": "saturated conversions", "worst_array": "saturated in the worst array"}
    return _maps(record, bits, panels, (LEAST, 1.0), "share")


def arrays(record: dict[str, Any], rows: Rows, bits: int) -> bytes | None:
    """Saturation of every physical array that encodings pass: a row for each condition, coloured by slice."""
    names = list(dict.fromkeys(c["condition"] for c in record["conditions"] if c["bits"] == bits))
    paths = {x["path"] for x in record["layers"] if x["encodings"]}
    found = {n: v for n in names if (v := _of_arrays(rows, bits, n, paths)) is not None}
    if not found:
        return None
    slices = max(len(v) for v in found.values())
    with figure(6.4, 1.5 + 0.45 * len(found)) as (drawing, ax):
        for s in range(slices):
            colour = _shade(s, slices)
            for place, values in enumerate(found.values()):
                mine = np.maximum(values[s], LEAST) if s < len(values) else np.zeros(0)
                level = place + 0.6 * ((s + 0.5) / slices - 0.5)
                ax.plot(mine, np.full(mine.size, level), ".", ms=4, color=colour, alpha=0.7,
                        label=f"slice {s}" if place == 0 else None)  # fmt: skip
        ax.set(xscale="log", xlim=(LEAST / 1.5, 1.5), xlabel="share of an array's conversions beyond the range",
               ylim=(len(found) - 0.5, -0.5), title=f"Arrays behind the encodings, {bits}-bit weights")  # fmt: skip
        ax.set_yticks(range(len(found)), list(found))
        ax.grid(axis="x")
        drawing.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
        return png(drawing)


def _shade(index: int, count: int) -> Any:
    import matplotlib

    return matplotlib.colormaps["viridis"](0.1 + 0.75 * index / max(1, count - 1))


def _of_arrays(rows: Rows, bits: int, condition: str, paths: set[str]) -> np.ndarray | None:
    """Saturation by array of all these layers, `[slices, arrays]`."""
    start = f"saturation/{bits}/{condition.replace('/', '_')}/"
    seen = [np.asarray(v) for k, v in rows.items() if k.startswith(start) and k.removeprefix(start) in paths]
    return np.concatenate([v.reshape(len(v), -1) for v in seen], axis=1) if seen else None


def error(record: dict[str, Any], bits: int) -> bytes | None:
    """Relative error of every layer by condition."""
    return _maps(record, bits, {"error": "relative error of the products"}, (0.02, 1.0), "error")


def _maps(record: dict[str, Any], bits: int, panels: dict[str, str], limits: tuple[float, float], label: str) -> Any:
    from matplotlib.colors import LogNorm

    entries = [x for x in record["layers"] if x["bits"] == bits]
    names = list(dict.fromkeys(x["condition"] for x in entries))
    kinds = _by_kind(list(dict.fromkeys(x["path"] for x in entries)), {x["path"] for x in entries if x["encodings"]})
    paths = [p for same in kinds.values() for p in same]
    if not paths:
        return None
    height = 1.6 + len(panels) * (0.5 + 0.25 * len(names))
    with figure(10.5, height, nrows=len(panels), sharex=True, squeeze=False) as (drawing, axes):
        for ax, (field, title) in zip(axes.flat, panels.items(), strict=True):
            values = _table(entries, names, paths, field)
            ax.set_facecolor("#d5dade")  # a layer that does not convert
            ax.imshow(np.where(values == 0, 0.0, np.nan), cmap="gray_r", vmin=0, vmax=1, aspect="auto")
            image = ax.imshow(np.where(values > 0, values, np.nan), norm=LogNorm(*limits), cmap="YlOrRd",
                              aspect="auto", interpolation="nearest")  # fmt: skip
            _label(ax, names, kinds)
            ax.set_title(f"{title}, {bits}-bit weights")
            drawing.colorbar(image, ax=ax, label=label, pad=0.01)
        return png(drawing)


def _table(entries: Entries, names: list[str], paths: list[str], field: str) -> np.ndarray:
    """Values `[conditions, layers]`, NaN for what is not there."""
    values = np.full((len(names), len(paths)), np.nan)
    for x in entries:
        values[names.index(x["condition"]), paths.index(x["path"])] = np.nan if x[field] is None else x[field]
    return values


def _label(ax: Any, names: list[str], kinds: dict[str, list[str]]) -> None:
    ends = np.cumsum([len(same) for same in kinds.values()])
    starts = ends - [len(same) for same in kinds.values()]
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks((starts + ends - 1) / 2, list(kinds), rotation=30, ha="right", fontsize=8)
    for end in ends[:-1]:
        ax.axvline(end - 0.5, color="white", lw=2)
