"""Word n-gram language models with back-off: read from ARPA files, or counted from transcripts.

One table serves both. Of the libraries, `kenlm` is a C++ extension without wheels and `arpa` a beta of 2018: neither is
worth a dependency for what forty lines do; another model only needs the method of `LanguageModel`.
"""

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from anaxon import check

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
LN10 = math.log(10.0)
NEVER = -99.0  # log10 of 0 in ARPA files


class LanguageModel(Protocol):
    """What the beam search needs to know of words."""

    def score(self, context: tuple[str, ...], word: str) -> float:
        """Natural log probability of `word` (or `</s>`) after `context`, all words since the utterance's start."""
        ...


@dataclass(frozen=True)
class NGrams:
    """A back-off model (Katz 1987, doi:10.1109/TASSP.1987.1165125).

    Attributes:
      order: words of the longest n-gram.
      probabilities: natural log probability of its last word, by n-gram.
      backoffs: natural log of the weight of the shorter model, by context; 0 where it has none.
    """

    order: int
    probabilities: dict[tuple[str, ...], float]
    backoffs: dict[tuple[str, ...], float]

    def score(self, context: tuple[str, ...], word: str) -> float:
        """`ln P(word | context)`; a word the model does not know is `<unk>`, and -inf where it has none."""
        gram = tuple(self._known(w) for w in (START, *context, word)[-self.order :])
        backoff = 0.0
        while gram not in self.probabilities:
            if len(gram) == 1:
                return -math.inf
            backoff += self.backoffs.get(gram[:-1], 0.0)
            gram = gram[1:]
        return backoff + self.probabilities[gram]

    def _known(self, word: str) -> str:
        return word if (word,) in self.probabilities else UNKNOWN


def counted(transcripts: Iterable[str], order: int = 3) -> NGrams:
    """A model of `transcripts`, their words split at white space, smoothed after Witten & Bell.

    `P(w | h) = (c(h w) + N(h) P(w | h')) / (c(h) + N(h))` with N(h) the number of different words seen after h and
    h' = h less its first word; the shortest is uniform over the words seen, `</s>` and `<unk>` (Chen & Goodman 1999,
    doi:10.1006/csla.1999.0128, interpolated form of Witten & Bell 1991). It needs no parameter and no minimum of data.

    Raises:
      ValueError: for no words, or an order that is none.
    """
    check.integer("order", order, 1, 9)
    followers: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for transcript in transcripts:
        words = (START, *transcript.split(), END)
        for at in range(1, len(words)):
            for length in range(min(order, at + 1)):
                followers[words[at - length : at]][words[at]] += 1
    check.require(bool(set(followers.get((), ())) - {END}), "transcripts", "none", "at least one word in all")
    return _smoothed(followers, order)


def _smoothed(followers: dict[tuple[str, ...], Counter[str]], order: int) -> NGrams:
    linear: dict[tuple[str, ...], float] = {}
    backoffs: dict[tuple[str, ...], float] = {}
    uniform = 1.0 / (len(followers[()]) + 1)
    for context in sorted(followers, key=len):
        seen = followers[context]
        total, kinds = sum(seen.values()), len(seen)
        for word, count in seen.items():
            shorter = linear[*context[1:], word] if context else uniform
            linear[*context, word] = (count + kinds * shorter) / (total + kinds)
        if context:
            backoffs[context] = math.log(kinds / (total + kinds))
        else:
            linear[UNKNOWN,] = kinds * uniform / (total + kinds)
    probabilities = {gram: math.log(p) for gram, p in linear.items()}
    probabilities[START,] = NEVER * LN10  # so that contexts know it; it is never predicted
    return NGrams(order, probabilities, backoffs)


def read_arpa(path: str | Path) -> NGrams:
    """Reads an ARPA file (`.gz` too), as SRILM, KenLM and others write it.

    Raises:
      ValueError: for a file that is no ARPA file, or ends before its `\\end\\`.
    """
    path = Path(path)
    reader = gzip.open if path.suffix == ".gz" else open
    probabilities: dict[tuple[str, ...], float] = {}
    backoffs: dict[tuple[str, ...], float] = {}
    with reader(path, "rt", encoding="utf-8") as file:
        for number, order, fields in _entries(file, path):
            try:
                gram = tuple(fields[1 : order + 1])
                probabilities[gram] = float(fields[0]) * LN10
                if len(fields) == order + 2:
                    backoffs[gram] = float(fields[-1]) * LN10
            except ValueError:
                raise ValueError(f"{path}, line {number}: expected log10 figures and {order} words") from None
    check.require(bool(probabilities), str(path), "none", "n-grams")
    return NGrams(max(map(len, probabilities)), probabilities, backoffs)


def _entries(file: TextIO, path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """`(line number, order, fields)` of each n-gram."""
    order = 0
    for number, line in enumerate(file, 1):
        text = line.strip()
        if text == "\\end\\":
            return
        if text.startswith("\\") and text.endswith("-grams:"):
            order = int(text[1 : -len("-grams:")])
        elif order and text:
            fields = text.split()
            if len(fields) not in (order + 1, order + 2):
                raise ValueError(f"{path}, line {number}: expected {order} words with their figures; got {text!r}")
            yield number, order, fields
    raise ValueError(f"{path}: expected an ARPA file that ends with \\end\\; it ends without")


def write_arpa(path: str | Path, model: NGrams) -> None:
    """Writes `model` as an ARPA file, which other toolkits read."""
    grams: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for gram in sorted(model.probabilities):
        grams[len(gram)].append(gram)
    lines = ["\\data\\", *(f"ngram {n}={len(grams[n])}" for n in sorted(grams))]
    for n in sorted(grams):
        lines += ["", f"\\{n}-grams:"]
        for gram in grams[n]:
            row = [f"{model.probabilities[gram] / LN10:.7f}", " ".join(gram)]
            if gram in model.backoffs:
                row.append(f"{model.backoffs[gram] / LN10:.7f}")
            lines.append("\t".join(row))
    Path(path).write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
