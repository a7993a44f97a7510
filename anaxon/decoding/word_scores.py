"""What a language model says of the prefixes of a beam search: a score at each end of a word."""

from collections.abc import Sequence

from anaxon.decoding.language_model import END, LanguageModel

SPACE = " "


class WordScores:
    """Words, their scores and the word being spelt of each prefix, by the prefix's number; 0 is the empty one.

    A prefix's score is `sum over its words of (weight ln P(word | words before) + insertion)`, a word counting when
    the space after it, or the end, is reached. (Hannun et al. 2014 write `P_lm^weight |W|^insertion`; per word is
    what decoders since use, and adds up along a prefix.)
    """

    def __init__(self, model: LanguageModel | None, weight: float, insertion: float, letters: Sequence[str]) -> None:
        self.model, self.weight, self.insertion, self.letters = model, weight, insertion, letters
        self.space = letters.index(SPACE) if SPACE in letters else -1
        self.words: list[tuple[str, ...]] = [()]
        self.spelling: list[str] = [""]
        self.score: list[float] = [0.0]
        self._gain: dict[int, float] = {}

    def add(self, parent: int, token: int) -> None:
        """Adds the next prefix: `parent` and one token more."""
        words, spelling, score = self.words[parent], self.spelling[parent], self.score[parent]
        if token != self.space:
            spelling += self.letters[token]
        elif spelling:
            words, spelling, score = (*words, spelling), "", score + self.gain(parent)
        self.words.append(words)
        self.spelling.append(spelling)
        self.score.append(score)

    def gain(self, prefix: int) -> float:
        """What the word being spelt adds if it ends here."""
        if not self.spelling[prefix]:
            return 0.0
        if prefix not in self._gain:
            self._gain[prefix] = self._weighted(self.words[prefix], self.spelling[prefix]) + self.insertion
        return self._gain[prefix]

    def final(self, prefix: int) -> float:
        """The score of a prefix as a whole utterance: its last word and the end included."""
        words = self.words[prefix] + ((self.spelling[prefix],) if self.spelling[prefix] else ())
        return self.score[prefix] + self.gain(prefix) + self._weighted(words, END)

    def _weighted(self, context: tuple[str, ...], word: str) -> float:
        # a weight of 0 times a log probability of -inf is no evidence, not NaN
        return self.weight * self.model.score(context, word) if self.model and self.weight else 0.0
