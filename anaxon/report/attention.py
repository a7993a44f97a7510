"""The page of an attention job: quality against pruning, cycles and energy, layers and heads, other ways to prune."""

from html import escape
from typing import Any

from anaxon.report import html
from anaxon.report.attention_figures import figures as figures
from anaxon.report.attention_figures import shown, whole
from anaxon.report.attention_named import called, points_of

TITLE = "Attention that prunes itself"
CAPTIONS = {
    "curve": "Quality less the dense model's on the same test examples against the share of pairs pruned, mean over "
    "layers; bars are paired bootstrap 95 % intervals.",
    "pareto": "The same against the energy that attention takes, baseline over pruned, by the component table.",
    "histogram": "Bits of a key's elements that are read before a pair is decided, at the learned point; a kept pair "
    "reads all.",
    "cumulative": "How many of the pruned pairs are decided by so many bits.",
    "history": "Thresholds start where calibration prunes the configured share.",
    "sweep": "At the learned point, all layers, `study.swept` examples: cycle simulation with queues; bars are from "
    "the 10 % to the 90 % quantile of single examples.",
}
POINT = ["thresholds", "quality", "difference, 95 %", "on integers", "less float, 95 %", "pruned", "emptied rows",
         "cycles", "bits", "speed-up", "pruning only", "bound", "energy ratio", "pruning only",
         "termination"]  # fmt: skip
PARTS = {"front_end": "dot-product units", "selection": "margins and comparison", "fifos": "FIFOs",
         "softmax": "softmax", "back_end": "back end", "key_buffer": "key buffer",
         "value_buffer": "value buffer"}  # fmt: skip


