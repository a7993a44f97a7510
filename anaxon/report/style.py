"""How figures and pages look."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e3e8ee"
CHIPS, DIGITAL, PERFECT, BAND = "#2a6f97", "#c8553d", "#8a6d9e", "#a9c9dd"
PARTS = {"adc": "#2a6f97", "dac": "#61a5c2", "lines": "#a9d6e5", "cells": "#c8553d", "digital": "#e9c46a",
         "buffers": "#8a6d9e"}  # fmt: skip

_RC = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "text.color": INK,
    "font.size": 9.5,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


@contextmanager
def figure(width: float, height: float, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes in the house style; no display is needed and no global state is left behind."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing, drawing.subplots(**kwargs)


def outlined() -> list[Any]:
    """Path effects that keep a line visible across bars."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=3.6, foreground="white"), Normal()]


def png(drawing: Any) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", metadata={"Software": "anaxon"})
    return buffer.getvalue()


CSS = """
:root { --ink:#1f2933; --muted:#5b6773; --line:#e3e8ee; --paper:#ffffff; --ground:#f5f7f9; --blue:#2a6f97; }
* { box-sizing: border-box; }
body { margin:0; background:var(--ground); color:var(--ink); 
  font:15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width:1080px; margin:0 auto; padding:2.2rem 1.2rem 4rem; }
h1 { font-size:1.75rem; line-height:1.25; margin:0 0 .3rem; }
h2 { font-size:1.2rem; margin:2.4rem 0 .7rem; }
p.lead { color:var(--muted); margin:.2rem 0 1.4rem; max-width:75ch; }
p { max-width:80ch; }
.tiles { display:grid; grid-template-columns:repeat(4,1fr); gap:.9rem; }
.tile, .card { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:1rem 1.1rem; }
.tile .name { color:var(--muted); font-size:.84rem; }
.tile .value { font-size:1.75rem; font-weight:650; letter-spacing:-.01em; font-variant-numeric:tabular-nums; }
.tile .note { color:var(--muted); font-size:.82rem; line-height:1.4; }
.figures { display:grid; grid-template-columns:1fr 1fr; gap:.9rem; }
figure { margin:0; } figure img { width:100%; height:auto; display:block; }
figcaption { color:var(--muted); font-size:.84rem; line-height:1.45; margin-top:.5rem; }
.wide { grid-column:1/-1; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:.89rem; font-variant-numeric:tabular-nums; }
th { text-align:left; color:var(--muted); font-weight:600; border-bottom:1px solid var(--ink); }
td, th { padding:.38rem .8rem .38rem 0; vertical-align:top; } td { border-bottom:1px solid var(--line); }
td.num, th.num { text-align:right; white-space:nowrap; }
code, pre { font:.84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background:var(--paper); border:1px solid var(--line); border-radius:8px; padding:.8rem; overflow-x:auto; }
.warn { border-left:4px solid #c8553d; background:#fff6f2; padding:.8rem 1rem; border-radius:0 8px 8px 0; }
.warn p { margin:.2rem 0; }
details { margin-top:.8rem; } summary { cursor:pointer; color:var(--blue); }
@media print { body { background:#fff; } .tile, .card { break-inside:avoid; } }
@media (max-width:860px) { .tiles { grid-template-columns:1fr 1fr; } .figures { grid-template-columns:1fr; } }
"""
