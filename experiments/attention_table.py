# %% [markdown]
# # The tables of finished attention runs, as Markdown
# `python experiments/attention_table.py RUN_FOLDER ...` prints `experiments/results/attention.md` and
# `attention_models.md` from runs of `configs/attention_*.toml`.

# %%
import json
import sys
from pathlib import Path

from anaxon.report import markdown
from anaxon.report.attention_named import called, points_of

KINDS = {"minilm": "all-MiniLM-L6-v2 with its own weights", "gpt": "A causal language model, trained here",
         "pictures": "A transformer for pictures, trained here",
         "shared": "An encoder with one block for all layers, trained here"}  # fmt: skip


def main(folders: list[Path]) -> None:
    """Prints everything from `results.json`."""
    print("# Attention that prunes itself\n")
    print(
        "Scores below a threshold of each layer are dropped before the softmax; early termination of 12-bit keys, two"
    )
    print("bits a cycle, on a tile of six units beside a baseline with one whole key a cycle (sizes are recollections,")
    print("its energies published unit costs). Differences are paired on the same test examples, with bootstrap 95 %")
    print("intervals: calibrated thresholds to the model that they are of, learned ones to the dense model trained on")
    print("for as long.")
    print("Cycles, speed-up and energy are of traced test examples; `goal` asks for 1.9 x and 3.9 x at 0.2 point.")
    print("Pruning only: whole dot products, one comparison a pair, no margin logic. Quality on integers: attention is")
    print("decided by, and weighs, exact scores of integer queries and keys, as the hardware does.\n")
    for folder in folders:
        file = folder / "results.json"
        record = json.loads(file.read_text())
        show = memories if record["job"] == "attention_memn2n" else one
        show(record, file.stat().st_mtime)
    if "area" in record:
        area(record)


def one(record: dict, written: float) -> None:
    print(f"## {KINDS[record['config']['kind']]}\n")
    audit = record["audit"]
    seconds = sum(v for k, v in record["seconds"].items() if k == "points")
    print(f"{markdown.origin(record, written)} Points took {seconds / 60:.1f} min. Early termination against")
    print(f"float64 products: {audit['pairs']:.4g} pairs, {audit['wrong']:.0f} wrong decisions, "
          f"{audit['wrong_scores']:.0f} wrong scores; float scores decide {audit['agree']:.3%} alike.\n")  # fmt: skip
    for task in record["tasks"]:
        points(task)
    factor, over = record["tasks"][0]["unit"][1], record["pooled"][0]["difference"]
    print(f"Less the dense model trained on for as long, means over seeds and tasks; the last interval is over "
          f"{told(over['over'])}, with {told(over['fixed'])} fixed. `goal` is of integer decisions.\n")  # fmt: skip
    goals = [pool(found["tasks"], found["kind"], row, factor) for found in record["pools"] for row in found["rows"]]
    head = ["task", "thresholds", "on integers, 95 %", "on floats, 95 %", "pruned", "speed-up", "energy ratio", "goal"]
    print(markdown.table(head, goals))


def pool(tasks: str, kind: str, row: dict, factor: float) -> list[str]:
    return [tasks, called(kind, row), difference(row["difference"], factor),
            difference(row["floats"], factor), f"{row['pruning_rate']:.1%}", f"{row['speed_up']:.2f}",
            f"{row['energy_ratio']:.2f}", row["goal"]]  # fmt: skip


def told(things: dict) -> str:
    return " and ".join(f"{n:,} {name}" for name, n in things.items())


def points(task: dict) -> None:
    unit, factor = task["unit"]
    data = task["data"]
    print(f"{data['name']} ({data['train']:,} to train on, {data['test']:,} tested, checksum {data['checksum']}), seed "
          f"{task['seed']}; quality in {unit}.\n")  # fmt: skip
    rows = [[f"({task['baseline'][0]})", f"{factor * task['baseline'][1]:.2f}", *[""] * 11]]
    rows += [[told, f"{factor * task[name]:.2f}", "", *integers(task[f"{name}_integers"], factor), *[""] * 8]
             for told, name in (("none", "dense"), ("none, trained on", "longer"))]  # fmt: skip
    for kind, point in points_of(task):
        whole = next(r for r in point["rows"] if r["layer"] == "all")
        emptied = sum(point["layers"]["emptied"]) / max(1, sum(point["layers"]["rows"]))
        rows.append([kind, f"{factor * point['quality']:.2f}", difference(point["difference"], factor),
                     *integers(point["integers"], factor),
                     f"{point['pruning_rate']:.1%}", f"{emptied:.2%}", f"{whole['mean_cycles']:.2f}",
                     *(f"{whole[k]:.2f}" for k in ("speed_up", "speed_up_pruning", "energy_ratio",
                                                   "energy_ratio_pruning", "energy_ratio_termination"))])  # fmt: skip
    head = ["thresholds", "quality", "difference, 95 %", "on integers", "less float, 95 %", "pruned", "emptied rows",
            "cycles", "speed-up", "pruning only", "energy ratio", "pruning only", "termination"]  # fmt: skip
    print(markdown.table(head, rows))


