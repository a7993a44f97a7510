"""Differences of quality on the same examples, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def paired(differences: Sequence[np.ndarray], resamples: int, seed: int = 0) -> dict[str, Any]:
    """The mean over tasks of mean differences, with a 95 % percentile interval over each task's examples.

    Args:
      differences: of each task, pruned less dense on the same examples, `[items]`.
      resamples: of every task's examples (Efron and Tibshirani 1993, chapter 13).
      seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for values in differences:
        n = len(values)
        for i in range(resamples):  # one after another: a table of resamples and items would not fit
            drawn[i] += values[rng.integers(0, n, n)].mean() / len(differences)
    mean = float(np.mean([v.mean() for v in differences]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"mean": mean, "ci95": [float(low), float(high)], "n": int(sum(map(len, differences)))}
