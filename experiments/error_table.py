# %% [markdown]
# # The tables of a finished error budget, as Markdown
# `python experiments/error_table.py RUN_FOLDER [RUN_FOLDER_OF_MANY_CHIPS]` prints
# `experiments/results/error_prediction.md`; a second run, of more chips, only adds its comparison.

# %%
import json
import sys
from pathlib import Path

from anaxon.report import error_budget, markdown
from anaxon.report import error_budget_parts as parts
from anaxon.runs.error_tuning import CHOICES


def main(folders: list[Path]) -> None:
    """Prints everything from `results.json`."""
    print("# Errors predicted and sampled\n")
    for folder in folders:
        file = folder / "results.json"
        record = json.loads(file.read_text())
        study = record["config"]["study"]
        data = f"Data: {record['data']['name']}, checksum {record['data']['checksum']}."
        print(f"## {study['images']} pictures, {study['chips']:,} chips\n")
        print(f"{markdown.origin(record, file.stat().st_mtime)} {data}")
        print("Mean squared errors of logits; sigma is that of a cell, relative to full scale.\n")
        compared(record)
        if folder == folders[0]:
            spreads(record)
            one_window(record)
            causes(record)
            power(record)
            windows(record)
            speed(record)
            first_order(record["delta"])


def compared(record: dict) -> None:
    rows = []
    for kind, net in record["networks"].items():
        for x in net["lines"]:
            errors = (
                f"{x['predicted']:.4g}",
                f"{x['linearised']:.4g}",
                f"{x['bias']:.3g}",
                interval(x["sampled"], ".4g"),
            )
            ratios = (f"{x['ratio']:.3f}", f"{x['ratio_linearised']:.3f}", f"{x['kurtosis']:+.2f}")
            rows.append((kind, x["sigma"], *errors, *ratios))
    print(markdown.table(("network", "sigma", "`predict`", "`linearised`", "of it mean shift", "sampled, 95 %",
                          "predicted / sampled", "first order / sampled", "excess kurtosis"), rows))  # fmt: skip


def spreads(record: dict) -> None:
    """Of the accuracy over chips, and flips."""
    print("### Accuracy on the pictures followed, its standard deviation from chip to chip, and flips of the class\n")
    rows = []
    for kind, net in record["networks"].items():
        for x in net["lines"]:
            accuracy = (f"{x['chance']:.2%}", interval(x["accuracy"], ".2%"))
            spread = (f"{x['spread']:.2%}", interval(x["spread_sampled"], ".2%"))
            rows.append((kind, x["sigma"], *accuracy, *spread, f"{x['flip']:.2%}", interval(x["flip_sampled"], ".2%")))
    print(markdown.table(("network", "sigma", "accuracy, predicted", "sampled, 95 %", "its std, predicted",
                          "sampled, 95 %", "flips, predicted", "sampled, 95 %"), rows))  # fmt: skip


def one_window(record: dict) -> None:
    study = record["config"]["study"]
    print(f"### One window for all weights, sigma {study['sigma']}, {study['window_chips']} chips\n")
    rows = []
    for kind, net in record["networks"].items():
        for x in sorted(net.get("windows", []), key=lambda x: x["window"]):
            errors = (f"{x['predicted']:.4g}", f"{x['linearised']:.4g}", interval(x["sampled"], ".4g"))
            rows.append((kind, x["window"], *errors, f"{x['ratio']:.3f}", f"{x['kurtosis']:+.2f}"))
    print(markdown.table(("network", "window", "`predict`", "`linearised`", "sampled, 95 %", "predicted / sampled",
                          "excess kurtosis"), rows))  # fmt: skip


def causes(record: dict) -> None:
    given, found = record["config"]["causes"], record["causes"]
    print(f"### By cause and layer: {record['config']['study']['networks'][0]}, sigma "
          f"{record['config']['study']['sigma']}, weights of {given['weight_bits']} and inputs of {given['dac_bits']} "
          f"bits, reads of {given['read_sigma']}; {given['chips']} chips with each cause alone\n")  # fmt: skip
    rows = []
    for name in parts.named_causes(found):
        predicted, sampled = found["predicted"][name], found["sampled"][name]
        share, rate = f"{predicted / found['predicted']['all']:.1%}", parts.ratio(predicted, sampled["mean"])
        rows.append((parts.TITLES.get(name, f"`{name}`"), f"{predicted:.4g}", share, interval(sampled, ".4g"), rate))
    print(markdown.table(("cause", "`linearised`", "share", "sampled alone, 95 %", "predicted / sampled"), rows))


