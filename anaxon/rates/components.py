"""Variance components of a rate: what seeds, chips and utterances each add to its uncertainty.

The rate is a ratio, all errors by all words; its variance is that of the mean of linearised values
`z = (errors - rate words) / mean(words)` (Cochran 1977, *Sampling Techniques*, section 6.4), in which the model

    z = seed + chip within seed + utterance + seed x utterance + rest

is solved by its mean squares (Searle, Casella & McCulloch 1992, *Variance Components*, chapter 4).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anaxon.rates.tables import checked, linearised, paired


@dataclass(frozen=True)
class RateComponents:
    """Where the uncertainty of a rate comes from; NaN for what the table cannot tell.

    The first five are variances of the effects, of one thing each: a seed's rate over infinitely many chips and
    utterances, and so on; `utterance` and the two after it are of an utterance of average length. An estimate below 0
    is given as 0. With one chip a seed, `seed` holds both, and `rest` holds `seed_utterance`; with one seed,
    `utterance` holds `seed_utterance`, and `rest` too where there is one chip.

    Attributes:
      seed: of a seed.
      chip: of a chip within its seed.
      utterance: of an utterance.
      seed_utterance: of what one training makes of one utterance.
      rest: of what one chip makes of one utterance, read noise included.
      variance: of the rate itself, by everything that `over` of its estimate names.
      freedom: degrees of freedom of `variance`.
    """

    seed: float
    chip: float
    utterance: float
    seed_utterance: float
    rest: float
    variance: float
    freedom: float

    def as_json(self) -> dict[str, Any]:
        """An entry of `results.json`; None for what is not known."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def rate_components(errors: np.ndarray, words: np.ndarray) -> RateComponents:
    """Where the uncertainty of `rate(errors, words)` comes from; errors as there."""
    return solved(*checked("errors", errors, words))


def difference_components(first: np.ndarray, second: np.ndarray, words: np.ndarray) -> RateComponents:
    """Where the uncertainty of `rate_difference(first, second, words)` comes from."""
    return solved(*paired(words, first=first, second=second))


def solved(table: np.ndarray, words: np.ndarray) -> RateComponents:
    """The components of a checked table."""
    a, b, u = table.shape
    squares, free = _mean_squares(linearised(table, words))
    nan = float("nan")
    seed, chip, utterance, both, rest = squares
    variance, freedom = _variance(squares, free, table.shape)
    one_seed, one_chip = a == 1, b == 1
    inner = rest if one_seed else both  # what the utterances' mean square holds beside the utterances
    known = {
        "seed": nan if one_seed else _positive(seed - chip - both + rest if not one_chip else seed - both) / (b * u),
        "chip": nan if one_chip else _positive(chip - rest) / u,
        "utterance": _positive(utterance - inner) / (a * b),
        "seed_utterance": nan if one_seed or one_chip else _positive(both - rest) / b,
        "rest": rest if not one_chip else (nan if one_seed else both),
    }
    return RateComponents(**known, variance=variance, freedom=freedom)


def _positive(value: float) -> float:
    return max(0.0, float(value))


def _mean_squares(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares of seed, chip, utterance, seed x utterance and rest, and their degrees of freedom (0: square 0)."""
    a, b, u = z.shape
    seed, chip, utterance, both = z.mean((1, 2), keepdims=True), z.mean(2, keepdims=True), z.mean((0, 1)), z.mean(1)
    both = both[:, None]
    parts = (
        seed - z.mean(),
        chip - seed,
        utterance - z.mean(),
        both - seed - utterance + z.mean(),
        z - chip - both + seed,
    )
    each = (b * u, u, a * b, b, 1)  # how many values of the table each mean is of
    free = np.array([a - 1, a * (b - 1), u - 1, (a - 1) * (u - 1), a * (b - 1) * (u - 1)], float)
    sums = np.array([n * float((part**2).sum()) for n, part in zip(each, parts, strict=True)])
    return np.divide(sums, free, out=np.zeros(5), where=free > 0), free


def _variance(squares: np.ndarray, free: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float]:
    """Variance of the mean and its degrees of freedom (Satterthwaite 1946, doi:10.2307/3002019).

    The expected mean squares of `seed + utterance - seed x utterance` add up to the variance of the grand mean; with
    one seed, those of `chip + utterance - rest` do, given that seed.
    """
    signs = np.array([1, 0, 1, -1, 0] if shape[0] > 1 else [0, 1, 1, 0, -1], float)
    parts = signs * squares / np.prod(shape)
    total = max(parts.sum(), parts.max())
    spread = float(np.divide(parts**2, free, out=np.zeros(5), where=free > 0).sum())
    return float(total), float(total**2 / spread) if spread > 0 else np.inf
