import itertools
import threading
import time

import numpy as np
import pytest

from anaxon.data import tokens
from anaxon.data.asr import Corpus, Utterances
from anaxon.data.batches import Batches, prefetch


def split(lengths, mels=3, seed=0):
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    texts = tuple("".join(rng.choice(list("abc '"), rng.integers(1, 12))) for _ in lengths)
    return Utterances(rng.normal(5, 2, (starts[-1], mels)).astype(np.float16), starts, texts,
                      np.zeros(len(lengths), np.int32), tuple(map(str, range(len(lengths)))))  # fmt: skip


@pytest.fixture(scope="module")
def corpus():
    train = split(np.random.default_rng(1).integers(20, 400, 157))
    part = split([30, 40])
    mean, std = np.array([5.0, 4.0, 6.0], np.float32), np.array([2.0, 1.0, 3.0], np.float32)
    return Corpus("numbers", train, part, part, mean, std, checksum="00000000")


def check(batch, corpus, part):
    for row, k in enumerate(batch.index):
        frames, written = batch.lengths[row], batch.token_lengths[row]
        if k < 0:
            assert frames == written == 0
        else:
            raw = part.features[part.starts[k] : part.starts[k + 1]].astype(np.float64)
            np.testing.assert_allclose(batch.features[row, :frames], (raw - corpus.mean) / corpus.std, atol=1e-5)
            assert tokens.decode(batch.tokens[row, :written]) == part.texts[k] and frames == len(raw)
        assert not batch.features[row, frames:].any() and not batch.tokens[row, written:].any()


@pytest.mark.parametrize("order", [lambda b: b.epoch(0, 0), lambda b: b.in_order()])
def test_every_utterance_once_in_few_shapes_within_the_budget(corpus, order):
    batches = Batches(corpus, corpus.train, frames_per_batch=2000, count=4)
    made = list(order(batches))
    seen = np.concatenate([batch.index for batch in made])
    np.testing.assert_array_equal(np.sort(seen[seen >= 0]), np.arange(157))
    shapes = {(*batch.features.shape[:2], batch.tokens.shape[1]) for batch in made}
    assert shapes == {(s.rows, s.frames, s.tokens) for s in batches.shapes} and len(shapes) == 4
    assert all(s.rows * s.frames <= 2000 and s.frames % 16 == 0 for s in batches.shapes)
    assert len(made) == len(batches)
    for batch in made:
        check(batch, corpus, corpus.train)


def test_buckets_are_the_best_of_all(corpus):
    """The frames of an epoch, against trying every pair of limits."""
    sizes = -(-corpus.train.lengths // 16) * 16

    def frames(limits):
        own = np.searchsorted(limits, sizes)
        return sum(-(-n // rows) * rows * limit for k, limit in enumerate(limits)
                   for n in [int(np.sum(own == k))] for rows in [max(1, min(2000 // limit, n))])  # fmt: skip

    choices = [c for c in itertools.combinations(np.unique(sizes), 3) if c[-1] == sizes.max()]
    shapes = Batches(corpus, corpus.train, frames_per_batch=2000, count=3).shapes
    assert frames([s.frames for s in shapes]) == min(map(frames, choices))


def test_the_order_is_a_function_of_seed_and_epoch(corpus):
    batches = Batches(corpus, corpus.train, frames_per_batch=2000)
    orders = [np.concatenate([b.index for b in batches.epoch(*at)]) for at in ((0, 0), (0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[3])


def test_evaluation_begins_with_the_longest(corpus):
    frames = [b.features.shape[1] for b in Batches(corpus, corpus.train, frames_per_batch=2000).in_order()]
    assert frames == sorted(frames, reverse=True) and frames[0] >= corpus.train.lengths.max()


def test_an_utterance_above_the_budget_is_a_batch_of_its_own(corpus):
    batches = Batches(corpus, corpus.test, frames_per_batch=1, count=9)
    assert [s.rows for s in batches.shapes] == [1, 1]


@pytest.mark.parametrize("arguments", [{"frames_per_batch": 0}, {"count": 0}])
def test_bad_budgets_are_refused(corpus, arguments):
    with pytest.raises(ValueError, match="frames_per_batch and count"):
        Batches(corpus, corpus.test, **arguments)
    with pytest.raises(ValueError, match="no utterances"):
        Batches(corpus, split([]), frames_per_batch=10)


def test_prefetch_works_ahead_but_not_further():
    made = []

    def numbers():
        for k in range(10):
            made.append(k)
            yield k

    ahead = prefetch(numbers(), 2)
    assert next(ahead) == 0
    deadline = time.time() + 5
    while len(made) < 4 and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]  # one taken, two waiting, one in hand
    assert list(ahead) == list(range(1, 10))


def test_prefetch_hands_on_what_is_raised():
    def broken():
        yield 1
        raise OSError("disk")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk"):
        next(items)


def test_prefetch_ends_with_its_consumer():
    before = threading.active_count()
    items = prefetch(itertools.count())
    assert next(items) == 0 and threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before
