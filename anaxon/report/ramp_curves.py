"""Figures of a ramp design: transfer curves, threshold conventions, INL and DNL code by code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from anaxon.converter import ramp as nladc
from anaxon.report.style import BAND, CHIPS, DIGITAL, INK, MUTED, PERFECT, figure, png
from anaxon.runs.ramp_curves import ideal_output, output

Rows = dict[str, np.ndarray]
SCHEME_COLOURS = {"none": DIGITAL, "none, blind bias": "#e9a178", "one-point": CHIPS,
                  "one-point, sequential bias": "#61a5c2", "two-point": PERFECT}  # fmt: skip
INL_LABEL, DNL_LABEL = "INL [LSB of the output]", "DNL [ideal steps]"


def shown_design(config: dict[str, Any], name: str, **changes: Any) -> nladc.Design:
    """The design of one activation at the resolution that the figures show."""
    columns = config["columns"]
    kwargs = {"convention": columns["convention"], "reconstruction": columns["reconstruction"], **changes}
    return nladc.design(name, columns["shown"], **kwargs)


def transfer(record: dict[str, Any], rows: Rows) -> bytes:
    """Output over input of one ramp: the function, the ideal ramp, a programmed one, the same one calibrated."""
    names, config = record["config"]["columns"]["activations"], record["config"]
    with _panels(len(names), 3.1) as (drawing, axes):
        for ax, name in zip(axes, names, strict=False):
            design = shown_design(config, name)
            levels, label = np.asarray(design.thresholds), f"{name}/{config['columns']['shown']}"
            z = np.linspace(*_span(levels), 4001)
            ax.plot(z, ideal_output(design, z), color=BAND, lw=4, label="ideal ramp")
            ax.plot(z, nladc.find(name).value(z), color=INK, lw=0.8, label="the function")
            one = _typical(rows[f"max_inl/{label}/none"])
            for scheme, words in (("none", "one ramp as programmed"), ("one-point", "the same, one-point calibration")):
                y = output(design, z, rows[f"levels/{label}/{scheme}"][one])
                ax.plot(z, y, color=SCHEME_COLOURS[scheme], lw=0.9, label=words)
            ax.set(xlabel="pre-activation z", ylabel="output", title=name)
            ax.grid()
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8.5)
        return png(drawing)


@contextmanager
def _panels(count: int, height: float) -> Iterator[tuple[Any, Any]]:
    """Two panels a row; an odd last one stays empty."""
    with figure(9.6, height * -(-count // 2) + 0.4, nrows=-(-count // 2), ncols=2, squeeze=False) as (drawing, axes):
        for ax in axes.flat[count:]:
            ax.set_visible(False)
        yield drawing, axes.flat


def _span(levels: np.ndarray) -> tuple[float, float]:
    margin = 0.12 * (levels[-1] - levels[0])
    return float(levels[0] - margin), float(levels[-1] + margin)


def _typical(worst: np.ndarray) -> int:
    """The ramp whose largest |INL| is at the 75th percentile: neither lucky nor a monster."""
    return int(np.abs(worst - np.quantile(worst, 0.75)).argmin())


def conventions(record: dict[str, Any], rows: Rows) -> bytes:
    """Quantisation error of the three threshold conventions over the input, first activation."""
    del rows
    name = record["config"]["columns"]["activations"][0]
    designs = {c: shown_design(record["config"], name, convention=c) for c in ("edges", "centres", "range")}
    ends = 1.35 * max(float(np.abs(d.thresholds).max()) for d in designs.values())
    z = np.linspace(-ends, ends, 8001)
    with figure(9.6, 3.2, ncols=3, sharex=True, sharey=True) as (drawing, axes):
        for ax, (convention, design) in zip(axes, designs.items(), strict=True):
            error = (ideal_output(design, z) - nladc.find(name).value(z)) / float(design.output_step)
            ax.axhspan(-0.5, 0.5, color=BAND, alpha=0.35, lw=0)
            ax.plot(z, error, color=CHIPS, lw=0.8)
            ax.set(xlabel="pre-activation z", title=f"{convention}: {np.size(design.thresholds)} thresholds")
            ax.grid()
        axes[0].set_ylabel("error of the output [LSB]")
        return png(drawing)


def inl(record: dict[str, Any], rows: Rows) -> bytes:
    """INL code by code, first activation: 90 % of the ramps, mean of |INL| and one ramp, for every calibration."""
    columns = record["config"]["columns"]
    name, bits = columns["activations"][0], columns["shown"]
    schemes = [s for s in SCHEME_COLOURS if f"inl/{name}/{bits}/{s}" in rows]
    one = _typical(rows[f"max_inl/{name}/{bits}/none"])
    with figure(9.6, 6.4, nrows=2, ncols=3, sharex=True, sharey=True) as (drawing, axes):
        for ax, scheme in zip(axes.flat, schemes, strict=False):
            _band(ax, rows[f"inl/{name}/{bits}/{scheme}"], one, SCHEME_COLOURS[scheme], columns["limit"])
            ax.set(title=scheme)
        axes.flat[-1].set_visible(False)
        axes[0, 0].set_ylabel(INL_LABEL)
        axes[1, 0].set_ylabel(INL_LABEL)
        for ax in axes[1]:
            ax.set_xlabel("threshold k")
        axes[0, 2].xaxis.set_tick_params(labelbottom=True)
        axes[0, 2].set_xlabel("threshold k")
        drawing.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8.5)
        return png(drawing)


def _band(ax: Any, values: np.ndarray, one: int, colour: str, limit: float | None) -> None:
    k = np.arange(1, values.shape[1] + 1)
    ax.fill_between(k, *np.quantile(values, (0.05, 0.95), axis=0), color=colour, alpha=0.25, lw=0,
                    label="5 to 95 % of the ramps")  # fmt: skip
    ax.plot(k, np.abs(values).mean(0), color=colour, lw=1.8, label="mean of the absolute value")
    ax.plot(k, values[one], color=INK, lw=0.9, marker=".", ms=3, label="one ramp")
    if limit is not None:
        for y in (-limit, limit):
            ax.axhline(y, color=MUTED, ls="--", lw=0.9, label=f"± {limit:g} LSB" if y > 0 else None)
    ax.grid(axis="y")


def dnl(record: dict[str, Any], rows: Rows) -> bytes:
    """DNL step by step, first activation; moving all levels alike does not change it."""
    columns = record["config"]["columns"]
    name, bits = columns["activations"][0], columns["shown"]
    one = _typical(rows[f"max_inl/{name}/{bits}/none"])
    with figure(9.6, 3.3, ncols=2, sharey=True) as (drawing, axes):
        for ax, (scheme, words) in zip(
            axes, (("none", "none, and one-point"), ("two-point", "two-point")), strict=True
        ):
            _band(ax, rows[f"dnl/{name}/{bits}/{scheme}"], one, SCHEME_COLOURS[scheme], None)
            ax.set(title=f"calibration: {words}", xlabel="step between thresholds k and k + 1")
        axes[0].set_ylabel(DNL_LABEL)
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)
