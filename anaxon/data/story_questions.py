"""Questions about stories as arrays: the statements before each as memories, the newest first."""

import re
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np

from anaxon.data.stories import Story

NULL = 0  # the code of no word


@dataclass(frozen=True)
class Questions:
    """What a memory network reads; int32 codes of words, 0 where there is none.

    Attributes:
      memories: `[n, memories, words]`, newest first.
      question: `[n, words]`.
      answer: `[n]`, a code of the vocabulary.
      valid: statements there are, `[n]`.
      supports: memories that the answer needs, `[n]`; statements that were too old to be kept are none.
    """

    memories: np.ndarray
    question: np.ndarray
    answer: np.ndarray
    valid: np.ndarray
    supports: np.ndarray

    def __len__(self) -> int:
        return len(self.answer)


def vocabulary(stories: list[Story]) -> tuple[str, ...]:
    """All words and answers, sorted; a list of things is one answer. The code of a word is its place plus one."""
    found = {word for story in stories for line in story for word in words(line.text)}
    return tuple(sorted(found | {line.answer for story in stories for line in story if line.answer is not None}))


@cache  # stories say the same few sentences again and again
def words(text: str) -> tuple[str, ...]:
    """Of a sentence, without punctuation."""
    return tuple(re.findall(r"[A-Za-z]+", text))


def ceiling(supports: np.ndarray, valid: np.ndarray, hops: int) -> float:
    """The largest share of pairs that can be pruned if each support is read in one hop: `1 - supports / (hops n)`.

    Of questions, `[n]` both: their supports and their valid memories.
    """
    return 1.0 - float(supports.sum() / (hops * valid.sum()))


def questions(stories: list[Story], known: tuple[str, ...], memories: int = 50) -> Questions:
    """Every question of the stories; only the newest `memories` statements are kept.

    Raises:
      ValueError: for a word or an answer that is not in the vocabulary, or no question at all.
    """
    codes = {word: i + 1 for i, word in enumerate(known)}
    asked = [(story, i) for story in stories for i, line in enumerate(story) if line.answer is not None]
    missing = sorted(set(vocabulary(stories)) - set(known))
    if missing:
        raise ValueError(f"vocabulary: {missing[0]!r} is not in it; expected one made of all stories")
    if not asked:
        raise ValueError("stories: expected at least one question; got none")
    width = max(len(words(line.text)) for story in stories for line in story)
    read = np.zeros((len(asked), memories, width), np.int32)
    question, answer, valid, supports = np.zeros((len(asked), width), np.int32), [], [], []
    for row, (story, i) in enumerate(asked):
        told = [n for n, line in enumerate(story[:i]) if line.answer is None][::-1][:memories]
        for j, n in enumerate(told):
            _write(read[row, j], story[n].text, codes)
        _write(question[row], story[i].text, codes)
        answer.append(codes[story[i].answer])  # type: ignore[index]
        valid.append(len(told))
        supports.append(sum(number - 1 in told for number in story[i].supports))  # lines are numbered from 1
    whole = lambda x: np.asarray(x, np.int32)  # noqa: E731
    return Questions(read, question, whole(answer), whole(valid), whole(supports))


def trimmed(parts: list[Questions]) -> list[Questions]:
    """The same without memories that no question of any part has: half of the work, where half of them are padding."""
    most = max(int(part.valid.max()) for part in parts)
    return [replace(part, memories=part.memories[:, :most]) for part in parts]


def first(asked: Questions, count: int) -> Questions:
    """The first so many, or all."""
    return Questions(**{f.name: getattr(asked, f.name)[:count] for f in fields(asked)})


def _write(row: np.ndarray, text: str, codes: dict[str, int]) -> None:
    found = [codes[word] for word in words(text)]
    row[: len(found)] = found
