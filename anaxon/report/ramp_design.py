"""The page of a ramp design: what was designed, how good programmed ramps are, and what was checked."""

from collections.abc import Callable
from html import escape
from typing import Any

from anaxon.converter.ramp import DEFINITIONS
from anaxon.report import html, ramp_curves, ramp_sweeps
from anaxon.report.html import card, percent, table

_INL, _DNL = DEFINITIONS["INL_out"], DEFINITIONS["DNL"]
FIGURES: dict[str, Callable[..., bytes]] = {
    "transfer": ramp_curves.transfer,
    "conventions": ramp_curves.conventions,
    "inl": ramp_curves.inl,
    "dnl": ramp_curves.dnl,
    "worst_inl": ramp_sweeps.worst_inl,
    "yield": ramp_sweeps.yields,
    "dead": ramp_sweeps.dead,
    "copies": ramp_sweeps.copies,
    "v_read": ramp_sweeps.v_read,
    "gain": ramp_sweeps.gain,
}
WIDE = ("transfer", "conventions", "inl", "dnl", "worst_inl", "yield")
CAPTIONS = {
    "transfer": f"Transfer curves. The programmed ramp has its largest |INL| at the 75th percentile. {_INL}.",
    "conventions": "Quantisation error of the ideal ramp for the three threshold conventions, first activation; the "
    "band is half an LSB. Where a staircase leaves the band it clips.",
    "inl": f"INL threshold by threshold and calibration, first activation, the same devices in every panel. {_INL}.",
    "dnl": f"DNL step by step, first activation; one-point calibration moves all thresholds alike: no change. {_DNL}.",
    "worst_inl": "Largest |INL| of a ramp by activation and calibration. One step much larger than the others, as at "
    f"the flat minimum of gelu, leaves the others little conductance and costs linearity. {_INL}.",
    "yield": f"Share of ramps of the first activation whose largest |INL| is within the limit; bands: 95 % intervals "
    f"over ramps. {_INL}.",
    "dead": f"One ramp device stuck at OFF, no other error, first activation. After calibration the dead code is "
    f"missing. {_INL}.",
    "copies": f"The best of several measured columns is kept; lines: mean, bands: 5 to 95 % of the arrays, first "
    f"activation. {_INL}.",
    "v_read": "Read voltage off its nominal value, first activation. A ramp read at the same voltage as the array "
    "follows it; a fixed reference does not. Change of the code over inputs in [-4, 4].",
    "gain": f"The ramp's gain off that of the dot product, first activation. {_INL}.",
}


def figures(record: dict[str, Any], rows: ramp_curves.Rows) -> dict[str, bytes]:
    """PNG files by name, in the order of the page."""
    return {name: draw(record, rows) for name, draw in FIGURES.items()}


