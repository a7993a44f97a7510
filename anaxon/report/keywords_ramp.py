"""The page of a comparison of converters behind a keyword spotter."""

from html import escape
from typing import Any

from anaxon.report import html, network, speech
from anaxon.report.efficiency import efficiency
from anaxon.report.html import card, interval, percent, points, table

CAPTIONS = {
    "accuracy": "Mean accuracy of the chips against the resolution of inputs and outputs; bars are 95 % intervals over "
    "chips and clips together. All points hear the same clips, so differences are surer than the bars suggest.",
    "chips": "Every chip's accuracy at the main resolution. Chip i has the same random numbers for both trainings.",
    "steps": "One step of one sequence, estimated from the component table: both designs on the same array.",
}


def page(record: dict[str, Any], figures: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    captions = {name: CAPTIONS[name.split("_")[0]] for name in figures}
    parts = [
        _head(record),
        html.tiles(_tiles(record)),
        speech.origin(record["data"], record["metrics"]),
        "<p>These figures are not those of Yang et al. (Nat. Commun. 16:1136, 2025): other data, other training, "
        "simulated chips. Their array is read as 72 x 128 from its memory size; the first one here is "
        f"{_array(record)}.</p>",
        "<h2>Figures</h2>",
        html.gallery(figures, captions, ("steps",)),
        "<h2>Accuracy</h2>",
        _points(record),
        "<h2>What was asked, what was obtained</h2>",
        _goals(record),
        "<h2>Time, energy and area of a step</h2>",
        efficiency(record["efficiency"], record["published"], record["cost"]["components"]),
        "<h2>The first network's array</h2>",
        network.layers(record["layers"]),
        "<h2>The hardware: what is active where</h2>",
        html.hardware(record["nonidealities"]),
        "<h2>Where the numbers come from</h2>",
        html.origin(_facts(record), record),
    ]
    return html.document(_title(record), parts)


def _title(record: dict[str, Any]) -> str:
    return f"Keyword spotting with activations in the converter: {_units(record)} units"


def _array(record: dict[str, Any]) -> str:
    """Rows, bias included, and columns of the first network's gates."""
    gates = record["layers"]
    return f"{sum(layer['rows'] for layer in gates)} x {max(layer['cols'] for layer in gates)}"


def _units(record: dict[str, Any]) -> str:
    return " and ".join(str(t["hidden"]) for t in record["training"])


def _head(record: dict[str, Any]) -> str:
    config = record["config"]
    bits = ", ".join(map(str, config["chips"]["bits"]))
    return (
        f"<h1>{escape(_title(record))}</h1><p class='lead'>An LSTM's gates stand on one memristor array whose columns "
        "end in ramp ADCs: the conversion is the sigmoid or tanh. Beside it the same array with linear ADCs and "
        f"digital activations, at {bits} bits of inputs and outputs; plain training, "
        f"and training on freshly programmed chips. Size <b>{escape(config['size']['name'])}</b>.</p>"
    )


def _main(record: dict[str, Any], hidden: int, training: str) -> dict[str, Any]:
    bits = record["config"]["chips"]["main_bits"]
    wanted = (hidden, "ramp", bits, training)
    return next(p for p in record["points"] if (p["hidden"], p["kind"], p["bits"], p["training"]) == wanted)


def _tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    shown = []
    for t in record["training"]:
        digital = record["metrics"][f"{t['hidden']} units, float, panel"]
        aware, plain = (_main(record, t["hidden"], training) for training in ("aware", "plain"))
        shown.append(
            (f"{t['hidden']} units, digital", percent(digital["mean"]), f"the panel; 95 % {interval(digital)}")
        )
        shown.append((f"{t['hidden']} units, {aware['bits']}-bit ramp", percent(aware["accuracy"]["mean"]),
                      f"mean of {aware['accuracy']['n']:,} chips, trained for them; "
                      f"plain training {percent(plain['accuracy']['mean'])}"))  # fmt: skip
    return shown


def _points(record: dict[str, Any]) -> str:
    rows = []
    for p in record["points"]:
        full = p.get("full_test")
        rows.append([
            str(p["hidden"]), p["kind"], str(p["bits"]), p["training"], f"{p['accuracy']['n']:,}",
            f"{percent(p['accuracy']['mean'])} {interval(p['accuracy'])}",
            f"{100 * p['loss']['mean']:+.2f} {points(p['loss'])}",
            f"{100 * p['accuracy']['std']:.2f}",
            f"{percent(full['mean'])} {interval(full)}" if full else "–",
        ])  # fmt: skip
    head = ["units", "converter", "bits", "training", "chips", "accuracy on the panel, 95 %",
            "points below the digital network", "std of chips [points]", "whole test set"]  # fmt: skip
    digital = "; ".join(
        f"{t['hidden']} units {percent(m['mean'])} {interval(m)} on the test set"
        for t in record["training"]
        for m in [record["metrics"][f"{t['hidden']} units, float, test set"]]
    )
    return (
        f"{card(table(head, rows, (0, 2, 4, 5, 6, 7, 8)))}<p>Digital networks: {escape(digital)}.</p>"
        "<p>Intervals are over chips and clips (crossed random effects, clips stratified by class), for one training "
        "seed. “aware”: trained further from the digital weights on a freshly programmed chip at every step, with its "
        "converters' input ranges learned. The digital network is the better, on validation clips, of the first one "
        "and the first one trained on for as long without chips; plain points have its weights. Before a linear ADC "
        "inputs and state convert by themselves and are added digitally, two conversions an output; behind a ramp they "
        "are one sum on the line. The costs below are those of one array and one conversion an output for both "
        "designs, which favours the linear one.</p>"
    )


def _goals(record: dict[str, Any]) -> str:
    rows = [[escape(g["what"]), escape(g["asked"]), f"{g['obtained']:.3g}", "met" if g["met"] else "<b>not met</b>"]
            for g in record["goals"]]  # fmt: skip
    return card(table(["", "asked", "obtained", ""], rows, (1, 2)))


def _facts(record: dict[str, Any]) -> list[list[str]]:
    data, config = record["data"], record["config"]
    clips, chips = data["clips"], config["chips"]
    trained = "; ".join(
        f"{t['hidden']} units: {t['epochs']} epochs, {t['parameters']:,} parameters, validation "
        f"{percent(t['validation_accuracy'])}"
        for t in record["training"]
    )
    return [
        ["Corpus", f"{escape(data['name'])}: {clips['train']:,} training, {clips['validation']:,} validation and "
                   f"{clips['test']:,} test clips, no speaker in two of them; checksum {data['checksum']}"],
        ["Digital training", escape(trained)],
        ["Training for the chips", f"{', '.join(map(str, config['size']['aware_epochs']))} further epochs; noise grows "
                                   f"over the first {config['aware']['rise']:.0%} of the steps"],
        ["Chips", f"{chips['chips']:,} at every point, {chips['main_chips']:,} at the {chips['main_bits']}-bit ramp; "
                  f"panel of {chips['panel']} clips; {chips['full_test_chips']} of the 4-bit and main ramps on the "
                  "whole test set"],
        ["Files", "<code>results.json</code> (every number here), <code>ensemble.npz</code> (answers, a row a chip), "
                  "<code>log.txt</code>"],
    ]  # fmt: skip
