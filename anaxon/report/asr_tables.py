"""The tables of a speech recognition page; a number that is not known is a dash, whatever is missing."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from anaxon.rates.intervals import LEAST
from anaxon.report.html import card, table

EFFECTS = {"seed": "training seed", "chip": "chip", "utterance": "utterance", "seed_utterance": "seed × utterance",
           "rest": "rest (chip × utterance, read noise)"}  # fmt: skip
UNKNOWN, NOT_QUOTED = "–", f"not quoted: gap under {LEAST:g} standard errors"


def number(value: Any, shape: str, unit: str = "", scale: float = 1.0) -> str:
    """A number as `shape` says (`+.2f`), times `scale`; a dash for None and NaN, `∞` for what has no end."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    return f"{value * scale:{shape}}{unit}"


def share(value: Any, shape: str = ".1f") -> str:
    """`83.1 %`."""
    return number(value, shape, " %", 100.0)


def ends(estimate: Mapping[str, Any] | None, shape: str = ".1f", scale: float = 100.0) -> str:
    """`[80.2, 85.9]`: an interval, in percent by default."""
    if estimate is None:
        return UNKNOWN
    lo, hi = (number(x, shape, scale=scale) for x in estimate["ci95"])
    return UNKNOWN if lo == hi == UNKNOWN else f"[{lo}, {hi}]"


def over(estimate: Mapping[str, Any]) -> str:
    """`3 seeds, 60 chips, 190 utterances`: what an interval is over."""
    return ", ".join(f"{n:,} {what}" for what, n in estimate["over"].items()) or "nothing that varies"


def by_bits(entries: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Entries of every resolution of the weights, in their order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["bits"], []).append(entry)
    return found


def conditions(record: dict[str, Any]) -> str:
    """A table of conditions for every resolution of the weights."""
    head = ["condition", "WER, digital, same sentences [%]", "WER on chips [%], 95 %",
            "over digital [points], 95 %", "standard errors", "share of the gap removed, 95 %",
            "KL [mnats/frame], 95 %", "bits a conversion", "ADC energy", "saturated in linear_pos"]  # fmt: skip
    parts = []
    for bits, mine in by_bits(record["conditions"]).items():
        missing = "no default condition" if all(c["condition"] != "default" for c in mine) else NOT_QUOTED
        rows = [_condition(c, [x for x in record["layers"] if _is_of(x, c)], missing) for c in mine]
        intervals = sorted({over(c["wer"]) for c in mine})
        parts.append(
            f"<p><b>Weights of {bits} bits.</b> Intervals are over {escape(' or '.join(intervals))}.</p>"
            f"{card(table(head, rows, tuple(range(1, len(head)))))}"
        )
    return "".join(parts)