def page(record: dict[str, Any], drawn: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    parts = [
        _head(record),
        html.tiles(_tiles(record)),
        html.warning(
            "<p><b>These figures are simulated, not the paper's.</b> Equations follow Yang et al., Nat. Commun. 16:1136"
            " (2025). Its exact thresholds, INL definition, calibration procedure and error statistics were not known "
            "when this was written: those used here are assumptions of this project, stated below.</p>"
        ),
        "<h2>Figures</h2>",
        html.gallery(drawn, CAPTIONS, WIDE),
        "<h2>The columns</h2>",
        _designs(record),
        "<h2>Programmed ramps</h2>",
        _errors(record),
        "<h2>Programming tables</h2>",
        _programming(record),
        "<h2>Validation</h2>",
        _validation(record),
        "<h2>What is modelled</h2>",
        html.hardware({"sections": [{"title": "Ramp", "rows": record["nonidealities"]}], "weights": []}),
        "<h2>Where the numbers come from</h2>",
        html.origin(_facts(record), record),
    ]
    return html.document(_title(record), parts)


def _title(record: dict[str, Any]) -> str:
    columns = record["config"]["columns"]
    return f"Nonlinear ramp ADCs for {', '.join(columns['activations'])}"


def _head(record: dict[str, Any]) -> str:
    config = record["config"]
    devices, samples = config["devices"], config["samples"]
    return (
        f"<h1>{escape(_title(record))}</h1><p class='lead'>Columns of memristors whose ramp makes an ADC compute the "
        f"activation, at {', '.join(map(str, config['columns']['bits']))} bit, {samples['ramps']:,} of each programmed "
        f"with an error of {devices['sigma'] * 1e6:g} µS ({escape(devices['distribution'])}) on devices of up to "
        f"{devices['g_max'] * 1e6:g} µS. Configuration {escape(record['config_hash'])}, seed {record['seed']}.</p>"
    )


def _tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    columns, m = record["config"]["columns"], record["metrics"]
    name, bits = columns["activations"][0], columns["shown"]
    design = next(d for d in record["designs"] if (d["activation"], d["bits"]) == (name, bits))
    before, after = (m[f"max_inl/{name}/{bits}/{s}"]["mean"] for s in ("none", "one-point"))
    good = m[f"within/{name}/{bits}/one-point"]
    passed = sum(s["passed"] for s in record["validation"])
    return [
        ("Largest |INL|", f"{before:.2f} → {after:.2f} LSB", f"{bits}-bit {name}, mean over ramps, before and after "
         "one-point calibration; output LSB"),
        ("Good ramps", percent(good["mean"]), f"largest |INL| within {columns['limit']:g} LSB after one-point "
         f"calibration; 95 % interval {html.interval(good)} over ramps"),
        ("Devices", f"{design['devices']} + {design['bias_devices']}", f"ramp and bias, {bits}-bit {name}; smallest "
         f"{design['smallest'] * 1e6:.3g} µS, ratio {design['ratio']:.3g}"),
        ("Checks", f"{passed} of {len(record['validation'])}", "statements of the validation that hold"),
    ]  # fmt: skip


def _designs(record: dict[str, Any]) -> str:
    rows = [
        [escape(d["activation"]), str(d["bits"]), str(d["thresholds"]), str(d["steps"]), str(d["devices"]),
         str(d["bias_devices"]), f"{d['span'][0]:.4g} to {d['span'][1]:.4g}", f"{d['smallest'] * 1e6:.4g}",
         f"{d['ratio']:.4g}", f"{d['total'] * 1e6:,.5g}", str(d["below_sigma"]), str(d["below_g_min"])]
        for d in record["designs"]
    ]  # fmt: skip
    head = ["activation", "bits", "thresholds", "steps", "ramp devices", "bias devices", "ramp in z", "smallest [µS]",
            "largest / smallest", "sum [µS]", "below 3 sigma", "below g_min"]  # fmt: skip
    return (
        card(table(head, rows, tuple(range(1, 12))))
        + "<p>Steps are the devices that conduct in one pass; the other ramp devices are spare. A target below three "
        "sigma is as good as unprogrammable: its step may vanish, and with it a code. One below g_min cannot be "
        "programmed at all.</p>"
    )


def _errors(record: dict[str, Any]) -> str:
    m, columns, rows = record["metrics"], record["config"]["columns"], []
    for name in columns["activations"]:
        for bits in columns["bits"]:
            for scheme in record["schemes"]:
                label = f"{name}/{bits}/{scheme}"
                good = m[f"within/{label}"]
                rows.append([escape(name), str(bits), escape(scheme), _mean(m[f"mean_inl/{label}"]),
                             _mean(m[f"max_inl/{label}"]), _mean(m[f"dnl_rms/{label}"]),
                             f"{percent(good['mean'])} {html.interval(good)}"])  # fmt: skip
    head = ["activation", "bits", "calibration", "mean |INL| [LSB]", "largest |INL| [LSB]", "DNL rms",
            f"largest |INL| < {columns['limit']:g} LSB"]  # fmt: skip
    n = record["config"]["samples"]["ramps"]
    inner = card(table(head, rows, (1, 3, 4, 5, 6)))
    return (
        f"{inner}<p>Mean ± std over {n:,} ramps, intervals of 95 % over ramps. {escape(_INL)}. {escape(_DNL)}. Without "
        "calibration the ramp starts exactly where it should, except where the bias devices are set blindly.</p>"
    )


def _mean(m: dict[str, Any]) -> str:
    return f"{m['mean']:.3f} ± {m['std']:.3f}"


def _programming(record: dict[str, Any]) -> str:
    blocks = []
    for name, entry in record["programming"].items():
        head, *rows = [[escape(cell) for cell in row] for row in entry["rows"]]
        blocks.append(
            f"<details><summary>{escape(name)}: {len(rows)} devices, <code>{escape(entry['file'])}</code></summary>"
            f'<div class="scroll">{table(head, rows, (1, 3, 4))}</div></details>'
        )
    return (
        "<p>Target conductances, in the order in which the devices are switched on; bias devices come before the ramp. "
        "The other resolutions are beside these in <code>tables/</code>.</p>" + "".join(blocks)
    )


def _validation(record: dict[str, Any]) -> str:
    rows = [
        [s["name"], escape(s["what"]), _numbers(s["expected"]), _numbers(s["obtained"]), escape(s["tolerance"]),
         "yes" if s["passed"] else "<b>NO</b>"]
        for s in record["validation"]
    ]  # fmt: skip
    head = ["", "statement", "expected", "obtained", "tolerance", "holds"]
    n = record["config"]["samples"]["validation"]
    return (
        f"{card(table(head, rows))}<p>Computed in this run. Expected numbers are this project's own derivations "
        f"(closed forms, float64 Monte Carlo) unless a publication is named; statistical ones here from {n:,} ramps "
        f"each, conductances clipped at 0, thresholds of convention edges. INL is {escape(_INL)}.</p>"
    )


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{v:.5g}" for v in values)


def _facts(record: dict[str, Any]) -> list[list[str]]:
    samples = record["config"]["samples"]
    return [
        ["Ramps", f"{samples['ramps']:,}, each programmed with fresh random errors; the same devices under every "
                  "calibration and, for the yield, at every sigma"],
        ["Definitions", "<br>".join(escape(words) for words in DEFINITIONS.values())],
        ["Error size", "2.73 µS: write-verify statistics of ReADC, Nat. Commun. (2025), s41467-025-65233-w; 150 µS is "
                       "an assumption"],
        ["Files", "<code>results.json</code> (every number here), <code>ensemble.npz</code> (a row a ramp), "
                  "<code>tables/*.csv</code> (programming tables), <code>log.txt</code>"],
    ]  # fmt: skip
