"""The page of a character run: the numbers, the figures, and what they do and do not say."""

from html import escape
from typing import Any

from anaxon.report import html, network
from anaxon.report.efficiency import efficiency
from anaxon.report.html import card, table

_INTERVAL = "Bars: 95 % intervals over chips and rows of text together."
CAPTIONS = {
    "bits": f"Bits per character of the test text against the resolution of inputs and converters. {_INTERVAL} Most of "
    "their width is the text's: the band is that of the float network.",
    "above_float": "The same, less the bits per character of the better float network on the same characters: "
    f"differences on the same text have narrower intervals. {_INTERVAL} Linear up to 0.1, logarithmic beyond.",
    "chips": "Every chip of the main point, its mean over all test characters.",
    "text": "Every place of the test text that is read, at the main point, trained for the chips where it was.",
    "training": "Loss of the training batches, mean of 25 steps; for chips it includes their noise, which grows over "
    "the first steps. All start from the float network at the left's end.",
    "energy": "Estimated energy of one inference, which is one character, by weight and component; prices and their "
    "sources are listed below.",
}
WIDE = ("training",)


def page(record: dict[str, Any], figures: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    parts = [
        _head(record),
        html.tiles(_tiles(record)),
        "<h2>What the text is</h2>",
        _origin_of_text(record),
        "<h2>Figures</h2>",
        html.gallery(figures, CAPTIONS, WIDE),
        "<h2>Bits per character</h2>",
        _points(record),
        "<h2>What one character costs, by both designs</h2>",
        efficiency(record["efficiency"], record["published"], record["cost"]["components"]),
        "<h2>The gates on the array of the main point</h2>",
        network.layers(record["layers"]),
        "<h2>The hardware: what is active where</h2>",
        html.hardware(record["nonidealities"]),
        "<h2>Where the numbers come from</h2>",
        _facts(record),
    ]
    return html.document(_title(record), parts)


def _title(record: dict[str, Any]) -> str:
    return f"A character language model behind {record['config']['points']['main_bits']}-bit ramp ADCs"


def _head(record: dict[str, Any]) -> str:
    size, (rows, columns) = record["config"]["size"], record["network"]["array"]
    return (
        f"<h1>{escape(_title(record))}</h1><p class='lead'>An LSTM with {size['hidden']} units and a projected state "
        f"of {size['projection']} ({record['network']['parameters']:,} parameters in all). Its gates stand on one "
        f"array of {rows} × {columns:,} cell pairs whose column converters compute sigmoid and tanh; embedding, "
        f"projection and readout are digital. Configuration {escape(record['config_hash'])}, size "
        f"{escape(size['name'])}, seed {record['seed']}.</p>"
    )


def _tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    best = record["floats"][record["better_float"]]
    tiles = [("Float", f"{best['mean']:.3f}", f"bits per character, float32 ({record['better_float']}); 95 % interval "
              f"{_interval(best)} over rows of text")]  # fmt: skip
    for e in record["points"]:
        if e["kind"] == "ramp" and e["bits"] == record["config"]["points"]["main_bits"]:
            m, d = e["bits_per_character"], e["above_float"]
            told = f"{_signed(d)} above float; mean of {d['n']} chips"
            tiles.append((f"{e['bits']}-bit ramp, {e['training']}", f"{m['mean']:.3f}", told))
    for goal in record["goals"]:
        word = "met" if goal["met"] else f"NOT met, by {goal['obtained'] - goal['limit']:.4f}"
        tiles.append(("Goal", f"{goal['obtained']:+.4f}", f"{goal['what']}; asked {goal['asked']}: {word}"))
    return tiles


def _interval(m: dict[str, Any], form: str = "{:.3f}") -> str:
    return "[" + ", ".join(form.format(v) for v in m["ci95"]) + "]"


def _signed(m: dict[str, Any]) -> str:
    return f"{m['mean']:+.4f} {_interval(m, '{:+.4f}')}"


def _origin_of_text(record: dict[str, Any]) -> str:
    data = record["data"]
    splits = "; ".join(
        f"{name}: {words}, {data['characters'][name]:,} characters" for name, words in data["parts"].items()
    )
    if data["name"].startswith("Penn"):
        told = (
            "<p>The text is read from the files that were given; the network, its training and its noise are not those "
        )
        told += "of the paper, and none of the figures is the paper's.</p>"
    else:
        told = (
            "<p><b>This is not the Penn Treebank.</b> The text is that of the State of the Union addresses, spoken and "
            "written by presidents of the United States (public domain). Training reads addresses up to 2000, the test "
            "those from 2011 on, which are of another style: part of their bits per character is that shift. Bits per "
            "character on this text are <b>not comparable with the Penn Treebank's</b>, such as the paper's. Give a "
            "folder with the Penn Treebank files as <code>data.path</code> for those.</p><p>None of the figures on "
            "this page is the paper's, but for the rows of the cost table that say so.</p>"
        )
    return html.warning(told) + f"<p>{escape(data['name'])}. {escape(splits)}.</p>"


def _points(record: dict[str, Any]) -> str:
    rows = []
    for name, m in record["floats"].items():
        best = " <b>(the better one)</b>" if name == record["better_float"] else ""
        rows.append([f"{escape(name)}{best}", "", "", "", f"{m['mean']:.4f}", _interval(m, "{:.4f}"), "", ""])
    for e in record["points"]:
        m, d = e["bits_per_character"], e["above_float"]
        rows.append([escape(e["converter"]), escape(e["training"]), str(e["bits"]), str(m["n"]), f"{m['mean']:.4f}",
                     _interval(m, "{:.4f}"), _signed(d), f"{m['std']:.4f}"])  # fmt: skip
    head = ["", "weights", "bits", "chips", "bits per character", "95 % interval", "above float", "std of chips"]
    config = record["config"]
    return (
        card(table(head, rows, (2, 3, 4, 7)))
        + f"<p>Two float networks are compared: one after {config['size']['steps']:,} steps, and the same trained on "
        f"for {config['size']['more_steps']:,} steps, as long as each network that was trained for its chips. Chips "
        f"are compared with the better of the two on these very characters, <b>{escape(record['better_float'])}</b>, "
        "and “float weights” are its weights with ranges calibrated on training text. The linear ADCs convert over the "
        "calibrated range of their columns; their activations are digital and exact. Intervals over chips and rows of "
        f"text together ({config['test']['rows']} rows of {config['test']['characters']:,} characters after "
        f"{config['test']['warm_up']} that set the state); they say nothing about other training seeds.</p>"
    )


def _facts(record: dict[str, Any]) -> str:
    data, net = record["data"], record["network"]
    facts = [
        ["Text", escape(f"{data['name']}, checksum {data['checksum']}, {data['symbols']} symbols")],
        [
            "Read by every chip",
            escape(f"{data['read']:,} characters, {100 * data['unknown']:.3f} % of them unknown symbols"),
        ],
        ["Begins with", f"<i>{escape(data['sample'])}…</i>"],
        ["Trained on", f"{net['characters_trained']:,} characters, then {net['characters_more']:,}"],
    ]
    return html.origin(facts, record)
