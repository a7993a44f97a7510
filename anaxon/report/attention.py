"""The page of an attention job: quality against pruning, cycles and energy, layers and heads, other ways to prune."""

from html import escape
from typing import Any

from anaxon.report import html
from anaxon.report.attention_figures import figures as figures
from anaxon.report.attention_figures import shown, whole
from anaxon.runs.attention import points_of

TITLE = "Attention that prunes itself"
CAPTIONS = {
    "curve": "Quality less the dense model's on the same test examples against the share of pairs pruned, mean over "
    "layers; bars are paired bootstrap 95 % intervals.",
    "pareto": "The same against the energy that attention takes, baseline over pruned, by the component table.",
    "histogram": "Bits of a key's elements that are read before a pair is decided, at the learned point; a kept pair "
    "reads all.",
    "cumulative": "How many of the pruned pairs are decided by so many bits.",
    "history": "Thresholds start where calibration prunes the configured share.",
    "sweep": "At the learned point, on one batch of traced examples of middle length: cycle simulation with queues.",
}
POINT = ["thresholds", "quality", "difference, 95 %", "pruned", "emptied rows", "cycles of 6", "bits", "speed-up",
         "pruning only", "bound", "energy ratio", "pruning only", "termination"]  # fmt: skip


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
        html.gallery(drawn, CAPTIONS),
        "<h2>Layers, heads and lengths at the learned point</h2>",
        _layers(record["tasks"][0], shown(record)),
        "<h2>Other ways of pruning on the same queries and keys</h2>",
        _rivals(record["tasks"][0], shown(record)),
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
            f"penalty {best['penalty']:g}, mean of tasks and seeds; goal {best['goal']}",
        ),
        ("Difference", f"{factor * best['difference']['mean']:+.2f}", f"{unit}; 95 % [{low:+.2f}, {high:+.2f}]"),
        ("Speed-up of attention", f"{best['speed_up']:.2f} ×", f"pruning only {best['speed_up_pruning']:.2f} ×"),
        ("Energy of attention", f"1/{best['energy_ratio']:.2f}", f"pruning only 1/{best['energy_ratio_pruning']:.2f}"),
        (
            "Wrong decisions",
            f"{audit['wrong']:.0f}",
            f"of {audit['pairs']:.3g} pairs against float64 products; {audit['wrong_scores']:.0f} wrong scores",
        ),
    ]


def _method(record: dict[str, Any]) -> str:
    training, audit = record["config"]["training"], record["audit"]
    return (
        f"<p>The dense model was trained for {training['dense_epochs']} epoch(s). A learned point is that model after "
        f"{training['epochs']} more, with thresholds and the penalty on L0; it is compared with the dense model "
        "trained on for as long without them, as are points that are calibrated on that model; the other calibrated "
        "ones are compared with the dense model. Quality is that of float scores against the thresholds; "
        "the hardware compares integers, which "
        f"decide {html.percent(audit['agree'], 3)} of the traced pairs alike. Emptied rows give 0.</p>"
    )


def _points(task: dict[str, Any], record: dict[str, Any]) -> str:
    unit, factor = task["unit"]
    data = task["data"]
    design = record["config"]["accelerator"]
    head = [*POINT[:5], f"cycles of {-(-design['bits'] // design['per_cycle'])}", *POINT[6:]]
    rows = [[f"({escape(task['baseline'][0])})", f"{factor * task['baseline'][1]:.2f}", *[""] * 11],
            ["none", f"{factor * task['dense']:.2f}", *[""] * 11],
            ["none, trained on", f"{factor * task['longer']:.2f}", *[""] * 11]]  # fmt: skip
    for kind, point in points_of(task):
        row, difference = whole(point), point["difference"]
        low, high = (factor * x for x in difference["ci95"])
        emptied = sum(point["layers"]["emptied"]) / max(1, sum(point["layers"]["rows"]))
        rows.append([kind, f"{factor * point['quality']:.2f}",
                     f"{factor * difference['mean']:+.2f} [{low:+.2f}, {high:+.2f}]",
                     html.percent(point["pruning_rate"]), html.percent(emptied, 2), f"{row['mean_cycles']:.2f}",
                     f"{row['mean_bits']:.1f}", f"{row['speed_up']:.2f}", f"{row['speed_up_pruning']:.2f}",
                     f"{row['speed_up_bound']:.2f}", f"{row['energy_ratio']:.2f}",
                     f"{row['energy_ratio_pruning']:.2f}", f"{row['energy_ratio_termination']:.2f}"])  # fmt: skip
    words = (f"<p><b>{escape(task['name'])}</b>, seed {task['seed']}: {data['train']:,} examples to train on, "
             f"{data['test']:,} tested. Quality in {escape(unit)}. "
             "Cycles and energy: traced test examples.</p>")  # fmt: skip
    return words + html.card(html.table(head, rows, tuple(range(1, len(head)))))


