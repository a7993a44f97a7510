import itertools
import math
import time
from collections import defaultdict

import numpy as np
import pytest

from anaxon import decoding
from anaxon.data import tokens

LETTERS = ("", " ", "a", "b")


def posteriors(rng, frames, vocabulary, spread=1.5):
    x = rng.normal(0, spread, (frames, vocabulary))
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def all_paths(log_probs):
    """Log probability of every transcript: the sum over all `vocabulary ** frames` paths that collapse to it."""
    total = defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        transcript = tuple(token for token, _ in itertools.groupby(path) if token)
        total[transcript] += math.exp(sum(log_probs[t, token] for t, token in enumerate(path)))
    return {transcript: math.log(p) for transcript, p in total.items()}


def text_score(transcript, model, weight, insertion):
    words = "".join(LETTERS[t] for t in transcript).split()
    score = sum(weight * model.score(tuple(words[:i]), w) + insertion for i, w in enumerate(words))
    return score + weight * model.score(tuple(words), "</s>")


@pytest.mark.parametrize(("seed", "frames", "vocabulary"), [(0, 5, 4), (1, 6, 3), (2, 7, 2), (3, 1, 5), (4, 6, 4)])
def test_a_wide_beam_is_exact(seed, frames, vocabulary):
    log_probs = posteriors(np.random.default_rng(seed), frames, vocabulary)
    expected = all_paths(log_probs)
    got = decoding.prefix_beam(log_probs, 5000, least=0)
    assert len(got) == len(expected)
    for hypothesis in got:
        np.testing.assert_allclose(hypothesis.log_probability, expected[hypothesis.tokens], rtol=1e-9)
        assert hypothesis.score == hypothesis.log_probability
    assert [h.score for h in got] == sorted((h.score for h in got), reverse=True)


@pytest.mark.parametrize(("weight", "insertion"), [(0.7, 0.3), (2.0, -1.0), (0.0, 0.5), (0.5, 0.0)])
def test_with_words_a_wide_beam_is_exact(weight, insertion):
    log_probs = posteriors(np.random.default_rng(5), 6, 4)
    model = decoding.counted(["ab a", "a b", "ba"], 3)
    expected = {t: p + text_score(t, model, weight, insertion) for t, p in all_paths(log_probs).items()}
    got = decoding.prefix_beam(log_probs, 5000, model, weight, insertion, letters=LETTERS, least=0)
    assert len(got) == len(expected)
    for hypothesis in got:
        np.testing.assert_allclose(hypothesis.score, expected[hypothesis.tokens], rtol=1e-9)


def test_the_best_is_not_the_best_path():
    """Two paths of 0.24 each outweigh one of 0.36: what prefix search is for."""
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert decoding.greedy(log_probs[None], np.array([2])) == [[]]
    best = decoding.prefix_beam(log_probs, 4)[0]
    assert best.tokens == (1,)
    np.testing.assert_allclose(best.log_probability, np.log(0.64), rtol=1e-12)


def slow_beam(log_probs, beam):
    """Algorithm 1 of Hannun et al. 2014 as it is written, with prefixes as keys; no words."""
    alive = {(): (1.0, 0.0)}
    for frame in np.exp(log_probs):
        after = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, token) in alive.items():
            after[prefix][0] += frame[0] * (blank + token)
            for c in range(1, len(frame)):
                if prefix and c == prefix[-1]:
                    after[prefix][1] += frame[c] * token
                    after[*prefix, c][1] += frame[c] * blank
                else:
                    after[*prefix, c][1] += frame[c] * (blank + token)
        kept = sorted(after, key=lambda prefix: -sum(after[prefix]))[:beam]
        alive = {prefix: tuple(after[prefix]) for prefix in kept}
    return {prefix: math.log(sum(p)) for prefix, p in alive.items()}


def test_a_narrow_beam_is_the_algorithm():
    """Prefixes are dropped and met again while what grew from them lives on: they must be known as the same."""
    rng = np.random.default_rng(6)
    for _ in range(30):
        log_probs = posteriors(rng, 60, 6, spread=2)
        expected = slow_beam(log_probs, 12)
        got = decoding.prefix_beam(log_probs, 12, least=0)
        assert {h.tokens for h in got} == set(expected) and len(got) == len(expected)
        for hypothesis in got:
            np.testing.assert_allclose(hypothesis.log_probability, expected[hypothesis.tokens], rtol=1e-9)


