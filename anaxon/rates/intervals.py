"""Rates, their paired differences and shares of these, with 95 % intervals over seeds, chips and utterances."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import stdtrit

from anaxon.rates.components import solved
from anaxon.rates.tables import checked, over_of, paired, total
from anaxon.statistics import Estimate, wilson

LEAST = 4.0  # standard errors by which a gap must differ from 0 before shares of it are told


def rate(errors: np.ndarray, words: np.ndarray) -> Estimate:
    """Error rate with its 95 % interval over everything of which the table has two or more.

    `std` is over the first thing in `over`; chips are counted over all seeds. In simulation of 60 utterances it covers
    93 to 97 % with three seeds or more, 86 % with two whose chance matters as much as that of the utterances: two
    seeds cannot tell how far seeds differ.

    Args:
      errors: `[seeds, chips, utterances]`, or `[seeds, utterances]` where nothing has chips.
      words: of the references, `[utterances]`.

    Raises:
      ValueError: for other shapes, fewer than two utterances, no words, or values that are no numbers.
    """
    table, words = checked("errors", errors, words)
    found = _estimate(table, words)
    if found.ci95[0] == found.ci95[1] and 0 <= found.mean <= 1:  # nothing varies: the words are the trials
        return Estimate(found.mean, found.std, wilson(found.mean, float(words.sum())), found.n, found.over)
    return Estimate(found.mean, found.std, (max(0.0, found.ci95[0]), found.ci95[1]), found.n, found.over)


def rate_difference(first: np.ndarray, second: np.ndarray, words: np.ndarray) -> Estimate:
    """Rate of `first` less that of `second`, paired: the same seeds, keys of chips and utterances at the same places.

    Either may lack the axis of chips (`[seeds, utterances]`): it is then the same for every chip.

    Raises:
      ValueError: as `rate`, or for tables that do not fit each other.
    """
    return _estimate(*paired(words, first=first, second=second))


def standard_errors(first: np.ndarray, second: np.ndarray, words: np.ndarray) -> float:
    """How many standard errors lie between two paired rates (signed; infinite where the difference never varies)."""
    return _standard_errors(*paired(words, first=first, second=second))


def _standard_errors(table: np.ndarray, words: np.ndarray) -> float:
    mean, variance = table.sum() / total(table, words), solved(table, words).variance
    return float(mean / np.sqrt(variance)) if variance > 0 else float(np.copysign(np.inf, mean) if mean else 0.0)


def removed_share(
    default: np.ndarray, cure: np.ndarray, digital: np.ndarray, words: np.ndarray, least: float = LEAST
) -> Estimate | None:
    """Share of the gap between `default` and `digital` that `cure` closes, `(default - cure) / (default - digital)`.

    None where the gap is under `least` of its standard errors: it would be a quotient by chance. The interval is
    Fieller's (1954, doi:10.1111/j.2517-6161.1954.tb00159.x): all shares s at which the mean of
    `(default - cure) - s (default - digital)` does not differ from 0. An end is infinite where no share is too far.

    Raises:
      ValueError: as `rate_difference`.
    """
    gap, counts = paired(words, default=default, digital=digital)
    above, _ = paired(words, default=default, cure=cure)
    if _standard_errors(gap, counts) < least:
        return None
    above, gap = np.broadcast_arrays(above, gap)
    share = float(above.sum() / gap.sum())

    def excess(at: float) -> float:
        return _excess(above - at * gap, counts)

    ends = (share - _distance(excess, share, -1.0), share + _distance(excess, share, 1.0))
    return _told(share, _spread(above, gap), ends, gap)


def _excess(table: np.ndarray, words: np.ndarray) -> float:
    """By how much a rate's distance from 0 is more than the half width of its interval."""
    parts = solved(table, words)
    return abs(float(table.sum())) / total(table, words) - _t(parts.freedom) * np.sqrt(parts.variance)


def _distance(excess: Callable[[float], float], middle: float, sign: float) -> float:
    """How far from `middle` the excess turns positive, going to `sign`."""
    if excess(middle) >= 0:  # nothing varies
        return 0.0
    step = 1e-6
    while excess(middle + sign * step) <= 0:
        step *= 2
        if step > 1e6:
            return np.inf
    found = root_scalar(lambda d: excess(middle + sign * d), bracket=(0.0, step), method="brentq", xtol=1e-9)
    return float(found.root)


def _estimate(table: np.ndarray, words: np.ndarray) -> Estimate:
    parts = solved(table, words)
    mean = float(table.sum() / total(table, words))
    half = _t(parts.freedom) * np.sqrt(parts.variance)
    return _told(mean, _spread(table, np.broadcast_to(words, table.shape)), (mean - half, mean + half), table)


def _told(mean: float, std: float, ends: tuple[float, float], table: np.ndarray) -> Estimate:
    over = over_of(table)
    return Estimate(mean, std, ends, next(iter(over.values())), over)


def _t(freedom: float) -> float:
    return float(stdtrit(min(freedom, 1e9), 0.975))


def _spread(above: np.ndarray, below: np.ndarray) -> float:
    """Standard deviation of `above / below`, both summed over all but seeds, or chips where there is one seed.

    NaN where there is one of each, since an utterance alone has no rate worth its name.
    """
    rest = (1, 2) if above.shape[0] > 1 else (0, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = above.sum(rest) / below.sum(rest)
    return float(parts.std(ddof=1)) if len(parts) > 1 else float("nan")
