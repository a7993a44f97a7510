"""The page of a speech recognition run: a Conformer on memristor chips behind other ADC ranges."""

from html import escape
from typing import Any

from anaxon.report import asr_tables, html, network
from anaxon.report.asr_tables import by_bits, ends, number, over, share
from anaxon.runs.asr_conditions import DIGITAL
from anaxon.runs.asr_goals import NO_CURES
from anaxon.runs.asr_parts import SHOWN_FRAMES, STUDIED_CHIPS

CAPTIONS = {
    "wer": "Word error rate by condition. Bars are 95 % intervals of the mean, dots the single chips, the line the "
    "quantised digital network on the same sentences (a short line where a condition has a network of its own). All "
    "conditions hear the same sentences, and chip i has the same cells in all of them: differences are surer than the "
    "bars suggest.",
    "columns": "How column values lie in the hardware's own ADC range (±1, red), layer by layer: one curve a block, "
    "the first the darkest, over some chips and sentences. The outermost bins hold everything further out. Dashed: "
    "ranges that the automatic condition at equal bits chose, the smallest and the largest of each kind of layer; "
    "those beyond the picture are not drawn.",
    "saturation": "Share of conversions beyond the range: of a layer, and of its worst array. "
    "White is none at all; grey is a layer that does not convert in this condition.",
    "arrays": "Every physical array of the layers that transform positional encodings, a dot each: share of its "
    "conversions beyond the range. Slice 0 holds the lowest bits of the weights. Dots at the lower edge never "
    "saturate.",
    "error": "Relative error of every layer's products at the inputs it has on the chip, in the 2-norm, to the same "
    "layer with its quantised weights: what cells and converters add.",
    "kl": "Word error rate against the KL divergence of the posteriors from the digital network's: bars are 95 % "
    "intervals. KL tells conditions apart before words change.",
    "losses": "Training losses, a line for each seed: the float network, and the quantised ones that start from it.",
}