def test_a_wider_beam_is_not_worse():
    rng = np.random.default_rng(7)
    scores = []
    for _ in range(20):
        log_probs = posteriors(rng, 30, 10)
        scores.append([decoding.prefix_beam(log_probs, beam)[0].score for beam in (1, 4, 16, 64)])
    assert (np.diff(np.mean(scores, 0)) > 0).all()


def test_a_language_model_chooses_the_word():
    log_probs = np.log(np.full((3, 4), 0.01))
    log_probs[0, 2], log_probs[1, 0] = np.log(0.97), np.log(0.97)
    log_probs[2, 3], log_probs[2, 2] = np.log(0.45), np.log(0.53)
    model = decoding.counted(["ab"] * 10 + ["aa"])

    def best(**how):
        return decoding.prefix_beam(log_probs, 8, letters=LETTERS, **how)[0].tokens

    assert best() == (2, 2)
    assert best(language_model=model, weight=1.0) == (2, 3)
    assert best(language_model=model, weight=0.0) == (2, 2)


def test_insertion_favours_words():
    log_probs = posteriors(np.random.default_rng(8), 12, 4)
    counts = []
    for insertion in (-5.0, 0.0, 5.0):
        best = decoding.prefix_beam(log_probs, 64, insertion=insertion, letters=LETTERS)[0]
        counts.append(len("".join(LETTERS[t] for t in best.tokens).split()))
    assert counts[0] < counts[1] < counts[2]


def test_unlikely_tokens_change_little():
    rng = np.random.default_rng(9)
    for _ in range(5):
        log_probs = posteriors(rng, 40, 29, spread=3)
        full, pruned = (decoding.prefix_beam(log_probs, 16, least=least)[0] for least in (0, 1e-4))
        assert full.tokens == pruned.tokens
        assert 0 <= full.score - pruned.score < 0.02


def test_broken_and_impossible_frames():
    log_probs = posteriors(np.random.default_rng(10), 5, 4)
    broken, blank = log_probs.copy(), log_probs.copy()
    broken[2] = np.nan
    blank[2] = [0, -np.inf, -np.inf, -np.inf]
    assert decoding.prefix_beam(broken, 4) == decoding.prefix_beam(blank, 4)
    assert decoding.prefix_beam(log_probs[:0], 4) == [decoding.Hypothesis((), 0.0, 0.0)]
    assert decoding.decode_all(np.full((1, 3, 4), -np.inf), np.array([3])) == [[]]


def test_decode_all_is_the_best_of_each():
    rng = np.random.default_rng(11)
    log_probs = np.stack([posteriors(rng, 20, 29) for _ in range(4)])
    lengths = np.array([20, 7, 0, 13])
    model = decoding.counted(["a b"])
    got = decoding.decode_all(log_probs.astype(np.float32), lengths, 8, model)
    log_probs[1, 7:] = np.nan
    singles = [
        decoding.prefix_beam(x[:n].astype(np.float32), 8, model)[0] for x, n in zip(log_probs, lengths, strict=True)
    ]
    assert got == [list(h.tokens) for h in singles]
    assert all(isinstance(t, int) for t in got[0]) and tokens.decode(got[0])


def test_processes_give_the_same():
    log_probs = np.stack([posteriors(np.random.default_rng(12), 10, 29)] * 3)
    model = decoding.counted(["a b"])
    one, two = (decoding.decode_all(log_probs, np.array([10, 5, 0]), 4, model, workers=n) for n in (1, 2))
    assert one == two


def test_faster_than_speech():
    """At 25 frames a second, 100 times as fast as speech is 0.4 ms a frame; the best of three runs counts."""
    log_probs = posteriors(np.random.default_rng(13), 400, 29, spread=2)
    model = decoding.counted(["the cat sat", "a dog ran"])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        decoding.prefix_beam(log_probs, 16, model)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) / 400 < 0.4e-3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"log_probs": np.zeros(5)}, "log_probs: expected .frames, vocabulary"),
        ({"beam": 0}, "beam: expected an integer"),
        ({"least": 1.0}, "least: expected a probability"),
        ({"insertion": 1.0}, "letters: expected one for each of 4"),
    ],
)
def test_bad_input(how, words):
    with pytest.raises(ValueError, match=words):
        decoding.prefix_beam(**({"log_probs": np.zeros((3, 4))} | how))
