"""The section of an error budget on networks whose error is predicted to first order only."""

from html import escape
from typing import Any

from anaxon.report import html


def section(found: dict[str, Any]) -> list[str]:
    """Tables of `runs.error_delta.measured`, and what was left out; nothing where no network was asked for."""
    if not found["networks"] and not found["skipped"]:
        return []
    told = (
        "<p>The delta method follows any graph; here the state of a loop, attention and normalisation, for which "
        "there are no moments. Each input's error is the mean over its results; ratios are predicted over sampled "
        "errors, of the means over inputs, and of single inputs the least, the median and the largest.</p>"
    )
    left_out = "".join(f"<p>{escape(k)} is left out: {escape(why)}.</p>" for k, why in found["skipped"].items())
    tables = [part for kind, net in found["networks"].items() for part in (_lines(kind, net), _causes(net))]
    return ["<h2>By first order only: loops and attention</h2>", told, *tables, left_out]


def _lines(kind: str, net: dict[str, Any]) -> str:
    head = ["sigma", "of a pair", "first order", "sampled", "95 %", "ratio", "single inputs", "accuracy", "kurtosis",
            "seconds"]  # fmt: skip
    rows = []
    for x in net["lines"]:
        low, high = x["sampled"]["ci95"]
        single = " / ".join(f"{r:.2f}" for r in x["by_input"])
        errors = [f"{x['predicted']:.4g}", f"{x['sampled']['mean']:.4g}", f"[{low:.4g}, {high:.4g}]"]
        rest = [f"{x['ratio']:.3f}", single, html.percent(x["accuracy"]["mean"]), f"{x['kurtosis']:+.2f}"]
        rows.append([f"{x['sigma']:g}", f"{x['pair_sigma']:.2g}", *errors, *rest, f"{x['seconds']['linearised']:.3g}"])
    chips, seconds = net["speed"], net["lines"][0]["seconds"]
    said = (
        f"digital accuracy {net['test_accuracy']:.1%}; {net['inputs']} inputs are followed. ±2 % at the largest sigma "
        f"take {chips['chips']:.0f} chips, {chips['seconds']:.3g} s of our ensemble and {chips['naive']:.3g} s of a "
        f"loop over chips, compiling left out; the first order is compiled in {seconds['linearised_first']:.3g} s"
    )
    return f"<p><b>{escape(kind)}</b>, {said}</p>{html.card(html.table(head, rows, tuple(range(10))))}"


def _causes(net: dict[str, Any]) -> str:
    """Of the largest sigma."""
    line = net["lines"][-1]
    share = lambda v: html.percent(v / line["predicted"])  # noqa: E731
    rows = [[escape(p), share(line["cells"][p]), share(line["reads"][p])] for p in line["cells"]]
    rows.append(["all, mean shift (quantisation, saturation)", share(line["bias"]), ""])
    head = [f"layer, sigma {line['sigma']:g}", "programming", "reads (noise, rounding)"]
    return html.card(html.table(head, rows, (1, 2)))