def page(record: dict[str, Any], drawn: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    parts = [
        _head(record),
        html.tiles(_tiles(record)),
        "<h2>Quality, pruning and hardware</h2>",
        _method(record),
        *(_points(task, record) for task in record["tasks"]),
        _pooled(record),
        "<h2>Figures</h2>",
        _which(record),
        html.gallery(drawn, CAPTIONS),
        "<h2>Layers, heads and lengths at the learned point</h2>",
        _layers(record["tasks"][0], shown(record)),
        "<h2>Other ways of pruning on the same queries and keys</h2>",
        _rivals(record["tasks"][0], shown(record)),
        "<h2>Area of the tile</h2>",
        _area(record),
        "<h2>Where the numbers come from</h2>",
        html.origin(_facts(record), record),
    ]
    return html.document(TITLE, parts)


def _head(record: dict[str, Any]) -> str:
    design = record["config"]["accelerator"]
    return (
        f"<h1>{escape(TITLE)}</h1><p class='lead'>Scores below a threshold of each layer are dropped before the "
        "softmax; a dot product stops as soon as it is certain to stay below. Thresholds come from calibration alone, "
        f"or are learned together with the weights. Hardware: the {escape(design['kind'])} tile, {design['bits']} bits,"
        f" {design['per_cycle']} a cycle, beside a baseline with one whole key a cycle and no pruning. Configuration "
        f"{escape(record['config_hash'])}, seed {record['seed']}.</p><p>After Li et al., ISCA 2022 (arXiv 2204.03227). "
        "The sizes of its tiles and the energies of its parts are recollections and published unit costs, not the "
        "paper's tables; its 43 tasks are not these.</p>"
    )


def _tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    best = record["pooled"][shown(record)]
    task = record["tasks"][0]
    unit, factor = task["unit"]
    low, high = (factor * x for x in best["difference"]["ci95"])
    audit = record["audit"]
    return [
        (
            "Pruned, learned",
            html.percent(best["pruning_rate"]),
            f"penalty {best['penalty']:g}{_chosen(record)}, mean of tasks and seeds; goal {best['goal']}",
        ),
        (
            "Difference",
            f"{factor * best['difference']['mean']:+.2f}",
            f"{unit}, integer decisions; 95 % [{low:+.2f}, {high:+.2f}] {_over(best['difference'])}{_chosen(record)}",
        ),
        ("Speed-up of attention", f"{best['speed_up']:.2f} ×", f"pruning only {best['speed_up_pruning']:.2f} ×"),
        ("Energy of attention", f"1/{best['energy_ratio']:.2f}", f"pruning only 1/{best['energy_ratio_pruning']:.2f}"),
        (
            "Wrong decisions",
            f"{audit['wrong']:.0f}",
            f"of {audit['pairs']:.3g} pairs against float64 products; {audit['wrong_scores']:.0f} wrong scores",
        ),
    ]


def _chosen(record: dict[str, Any]) -> str:
    """Of how many points the one told in detail is the best, on the same examples that tell how good it is."""
    count = len(record["pooled"])
    return f", chosen on the test set among {count}" if count > 1 else ""


def _which(record: dict[str, Any]) -> str:
    """Which point figures and tables of one point show."""
    best = record["pooled"][shown(record)]
    if len(record["pooled"]) == 1:
        return ""
    return (
        f"<p>Where one learned point is shown, here and below, it is penalty {best['penalty']:g}{_chosen(record)}: of "
        "those that lose at most 0.2 point the one of least energy, or that which loses least. Its interval does not "
        "know of that choice; the table of all penalties is above.</p>"
    )


def _over(found: dict[str, Any]) -> str:
    """What an interval holds over, and what it takes as given."""
    told = lambda things: " and ".join(f"{n:,} {name if n > 1 else name[:-1]}" for name, n in things.items())  # noqa: E731
    return f"over {told(found['over'])}; {told(found['fixed'])} fixed"


def _method(record: dict[str, Any]) -> str:
    training, audit = record["config"]["training"], record["audit"]
    return (
        f"<p>The dense model was trained for {training['dense_epochs']} epoch(s). A learned point is that model after "
        f"{training['epochs']} more, with thresholds and the penalty on L0; it is compared with the dense model "
        "trained on for as long without them, as are points that are calibrated on that model; the other calibrated "
        "ones are compared with the dense model. Quality is that of float scores against the thresholds. "
        "The hardware compares integers with an integer threshold and weighs the survivors' exact integer scores: "
        f"quality on {record['config']['accelerator']['bits']} bits is that of the same model and test examples with "
        "every attention decided so, beside its paired difference to the float one. Of the traced pairs both decide "
        f"{html.percent(audit['agree'], 3)} alike; early termination decides as whole products of the integers do in "
        f"all but {audit['wrong']:.0f}. Emptied rows give 0. Pruning only: every pair takes all its cycles and is "
        "compared with the threshold once, on a tile without margin logic.</p>"
    )


def _points(task: dict[str, Any], record: dict[str, Any]) -> str:
    unit, factor = task["unit"]
    data = task["data"]
    design = record["config"]["accelerator"]
    head = [*POINT]
    head[3], head[7] = f"on {design['bits']} bits", f"cycles of {-(-design['bits'] // design['per_cycle'])}"
    rows = [[f"({escape(task['baseline'][0])})", f"{factor * task['baseline'][1]:.2f}", *[""] * (len(POINT) - 2)]]
    rows += [[told, f"{factor * task[name]:.2f}", "", *_integers(task[f"{name}_integers"], factor), *[""] * 10]
             for told, name in (("none", "dense"), ("none, trained on", "longer"))]  # fmt: skip
    for kind, point in points_of(task):
        row = whole(point)
        emptied = sum(point["layers"]["emptied"]) / max(1, sum(point["layers"]["rows"]))
        rows.append([kind, f"{factor * point['quality']:.2f}", _difference(point["difference"], factor),
                     *_integers(point["integers"], factor),
                     html.percent(point["pruning_rate"]), html.percent(emptied, 2), f"{row['mean_cycles']:.2f}",
                     f"{row['mean_bits']:.1f}", f"{row['speed_up']:.2f}", f"{row['speed_up_pruning']:.2f}",
                     f"{row['speed_up_bound']:.2f}", f"{row['energy_ratio']:.2f}",
                     f"{row['energy_ratio_pruning']:.2f}", f"{row['energy_ratio_termination']:.2f}"])  # fmt: skip
    words = (f"<p><b>{escape(task['name'])}</b>, seed {task['seed']}: {data['train']:,} examples to train on, "
             f"{data['test']:,} tested. Quality in {escape(unit)}. "
             f"Cycles and energy: traced test examples; {escape(task['learned'][0]['mapping'])}.</p>")  # fmt: skip
    return words + html.card(html.table(head, rows, tuple(range(1, len(head)))))


def _integers(found: dict[str, Any], factor: float) -> list[str]:
    return [f"{factor * found['quality']:.2f}", _difference(found["difference"], factor)]


def _difference(found: dict[str, Any], factor: float) -> str:
    low, high = (factor * x for x in found["ci95"])
    return f"{factor * found['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"


def _pooled(record: dict[str, Any]) -> str:
    factor = record["tasks"][0]["unit"][1]
    rows = []
    for told, kind, row in [(p["tasks"], p["kind"], row) for p in record["pools"] for row in p["rows"]]:
        rows.append([escape(told), called(kind, row), _difference(row["difference"], factor),
                     _difference(row["floats"], factor), html.percent(row["pruning_rate"]),
                     f"{row['mean_cycles']:.2f}", f"{row['speed_up']:.2f}", f"{row['energy_ratio']:.2f}",
                     escape(row["goal"])])  # fmt: skip
    head = ["task", "thresholds", "on integers, 95 %", "on floats, 95 %", "pruned", "cycles", "speed-up",
            "energy ratio", "1.9 ×, 3.9 ×, 0.2 point"]  # fmt: skip
    words = (f"<p>Less the dense model trained on for as long: means over seeds, and over tasks; the last interval is "
             f"{_over(record['pools'][-1]['rows'][0]['difference'])}. The last column asks for the averages that the "
             "paper states, at a loss of at most 0.2 point of integer decisions, which are those that speed-up and "
             "energy are of. Every row is judged by itself: of many rows some reach a goal by chance.</p>")  # fmt: skip
    return words + html.card(html.table(head, rows, tuple(range(2, 8))))


def _layers(task: dict[str, Any], number: int) -> str:
    """All layers by length, each layer, and behind them each head and length of each layer."""
    rows = task["learned"][number]["rows"]
    every = [r for r in rows if r["layer"] == "all"]
    words = (f"<p>{escape(task['name'])}, seed {task['seed']}, penalty {task['learned'][number]['penalty']:g}; traced "
             "test examples. An example is in the first length that its valid tokens do not exceed; the range is of "
             "single examples' speed-ups, 10 % to 90 %.</p>")  # fmt: skip
    layers = [r for r in rows if r["layer"] != "all" and r["head"] is None and r["length"] is None]
    rest = [r for r in rows if r["layer"] != "all" and r not in layers]
    return (
        f"{words}<h3>By length</h3>{_account(every)}<h3>By layer</h3>{_account(layers)}"
        f"<details><summary>heads and lengths of each layer, {len(rest)} rows</summary>{_account(rest)}</details>"
    )


def _account(rows: list[dict[str, Any]]) -> str:
    head = ["layer", "head", "length to", "pairs", "pruned", "emptied", "cycles", "bits", "speed-up", "range",
            "back end busy", "energy ratio", "pruning only"]  # fmt: skip
    low_high = lambda r: "" if None in r["speed_up_range"] else "{:.2f} to {:.2f}".format(*r["speed_up_range"])  # noqa: E731
    cells = [
        [str(r["layer"]), "all" if r["head"] is None else str(r["head"]),
         "all" if r["length"] is None else str(r["length"]),
         f"{r['pairs']:,}", html.percent(1.0 * r["pruning_rate"]), str(r["emptied"]), f"{r['mean_cycles']:.2f}",
         f"{r['mean_bits']:.1f}", f"{r['speed_up'] or 0:.2f}", low_high(r), html.percent(r["utilisation"]),
         f"{r['energy_ratio'] or 0:.2f}", f"{r['energy_ratio_pruning'] or 0:.2f}"]
        for r in rows
    ]  # fmt: skip
    return html.card(html.table(head, cells, tuple(range(3, 13))))


def _rivals(task: dict[str, Any], number: int) -> str:
    point = task["learned"][number]
    names = {"learned": "learned threshold, bit-serial", "top_k": "top-k of the same share",
             "predicted": "4-bit predictor", "adaptive": "bounds that adapt to the row"}  # fmt: skip
    if not point["rivals"]:
        return "<p>Not simulated: scores of more than 32 bits.</p>"
    rows = [[names[r["mode"]], html.percent(r["pruning_rate"]), html.percent(r["dropped"]), f"{r['mean_bits']:.1f}",
             f"{r['speed_up']:.2f}", f"{r['energy_ratio']:.2f}"] for r in point["rivals"]]  # fmt: skip
    words = (f"<p>All layers, `study.swept` examples of {escape(task['name'])}, each layer at about the share that "
             "its learned threshold keeps. They stand for the ideas of SpAtten, Sanger and PADE on "
             "this tile, not for those machines. Weight dropped: the dense softmax's weight of what is pruned, mean "
             "over rows; the model was trained for the learned thresholds only, and the quality of the others was "
             "not measured.</p>")  # fmt: skip
    head = ["", "pruned", "weight dropped", "bits read a pair", "speed-up", "energy ratio"]
    return words + html.card(html.table(head, rows, (1, 2, 3, 4, 5)))


def _area(record: dict[str, Any]) -> str:
    """Both designs beside the baseline, part by part, and what gates and bits were taken to need."""
    areas, sources = record["area"], record["sources"]
    head = ["mm²", *areas]
    rows = [[told, *(f"{1e6 * parts[name]:.4f}" for parts in areas.values())] for name, told in PARTS.items()]
    totals = [sum(parts.values()) for parts in areas.values()]
    rows += [["<b>tile</b>", *(f"<b>{1e6 * x:.4f}</b>" for x in totals)],
             ["of the baseline", *(f"{x / totals[0]:.2f}" for x in totals)]]  # fmt: skip
    from_where = [[escape(k.removeprefix("area.")), escape(v)] for k, v in sources.items() if k.startswith("area.")]
    words = ("<p>An estimate from gate counts at 65 nm, not a layout: six and eight units, and that they have about "
             "the baseline's area and 15 % more, are recollections of the paper.</p>")  # fmt: skip
    details = f"<details><summary>sources</summary>{html.table(['of a', 'source'], from_where)}</details>"
    return words + html.card(html.table(head, rows, tuple(range(1, len(head)))) + details)


def _facts(record: dict[str, Any]) -> list[list[str]]:
    data = "; ".join(f"{t['name']}: {t['data']['name']}, checksum {t['data']['checksum']}" for t in record["tasks"])
    costs = "<br>".join(f"{escape(k)}: {escape(v)}" for k, v in record["sources"].items())
    return [["Data", escape(data)], ["Costs", f"<details><summary>sources</summary>{costs}</details>"]]
