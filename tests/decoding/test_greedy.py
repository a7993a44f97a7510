import jax.numpy as jnp
import numpy as np
import pytest

from anaxon import decoding


def posteriors(path, vocabulary=4, rng=None):
    """Log posteriors `[frames, vocabulary]` whose likeliest tokens are `path`."""
    x = (rng or np.random.default_rng(0)).uniform(0, 1, (len(path), vocabulary))
    x[np.arange(len(path)), path] += 2
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@pytest.mark.parametrize(
    ("path", "tokens"),
    [
        ([1, 1, 0, 1, 2, 2, 3], [1, 1, 2, 3]),
        ([0, 0, 0], []),
        ([1, 2, 1], [1, 2, 1]),
        ([3, 0, 0, 3], [3, 3]),
        ([2], [2]),
    ],
)
def test_repetitions_and_blanks_go(path, tokens):
    assert decoding.greedy(posteriors(path)[None], np.array([len(path)])) == [tokens]


def test_padding_is_silent_whatever_it_holds():
    rows = [
        posteriors(p, rng=np.random.default_rng(i)) for i, p in enumerate(([1, 0, 2, 3], [2, 2, 3, 3], [1, 1, 1, 1]))
    ]
    batch = np.stack(rows)
    batch[1, 2:] = np.nan
    assert decoding.greedy(jnp.asarray(batch), jnp.array([4, 2, 0])) == [[1, 2, 3], [2], []]


def test_a_broken_frame_is_blank():
    batch = posteriors([1, 1, 1])[None].copy()
    batch[0, 1, 2] = np.nan
    assert decoding.greedy(batch, np.array([3])) == [[1, 1]]


@pytest.mark.parametrize(
    ("log_probs", "lengths", "words"),
    [
        (np.zeros((3, 4)), np.zeros(3), "log_probs: expected .batch, frames"),
        (np.zeros((3, 4, 1)), np.zeros(3), "two or more"),
        (np.zeros((3, 4, 5)), np.zeros(2), "one for each of 3"),
    ],
)
def test_bad_input(log_probs, lengths, words):
    with pytest.raises(ValueError, match=words):
        decoding.greedy(log_probs, lengths)
