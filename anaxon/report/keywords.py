"""The page of a keyword run: the numbers, the figures, and what they do and do not say."""

from html import escape
from typing import Any

from anaxon.report import html, network, speech
from anaxon.report.html import interval, percent, points, quantity, table

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
        speech.origin(record["data"], record["metrics"]),
        "<h2>Figures</h2>",
        html.gallery(figures, CAPTIONS),
        "<h2>Accuracy</h2>",
        _accuracies(record),
        "<h2>Layers</h2>",
        network.layers(record["layers"]),
        "<h2>Cost of one inference</h2>",
        network.cost(record["cost"]),
        "<h2>The hardware: what is active where</h2>",
        html.hardware(record["nonidealities"]),
        "<h2>Where the numbers come from</h2>",
        _origin(record),
    ]
    return html.document(_title(record), parts)


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
    return html.tiles(tiles)


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
        html.card(table(head, rows, (1, 2, 4)))
        + "<p>Quantiles of the chips' accuracy on the panel: "
        + ", ".join(f"{100 * float(q):g} %: {100 * a:.1f} %" for q, a in quantiles.items())
        + ".</p><p>An interval over chips and clips says where the mean would lie with other chips <i>and</i> other "
        "clips (two-way crossed random effects, clips stratified by class; Wilson's interval at the effective sample "
        "size). Over clips alone: other clips, this one network. All are for <b>one</b> trained network: other "
        "training seeds would add to them, and clips of one voice are taken as independent. A right or wrong answer "
        f"varies by {v['chip']:.3f} from chip to chip, {v['clip']:.3f} from clip to clip and {v['rest']:.3f} otherwise "
        "(standard deviations; the last is chip-clip interaction and read noise).</p>"
    )


def _origin(record: dict[str, Any]) -> str:
    data, training = record["data"], record["training"]
    ensemble, clips = record["config"]["ensemble"], data["clips"]
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
    ]  # fmt: skip
    return html.origin(facts, record)
