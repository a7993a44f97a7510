"""`report.html`: one self-contained page with the numbers, the figures, and what they do and do not say."""

import base64
import json
from html import escape
from typing import Any

from anaxon.interpret import text
from anaxon.report.style import CSS

CAPTIONS = {
    "accuracy": "Accuracy of every chip on the same panel of held-out clips. The band is the 95 % interval of the mean "
    "over chips and clips together: other chips and other clips of the same kind.",
    "layer_error": "Relative error of each placed weight's products (2-norm) at the inputs that the chip itself "
    "produced, one value a chip over the panel. Boxes: quartiles; whiskers: 1 to 99 % of the chips.",
    "layer_saturation": "Share of analog-to-digital conversions beyond the converter's range, one value a chip.",
    "classes": "Dots: the mean chip; bars: 5 to 95 % of the chips; ticks: the digital network on the same clips.",
    "confusion": "How much more often (red) or less often (blue) chips give an answer than the digital network does, "
    "in percentage points of the clips of a spoken class. The diagonal is the change in accuracy.",
    "energy": "Estimated energy of one inference by weight and component; prices and their sources are listed below.",
}
METRICS = {
    "float_accuracy": "Digital network in float32, test set",
    "quantised_accuracy": "Perfect cells, same bits and converters, test set",
    "float_accuracy_panel": "Digital network in float32, panel",
    "chip_accuracy": "Chips, panel",
    "chip_accuracy_this_panel": "Chips, these very clips",
    "accuracy_loss": "Loss: digital minus chips, same clips",
    "chip_accuracy_full_test": "Chips, whole test set",
    "panel_minus_rest": "Check: panel minus the other test clips, same chips",
}


