"""The audit finds what is wrong, at thresholds that scores hit exactly, and in the units of the threshold."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.attention import audit, integers

WHERE = np.tril(np.ones((6, 6), bool))


def case(bits=8, d=8, cut=None, steps=(1 / 7, 1 / 3), seed=0):
    rng = np.random.default_rng(seed)
    q, k = (jnp.asarray(rng.integers(-100, 101, (2, 6, 3, d)) * s, jnp.float32) for s in steps)
    unit = steps[0] * steps[1] / np.sqrt(d)
    return audit.decided(q, k, 57 * unit if cut is None else cut, steps, bits=bits, where=WHERE)


@pytest.mark.parametrize(("bits", "d"), [(8, 8), (16, 8)])  # 16 bits: scores in two halves
def test_termination_is_right_and_the_sums_are_numpys(bits, d):
    made = case(bits, d)
    assert isinstance(made.run.scores, integers.Wide) == (bits == 16)
    exact = np.einsum("bhqd,bhkd->bhqk", *(np.asarray(x, np.int64) for x in (made.query, made.key)))
    floats = jnp.asarray(exact >= 1000)
    right = (exact * made.unit >= made.cut) & WHERE
    assert audit.audited(made, WHERE, floats) == (2 * 3 * 21, 0, 0, np.sum((right == floats) & WHERE))
    assert audit.audited(made, WHERE).told() == {"pairs": 126.0, "wrong": 0.0, "wrong_scores": 0.0, "agree": 1.0}
    assert 0 < right.sum() < 126 and jnp.zeros(1).dtype == jnp.float32


def test_wrong_decisions_and_scores_are_counted_each():
    made = case()
    run = made.run
    valid = np.argwhere(np.asarray(run.cycles) > 0)
    kept, scores = np.array(run.kept), np.array(run.scores)
    kept[tuple(valid[5])] ^= True
    scores[tuple(np.argwhere(kept & np.asarray(run.kept))[0])] += 1
    broken = made._replace(run=dataclasses.replace(run, kept=jnp.asarray(kept), scores=jnp.asarray(scores)))
    found = audit.audited(broken, WHERE)
    assert (found.wrong, found.wrong_scores, found.alike) == (1, 1, 125)
    assert audit.total([found, found]) == (252, 2, 2, 250)
    masked = made._replace(run=dataclasses.replace(run, kept=run.kept | ~jnp.asarray(WHERE)))
    assert audit.audited(masked, WHERE).wrong == 2 * 3 * 15  # pairs that are not valid must not be kept


def test_ties_are_kept_in_whatever_unit_the_threshold_is():
    """Thresholds that are scores of pairs, at steps and heads whose unit rounds."""
    for d, steps in ((6, (0.1, 0.3)), (20, (1 / 7, 1 / 3))):
        for seed in range(4):
            scores = np.asarray(case(12, d, 0.0, steps, seed).run.scores)
            tie = int(scores[0, 0, 5, seed])
            made = case(12, d, tie * (steps[0] * steps[1]) / np.sqrt(d), steps, seed)
            assert np.asarray(made.run.scores)[0, 0, 5, seed] == tie
            assert audit.audited(made, WHERE).wrong == 0


def test_a_histogram_counts_valid_pairs_once():
    made = case()
    found = audit.histogram(made.run, 8)
    cycles, kept = np.asarray(made.run.cycles), np.asarray(made.run.kept)
    assert found.sum() == 126 and found[1, 8] == kept.sum() == found[1].sum()
    assert [np.sum((cycles == t) & ~kept) for t in range(1, 9)] == found[0, 1:].tolist()
