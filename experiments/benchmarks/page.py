# %% [markdown]
# # Benchmark figures as Markdown
# `python experiments/benchmarks/page.py FILE ...` prints the tables of files that `run.py --json FILE` wrote.

# %%
import json
import sys
from pathlib import Path

from anaxon.report import markdown


def main(files: list[Path]) -> None:
    """Every file with its machine, versions and load, then a table for every title."""
    for file in files:
        record = json.loads(file.read_text(encoding="utf-8"))
        versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
        loads = " and ".join(f"{record[k][0]:.1f}" for k in ("load_before", "load_after"))
        print(f"{record['started'][:10]}, {record['device']} ({record['cpu']}, {record['cores']} cores), {versions};")
        print(f"{record['clock']}; medians (least to most) of rounds; load before and after {loads}.\n")
        done = [row for row in record["rows"] if "ours" in row]
        for title in dict.fromkeys(row["title"] for row in done):
            print(f"**{title}**\n")
            print(markdown.table(("", "anaxon", "beside", "takes", "ratio", "goal"),
                                 [line(row) for row in done if row["title"] == title]))  # fmt: skip
        for row in record["rows"]:
            if "ours" not in row:
                print(f"{row.get('title', row['group'])}: {row.get('failed') or row.get('skipped')}\n")


def line(row: dict) -> tuple[str, ...]:
    beside = (row["alternative"] or {}).get("what", "")
    goal = "" if row["goal"] is None else f"{row['goal']}: {'met' if row['met'] else 'missed'}"
    return row["name"], spread(row["ours"]), beside, spread(row["alternative"]), spread(row["ratio"]), goal


def spread(figure: dict | None) -> str:
    """`1.2 (1.1 to 1.5)`."""
    return "" if figure is None else f"{figure['median']:.3g} ({figure['min']:.3g} to {figure['max']:.3g})"


# %%
if __name__ == "__main__":
    main([Path(f) for f in sys.argv[1:]])