def _is_of(layer: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    return (layer["bits"], layer["condition"]) == (condition["bits"], condition["condition"])


def _condition(c: dict[str, Any], layers: list[dict[str, Any]], missing: str) -> list[str]:
    encodings = [x["saturation"] for x in layers if x["encodings"]]
    kind = "automatic" if c["automatic"] else ""
    unequal = "" if c["equal_bits"] else "other bits than the default"
    marks = "; ".join(x for x in (kind, unequal) if x)
    return [
        f"<b>{escape(c['condition'])}</b><br>{escape(c['what'])}{marks and f' <i>({marks})</i>'}",
        number(c["digital_wer"]["mean"], ".2f", scale=100),
        f"{number(c['wer']['mean'], '.2f', scale=100)} {ends(c['wer'], '.2f')}",
        f"{number(c['added']['mean'], '+.2f', scale=100)} {ends(c['added'], '+.2f')}",
        number(c["standard_errors"], "+.1f"),
        _removed(c, missing),
        f"{number(c['kl']['mean'], '.3g', scale=1e3)} {ends(c['kl'], '.3g', 1e3)}",
        number(c["mean_bits"], ".3g"),
        f"{number(c['adc_energy_share'], '.3f')} ×",
        _range([100 * x for x in encodings if x is not None], " %"),
    ]


def _removed(c: Mapping[str, Any], missing: str) -> str:
    if c["condition"] == "default":
        return UNKNOWN
    removed = c.get("removed")
    if removed is None:
        return missing
    return f"{share(removed['mean'], '.0f')} {ends(removed, '.0f')}"


def _range(values: list[float], unit: str) -> str:
    """`1.2 to 3.4 %`, from the smallest to the largest."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return UNKNOWN
    lo, hi = (number(v, ".3g") for v in (min(known), max(known)))
    return f"{lo}{unit}" if lo == hi else f"{lo} to {hi}{unit}"


def components(record: dict[str, Any]) -> str:
    """Standard deviations of what makes a rate uncertain, condition by condition."""
    rows = []
    for c in record["conditions"]:
        parts = c["components"]
        deviations = [number(_root(parts.get(name)), ".2f", scale=100) for name in EFFECTS]
        freedom = number(parts.get("freedom"), ".1f")
        rows.append([str(c["bits"]), escape(c["condition"]), *deviations,
                     number(_root(parts.get("variance")), ".3f", scale=100), freedom])  # fmt: skip
    head = ["bits", "condition", *EFFECTS.values(), "standard error of the WER", "degrees of freedom"]
    return (
        f"{card(table(head, rows, (0, *range(2, len(head)))))}<p>Standard deviations in points of WER: of one seed's "
        "rate, of one chip's, and of an utterance of average length. A dash is what this design cannot tell: with one "
        "seed, nothing is said about other trainings, and no interval here holds them. With one seed, utterance "
        "holds seed × utterance too. The standard error is that of the mean WER.</p>"
    )


def _root(variance: float | None) -> float | None:
    return None if variance is None or not variance >= 0 else math.sqrt(variance)


def networks(record: dict[str, Any]) -> str:
    """Digital networks on the whole test set, and the parts' uncertainty."""
    rows = [
        [str(n["bits"]), escape(n["kind"] or "as configured"), str(n["seeds"]), f"{n['words']:,}",
         f"{share(n['float']['mean'], '.2f')} {ends(n['float'], '.2f')}",
         f"{share(n['quantised']['mean'], '.2f')} {ends(n['quantised'], '.2f')}", escape(over(n["quantised"]))]
        for n in record["networks"]
    ]  # fmt: skip
    head = ["bits", "network", "seeds", "words", "WER, float32, 95 %", "WER, quantised, 95 %", "intervals over"]
    return card(table(head, rows, (0, 2, 3, 4, 5)))


def goals(record: dict[str, Any]) -> str:
    """What was asked and what came out."""
    marks = {True: "met", False: "<b>NOT met</b>", None: "<b>not resolved</b>"}
    rows = [[escape(g["what"]), escape(g["asked"]), escape(str(g["obtained"])), marks[g["met"]]]
            for g in record["goals"]]  # fmt: skip
    return card(table(["", "asked", "obtained", ""], rows)) if rows else "<p>None applies to this run.</p>"


def layers(record: dict[str, Any]) -> str:
    """A folded table of layers for every resolution and condition."""
    parts = []
    for c in record["conditions"]:
        mine = [x for x in record["layers"] if _is_of(x, c)]
        if mine:
            title = f"{c['bits']} bits, {c['condition']}: {c['what']}"
            parts.append(_folded(title, _layers(mine)))
    return "".join(parts) or "<p>No layer converts with linear ADCs.</p>"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{card(content)}</details>"


def _name(layer: dict[str, Any]) -> str:
    return f"<code>{escape(layer['path'])}</code>{' <b>encodings</b>' * layer['encodings']}"


def _layers(entries: list[dict[str, Any]]) -> str:
    rows = [
        [_name(x), number(x["error"], ".3g", " %", 100), number(x["saturation"], ".3g", " %", 100),
         number(x["worst_array"], ".3g", " %", 100), f"{x['arrays']:,}", str(x["total_bits"]),
         "±" + _range([float(v) for v in x["full_scale"] if v is not None], "")]
        for x in entries
    ]  # fmt: skip
    head = ["layer", "error", "saturated", "worst array", "arrays", "bits", "range [column units]"]
    return table(head, rows, tuple(range(1, len(head))))