def page(record: dict[str, Any], figures: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    captions = {name: CAPTIONS[name.split("_")[0]] for name in figures}
    parts = [
        _head(record),
        html.tiles(_tiles(record)),
        "<h2>What was asked, what was obtained</h2>",
        asr_tables.goals(record),
        "<p>A goal is met where the whole 95 % interval meets it, and not resolved where only a part does. The best of "
        "several conditions was chosen after measuring; the automatic one was named before.</p>",
        "<h2>What the data are</h2>",
        _data(record["data"]),
        "<h2>Conditions</h2>",
        asr_tables.conditions(record),
        _conditions_told(record["decoding"]),
        "<h2>Figures</h2>",
        html.gallery(figures, captions, [n for n in figures if not n.startswith(("kl", "losses"))]),
        "<h2>Digital networks, whole test set</h2>",
        asr_tables.networks(record),
        "<h2>Where the uncertainty comes from</h2>",
        asr_tables.components(record),
        "<h2>Layers</h2>",
        asr_tables.layers(record),
        "<h2>What an utterance costs</h2>",
        f"<p>An utterance of {SHOWN_FRAMES} feature frames on the configured hardware, weights of "
        f"{record['config']['study']['weight_bits'][0]} bits.</p>",
        network.cost(record["cost"]),
        "<h2>The hardware: what is active where</h2>",
        html.hardware(record["nonidealities"]),
        "<h2>Published figures, for comparison</h2>",
        PUBLISHED,
        "<h2>Where the numbers come from</h2>",
        html.origin(_facts(record), record),
    ]
    return html.document(TITLE, parts)


TITLE = "Speech recognition on memristor chips: positional encodings and the ADC"

# Abstracts of the papers; whatever else is known of them is not repeated here.
PUBLISHED = (
    "<p>The system is that of two papers, whose figures are <b>theirs</b> and not results of this program: other data, "
    "larger networks, a language model, another simulator.</p><ul>"
    "<li>Rossenbach et al., “Running Conventional Automatic Speech Recognition on Memristor Hardware: A Simulated "
    "Approach”, arXiv 2505.24721: 3-bit weights with a relative degradation of the word error rate of 25 % when the "
    "linear operations of a Conformer run on simulated memristors.</li>"
    "<li>Hilmes et al., arXiv 2606.13379: transformed positional encodings overflow the ADC; moving bits from "
    "precision to range in <code>linear_pos</code> removes about 50 % of the relative degradation on hardware, "
    "leaving that layer out and training anew about 30 %.</li></ul>"
)


def _head(record: dict[str, Any]) -> str:
    config = record["config"]
    model, given = config["model"], config["hardware"]["given"]
    name = given if isinstance(given, str) else given.get("preset", "own hardware")
    return (
        f"<h1>{escape(TITLE)}</h1><p class='lead'>A Conformer with CTC ({model['blocks']} blocks of {model['width']}), "
        "trained in floating point, then quantisation-aware, then programmed onto chips of the hardware "
        f"<b>{escape(str(name))}</b>: every linear operation of its blocks stands on arrays. The same networks and "
        f"cells are heard behind different ADC ranges. Configuration {escape(record['config_hash'])}, "
        f"seed {record['seed']}.</p>"
    )


def _tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Digital, the default and the best condition at equal bits, of the first resolution."""
    shown = [
        (f"Digital, {n['bits']}-bit weights", share(n["quantised"]["mean"]), f"WER, {_float(n)}")
        for n in record["networks"][:1]
    ]
    for bits, mine in list(by_bits(record["conditions"]).items())[:1]:
        known = {c["condition"]: c for c in mine}
        cures = [c for c in mine if c["equal_bits"] and c["condition"] not in NO_CURES and c["wer"]["mean"] is not None]
        best = min(cures, key=lambda c: c["wer"]["mean"], default=None)
        for name, c in (("default ADC", known.get("default")), ("best cure at equal bits", best),
                        ("encodings digital", known.get(DIGITAL))):  # fmt: skip
            shown += [_tile(f"On chips, {name}", bits, c)] if c else []
    return shown


def _float(network_: dict[str, Any]) -> str:
    return f"whole test set of {network_['words']:,} words; float network {share(network_['float']['mean'])}"


def _tile(name: str, bits: int, c: dict[str, Any]) -> tuple[str, str, str]:
    note = f"{c['condition']}, {bits} bits; 95 % {ends(c['wer'])} over {over(c['wer'])}; "
    added = f"{number(c['added']['mean'], '+.2f', scale=100)} points over {share(c['digital_wer']['mean'])} digital, "
    return name, share(c["wer"]["mean"]), f"{note}{added}the same sentences"


def _data(data: dict[str, Any]) -> str:
    """A line about a real corpus, a box about a synthetic one; what was skipped; recorded prompts beside."""
    notes = "".join(f"<li>{escape(n)}</li>" for n in data["notes"])
    return _origin(data) + _splits(data) + (f"<p>Reading it:</p><ul>{notes}</ul>" if notes else "")


def _origin(data: dict[str, Any]) -> str:
    recorded = data.get("recorded")
    told = (
        f"On recorded speech ({escape(recorded['name'])}; {recorded['words']:,} words) its WER is "
        f"<b>{share(recorded['wer']['mean'])}</b> {ends(recorded['wer'])} over {escape(over(recorded['wer']))}."
        if recorded
        else "No recorded prompts were found on this machine to check it with (Debian package "
        "<code>asterisk-core-sounds-en-wav</code>)."
    )
    if not data["synthetic"]:
        return f"<p>Data: {escape(data['name'])}. {told if recorded else ''}</p>"
    return html.warning(
        f"<p><b>This speech is synthetic</b> ({escape(data['name'])}): sentences of a small grammar, spoken by a "
        "formant synthesiser. A word error rate on it says nothing about real speech and must not be compared with "
        "published ones. It does say how the same network fares with and without analog hardware, and behind which "
        f"ADC. Give a LibriSpeech or TED-LIUM 2 folder as <code>data.path</code> for a real corpus.</p><p>{told}</p>"
    )


def _splits(data: dict[str, Any]) -> str:
    rows = [[escape(name), f"{s['utterances']:,}", f"{s['words']:,}", number(s["seconds"], ".2f", " h", 1 / 3600)]
            for name, s in data["splits"].items()]  # fmt: skip
    rows.append(["heard by the chips", f"{data['panel_utterances']:,}", f"{data['panel_words']:,}", "of the test set"])
    return html.card(html.table(["", "utterances", "words", "speech"], rows, (1, 2, 3)))


def _conditions_told(decoding: str) -> str:
    return (
        "<p>“Over digital” is paired with the quantised network that the condition puts on chips, on the same "
        "sentences. The share removed is (default - condition) / (default - digital), with Fieller's interval, "
        "and is told only where the gap is 4 of its standard errors or more. KL is to the posteriors of that digital "
        "network, per frame. ADC energy is conversions × energy of their bits by the component table, relative to the "
        "default condition. "
        "Conditions that are not automatic are the papers' (p/r: precision/range bits). Words are written by "
        f"{escape(decoding)}.</p>"
    )


def _facts(record: dict[str, Any]) -> list[list[str]]:
    data, config = record["data"], record["config"]
    study, tuning = config["study"], config["quantised"]
    seeds = ", ".join(str(record["seed"] + i) for i in range(study["seeds"]))
    chips = " (fresh chips in every step)" * bool(tuning["chips"])
    return [
        ["Corpus", f"{escape(data['name'])}, checksum {escape(str(data['checksum']))}"],
        ["Float training", f"{config['training']['epochs']} epochs, seeds {seeds}"],
        ["Quantised training", f"{tuning['epochs']} further epochs at every resolution{chips}, activations of "
                               f"{tuning['activation_bits']} bits, ranges by {escape(tuning['observer'])}"],
        ["Chips", f"{study['chips']} of every network, the same in all conditions; they hear "
                  f"{data['panel_utterances']:,} test sentences of {data['panel_words']:,} words"],
        ["Automatic ranges", f"chosen on one programmed chip from {study['calibration']} training sentences"],
        ["Layers", f"error, saturation and histograms: {min(STUDIED_CHIPS, study['chips'])} chips of every seed over "
                   f"{study['calibration']} test sentences, without padding"],
        ["Files", "<code>results.json</code> (every number here), <code>ensemble.npz</code> (errors and KL of every "
                  "chip and sentence, histograms), <code>log.txt</code>"],
    ]  # fmt: skip
