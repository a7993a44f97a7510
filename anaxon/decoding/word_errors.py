"""Word errors of transcripts, utterance by utterance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WordErrors:
    """Errors of the alignment with the fewest, one number an utterance.

    Attributes:
      substitutions: `[n]`.
      insertions: `[n]`.
      deletions: `[n]`.
      words: words of the reference, `[n]`.
    """

    substitutions: np.ndarray
    insertions: np.ndarray
    deletions: np.ndarray
    words: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Errors of each utterance, `[n]`: with `words`, what `anaxon.rates.rate` takes."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Word error rate: all errors by all reference words (NaN where there are none)."""
        return self._share(self.errors)

    @property
    def by_kind(self) -> dict[str, float]:
        """The rate's three parts; they add up to it."""
        kinds = ("substitutions", "insertions", "deletions")
        return {kind: self._share(getattr(self, kind)) for kind in kinds}

    def _share(self, errors: np.ndarray) -> float:
        words = int(self.words.sum())
        return float(errors.sum() / words) if words else float("nan")


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Compares hypotheses with references, words split at white space; case and signs are as given (jiwer).

    An empty hypothesis deletes every word, an empty reference makes every word of the hypothesis an insertion.

    Raises:
      ValueError: unless there are as many of one as of the other, or where neither has any.
      TypeError: for a single string.
      ModuleNotFoundError: without jiwer (`pip install anaxon[asr]`).
    """
    for name, texts in (("references", references), ("hypotheses", hypotheses)):
        if isinstance(texts, str):
            raise TypeError(f"{name}: expected a list of transcripts; got a single string")
    if len(references) != len(hypotheses) or not references:
        raise ValueError(
            f"hypotheses: expected one for each of one or more references; got {len(hypotheses)} for {len(references)}"
        )
    import jiwer

    pairs = jiwer.process_words(list(references), list(hypotheses))
    counts = [_counts(chunks) for chunks in pairs.alignments]
    substitutions, insertions, deletions = np.array(counts, np.int64).reshape(-1, 3).T
    return WordErrors(substitutions, insertions, deletions, np.array([len(r) for r in pairs.references], np.int64))


def _counts(chunks: list) -> tuple[int, int, int]:
    def words(kind: str, side: str) -> int:
        spans = ((getattr(c, f"{side}_start_idx"), getattr(c, f"{side}_end_idx")) for c in chunks if c.type == kind)
        return sum(end - start for start, end in spans)

    return words("substitute", "ref"), words("insert", "hyp"), words("delete", "ref")
