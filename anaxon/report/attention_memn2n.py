"""The page of pruned memory networks: accuracy and pruning, task by task, beside the most that could be pruned."""

from html import escape
from typing import Any

import numpy as np

from anaxon.data.stories import TASKS
from anaxon.report import html
from anaxon.report.style import BAND, CHIPS, DIGITAL, PERFECT, figure, png

COLOURS = (CHIPS, DIGITAL, PERFECT, "#e9c46a", "#9d4edd", "#6c757d", "#1d3557")
TITLE = "Memory networks that read what they need"
CAPTIONS = {
    "pruning": "The share of valid memories that hops drop, and the ceiling: every support read in just one hop.",
    "thresholds": "The hops' thresholds while they learn, less where they start, for each task's chosen network.",
    "sparsity": "The share of memories that the hard rule drops of some training stories, all hops, along learning.",
    "cumulative": "How many of the pruned memories are decided by so many bits of their keys, all hops.",
}


def page(record: dict[str, Any], drawn: dict[str, bytes]) -> str:
    """The page of a run from its record (`results.json`) and its figures (PNG by name)."""
    data = record["config"]["data"]
    parts = [
        f"<h1>{escape(TITLE)}</h1><p class='lead'>End-to-end memory networks answer questions about generated stories "
        "in bAbI's format; a learned threshold in every hop drops memories before the softmax. Configuration "
        f"{escape(record['config_hash'])}, seed {record['seed']}.</p>",
        html.tiles(_tiles(record["pooled"])),
        "<h2>Task by task</h2>",
        html.card(_tasks(record)),
        "<p>Pruning counts valid memories only, over all hops. The ceiling is 1 − supports / (hops × memories): every "
        "statement that an answer needs is read once. A hop that keeps nothing adds nothing; the share of such hops is "
        "counted. The dense network was trained for as many epochs as the pruned one. "
        "Intervals of accuracy are over stories; the difference "
        "is of the same questions, and unresolved where its interval reaches zero.</p>",
        "<p>One penalty for all tasks, on the test stories:</p>",
        html.card(_curve(record)),
        "<h2>Hops on the accelerator</h2>",
        _design(record),
        html.card(_hardware(record)),
        "<h2>Figures</h2>",
        html.gallery(drawn, CAPTIONS),
        "<h2>Penalties that were tried, on the validation stories</h2>",
        html.card(_tried(record)),
        "<h2>Where the numbers come from</h2>",
        html.origin(
            [
                ["Stories", f"{data['train']:,} to train, {data['validation']:,} to choose, {data['test']:,} to test, "
                 f"{data['questions']} questions each, by our own generator; not the bAbI corpus"],
                ["Network", "Sukhbaatar et al., arXiv 1503.08895; thresholds: Li et al., arXiv 2204.03227"],
            ],
            record,
        ),
    ]  # fmt: skip
    return html.document(TITLE, parts)


def _tiles(pooled: dict[str, Any]) -> list[tuple[str, str, str]]:
    low, high = pooled["difference"]["ci95"]
    verdict = "unresolved" if pooled["unresolved"] else "resolved"
    goal = f"goal {pooled['goal']:.0%} at unresolved loss: {'met' if pooled['met'] else 'not met'}"
    return [
        ("Pruned", f"{pooled['rate']:.1%}", f"of valid memories; at most {pooled['ceiling']:.1%}"),
        ("Of the ceiling", f"{pooled['of_ceiling']:.1%}", goal),
        ("Accuracy", f"{100 * pooled['difference']['mean']:+.2f} points",
         f"{verdict}: 95 % [{100 * low:+.2f}, {100 * high:+.2f}]; {pooled['lost']} lost, {pooled['won']} won"),
    ]  # fmt: skip


def _tasks(record: dict[str, Any]) -> str:
    head = ["task", "memories", "supports", "dense", "pruned", "difference, 95 %", "lost / won", "pruning rate",
            "ceiling", "of it", "kept, hop by hop", "emptied hops"]  # fmt: skip
    named = [(TASKS[t].name, line) for t, line in record["tasks"].items()] + [("all", record["pooled"])]
    rows = []
    for name, x in named:
        difference = html.points(x["difference"]) + ("" if x["unresolved"] else " <b>resolved</b>")
        rows.append([escape(name), f"{x['valid']:.1f}", f"{x['supports']:.1f}", html.percent(x["dense"]["mean"]),
                     html.percent(x["pruned"]["mean"]), difference, f"{x['lost']} / {x['won']}",
                     html.percent(x["rate"]), html.percent(x["ceiling"]), html.percent(x["of_ceiling"]),
                     ", ".join(f"{k:.2f}" for k in x["kept"]),
                     ", ".join(html.percent(e) for e in x["emptied"])])  # fmt: skip
    return html.table(head, rows, tuple(range(1, 12)))


def _curve(record: dict[str, Any]) -> str:
    rows = [[f"{x['penalty']:g}", html.percent(x["rate"]), html.percent(x["of_ceiling"]), html.points(x["difference"]),
             "unresolved" if x["unresolved"] else "resolved"] for x in record["pooled"]["curve"]]  # fmt: skip
    return html.table(["penalty", "pruning rate", "of the ceiling", "difference, 95 %", ""], rows, (1, 2, 3))


