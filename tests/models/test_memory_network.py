"""Memory networks: the equations in float64, hops that prune, and training that finds the supporting facts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon.attention import pruned_softmax
from anaxon.data import story_questions
from anaxon.data.stories import stories
from anaxon.flax import functional
from anaxon.models import train_memory
from anaxon.models.memory_network import MemoryNetwork, MemorySize, dense, linear, smooth_l0, soft
from anaxon.models.train_memory import MemoryTraining

SIZE = MemorySize(width=12, hops=3, memories=6)


def reference(params, memories, question, valid, threshold=-np.inf):
    """Sections 2 and 4.1 of arXiv 1503.08895, sum by sum, one question; a pruned memory has no weight."""
    tables, ages = (np.asarray(params[name], np.float64) for name in ("embedding", "age"))
    d = tables.shape[2]

    def sentence(codes, table):
        codes = [c for c in codes if c > 0]
        total = np.zeros(d)
        for j, code in enumerate(codes, 1):
            for k in range(1, d + 1):
                total[k - 1] += ((1 - j / len(codes)) - k / d * (1 - 2 * j / len(codes))) * table[code, k - 1]
        return total

    state = sentence(question, tables[0])
    for hop in range(3):
        m = [sentence(memories[i], tables[hop]) + ages[hop, i] for i in range(valid)]
        c = [sentence(memories[i], tables[hop + 1]) + ages[hop + 1, i] for i in range(valid)]
        x = np.array([state @ y for y in m])
        p = np.exp(x - x.max()) * (x >= threshold)
        state = state + (sum(w * y for w, y in zip(p / p.sum(), c, strict=True)) if p.sum() > 0 else 0)
    return tables[3] @ state


def problem(threshold=0.0):
    model = MemoryNetwork(20, SIZE, rngs=nnx.Rngs(3))
    model.embedding[...] = 4 * model.embedding[...]
    fn, params = functional(model)
    params = nnx.to_pure_dict(params)
    params["threshold"] = jnp.full(3, threshold)
    rng = np.random.default_rng(0)
    memories = rng.integers(1, 21, (5, 6, 4))
    memories[:, :, 3] *= rng.integers(0, 2, (5, 6))
    return fn, params, memories, rng.integers(1, 21, (5, 4)), np.asarray([6, 4, 1, 5, 3])


@pytest.mark.parametrize(
    ("softmax", "threshold"),
    [(dense, -np.inf), (pruned_softmax, 0.1), pytest.param(pruned_softmax, 1e3, marks=pytest.mark.slow)],
)
def test_forward_against_the_equations(softmax, threshold):
    fn, params, memories, question, valid = problem(threshold)
    logits, scores = fn(params, memories, question, valid, softmax=softmax)
    assert logits.shape == (5, 21) and scores.shape == (3, 5, 6)
    for i in range(5):
        expected = reference(params, memories[i], question[i], valid[i], threshold)
        np.testing.assert_allclose(logits[i], expected, rtol=2e-4, atol=2e-4)


def test_what_is_not_valid_is_not_read():
    fn, params, memories, question, valid = problem()
    other = np.where(np.arange(6)[None, :, None] < valid[:, None, None], memories, 7)
    for softmax in (dense, linear, pruned_softmax):
        a, b = (fn(params, m, question, valid, softmax=softmax)[0] for m in (memories, other))
        np.testing.assert_array_equal(a, b)


def test_soft_weights_approach_the_hard_ones():
    """Far from the threshold, and for rows that are pruned whole: nothing, not the mean of all."""
    x = jnp.asarray([[3.0, 1.0, -2.0, 5.0], [-3.0, -4.0, -2.0, 5.0]])
    where = jnp.asarray([[True] * 4, [True] * 3 + [False]])
    np.testing.assert_allclose(soft(x, 0.0, where, 50.0), pruned_softmax(x, 0.0, where), atol=1e-6)
    assert not np.any(soft(x, 0.0, where, 50.0)[1])


def test_l0_has_a_band():
    """The share of scores above the edge, and a slope for scores about a band's width around it."""
    x = jax.random.normal(jax.random.key(0), (4000, 8))
    value, slope = jax.value_and_grad(lambda th: smooth_l0(x, th, jnp.ones((4000, 8), bool), 0.1))(0.5)
    edge = 0.5 - 2 * 0.1 * np.arctanh(0.5)
    assert value == pytest.approx(float(np.mean(np.asarray(x) > edge)), abs=0.01)
    density = np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi)
    assert slope == pytest.approx(-density, rel=0.06)


@pytest.fixture(scope="module")
def learned():
    """One supporting fact in few stories, on a small network."""
    told = stories("single", 200, seed=0), stories("single", 60, seed=1)
    known = story_questions.vocabulary(told[0] + told[1])
    train, test = (story_questions.questions(x, known, 16) for x in told)
    fn, start = functional(MemoryNetwork(len(known), MemorySize(width=16, memories=16), rngs=nnx.Rngs(0)))
    config = MemoryTraining(linear=5, dense=15, pruning=10, settling=3, batch=16, threshold_rate=1e-2)
    first = train_memory.fit_dense(fn, nnx.to_pure_dict(start), train, config)
    pruned, history = train_memory.fit_pruned(fn, first, train, config, 0.3)
    return fn, first, pruned, history, test


@pytest.mark.slow
def test_training_answers_and_prunes(learned):
    fn, first, pruned, history, test = learned
    before = train_memory.answered(fn, first, test, dense)[0].mean()
    hits, kept = train_memory.answered(fn, pruned, test, pruned_softmax)
    assert before > 0.9 and hits.mean() > before - 0.04
    assert 1 - kept.sum() / (3 * test.valid.sum()) > 0.5
    thresholds = history.thresholds
    assert thresholds.shape == history.share.shape == (11, 3) and thresholds[-1].sum() > thresholds[0].sum()
    np.testing.assert_array_equal(thresholds[-1], pruned["threshold"])
    assert history.share[0].mean() > 0.9 > 0.6 > history.share[-1].mean()


@pytest.mark.slow
def test_the_first_thresholds_prune_little(learned):
    fn, first, _, history, test = learned
    kept = train_memory.answered(fn, {**first, "threshold": history.thresholds[0]}, test, dense)[1]
    assert 1 - kept.sum() / (3 * test.valid.sum()) == pytest.approx(train_memory.START, abs=0.03)


def test_trimmed_questions_are_answered_alike():
    told = stories("two", 4, seed=1)
    known = story_questions.vocabulary(told)
    whole = story_questions.questions(told, known, 40)
    (short,) = story_questions.trimmed([whole])
    assert short.memories.shape[1] == whole.valid.max() < 40 and len(story_questions.first(short, 3)) == 3
    fn, params = functional(MemoryNetwork(len(known), MemorySize(width=8, memories=40), rngs=nnx.Rngs(0)))
    one, other = (jax.jit(fn)(params, x.memories, x.question, x.valid)[0] for x in (whole, short))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
