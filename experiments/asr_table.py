# %% [markdown]
# # The tables of a finished speech recognition run, as Markdown
# `python experiments/asr_table.py RUN_FOLDER [TITLE]` prints what `experiments/results/asr_*.md` hold.

# %%
import json
import sys
from pathlib import Path

from anaxon.report import markdown


def main(folder: Path, title: str) -> None:
    """Prints everything from `results.json`."""
    file = folder / "results.json"
    r = json.loads(file.read_text())
    print(f"# {title}\n\n{markdown.origin(r, file.stat().st_mtime)} {r['config']['study']['seeds']} training(s).\n")
    data, study = r["data"], r["config"]["study"]
    synthetic = "**This speech is synthetic**: it says nothing about error rates on real speech. " * data["synthetic"]
    print(f"Data: {data['name']}, checksum {data['checksum']}. {synthetic}Test set {data['splits']['test']['words']:,} "
          f"words; {study['chips']} chips of every network hear {data['panel_words']:,} of them. Words are written by "
          f"{r['decoding']}. Intervals are 95 %, over seeds, chips and utterances.\n")  # fmt: skip
    print("## Digital networks, whole test set\n")
    rows = [
        (n["bits"], n["kind"] or "as configured", percent(n["float"]), percent(n["quantised"])) for n in r["networks"]
    ]
    print_table(("bits", "network", "float WER [%]", "quantised WER [%]"), rows)
    print("## On chips\n")
    head = ("bits", "condition", "digital, same sentences [%]", "WER [%]", "over digital [points]", "standard errors",
            "removed [%]", "KL [mnats/frame]", "error of linear_pos [%]", "ADC energy")  # fmt: skip
    print_table(head, [condition(c, r["layers"]) for c in r["conditions"]])
    print("## Where the uncertainty comes from (standard deviations, points of WER)\n")
    effects = ("seed", "chip", "utterance", "seed_utterance", "rest")
    rows = [(c["bits"], c["condition"], *(root(c["components"][e]) for e in effects)) for c in r["conditions"]]
    print_table(("bits", "condition", "seed", "chip", "utterance", "seed x utterance", "rest"), rows)
    print("## Goals\n")
    marks = {True: "met", False: "not met", None: "not resolved: the interval holds the bound"}
    print_table(
        ("what", "obtained", "asked", ""), [(g["what"], g["obtained"], g["asked"], marks[g["met"]]) for g in r["goals"]]
    )


def percent(estimate: dict, scale: float = 100, sign: str = "") -> str:
    """`8.42 [7.58, 9.26]`."""
    lo, hi = estimate["ci95"]
    return f"{scale * estimate['mean']:{sign}.2f} [{scale * lo:{sign}.2f}, {scale * hi:{sign}.2f}]"


def condition(c: dict, layers: list) -> tuple:
    """A row."""
    own = [x["error"] for x in layers if (x["bits"], x["condition"]) == (c["bits"], c["condition"]) and x["encodings"]]
    removed = c["removed"]
    share = "-" if removed is None else f"{100 * removed['mean']:.0f} [{', '.join(end(x) for x in removed['ci95'])}]"
    error = f"{100 * min(own):.1f} to {100 * max(own):.1f}" if own else "-"
    digital = f"{100 * c['digital_wer']['mean']:.2f}"
    return (c["bits"], c["condition"], digital, percent(c["wer"]), percent(c["added"], sign="+"),
            f"{c['standard_errors']:.1f}", share, percent(c["kl"], 1000), error,
            f"{c['adc_energy_share']:.3f} x")  # fmt: skip


def end(value: float | None) -> str:
    """Of a share's interval; None has no end."""
    return "no end" if value is None else f"{100 * value:.0f}"


def root(variance: float | None) -> str:
    """A standard deviation in points."""
    return "-" if variance is None else f"{100 * variance**0.5:.2f}"


def print_table(head: tuple, rows: list) -> None:
    print(markdown.table(head, rows))


# %%
if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "A speech recognition run")