def page(record: dict[str, Any], figures: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    parts = [
        _head(record),
        _tiles(record),
        _warning(record),
        "<h2>Figures</h2>",
        f'<div class="figures">{"".join(_figure(name, image) for name, image in figures.items())}</div>',
        "<h2>Accuracy</h2>",
        _accuracies(record),
        "<h2>Layers</h2>",
        _layers(record),
        "<h2>Cost of one inference</h2>",
        _cost(record["cost"]),
        "<h2>The hardware: what is active where</h2>",
        _hardware(record["nonidealities"]),
        "<h2>Where the numbers come from</h2>",
        _origin(record),
    ]
    title = escape(_title(record))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _title(record: dict[str, Any]) -> str:
    chips = record["metrics"]["chip_accuracy"]["n"]
    return f"Keyword spotting on {chips:,} simulated memristor chips"


def _head(record: dict[str, Any]) -> str:
    data, hardware = record["data"], record["config"]["hardware"]["given"]
    name = hardware if isinstance(hardware, str) else hardware.get("preset", "own hardware")
    return (
        f"<h1>{escape(_title(record))}</h1><p class='lead'>A {record['training']['parameters']:,}-parameter LSTM, "
        f"trained in floating point on the {escape(data['name'])} corpus, then programmed onto chips of the hardware "
        f"<b>{escape(str(name))}</b>, each with its own random cells. Configuration {escape(record['config_hash'])}, "
        f"seed {record['seed']}.</p>"
    )


def _tiles(record: dict[str, Any]) -> str:
    m, cost = record["metrics"], record["cost"]
    q, chip, loss = record["accuracy_quantiles"], m["chip_accuracy"], m["accuracy_loss"]
    tiles = [
        ("Accuracy on a chip", percent(chip["mean"]), f"95 % interval {interval(chip)} over chips and clips"),
        ("Digital, same clips", percent(m["float_accuracy_panel"]["mean"]),
         f"the chips lose {100 * loss['mean']:.1f} points {points(loss)} on this small panel"),
        ("Loss, full test set", _full_loss(m), _where_lost(m)),
        ("Spread of chips", f"± {100 * chip['std']:.1f} points",
         f"standard deviation on the panel's {m['float_accuracy_panel']['n']} clips, read noise and clip sampling "
         f"included; 5 to 95 % of the chips: {100 * q['0.05']:.1f} to {percent(q['0.95'])}"),
        ("Energy per inference", quantity(cost["energy"], "J"),
         f"{quantity(cost['latency'], 's')}, {cost['area'] * 1e6:.3g} mm²: estimates, see below"),
    ]  # fmt: skip
    cards = "".join(
        f'<div class="tile"><div class="name">{escape(n)}</div><div class="value">{escape(v)}</div>'
        f'<div class="note">{escape(t)}</div></div>'
        for n, v, t in tiles
    )
    return f'<div class="tiles">{cards}</div>'


def _full_loss(metrics: dict[str, Any]) -> str:
    lost = metrics["float_accuracy"]["mean"] - metrics["chip_accuracy_full_test"]["mean"]
    return f"{100 * lost:.1f} points"


def _where_lost(metrics: dict[str, Any]) -> str:
    """How much of the loss perfect cells with the same bits and converters have too."""
    perfect = metrics["float_accuracy"]["mean"] - metrics["quantised_accuracy"]["mean"]
    cells = metrics["quantised_accuracy"]["mean"] - metrics["chip_accuracy_full_test"]["mean"]
    return (
        f"{100 * perfect:.1f} of them by bits and converters alone (perfect cells), {100 * cells:.1f} by the cells; "
        "differences of means over all test clips"
    )


def _warning(record: dict[str, Any]) -> str:
    data = record["data"]
    if not data["synthetic"]:
        return f"<p>Data: {escape(data['name'])}, its official split into training, validation and test speakers.</p>"
    checks = _check_table(record)
    told = (
        "The table shows the same network and chips on voices that the corpus never heard:"
        if checks
        else "No recorded voices were found on this machine to check it with (Debian packages "
        "<code>asterisk-core-sounds-en-wav</code>, <code>flite</code>)."
    )
    return (
        "<h2>What the data are</h2><div class='warn'><p><b>This speech is synthetic.</b> The clips are spoken by the "
        f"formant synthesiser espeak-ng in many timbres ({data['test_voices']} of them held out for the test), with "
        "random rate, pitch, rooms and noise. Accuracy on such a test set says little about real speech, and must not "
        "be compared with accuracies on Speech Commands. It does say how the same network fares with and without "
        "analog hardware. Give a Speech Commands folder as <code>data.path</code> for a real corpus.</p>"
        f"<p>{told}</p>{checks}</div>"
    )


def _check_table(record: dict[str, Any]) -> str:
    rows = []
    for check in record["data"]["checks"]:
        name, m = check["name"], record["metrics"]
        digital, chips = m[f"{name}: float"], m[f"{name}: chips"]
        rows.append([escape(name), str(check["clips"]), f"{percent(digital['mean'])} {interval(digital)}",
                     f"{percent(chips['mean'])} {interval(chips)}"])  # fmt: skip
    return table(["Voices", "clips", "digital", "chips"], rows, numbers=(1, 2, 3)) if rows else ""


def _figure(name: str, image: bytes) -> str:
    source = base64.b64encode(image).decode()
    return (
        f'<figure class="card"><img alt="{escape(CAPTIONS[name])}" src="data:image/png;base64,{source}">'
        f"<figcaption>{escape(CAPTIONS[name])}</figcaption></figure>"
    )


def _accuracies(record: dict[str, Any]) -> str:
    rows = []
    for name, words in METRICS.items():
        m = record["metrics"][name]
        signed = name in ("accuracy_loss", "panel_minus_rest")
        mean = f"{100 * m['mean']:+.2f} points" if signed else percent(m["mean"], 2)
        over = " and ".join(f"{n:,} {what}" for what, n in m["over"].items())
        spread = f"{100 * m['std']:.2f}" if "chips" in m["over"] else "–"
        rows.append([words, mean, points(m) if signed else interval(m), escape(over), spread])
    quantiles = record["accuracy_quantiles"]
    v, head = record["variance"], ["", "mean", "95 % interval", "over", "std of chips [points]"]
    return (
        f'<div class="card scroll">{table(head, rows, (1, 2, 4))}</div>'
        "<p>Quantiles of the chips' accuracy on the panel: "
        + ", ".join(f"{100 * float(q):g} %: {100 * a:.1f} %" for q, a in quantiles.items())
        + ".</p><p>An interval over chips and clips says where the mean would lie with other chips <i>and</i> other "
        "clips (two-way crossed random effects, clips stratified by class; Wilson's interval at the effective sample "
        "size). Over clips alone: other clips, this one network. All are for <b>one</b> trained network: other "
        "training seeds would add to them, and clips of one voice are taken as independent. A right or wrong answer "
        f"varies by {v['chip']:.3f} from chip to chip, {v['clip']:.3f} from clip to clip and {v['rest']:.3f} otherwise "
        "(standard deviations; the last is chip-clip interaction and read noise).</p>"
    )


def _layers(record: dict[str, Any]) -> str:
    rows = []
    for layer in record["layers"]:
        rows.append([
            f"<code>{escape(layer['path'])}</code>",
            "×".join(map(str, layer["shape"])),
            f"{layer['rows']} × {layer['cols']}",
            str(layer.get("arrays", "–")),
            f"{layer['cells']:,}" if "cells" in layer else "–",
            _mean_and_std(layer["error"]),
            _mean_and_std(layer["saturation"]),
        ])  # fmt: skip
    head = ["weight", "shape", "rows × columns", "arrays", "cells", "error, mean ± std over chips", "saturated"]
    return f'<div class="card scroll">{table(head, rows, (2, 3, 4, 5, 6))}</div>'


def _mean_and_std(m: dict[str, Any] | None) -> str:
    return "–" if m is None else f"{100 * m['mean']:.3g} ± {100 * (m['std'] or 0):.2g} %"


def _cost(cost: dict[str, Any]) -> str:
    total: dict[str, Any] = {**cost, "path": "total"}
    rows = [
        [f"<code>{escape(s['path'])}</code>", f"{_conversions(s):,}", f"{s['counts']['cell_reads']:,}",
         quantity(s["energy"], "J"), quantity(s["latency"], "s"), f"{s['area'] * 1e6:.3g} mm²"]
        for s in (*cost["sites"], total)
    ]  # fmt: skip
    parts = ", ".join(f"{name} {quantity(value, 'J')}" for name, value in cost["energy_by_part"].items() if value)
    sources = table(["entry", "source"], [[f"<code>{escape(n)}</code>", escape(s)] for n, s in
                                          cost["components"]["sources"].items()])  # fmt: skip
    head = ["weight", "conversions", "cell reads", "energy", "latency", "area"]
    return (
        f'<div class="card scroll">{table(head, rows, (1, 2, 3, 4, 5))}</div>'
        f"<p>Energy by part: {escape(parts or 'none')}. Programming a chip once: "
        f"{quantity(cost['programming'], 'J')}. Counts follow from shapes and are exact; prices are those of the "
        f"component table <b>{escape(cost['components']['name'])}</b>: {escape(cost['components']['description'])} "
        "Digital operations outside the arrays, data movement between them and leakage are not counted.</p>"
        f'<details><summary>Sources of the prices</summary><div class="scroll">{sources}</div></details>'
    )


def _conversions(counted: dict[str, Any]) -> int:
    return counted["counts"]["linear_conversions"] + counted["counts"]["ramp_conversions"]


def _hardware(explained: dict[str, Any]) -> str:
    blocks = []
    for section in explained["sections"]:
        rows = [[escape(name), escape(words)] for name, words in section["rows"]]
        blocks.append(f'<p><b>{escape(section["title"])}</b></p><div class="card scroll">{table(["", ""], rows)}</div>')
    head, *weights = explained["weights"] or [[]]
    if weights:
        cells = [[escape(c) for c in row] for row in weights]
        blocks.append(f'<p><b>Weights</b></p><div class="card scroll">{table(list(head), cells)}</div>')
    return "".join(blocks)


def _origin(record: dict[str, Any]) -> str:
    data, training, seconds = record["data"], record["training"], record["seconds"]
    ensemble, clips = record["config"]["ensemble"], data["clips"]
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    device = record["device"]
    facts = [
        ["Corpus", f"{escape(data['name'])}: {clips['train']:,} training, {clips['validation']:,} validation and "
                   f"{clips['test']:,} test clips, no speaker in two of them; checksum {data['checksum']}"],
        ["Training", f"{training['epochs']} epochs, seed {training['seed']}; validation accuracy "
                     f"{percent(training['validation_accuracy'])}"],
        ["Ranges", f"of the converters: from {ensemble['calibration']:,} training clips"],
        ["Panel", f"{data['panel']} test clips, the same number of each class, drawn by the seed; all chips hear them"],
        ["Chips", f"{ensemble['chips']:,}, each programmed once with fresh random cells and read with fresh noise; "
                  f"the first {ensemble['full_test_chips']} also on the whole test set"],
        ["Files", "<code>results.json</code> (every number here), <code>ensemble.npz</code> (a row a chip), "
                  "<code>network.npz</code> (the weights), <code>log.txt</code>"],
        ["Computed on", escape(f"{device['count']} × {device['kind']} ({device['platform']}), {device['system']} "
                               f"{device['machine']}; {versions}")],
        ["Seconds", escape(", ".join(f"{k} {v:g}" for k, v in seconds.items()))],
    ]  # fmt: skip
    config = escape(json.dumps(record["config"], indent=2))
    return (
        f'<div class="card scroll">{table(["", ""], facts)}</div>'
        f"<details><summary>Configuration, resolved</summary><pre>{config}</pre></details>"
    )


def table(head: list[str], rows: list[list[str]], numbers: tuple[int, ...] = ()) -> str:
    """An HTML table; cells are HTML, those in the columns `numbers` are aligned to the right."""

    def row(cells: list[str], tag: str) -> str:
        mark = lambda i: ' class="num"' if i in numbers else ""  # noqa: E731
        return "<tr>" + "".join(f"<{tag}{mark(i)}>{c}</{tag}>" for i, c in enumerate(cells)) + "</tr>"

    top = f"<thead>{row(head, 'th')}</thead>" if any(head) else ""
    return f"<table>{top}<tbody>{''.join(row(r, 'td') for r in rows)}</tbody></table>"


def quantity(value: float, unit: str) -> str:
    """`1.23 µJ`."""
    return text.quantity(value, unit).replace(" u", " µ")


def percent(share: float, digits: int = 1) -> str:
    """`83.1 %`."""
    return f"{100 * share:.{digits}f} %"


def interval(m: dict[str, Any]) -> str:
    """`[80.2, 85.9]` in percent."""
    lo, hi = m["ci95"]
    return "–" if lo is None else f"[{100 * lo:.1f}, {100 * hi:.1f}]"


def points(m: dict[str, Any]) -> str:
    """`[+1.2, +3.4]` in percentage points."""
    lo, hi = m["ci95"]
    return "–" if lo is None else f"[{100 * lo:+.1f}, {100 * hi:+.1f}]"