def _pooled(record: dict[str, Any]) -> str:
    factor = record["tasks"][0]["unit"][1]
    rows = []
    for row in record["pooled"]:
        mean, (low, high) = row["difference"]["mean"], row["difference"]["ci95"]
        difference = f"{factor * mean:+.2f} [{factor * low:+.2f}, {factor * high:+.2f}]"
        rows.append([f"{row['penalty']:g}", difference,
                     html.percent(row["pruning_rate"]), f"{row['mean_cycles']:.2f}", f"{row['speed_up']:.2f}",
                     f"{row['energy_ratio']:.2f}", escape(row["goal"])])  # fmt: skip
    head = ["penalty", "difference, 95 %", "pruned", "cycles", "speed-up", "energy ratio", "1.9 ×, 3.9 ×, 0.2 point"]
    words = ("<p>Learned thresholds, the mean over tasks; examples are resampled within each, seeds averaged. The last "
             "column asks for the averages that the paper states, at a loss of at most 0.2 point:</p>")  # fmt: skip
    return words + html.card(html.table(head, rows, tuple(range(1, 6))))


def _layers(task: dict[str, Any], number: int) -> str:
    head = ["layer", "head", "length to", "pairs", "pruned", "emptied", "cycles", "bits", "speed-up", "back end busy",
            "energy ratio"]  # fmt: skip
    rows = [
        [str(r["layer"]), "all" if r["head"] is None else str(r["head"]),
         "" if r["length"] is None else str(r["length"]),
         f"{r['pairs']:,}", html.percent(1.0 * r["pruning_rate"]), str(r["emptied"]), f"{r['mean_cycles']:.2f}",
         f"{r['mean_bits']:.1f}", f"{r['speed_up'] or 0:.2f}", html.percent(r["utilisation"]),
         f"{r['energy_ratio'] or 0:.2f}"]
        for r in task["learned"][number]["rows"]
    ]  # fmt: skip
    words = f"<p>{escape(task['name'])}, seed {task['seed']}, penalty {task['learned'][number]['penalty']:g}</p>"
    table = html.card(html.table(head, rows, tuple(range(3, 11))))
    return f"{words}<details><summary>{len(rows)} rows</summary>{table}</details>"


def _rivals(task: dict[str, Any], number: int) -> str:
    point = task["learned"][number]
    names = {"learned": "learned threshold, bit-serial", "top_k": "top-k of the same share",
             "predicted": "4-bit predictor", "adaptive": "bounds that adapt to the row"}  # fmt: skip
    rows = [[names[r["mode"]], html.percent(r["pruning_rate"]), f"{r['mean_bits']:.1f}", f"{r['speed_up']:.2f}",
             f"{r['energy_ratio']:.2f}"] for r in point["rivals"]]  # fmt: skip
    if not point["rivals"]:
        return "<p>Not simulated: scores of more than 32 bits.</p>"
    layer = point["rivals"][0]["layer"]
    words = (f"<p>Layer {layer} of {escape(task['name'])}. They stand for the ideas of SpAtten, Sanger and PADE on "
             "this tile, not for those machines; quality is that of the learned one only.</p>")  # fmt: skip
    return words + html.card(
        html.table(["", "pruned", "bits read a pair", "speed-up", "energy ratio"], rows, (1, 2, 3, 4))
    )


def _facts(record: dict[str, Any]) -> list[list[str]]:
    data = "; ".join(f"{t['name']}: checksum {t['data']['checksum']}" for t in record["tasks"])
    costs = "<br>".join(f"{escape(k)}: {escape(v)}" for k, v in record["sources"].items())
    return [["Data", escape(data)], ["Costs", f"<details><summary>sources</summary>{costs}</details>"]]