def integers(found: dict, factor: float) -> list[str]:
    return [f"{factor * found['quality']:.2f}", difference(found["difference"], factor)]


def area(record: dict) -> None:
    """Both designs beside the baseline."""
    areas = record["area"]
    totals = [sum(parts.values()) for parts in areas.values()]
    rows = [[part, *(f"{1e6 * parts[part]:.3f}" for parts in areas.values())] for part in areas["baseline"]]
    rows += [["tile", *(f"{1e6 * x:.3f}" for x in totals)],
             ["of the baseline", *(f"{x / totals[0]:.2f}" for x in totals)]]  # fmt: skip
    print("## Area of a tile\n\nAn estimate at 65 nm, in mm2, from:\n")
    print("\n".join(f"- {k}: {v}" for k, v in record["sources"].items() if k.startswith("area.")), "\n")
    print(markdown.table(["part", *areas], rows))


def memories(record: dict, written: float) -> None:
    """Of `configs/attention_memn2n.toml`."""
    found, data = record["pooled"], record["config"]["data"]
    spent = found["hardware"]
    print(f"## Memory networks on generated stories, trained here\n\n{markdown.origin(record, written)}")
    print(f"{data['train']:,} stories to train on, {data['validation']:,} to choose a task's penalty with, "
          f"{data['test']:,} to test, {data['questions']} questions each. The ceiling is 1 - supports / (hops x "
          f"memories). Early termination against float64 products: {spent['pairs']:.4g} pairs, "
          f"{spent['wrong']:.0f} wrong decisions, {spent['wrong_scores']:.0f} wrong scores.\n")  # fmt: skip
    rows = [memory_row(name, x, x["hardware"]["rows"][-1]) for name, x in record["tasks"].items()]
    head = ["task", "memories", "supports", "accuracy, dense", "pruned", "difference, 95 %", "pruned memories",
            "of the ceiling", "emptied hops", "cycles of 6", "speed-up", "energy ratio", "pruning only"]  # fmt: skip
    print(markdown.table(head, [*rows, memory_row("all", found, spent)]))
    goal = "met" if found["met"] else "not met"
    print(f"Goal, {found['goal']:.0%} of the ceiling at a loss that is not resolved: {goal}. One penalty for all "
          "tasks:\n")  # fmt: skip
    curve = [[f"{x['penalty']:g}", f"{x['rate']:.1%}", f"{x['of_ceiling']:.1%}", points_of_accuracy(x["difference"])]
             for x in found["curve"]]  # fmt: skip
    print(markdown.table(["penalty", "pruned memories", "of the ceiling", "difference, 95 %"], curve))


def memory_row(name: str, x: dict, spent: dict) -> list[str]:
    emptied = sum(x["emptied"]) / len(x["emptied"])
    return [name, f"{x['valid']:.1f}", f"{x['supports']:.1f}", *(f"{x[k]['mean']:.1%}" for k in ("dense", "pruned")),
            points_of_accuracy(x["difference"]), f"{x['rate']:.1%}", f"{x['of_ceiling']:.1%}", f"{emptied:.1%}",
            f"{spent['mean_cycles']:.2f}", *(f"{spent[k]:.2f}" for k in ("speed_up", "energy_ratio",
                                                                         "energy_ratio_pruning"))]  # fmt: skip


def points_of_accuracy(found: dict) -> str:
    return difference(found, 100.0)


def difference(found: dict, factor: float) -> str:
    low, high = (factor * x for x in found["ci95"])
    return f"{factor * found['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