def _design(record: dict[str, Any]) -> str:
    design, found = record["config"]["accelerator"], record["pooled"]["hardware"]
    return (
        f"<p>The {escape(design['kind'])} tile, {design['bits']} bits, {design['per_cycle']} a cycle; the last row is "
        "the mean of tasks. A question is one query with its own memories, fewer than a dozen: units of a tile idle at "
        "the end of every row, and the widths of embeddings leave lanes idle, in the baseline, too. Of "
        f"{found['pairs']:,.0f} pairs compared with float64 products {found['wrong']:.0f} were decided wrongly, "
        f"{found['wrong_scores']:.0f} survivors had a wrong score. Sizes and energies are recollections and published "
        "unit costs.</p>"
    )


def _hardware(record: dict[str, Any]) -> str:
    head = ["task", "hop", "pruned", "cycles of a pair", "bits", "speed-up", "pruning only", "energy ratio",
            "pruning only", "termination"]  # fmt: skip
    named = [(TASKS[t].name, row) for t, x in record["tasks"].items() for row in x["hardware"]["rows"]]
    rows = [[escape(name), str(row["hop"]), html.percent(row["pruning_rate"]), *_saved(row)] for name, row in named]
    mean = record["pooled"]["hardware"]
    return html.table(head, [*rows, ["mean of tasks", "all", "", *_saved(mean)]], tuple(range(2, 10)))


def _saved(row: dict[str, Any]) -> list[str]:
    return [f"{row['mean_cycles']:.2f}", f"{row['mean_bits']:.1f}",
            *(f"{row[k]:.2f}" for k in ("speed_up", "speed_up_pruning", "energy_ratio", "energy_ratio_pruning",
                                        "energy_ratio_termination"))]  # fmt: skip


def _tried(record: dict[str, Any]) -> str:
    rows = [
        [escape(TASKS[task].name), f"{t['penalty']:g}" + (" (chosen)" if t["penalty"] == x["penalty"] else ""),
         html.percent(t["accuracy"]), html.percent(t["pruned"])]
        for task, x in record["tasks"].items() for t in x["tried"]
    ]  # fmt: skip
    return html.table(["task", "penalty", "accuracy", "pruning rate"], rows, (1, 2, 3))


def figures(record: dict[str, Any], rows: dict[str, np.ndarray]) -> dict[str, bytes]:
    """PNG files by name, in the order of the page."""
    return {
        "pruning": _pruning(record["tasks"]),
        "thresholds": _thresholds(list(record["tasks"]), rows),
        "sparsity": _sparsity(list(record["tasks"]), rows),
        "cumulative": _cumulative(record["tasks"]),
    }


def _pruning(tasks: dict[str, Any]) -> bytes:
    with figure(6.4, 3.8) as (drawing, axes):
        at = np.arange(len(tasks))
        axes.bar(at, [x["ceiling"] for x in tasks.values()], 0.7, color=BAND, alpha=0.6, label="ceiling")
        axes.bar(at, [x["rate"] for x in tasks.values()], 0.45, color=CHIPS, label="pruned")
        axes.set(ylabel="share of valid memories", ylim=(0, 1), title="How much is pruned")
        axes.set_xticks(at, [TASKS[t].name.replace(" ", "\n") for t in tasks], fontsize=8)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5)
        return png(drawing)


def _thresholds(tasks: list[str], rows: dict[str, np.ndarray]) -> bytes:
    with figure(6.4, 3.8) as (drawing, axes):
        for hop, colour in enumerate((CHIPS, DIGITAL, PERFECT)):
            for i, task in enumerate(tasks):
                history = rows[f"{task}/history/thresholds"]
                if hop < history.shape[1]:
                    label = f"hop {hop + 1}" if i == 0 else None
                    axes.plot(history[:, hop] - history[0, hop], color=colour, lw=1, alpha=0.8, label=label)
        axes.set(xlabel="epoch", ylabel="threshold, change [score]", title="Thresholds learn")
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def _sparsity(tasks: list[str], rows: dict[str, np.ndarray]) -> bytes:
    with figure(6.4, 3.8) as (drawing, axes):
        for task, colour in zip(tasks, COLOURS, strict=False):
            axes.plot(100 * (1 - rows[f"{task}/history/share"].mean(1)), color=colour, label=TASKS[task].name)
        axes.set(xlabel="epoch", ylabel="pruned [%]", ylim=(0, 100), title="Sparsity along training")
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)


def _cumulative(tasks: dict[str, Any]) -> bytes:
    with figure(6.4, 3.8) as (drawing, axes):
        for (task, x), colour in zip(tasks.items(), COLOURS, strict=False):
            pruned = np.asarray(x["hardware"]["histogram"]["pruned"], float)
            share = np.cumsum(pruned) / max(1.0, pruned.sum())
            axes.plot(np.arange(len(pruned)), 100 * share, color=colour, label=TASKS[task].name)
        axes.set(xlabel="bits of the key", ylabel="of the pruned pairs [%]", title="Bits against cumulative pruning")
        axes.grid()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
        return png(drawing)
