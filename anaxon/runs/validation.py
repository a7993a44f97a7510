"""Statements that a run checks about itself: what is expected, what came out, and how far apart they may be."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Statement:
    """One line of a validation page.

    Attributes:
      name: of the statement in the specification, such as "V6".
      what: a sentence.
      expected, obtained: numbers in the same order.
      tolerance: how far apart they may be, in words.
      passed: whether they are no farther.
    """

    name: str
    what: str
    expected: tuple[float, ...]
    obtained: tuple[float, ...]
    tolerance: str
    passed: bool

    def as_json(self) -> dict[str, Any]:
        """The entry of `results.json`."""
        return dataclasses.asdict(self)


def close(
    name: str,
    what: str,
    expected: Any,
    obtained: Any,
    relative: float | Sequence[float] = 0.0,
    absolute: float | Sequence[float] = 0.0,
) -> Statement:
    """Numbers that agree to `relative` of the expected plus `absolute`: one number, or one for each."""
    wanted, got = (np.atleast_1d(np.asarray(x, np.float64)) for x in (expected, obtained))
    share, slack = (np.broadcast_to(np.asarray(x, np.float64), wanted.shape) for x in (relative, absolute))
    passed = wanted.shape == got.shape and bool((np.abs(got - wanted) <= share * np.abs(wanted) + slack).all())
    return Statement(name, what, tuple(wanted.tolist()), tuple(got.tolist()), _words(share, slack), passed)


def below(name: str, what: str, bound: float, obtained: Any) -> Statement:
    """Numbers of which none is larger than the bound."""
    got = np.atleast_1d(np.asarray(obtained, np.float64))
    return Statement(name, what, (bound,), tuple(got.tolist()), "at most this", bool((got <= bound).all()))


def _words(share: np.ndarray, slack: np.ndarray) -> str:
    shares = " and ".join(f"{100 * x:g} %" for x in dict.fromkeys(share.tolist()) if x)
    slacks = " and ".join(f"{x:g}" for x in dict.fromkeys(slack.tolist()) if x)
    parts = [p for p in (shares, slacks) if p]
    return "± " + " + ".join(parts) if parts else "exact"
