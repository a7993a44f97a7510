"""Sections of an error budget: causes, power, narrow windows, and who is faster; predicted beside sampled."""

from html import escape
from typing import Any

from anaxon.report import html


def interval(estimate: dict[str, Any], digits: str = ".4g") -> list[str]:
    """Mean and 95 % interval, as two cells of a table."""
    low, high = estimate["ci95"]
    return [f"{estimate['mean']:{digits}}", f"[{low:{digits}}, {high:{digits}}]"]


def causes(found: dict[str, Any], config: dict[str, Any], sigma: float) -> str:
    """By cause and layer, with all causes active, each beside chips on which it is active alone."""
    with_all = config["causes"]
    told = (
        f"<p>The first network with weights of {with_all['weight_bits']} bits, inputs of {with_all['dac_bits']} bits, "
        f"programming of {sigma:g} and reads of {with_all['read_sigma']:g} of full scale. Predicted, to first order, "
        "is each cause's part of the mean squared error where all are active; sampled are chips on which the cause is "
        "active alone, the others being off. Parts add up where errors are small.</p>"
    )
    head = ["cause", "predicted", "share", "sampled alone", "95 %", "predicted / sampled"]
    return told + html.card(html.table(head, cause_rows(found), (1, 2, 3, 4, 5)))


def cause_rows(found: dict[str, Any]) -> list[list[str]]:
    """Rows of that table."""
    predicted, sampled = found["predicted"], found["sampled"]
    rows = []
    for name in named_causes(found):
        share = html.percent(predicted[name] / predicted["all"])
        cells = [
            f"{predicted[name]:.4g}",
            share,
            *interval(sampled[name]),
            ratio(predicted[name], sampled[name]["mean"]),
        ]
        rows.append([escape(TITLES.get(name, name.replace("/", ", ", 1))), *cells])
    return rows


TITLES = {"programming": "programming, all layers", "reads": "reads, all layers",
          "quantisation": "quantisation (mean shift)", "all": "all causes together"}  # fmt: skip


def named_causes(found: dict[str, Any]) -> list[str]:
    """All causes, each followed by its layers."""
    by_layer = [name for kind in ("programming", "reads") for name in (kind, *(f"{kind}/{p}" for p in found["sites"]))]
    return [*by_layer, "quantisation", "all"]


def ratio(predicted: float, sampled: float) -> str:
    """Of two numbers, the second of which may be 0."""
    return f"{predicted / sampled:.3f}" if sampled > 0 else ""


def power(kind: str, found: dict[str, Any], sigma: float) -> str:
    """Of every layer: cells and amplifiers, expected over chips and measured on some."""
    head = ["layer", "cells, predicted", "sampled", "95 %", "amplifiers, predicted", "sampled", "95 %"]
    rows = [[escape(p), *(x for part in ("cells", "amplifiers") for x in power_cells(line[part]))]
            for p, line in found.items()]  # fmt: skip
    return f"<p><b>{escape(kind)}</b>, sigma {sigma:g}</p>{html.card(html.table(head, rows, (1, 2, 3, 4, 5, 6)))}"


def power_cells(part: dict[str, Any]) -> list[str]:
    """Predicted, sampled, interval."""
    return [f"{part['predicted']:.4g}", *interval(part["sampled"], ".5g")]


def narrow(lines: list[dict[str, Any]], sigma: float) -> str:
    """Error against one window of all weights."""
    head = ["window", "predicted", "first order", "sampled", "95 %", "ratio", "ratio, first order", "kurtosis"]
    rows = [[f"{x['window']:g}", f"{x['predicted']:.4g}", f"{x['linearised']:.4g}", *interval(x["sampled"]),
             f"{x['ratio']:.3f}", f"{x['ratio_linearised']:.3f}",
             f"{x['kurtosis']:+.2f}{'' if x['trusted'] else ' <b>not trusted</b>'}"] for x in lines]  # fmt: skip
    told = (
        f"<p>One window for all weights of the first network, at sigma {sigma:g}: cells deviate by a share of full "
        "scale whatever of it is used, so that half the window is twice the noise.</p>"
    )
    return told + html.card(html.table(head, rows, tuple(range(8))))


def verdict(kind: str, seconds: dict[str, float], chips: dict[str, float]) -> str:
    """Who is faster, in words, from the seconds measured; compiling is counted apart.

    Args:
      kind: the network.
      seconds: of predicting, `predict` and `linearised`, and with compiling `predict_first` and `linearised_first`.
      chips: of sampling, as `seconds_to_sample`.
    """
    parts = []
    for key, name in (("predict", "moments"), ("linearised", "first order")):
        if key not in seconds:
            continue
        alone = _faster(name, seconds[key], chips["seconds"])
        both = _faster(name, seconds[f"{key}_first"], chips["seconds"] + chips["first"])
        parts.append(f"against {name}, {alone}; with compiling, {both}")
    return f"{kind}: {'. And '.join(parts)}."


def _faster(name: str, predicted: float, sampled: float) -> str:
    by = max(predicted, sampled) / min(predicted, sampled)
    who = "sampling wins" if sampled < predicted else f"{name} wins"
    return f"{who}, {by:.3g} times as fast ({predicted:.3g} s against {sampled:.3g} s of chips)"


def fastest(networks: dict[str, Any]) -> dict[str, float]:
    """Seconds of a network's lines: medians of the runs, and those of the first with compiling."""
    lines = [x["seconds"] for x in networks["lines"]]
    middle = lambda key: sorted(x[key] for x in lines)[len(lines) // 2]  # noqa: E731
    return {key: lines[0][key] if key.endswith("_first") else middle(key) for key in lines[0]}
