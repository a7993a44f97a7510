"""Differences of quality on the same examples, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def paired(differences: Sequence[np.ndarray], resamples: int, seed: int = 0) -> dict[str, Any]:
    """The mean over tasks of mean differences, with a 95 % percentile interval over examples and training seeds.

    In each resample every task's examples are drawn anew, and its seeds where there are several (Efron and Tibshirani
    1993, chapters 8 and 13). Of S seeds a bootstrap sees (S - 1) / S of their variance: of three, two thirds.

    Args:
      differences: of each task, one less the other on the same examples, `[items]` or `[seeds, items]`.
      resamples: of every task.
      seed: of the resampling.

    Returns:
      `mean`, `ci95`, `n` (examples of all tasks), `over` (what was resampled, how many: examples, and seeds of a task
      where there are several) and `fixed` (what was not: the tasks, and a single seed).
    """
    tables = [np.atleast_2d(values) for values in differences]
    rng, drawn = np.random.default_rng(seed), np.zeros(resamples)
    for table in tables:
        seeds, n = table.shape
        for i in range(resamples):  # one after another: a table of resamples and items would not fit
            values = table.mean(0) if seeds == 1 else table[rng.integers(0, seeds, seeds)].mean(0)
            drawn[i] += values[rng.integers(0, n, n)].mean() / len(tables)
    low, high = np.quantile(drawn, [0.025, 0.975])
    examples, seeds = sum(table.shape[1] for table in tables), min(len(table) for table in tables)
    several = {"seeds": seeds}
    over = {"examples": examples} | (several if seeds > 1 else {})
    return {"mean": float(np.mean([table.mean() for table in tables])), "ci95": [float(low), float(high)],
            "n": examples, "over": over, "fixed": {"tasks": len(tables)} | (several if seeds == 1 else {})}  # fmt: skip
