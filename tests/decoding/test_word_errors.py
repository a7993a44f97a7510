import numpy as np
import pytest

from anaxon import decoding


def levenshtein(reference, hypothesis):
    """Fewest word errors, by the recursion of Wagner & Fischer 1974."""
    r, h = reference.split(), hypothesis.split()
    d = np.zeros((len(r) + 1, len(h) + 1), int)
    d[:, 0], d[0] = np.arange(len(r) + 1), np.arange(len(h) + 1)
    for i in range(len(r)):
        for j in range(len(h)):
            d[i + 1, j + 1] = min(d[i, j] + (r[i] != h[j]), d[i, j + 1] + 1, d[i + 1, j] + 1)
    return d[-1, -1]


def test_errors_are_the_fewest():
    rng = np.random.default_rng(0)
    texts = [[" ".join(rng.choice(list("abcd"), rng.integers(0, 9))) for _ in range(60)] for _ in range(2)]
    got = decoding.word_errors(*texts)
    np.testing.assert_array_equal(got.errors, [levenshtein(r, h) for r, h in zip(*texts, strict=True)])
    np.testing.assert_array_equal(got.words, [len(r.split()) for r in texts[0]])
    assert got.rate == got.errors.sum() / got.words.sum()
    np.testing.assert_allclose(sum(got.by_kind.values()), got.rate)
    # what is put in and what is left out make the difference in length
    np.testing.assert_array_equal(got.words + got.insertions - got.deletions, [len(h.split()) for h in texts[1]])


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("a b c", "a x c", (1, 0, 0, 3)),
        ("a b c", "", (0, 0, 3, 3)),
        ("", "a b", (0, 2, 0, 0)),
        ("", "", (0, 0, 0, 0)),
        (" a  b ", "a b", (0, 0, 0, 2)),
        ("a b", "A b", (1, 0, 0, 2)),
    ],
)
def test_kinds(reference, hypothesis, counts):
    got = decoding.word_errors([reference, "x"], [hypothesis, "x"])
    assert (got.substitutions[0], got.insertions[0], got.deletions[0], got.words[0]) == counts
    assert got.errors[1] == 0


def test_no_reference_words_have_no_rate():
    assert np.isnan(decoding.word_errors([""], ["a"]).rate)


def test_bad_input():
    with pytest.raises(ValueError, match="got 1 for 2"):
        decoding.word_errors(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="got 0 for 0"):
        decoding.word_errors([], [])
    with pytest.raises(TypeError, match="references: .*single string"):
        decoding.word_errors("abc", ["a"])
