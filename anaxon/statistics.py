"""Intervals of what a run measures, and over what they hold: test items, chips, or both at once.

A network on simulated chips is tested on the same items chip after chip, so its results are a table `[chips, items]`
with two crossed sources of chance. An interval over one of them alone is too narrow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
      mean: of everything.
      std: spread of the first thing in `over` (chips before items).
      ci95: interval of the mean.
      n: how many of the first thing.
      over: what the interval generalises to, `{"chips": 1000, "clips": 200}`.
    """

    mean: float
    std: float
    ci95: tuple[float, float]
    n: int
    over: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The entry of `results.json`."""
        return {"mean": self.mean, "std": self.std, "ci95": list(self.ci95), "n": self.n, "over": self.over}


@dataclass(frozen=True)
class Components:
    """Variances of `y = mean + chip + item + rest` in a table of chips and items.

    Attributes:
      chip: of a chip's mean over infinitely many items.
      item: of an item's mean over infinitely many chips, within its stratum.
      rest: of what neither explains: interaction and read noise.
      mean: of the grand mean, by chance of chips and of items.
      freedom: of `mean`'s chi-square approximation.
    """

    chip: float
    item: float
    rest: float
    mean: float
    freedom: float


def components(table: np.ndarray, strata: np.ndarray | None = None) -> Components:
    """Variance components of `table` `[chips, items]`; items are drawn within fixed `strata` `[items]`.

    `Var(mean) = MS_chip / (a b) + MS_item / (a b) - MS_rest / (a b)` for a chips and b items (Searle, Casella &
    McCulloch 1992, *Variance Components*, chapter 4, two-way crossed); degrees of freedom by Satterthwaite 1946
    (doi:10.2307/3002019).

    Raises:
      ValueError: for fewer than two chips, or a stratum with fewer than two items.
    """
    y = _table(table)
    chips, items = y.shape
    groups = _strata(strata, items)
    inside = y - y @ groups @ groups.T  # what is left of a chip's values after its mean of each stratum
    item_means = inside.mean(0)
    free = items - groups.shape[1]
    ms_chip = items * y.mean(1).var(ddof=1)
    ms_item = chips * float(item_means @ item_means) / free
    ms_rest = float(((inside - item_means) ** 2).sum()) / ((chips - 1) * free)
    parts = np.array([ms_chip, ms_item, -ms_rest]) / (chips * items)
    total = max(parts.sum(), parts[0], parts[1])
    spread = float((parts**2 / np.array([chips - 1, free, (chips - 1) * free])).sum())
    return Components(
        chip=max(0.0, (ms_chip - ms_rest) / items),
        item=max(0.0, (ms_item - ms_rest) / chips),
        rest=ms_rest,
        mean=float(total),
        freedom=float(total**2 / spread) if spread > 0 else np.inf,
    )


def _table(table: np.ndarray) -> np.ndarray:
    y = np.asarray(table, np.float64)
    if y.ndim != 2 or y.shape[0] < 2 or y.shape[1] < 2:
        raise ValueError(f"table: expected [chips, items] with two of each or more; got shape {y.shape}")
    return y


def _strata(strata: np.ndarray | None, items: int) -> np.ndarray:
    """Orthonormal indicators `[items, strata]`."""
    labels = np.zeros(items, int) if strata is None else np.asarray(strata)
    if labels.shape != (items,):
        raise ValueError(f"strata: expected one for each of {items} items; got shape {labels.shape}")
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError(f"strata: {names[counts.argmin()]!r} has one item; its variance needs two or more")
    return (labels[:, None] == names) / np.sqrt(counts)


def wilson(mean: float, n: float, freedom: float = np.inf) -> tuple[float, float]:
    """95 % interval of a proportion from `n` independent trials (Wilson 1927, doi:10.2307/2276774).

    With `n` an effective sample size and `freedom` its degrees, this is the interval for designed surveys of Dean &
    Pagano 2015 (doi:10.1093/jssam/smv024, section 2), which stays within [0, 1] and covers near its ends.
    """
    z2 = float(_t(freedom)) ** 2
    middle = (mean + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * mean * (1 - mean) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def _t(freedom: float) -> float:
    return float(stdtrit(min(freedom, 1e9), 0.975))


def proportion(hits: np.ndarray, of: str) -> Estimate:
    """Share of `hits` `[n]`, each 0 or 1; the interval is over the things named `of`.

    Raises:
      ValueError: for none at all.
    """
    hits = np.asarray(hits, np.float64)
    if hits.ndim != 1 or hits.size < 1:
        raise ValueError(f"hits: expected one or more values in a row; got shape {hits.shape}")
    mean = float(hits.mean())
    return Estimate(mean, float(hits.std()), wilson(mean, hits.size), hits.size, {of: hits.size})


def mean_over(values: np.ndarray, of: str) -> Estimate:
    """Mean of `values` `[n]` with Student's interval over the things named `of`; a single value has none (NaN).

    Raises:
      ValueError: for none at all.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 1:
        raise ValueError(f"values: expected one or more values in a row; got shape {values.shape}")
    mean, n = float(values.mean()), values.size
    std = float(values.std(ddof=1)) if n > 1 else float("nan")
    half = _t(n - 1) * std / np.sqrt(n) if n > 1 else float("nan")
    return Estimate(mean, std, (mean - half, mean + half), n, {of: n})


