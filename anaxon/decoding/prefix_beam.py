"""CTC prefix beam search: the likeliest transcripts, each the sum of all its paths, with words weighed by a model.

Hannun, Maas, Jurafsky & Ng 2014 (arXiv:1408.2873), Algorithm 1. Of each prefix l at frame t the search knows
`b = ln P_b(l)`, of its paths that end in the blank, and `n = ln P_nb(l)`, of those that end in its last token. With p
the posteriors of the next frame, the prefix itself goes on by

    P_b'(l)  = p(blank) (P_b(l) + P_nb(l))          P_nb'(l) = p(last of l) P_nb(l)

and grows by a token c into l c, which may already be in the beam, by

    P_nb'(l c) += p(c) P_b(l)                   where c repeats the last token of l
    P_nb'(l c) += p(c) (P_b(l) + P_nb(l))       otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anaxon import check
from anaxon.data.tokens import SYMBOLS
from anaxon.decoding.language_model import LanguageModel
from anaxon.decoding.word_scores import WordScores

NEVER = -np.inf


@dataclass(frozen=True)
class Hypothesis:
    """A transcript.

    Attributes:
      tokens: of it, without blanks.
      log_probability: of all its paths that the beam kept [nats].
      score: `log_probability` and what the language model adds: what hypotheses are ranked by.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def prefix_beam(
    log_probs: np.ndarray,
    beam: int = 16,
    language_model: LanguageModel | None = None,
    weight: float = 0.5,
    insertion: float = 0.0,
    *,
    letters: Sequence[str] = SYMBOLS,
    least: float = 1e-4,
) -> list[Hypothesis]:
    """The transcripts of one utterance that the beam holds at its end, the best first.

    Args:
      log_probs: `[frames, vocabulary]` [nats]; token 0 is the blank. A frame with NaN counts as blank.
      beam: prefixes kept after each frame.
      language_model: of words, applied where a word ends; None leaves `weight` without effect.
      weight: of its natural log probabilities.
      insertion: added for every word [nats]; positive favours more words.
      letters: of each token; used where words are weighed.
      least: tokens less likely in a frame start no new prefix there (0: all may).

    Raises:
      ValueError: for a beam of none, another shape, or letters that are not one for each token.
    """
    frames = _frames(log_probs)
    check.integer("beam", beam, 1, 1 << 16)
    check.require(0 <= least < 1, "least", least, "a probability from 0 to below 1")
    words = None
    if language_model is not None or insertion:
        check.require(
            len(letters) == frames.shape[1], "letters", len(letters), f"one for each of {frames.shape[1]} tokens"
        )
        words = WordScores(language_model, weight, insertion, letters)
    return _search(frames, beam, np.log(least) if least else NEVER, _Prefixes(frames.shape[1], words))


def _frames(log_probs: np.ndarray) -> np.ndarray:
    frames = np.array(log_probs, np.float64)
    if frames.ndim != 2 or frames.shape[1] < 2:
        raise ValueError(f"log_probs: expected [frames, vocabulary of two or more]; got shape {frames.shape}")
    broken = np.isnan(frames).any(1)
    frames[broken] = NEVER
    frames[broken, 0] = 0.0
    return frames


class _Prefixes:
    """All prefixes met, as a tree: a number, a parent and a last token each."""

    def __init__(self, vocabulary: int, words: WordScores | None) -> None:
        self.vocabulary, self.words = vocabulary, words
        self.parents, self.lasts = [-1], [0]
        self.numbers: dict[int, int] = {}

    def grown(self, parent: int, token: int) -> int:
        """The number of `parent` and one token more; the same whenever it is met."""
        key = parent * self.vocabulary + token
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.parents)
            self.parents.append(parent)
            self.lasts.append(token)
            if self.words:
                self.words.add(parent, token)
        return number

    def tokens(self, number: int) -> tuple[int, ...]:
        found = []
        while number:
            found.append(self.lasts[number])
            number = self.parents[number]
        return tuple(reversed(found))


@dataclass
class _Beam:
    """Prefixes alive after a frame, one an entry."""

    number: np.ndarray
    parent: np.ndarray
    last: np.ndarray
    blank: np.ndarray
    token: np.ndarray
    words: np.ndarray