def power(record: dict) -> None:
    study = record["config"]["study"]
    print(f"### Power [g_max v_max^2 an example], sigma {study['sigma']}, {study['power_chips']} chips\n")
    rows = [(kind, f"`{p}`", *(x for part in ("cells", "amplifiers") for x in (
             f"{line[part]['predicted']:.5g}", interval(line[part]["sampled"], ".5g"))))
            for kind, net in record["networks"].items() for p, line in net["power"].items()]  # fmt: skip
    print(markdown.table(("network", "layer", "cells, predicted", "sampled, 95 %", "amplifiers, predicted",
                          "sampled, 95 %"), rows))  # fmt: skip


def windows(record: dict) -> None:
    study = record["config"]["study"]
    said = "; ".join(f"{k}: {v}" for k, v in CHOICES.items())
    print(f"### Windows at equal power, sigma {study['sigma']}, {study['tuned_images']} training pictures, "
          f"{study['tuned_chips']} chips\n\n{said}. Power is relative to full windows for every tensor.\n")  # fmt: skip
    rows = []
    for r in record["tuned"]["rows"]:
        error = (f"{r['largest']:.3f}", f"{r['predicted']:.4g}", interval(r["sampled"], ".4g"))
        ratios = (interval(x, ".3f") for x in r["of"].values())
        rows.append((f"{r['budget']:.0%}", r["choice"], *error, *ratios, f"{r['accuracy']['mean']:.1%}"))
    print(markdown.table(("power", "windows", "largest", "error, predicted", "sampled, 95 %", "of uniform, 95 %",
                          "of tensor, 95 %", "of layer, 95 %", "accuracy"), rows))  # fmt: skip
    if told := record["tuned"]["refined"]:
        steps = told["objective"]
        print(
            f"Refined at {study['refined_budget']:.0%}: {len(steps) - 1} steps on {study['refined_images']} pictures, "
            f"the moments' error {steps[0]:.4g} to {min(steps):.4g}, {told['seconds']:.3g} s with compiling.\n"
        )


def speed(record: dict) -> None:
    print("### Seconds, without compiling: prediction, and sampling to a 95 % half-width of 2 %\n")
    rows = []
    for kind, net in record["networks"].items():
        seconds, chips = [x["seconds"] for x in net["lines"]], net["speed"]
        both = [
            f"{min(s[k] for s in seconds):.3g} to {max(s[k] for s in seconds):.3g}" for k in ("predict", "linearised")
        ]
        rows.append((kind, *both, f"{chips['chips']:.0f}", f"{chips['seconds']:.3g}", f"{chips['naive']:.3g}"))
    print(
        markdown.table(
            ("network", "`predict`", "`linearised`", "chips needed", "our ensemble", "loop over chips"), rows
        )
    )
    for sentence in error_budget.verdicts(record["networks"], record["delta"]["networks"]):
        print(f"- {sentence}")
    print()


def first_order(found: dict) -> None:
    """Of loops and attention: errors, and the seconds of predicting and of sampling them."""
    print("### Loops and attention, by first order only\n")
    rows = []
    for kind, net in found["networks"].items():
        for x in net["lines"]:
            single = " / ".join(f"{r:.3f}" for r in x["by_input"])
            errors = (f"{x['predicted']:.4g}", interval(x["sampled"], ".4g"), f"{x['ratio']:.3f}", single)
            rows.append((kind, f"{net['test_accuracy']:.1%}", x["sigma"], f"{x['pair_sigma']:.2g}", *errors,
                         f"{x['kurtosis']:+.2f}", f"{x['seconds']['linearised']:.3g}",
                         f"{net['speed']['seconds']:.3g}"))  # fmt: skip
    print(markdown.table(("network", "digital accuracy", "sigma", "of a pair", "`linearised`", "sampled, 95 %",
                          "first order / sampled", "single inputs: least / median / largest", "excess kurtosis",
                          "seconds", "our ensemble to ±2 %"), rows))  # fmt: skip
    for kind, net in found["networks"].items():
        line = net["lines"][-1]
        shares = sorted(((v / line["predicted"], p) for p, v in line["cells"].items()), reverse=True)
        print(f"{kind}, sigma {line['sigma']:g}, by layer: " + ", ".join(f"`{p}` {v:.0%}" for v, p in shares) + ".\n")
    for kind, why in found["skipped"].items():
        print(f"{kind} is left out: {why}.\n")


def interval(estimate: dict, digits: str) -> str:
    """`0.33 [0.32, 0.35]`."""
    lo, hi = estimate["ci95"]
    return f"{estimate['mean']:{digits}} [{lo:{digits}}, {hi:{digits}}]"


# %%
if __name__ == "__main__":
    main([Path(f) for f in sys.argv[1:]])
