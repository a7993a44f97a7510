"""The page of an error budget: predicted and sampled errors, what causes them, and windows that lessen them."""

from html import escape
from typing import Any

from anaxon.report import error_budget_delta, html
from anaxon.report import error_budget_parts as parts
from anaxon.report.error_budget_figures import figures as figures
from anaxon.runs.error_tuning import CHOICES

TITLE = "Error without sampling, and windows tuned for it"
CAPTIONS = {
    "error": "Mean squared error of the logits against the programming noise of a cell. Lines are predicted without "
    "sampling any chip, points are sampled chips with 95 % intervals.",
    "ratio": "Predicted error over the sampled one; bars are the sampling's 95 % intervals.",
    "window": "The same against one window of all weights of the first network.",
    "budget": "What the cells of each layer add, to first order.",
    "pareto": "Mean squared error against power, sampled on the pictures that windows were chosen from; dotted: "
    "predicted to first order.",
    "accuracy": "Accuracy of the same chips on the same pictures.",
}


def page(record: dict[str, Any], drawn: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    sigma = record["config"]["study"]["sigma"]
    sections = [
        _head(record),
        html.tiles(_tiles(record)),
        "<h2>Predicted and sampled</h2>",
        *(_lines(kind, net) for kind, net in record["networks"].items()),
        "<p>A prediction takes the results as normal: where their excess kurtosis is above 0.5 it is marked as not to "
        "be trusted. Accuracy and flips are expected over chips, on the pictures followed; a flip is another class "
        "than the digital network's. How the accuracy varies from chip to chip is predicted to first order, with the "
        "covariances between pictures.</p>",
        "<h2>One window for all</h2>",
        *(parts.narrow(net["windows"], sigma) for net in record["networks"].values() if "windows" in net),
        "<h2>Figures</h2>",
        html.gallery(drawn, CAPTIONS),
        "<h2>What causes the error</h2>",
        *(_causes(kind, net, sigma) for kind, net in record["networks"].items()),
        parts.causes(record["causes"], record["config"], sigma),
        "<h2>Power</h2>",
        "<p>In g_max v_max² an example (one full cell at full input), amplifiers of r = 1 / g_max, at full windows: "
        "expected over chips, and measured on chips both cells of whose pairs are known.</p>",
        *(parts.power(kind, net["power"], sigma) for kind, net in record["networks"].items()),
        *error_budget_delta.section(record["delta"]),
        "<h2>Windows at equal power</h2>",
        _tuned(record["tuned"]),
        "<h2>How long it takes</h2>",
        _speed(record["networks"], record["delta"]["networks"]),
        "<h2>The hardware: what is active where</h2>",
        html.hardware(record["nonidealities"]),
        "<h2>Where the numbers come from</h2>",
        html.origin(_facts(record), record),
    ]
    return html.document(TITLE, sections)


def _head(record: dict[str, Any]) -> str:
    data = record["data"]
    return (
        f"<h1>{escape(TITLE)}</h1><p class='lead'>Small convolutional networks, trained on {data['train']:,} pictures "
        f"of {escape(data['name'])}, on noisy memristor pairs. Means and covariances of their results are propagated "
        "through the network and compared with sampled chips; then conductance windows are chosen for least error at "
        f"equal power. Configuration {escape(record['config_hash'])}, seed {record['seed']}.</p>"
    )


def _tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    sigma = record["config"]["study"]["sigma"]
    found = []
    for kind, net in record["networks"].items():
        line = next(line for line in net["lines"] if line["sigma"] == sigma)
        note = f"at sigma = {sigma:g}; sampled {line['sampled']['mean']:.4g} over {line['sampled']['n']} chips"
        found.append((f"{kind}: predicted error", f"{line['predicted']:.4g}", note))
    rows = [r for r in record["tuned"]["rows"] if r["choice"] in ("layer", "column")]
    for choice in ("layer", "column"):
        best = max((r for r in rows if r["choice"] == choice), key=lambda r: r["budget"])
        low, high = best["of"]["uniform"]["ci95"]
        note = f"of the uniform window's, at {best['budget']:.0%} of full power; 95 % [{low:.2f}, {high:.2f}]"
        found.append((f"Error, a window per {choice}", f"{best['of']['uniform']['mean']:.2f} ×", note))
    return found


def _lines(kind: str, net: dict[str, Any]) -> str:
    head = ["sigma", "predicted", "first order", "sampled", "95 %", "ratio", "ratio, first order", "single pictures",
            "accuracy, predicted", "sampled", "its std over chips, predicted", "sampled", "95 %", "flips, predicted",
            "sampled", "95 %", "kurtosis"]  # fmt: skip
    rows = []
    for x in net["lines"]:
        low, high = x["sampled"]["ci95"]
        trusted = "" if x["trusted"] else " <b>not trusted</b>"
        spread = f"{x['by_picture'][0]:.2f} to {x['by_picture'][2]:.2f}"
        sampled = [f"{x['sampled']['mean']:.4g}", f"[{low:.4g}, {high:.4g}]"]
        ratios = [f"{x['ratio']:.3f}", f"{x['ratio_linearised']:.3f}", spread]
        shares = [html.percent(x["chance"]), html.percent(x["accuracy"]["mean"]), html.percent(x["spread"], 2),
                  *parts.interval(x["spread_sampled"], ".2%"), html.percent(x["flip"], 2),
                  *parts.interval(x["flip_sampled"], ".2%")]  # fmt: skip
        rows.append([f"{x['sigma']:g}", f"{x['predicted']:.4g}", f"{x['linearised']:.4g}", *sampled, *ratios, *shares,
                     f"{x['kurtosis']:+.2f}{trusted}"])  # fmt: skip
    said = f"digital accuracy {net['test_accuracy']:.1%}, {net['panel_accuracy']:.1%} on the pictures followed"
    return f"<p><b>{escape(kind)}</b>, {said}</p>{html.card(html.table(head, rows, tuple(range(17))))}"


def _causes(kind: str, net: dict[str, Any], sigma: float) -> str:
    line = next(x for x in net["lines"] if x["sigma"] == sigma)
    total = line["linearised"]
    share = lambda v: html.percent(v / total)  # noqa: E731
    rows = [[escape(p), share(line["cells"][p]), share(line["reads"][p])] for p in line["cells"]]
    rows.append(["all, mean shift (quantisation, saturation)", share(line["bias"]), ""])
    head = ["layer", "programming", "reads (noise, rounding)"]
    return f"<p><b>{escape(kind)}</b>, sigma {sigma:g}</p>{html.card(html.table(head, rows, (1, 2)))}"


def _tuned(tuned: dict[str, Any]) -> str:
    head = ["power", "windows", "largest", "error, predicted", "sampled", "95 %", "of uniform, 95 %",
            "of one window, 95 %", "of layers' windows, 95 %", "accuracy"]  # fmt: skip
    rows = []
    for r in tuned["rows"]:
        low, high = r["sampled"]["ci95"]
        of = [f"{x['mean']:.3f} [{x['ci95'][0]:.3f}, {x['ci95'][1]:.3f}]" for x in r["of"].values()]
        rows.append([html.percent(r["budget"], 0), escape(r["choice"]), f"{r['largest']:.3f}", f"{r['predicted']:.4g}",
                     f"{r['sampled']['mean']:.4g}", f"[{low:.4g}, {high:.4g}]", *of,
                     html.percent(r["accuracy"]["mean"])])  # fmt: skip
    said = "; ".join(f"<b>{k}</b>: {escape(v)}" for k, v in CHOICES.items())
    beyond = "".join(f" Left out: {escape(x)}." for x in tuned["out_of_reach"])
    seconds = tuned["seconds"]
    told = (
        f"<p>{said}. Power is relative to full windows for every tensor, {tuned['full_power']:.4g} g_max v_max² an "
        f"example. Sensitivities took {seconds['sensitivities']:.1f} s with compiling, windows "
        f"{1000 * seconds['windows']:.0f} ms a budget.{beyond} Where the box (no window above 1) does not bind, "
        "windows without it are the same and not shown again.</p>"
    )
    told += _refined(tuned)
    return told + html.card(html.table(head, rows, (0, 2, 3, 4, 5, 6, 7, 8, 9)))


def _refined(tuned: dict[str, Any]) -> str:
    if tuned["refined"] is None:
        return ""
    steps = tuned["refined"]["objective"]
    share = next(row["budget"] for row in tuned["rows"] if row["choice"] == "refined")
    return (
        f"<p>Refined at {share:.0%} of full power: {len(steps) - 1} steps along the gradient of the moments' error, "
        f"{steps[0]:.4g} at the geometric program's windows and {min(steps):.4g} at the best, in "
        f"{tuned['refined']['seconds']:.3g} s with compiling.</p>"
    )


def _speed(networks: dict[str, Any], loops: dict[str, Any]) -> str:
    head = ["network", "moments", "with compiling", "first order", "with compiling", "chips for ±2 %", "ensemble",
            "with compiling", "loop over chips"]  # fmt: skip
    rows = []
    for kind, net in networks.items():
        mine, chips = parts.fastest(net), net["speed"]
        rows.append([escape(kind), f"{mine['predict']:.3g} s", f"{mine['predict_first']:.3g} s",
                     f"{mine['linearised']:.3g} s", f"{mine['linearised_first']:.3g} s",
                     f"{chips['chips']:.0f}", f"{chips['seconds']:.3g} s", f"{chips['seconds'] + chips['first']:.3g} s",
                     f"{chips['naive']:.3g} s"])  # fmt: skip
    return (
        "<p>The mean squared error of the pictures followed: by prediction, and by as many sampled chips as a 95 % "
        "half-width of 2 % needs (their number from the chips above). Compiling is left out where not said; moments "
        "give covariances, flips and power in the same pass.</p>"
        + "".join(f"<p>{escape(x)}</p>" for x in verdicts(networks, loops))
        + html.card(html.table(head, rows, tuple(range(1, 9))))
    )


def verdicts(networks: dict[str, Any], loops: dict[str, Any]) -> list[str]:
    """Where sampling wins and where it does not, a sentence for every network."""
    return [parts.verdict(kind, parts.fastest(net), net["speed"]) for kind, net in (networks | loops).items()]


def _facts(record: dict[str, Any]) -> list[list[str]]:
    data = record["data"]
    counts = f"{data['train']:,} to train, {data['test']:,} to test"
    return [["Data", f"{escape(data['name'])}, checksum {data['checksum']}; {counts}"]]