def std_over(values: np.ndarray, of: str) -> Estimate:
    """Standard deviation of `values` `[n]`, as `mean`, with a 95 % interval for values of any distribution.

    `Var s^2 = (m4 - s^4 (n - 3) / (n - 1)) / n` (Cramer 1946, *Mathematical Methods of Statistics*, 27.4), and the
    normal approximation of s; where nothing varies it has no width.

    Raises:
      ValueError: for fewer than two values.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"values: expected two or more values in a row; got shape {values.shape}")
    n, std = values.size, float(values.std(ddof=1))
    fourth = float(((values - values.mean()) ** 4).mean())
    variance = max(0.0, fourth - std**4 * (n - 3) / (n - 1)) / n
    half = _t(np.inf) * np.sqrt(variance) / (2 * std) if std > 0 else 0.0
    return Estimate(std, std, (max(0.0, std - half), std + half), n, {of: n})


def difference(first: np.ndarray, second: np.ndarray, of: str) -> Estimate:
    """Mean of `first` `[n]` less that of `second` `[m]`, independent samples, with Welch's interval (1947).

    Raises:
      ValueError: for fewer than two values in either.
    """
    parts = [np.asarray(x, np.float64) for x in (first, second)]
    if any(x.ndim != 1 or x.size < 2 for x in parts):
        raise ValueError(f"difference: expected two or more values in each row; got shapes {[x.shape for x in parts]}")
    sizes = np.array([x.size for x in parts])
    variances = np.array([x.var(ddof=1) for x in parts]) / sizes
    total, spread = variances.sum(), (variances**2 / (sizes - 1)).sum()
    mean = float(parts[0].mean() - parts[1].mean())
    half = _t(total**2 / spread if spread > 0 else np.inf) * np.sqrt(total)
    return Estimate(mean, float(np.sqrt(total)), (mean - half, mean + half), int(sizes.sum()), {of: int(sizes.sum())})


def crossed_mean(table: np.ndarray, items: str, strata: np.ndarray | None = None) -> Estimate:
    """Mean of `table` `[chips, items]` with a 95 % interval over chips and items; `std` is over chips."""
    parts = components(table, strata)
    y = np.asarray(table, np.float64)
    mean, half = float(y.mean()), _t(parts.freedom) * np.sqrt(parts.mean)
    return Estimate(mean, _spread(y), (mean - half, mean + half), len(y), {"chips": len(y), items: y.shape[1]})


def crossed_proportion(hits: np.ndarray, items: str, strata: np.ndarray | None = None) -> Estimate:
    """Share of `hits` `[chips, items]` with a 95 % interval over chips and items; `std` is over chips.

    In simulation it covers 95 % from two dozen items on; with a dozen items of very unequal difficulty, 92 %.
    """
    parts = components(hits, strata)
    y = np.asarray(hits, np.float64)
    mean = float(y.mean())
    single, over = mean * (1 - mean), {"chips": len(y), items: y.shape[1]}  # the variance of one trial
    if single == 0 or parts.mean == 0:  # nothing varies: the items are the trials
        return Estimate(mean, _spread(y), wilson(mean, y.shape[1]), len(y), over)
    n = min(single / parts.mean, y.size)  # as many independent trials as would give this variance
    return Estimate(mean, _spread(y), wilson(mean, n, parts.freedom), len(y), over)


def _spread(table: np.ndarray) -> float:
    return float(table.mean(1).std(ddof=1))


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Quantiles of `values` `[n]` by name, `{"0.05": ...}`."""
    return {f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
