import gzip
import math

import numpy as np
import pytest

from anaxon import decoding

TEXTS = ["the cat sat", "the dog ran", "the cat ran home", "a dog", ""]
ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-1.0\t<unk>
-0.7\tcat\t-0.2
-0.5\tthe\t-0.4
-0.9\t</s>

\\2-grams:
-0.1\t<s> the
-0.2\tthe cat

\\end\\
"""


def witten_bell(context, word, texts, vocabulary):
    """`P(word | context)` by counting the texts anew at each length (Chen & Goodman 1999)."""
    padded = [("<s>", *t.split(), "</s>") for t in texts]
    n = len(context)
    after = [p[i + n] for p in padded for i in range(len(p) - n) if p[i : i + n] == context and i + n > 0]
    shorter = witten_bell(context[1:], word, texts, vocabulary) if n else 1 / (len(vocabulary) + 1)
    kinds = len(set(after))
    return (after.count(word) + kinds * shorter) / (len(after) + kinds) if after else shorter


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_counted_is_witten_and_bell(order):
    model = decoding.counted(TEXTS, order)
    vocabulary = {*" ".join(TEXTS).split(), "</s>"}
    for context in ((), ("the",), ("the", "cat"), ("cat", "the", "cat"), ("home", "the"), ("a", "dog", "ran")):
        seen = ("<s>", *context)[1 + len(context) - min(order - 1, len(context) + 1) :]
        for word in [*vocabulary, "<unk>"]:
            expected = witten_bell(seen, word, TEXTS, vocabulary)
            np.testing.assert_allclose(math.exp(model.score(context, word)), expected, rtol=1e-12)


@pytest.mark.parametrize("context", [(), ("the",), ("the", "cat"), ("zebra", "cat"), ("cat", "zebra")])
def test_probabilities_add_up_to_one(context):
    model = decoding.counted(TEXTS, 3)
    words = {*" ".join(TEXTS).split(), "</s>", "<unk>"}
    np.testing.assert_allclose(sum(math.exp(model.score(context, w)) for w in words), 1, rtol=1e-12)


def test_an_unknown_word_scores_as_unknown():
    model = decoding.counted(TEXTS, 3)
    assert model.score(("the",), "zebra") == model.score(("the",), "<unk>") < model.score(("the",), "cat")


def test_arpa_backs_off(tmp_path):
    (tmp_path / "m.arpa").write_text("written by hand\n\n" + ARPA)
    model = decoding.read_arpa(tmp_path / "m.arpa")
    ten = {
        ((), "the"): -0.1,
        (("the",), "cat"): -0.2,
        (("the",), "the"): -0.4 - 0.5,
        (("cat",), "the"): -0.2 - 0.5,
        ((), "cat"): -0.3 - 0.7,
        (("zebra",), "cat"): -0.7,  # <unk> has no back-off weight
        (("the", "cat"), "zebra"): -0.2 - 1.0,
        (("the",), "</s>"): -0.4 - 0.9,
    }
    for (context, word), expected in ten.items():
        np.testing.assert_allclose(model.score(context, word), expected * math.log(10), rtol=1e-12)


def test_a_closed_vocabulary_has_no_other_words(tmp_path):
    (tmp_path / "m.arpa").write_text(ARPA.replace("-1.0\t<unk>\n", ""))
    assert decoding.read_arpa(tmp_path / "m.arpa").score((), "zebra") == -math.inf


def test_written_is_read_again(tmp_path):
    model = decoding.counted(TEXTS, 3)
    decoding.write_arpa(tmp_path / "m.arpa", model)
    with gzip.open(tmp_path / "m.arpa.gz", "wb") as file:
        file.write((tmp_path / "m.arpa").read_bytes())
    for name in ("m.arpa", "m.arpa.gz"):
        back = decoding.read_arpa(tmp_path / name)
        assert back.order == 3 and back.probabilities.keys() == model.probabilities.keys()
        for context in ((), ("the", "cat"), ("zebra",)):
            np.testing.assert_allclose(back.score(context, "ran"), model.score(context, "ran"), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello\n", "ends without"),
        (ARPA.replace("\\end\\", ""), "ends without"),
        (ARPA.replace("-0.2\tthe cat", "-0.2\tthe"), "line 14: expected 2 words"),
        (ARPA.replace("-0.2\tthe cat", "x\tthe cat"), "line 14: expected log10"),
        ("\\data\\\n\\end\\\n", "expected n-grams"),
    ],
)
def test_bad_files(tmp_path, text, words):
    (tmp_path / "m.arpa").write_text(text)
    with pytest.raises(ValueError, match=words):
        decoding.read_arpa(tmp_path / "m.arpa")


def test_bad_transcripts():
    with pytest.raises(ValueError, match="transcripts: expected at least one word"):
        decoding.counted(["", " "])
    with pytest.raises(ValueError, match="order"):
        decoding.counted(["a"], 0)