def _search(frames: np.ndarray, beam: int, least: float, prefixes: _Prefixes) -> list[Hypothesis]:
    one = np.zeros(1, np.int64)
    alive = _Beam(one, one - 1, one, np.zeros(1), np.full(1, NEVER), np.zeros(1))
    kept = frames >= least
    kept[:, 0] = False
    if least == NEVER:
        kept &= frames > NEVER
    with np.errstate(invalid="ignore"):
        for frame, chosen in zip(frames, kept, strict=True):
            tokens = np.flatnonzero(chosen)
            if len(tokens):
                alive = _step(alive, frame, tokens, beam, prefixes)
            else:
                alive.blank, alive.token = _stay(alive, frame)
    return _hypotheses(alive, prefixes)


def _stay(alive: _Beam, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.logaddexp(alive.blank, alive.token) + frame[0], alive.token + frame[alive.last]


def _step(alive: _Beam, frame: np.ndarray, tokens: np.ndarray, beam: int, prefixes: _Prefixes) -> _Beam:
    blank, token = _stay(alive, frame)
    grown = _grown(alive, frame, tokens)
    _merge(alive, token, grown, tokens)
    size = len(blank)
    scores = np.concatenate((np.logaddexp(blank, token) + alive.words, _ranked(alive, grown, tokens, prefixes).ravel()))
    best = np.flatnonzero(scores > NEVER) if len(scores) <= beam else np.argpartition(-scores, beam - 1)[:beam]
    best = best[scores[best] > NEVER]
    old, new = best[best < size], best[best >= size] - size
    return _joined(alive, blank, token, old, grown, tokens, new, prefixes)


def _grown(alive: _Beam, frame: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """`ln P_nb'(l c)` of every prefix and token, `[beam, tokens]`."""
    total = np.logaddexp(alive.blank, alive.token)
    repeats = alive.last[:, None] == tokens
    return np.where(repeats, alive.blank[:, None], total[:, None]) + frame[tokens]


def _merge(alive: _Beam, token: np.ndarray, grown: np.ndarray, tokens: np.ndarray) -> None:
    """What grows into a prefix of the beam joins its paths there; each has one parent, so nothing meets twice."""
    child, parent = np.nonzero(alive.parent[:, None] == alive.number)
    if not len(child):
        return
    column = np.searchsorted(tokens, alive.last[child])
    there = column < len(tokens)
    there[there] = tokens[column[there]] == alive.last[child[there]]
    child, parent, column = child[there], parent[there], column[there]
    token[child] = np.logaddexp(token[child], grown[parent, column])
    grown[parent, column] = NEVER


def _ranked(alive: _Beam, grown: np.ndarray, tokens: np.ndarray, prefixes: _Prefixes) -> np.ndarray:
    """`grown` with the words' scores, `[beam, tokens]`."""
    if not prefixes.words:
        return grown
    ranked = grown + alive.words[:, None]
    column = np.flatnonzero(tokens == prefixes.words.space)
    if len(column):
        ranked[:, column[0]] += [prefixes.words.gain(n) for n in alive.number.tolist()]
    return ranked


def _joined(
    alive: _Beam,
    blank: np.ndarray,
    token: np.ndarray,
    old: np.ndarray,
    grown: np.ndarray,
    tokens: np.ndarray,
    new: np.ndarray,
    prefixes: _Prefixes,
) -> _Beam:
    """The beam of the `old` entries that stay and the `new` ones, numbered row by row through `grown`."""
    if not len(new):
        number, parent, last, words = (x[old] for x in (alive.number, alive.parent, alive.last, alive.words))
        return _Beam(number, parent, last, blank[old], token[old], words)
    row, column = np.divmod(new, len(tokens))
    parents, lasts = alive.number[row], tokens[column]
    numbers = [prefixes.grown(p, c) for p, c in zip(parents.tolist(), lasts.tolist(), strict=True)]
    scores = [prefixes.words.score[n] for n in numbers] if prefixes.words else np.zeros(len(numbers))
    return _Beam(
        number=np.concatenate((alive.number[old], numbers)),
        parent=np.concatenate((alive.parent[old], parents)),
        last=np.concatenate((alive.last[old], lasts)),
        blank=np.concatenate((blank[old], np.full(len(new), NEVER))),
        token=np.concatenate((token[old], grown[row, column])),
        words=np.concatenate((alive.words[old], scores)),
    )


def _hypotheses(alive: _Beam, prefixes: _Prefixes) -> list[Hypothesis]:
    found = []
    for number, log_p in zip(alive.number.tolist(), np.logaddexp(alive.blank, alive.token).tolist(), strict=True):
        words = prefixes.words.final(number) if prefixes.words else 0.0
        found.append(Hypothesis(prefixes.tokens(number), log_p, log_p + words))
    return sorted(found, key=lambda h: (-h.score, h.tokens))
