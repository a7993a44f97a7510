import numpy as np
import pytest

from anaxon.data import sentences, tokens

COUNTS = {"train": 3000, "validation": 200, "test": 800}


def test_sentences_have_3_to_9_known_words_and_belong_to_one_split():
    written = sentences.write(0, COUNTS)
    everything = [text for split in written.values() for text in split]
    assert len(set(everything)) == sum(COUNTS.values())
    assert {len(text.split()) for text in everything} == set(range(3, 10))
    assert {word for text in everything for word in text.split()} == set(sentences.vocabulary())
    for text in everything:
        assert tokens.normalise(text) == text


def test_vocabulary_is_a_few_hundred_words_and_the_test_has_hardly_a_new_one():
    written = sentences.write(0, {**COUNTS, "train": 1200})
    heard = {word for text in written["train"] for word in text.split()}
    assert 250 <= len(sentences.vocabulary()) <= 400
    tested = [word for text in written["test"] for word in text.split()]
    assert len(tested) >= 5000
    assert sum(word not in heard for word in tested) < 0.005 * len(tested)


def test_a_larger_training_split_leaves_the_others_as_they_are():
    small, large = sentences.write(0, {**COUNTS, "train": 10}), sentences.write(0, COUNTS)
    assert small["test"] == large["test"] and small["validation"] == large["validation"]
    assert small["train"] == large["train"][:10]
    assert sentences.write(1, {**COUNTS, "train": 10})["test"] != small["test"]


def test_a_smaller_vocabulary_is_a_part_of_the_larger():
    small = set(sentences.vocabulary(0.3))
    assert small < set(sentences.vocabulary()) and len(small) < 200
    rng = np.random.default_rng(0)
    words = {w for _ in range(500) for w in sentences.sentence(rng, sentences.lexicon(0.3)).split()}
    assert words <= small


def test_an_before_vowels():
    rng, words = np.random.default_rng(0), sentences.lexicon()
    pairs = {(a, b[0]) for _ in range(3000) for t in [sentences.sentence(rng, words).split()]
             for a, b in zip(t, t[1:], strict=False) if a in ("a", "an")}  # fmt: skip
    assert {first for article, first in pairs if article == "an"} <= set("aeiou")
    assert not {first for article, first in pairs if article == "a"} & set("aeiou") and len(pairs) > 10


def test_too_small_a_vocabulary_says_so(monkeypatch):
    monkeypatch.setitem(sentences.RULES, "SENTENCE", ("NAME walked home",))
    assert len(sentences.write(0, {"train": 1, "validation": 1, "test": 0}, 0.05)["train"]) == 1
    with pytest.raises(ValueError, match=r"data\.vocabulary: too small"):
        sentences.write(0, {"train": 2, "validation": 1, "test": 0}, 0.05)
