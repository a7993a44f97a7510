"""The sentence encoder: equations in float64, padding, shared weights, foreign weights, and what its attentions see."""

import json
import math
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from anaxon.data import minilm
from anaxon.data.token_batches import in_order, shuffled
from anaxon.flax import functional
from anaxon.interpret.paths import flatten
from anaxon.models import attention_traces, classify, named_weights
from anaxon.models.encoder import Encoder, EncoderSizes, pooled

SIZES = EncoderSizes(vocabulary=50, positions=32, width=12, heads=3, feed_forward=20, layers=2)
GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "minilm.json").read_text(encoding="utf-8"))
RNG = np.random.default_rng(0)
SEQUENCES = [RNG.integers(0, 50, n).astype(np.int32) for n in (5, 1, 17, 8)]
ERF = np.vectorize(math.erf)


def make(sizes=SIZES, attention_fns=None, seed=1):
    """An encoder with random weights, no norm at 1 and no bias at 0."""
    empty = nnx.eval_shape(lambda: Encoder(sizes, attention_fns, rngs=nnx.Rngs(0)))
    graphdef, params, rest = nnx.split(empty, nnx.Param, ...)
    rng = np.random.default_rng(seed)
    values = jax.tree.map(lambda p: jnp.asarray(0.4 * rng.normal(size=p.shape), jnp.float32), params)
    return nnx.merge(graphdef, values, rest)


@pytest.fixture(scope="module")
def network():
    """The model, its compiled function and its parameters."""
    model = make()
    fn, params = functional(model)
    return model, jax.jit(fn), params


def embedded(model, *inputs):
    fn, params = functional(model)
    return np.asarray(jax.jit(fn)(params, *inputs))


def padded(sequences, length):
    tokens, mask = np.full((len(sequences), length), 7, np.int32), np.zeros((len(sequences), length), bool)
    for row, s in enumerate(sequences):
        tokens[row, : len(s)], mask[row, : len(s)] = s, True
    return tokens, mask


def norm(x, p, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + SIZES.epsilon) * p[f"{name}/scale"] + p[f"{name}/bias"]


def reference(p, tokens, layers=2):
    """One sentence without padding (arXiv:1810.04805, as in its code), and the scores of every layer."""
    x = p["embeddings/word/embedding"][tokens] + p["embeddings/position/embedding"][: len(tokens)]
    x, scores = norm(x + p["embeddings/type/embedding"][0], p, "embeddings/norm"), []
    for b in (f"blocks/{i}" for i in range(layers)):
        at = f"{b}/attention"
        q, k, v = (np.einsum("li,ihd->lhd", x, p[f"{at}/{n}/kernel"]) + p[f"{at}/{n}/bias"]
                   for n in ("query", "key", "value"))  # fmt: skip
        scores.append(np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1]))
        w = np.exp(scores[-1])
        y = np.einsum("hqk,khd->qhd", w / w.sum(-1, keepdims=True), v)
        x = norm(x + np.einsum("qhd,hdo->qo", y, p[f"{at}/out/kernel"]) + p[f"{at}/out/bias"], p, f"{b}/attention_norm")
        y = x @ p[f"{b}/up/kernel"] + p[f"{b}/up/bias"]
        y = y * (1 + ERF(y / np.sqrt(2))) / 2
        x = norm(x + y @ p[f"{b}/down/kernel"] + p[f"{b}/down/bias"], p, f"{b}/norm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean), scores


def named(model):
    names, leaves, _ = flatten(nnx.state(model, nnx.Param))
    return {n: np.asarray(leaf, np.float64) for n, leaf in zip(names, leaves, strict=True)}


def test_a_padded_batch_gives_what_the_equations_give_for_each_sentence(network):
    model, fn, params = network
    expected = [reference(named(model), s)[0] for s in SEQUENCES]
    np.testing.assert_allclose(fn(params, *padded(SEQUENCES, 20)), expected, atol=2e-6)


def test_nothing_depends_on_padding_or_on_other_sentences(network):
    _, fn, params = network
    tokens, mask = padded(SEQUENCES, 20)
    found = fn(params, tokens, mask)
    np.testing.assert_array_equal(fn(params, np.where(mask, tokens, 3), mask), found)
    others = padded([SEQUENCES[0], *SEQUENCES[2:], SEQUENCES[2]], 20)
    np.testing.assert_allclose(fn(params, *others)[0], found[0], atol=1e-6)


def test_an_empty_row_is_zero_with_a_finite_gradient(network):
    _, fn, params = network
    tokens, mask = padded([SEQUENCES[0], SEQUENCES[1][:0]], 6)
    found, slopes = jax.jit(jax.value_and_grad(lambda p: fn(p, tokens, mask)[1].sum()))(params)
    assert found == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    np.testing.assert_allclose(jnp.linalg.norm(pooled(jnp.ones((1, 2, 3)), jnp.ones((1, 2)))), 1.0, rtol=1e-6)


def test_shared_weights_are_one_block_with_an_attention_function_per_layer():
    class Scaled(nnx.Module):
        def __init__(self, layer):
            self.gain = nnx.Param(jnp.zeros(()))

        def __call__(self, query, key, value, **options):
            return self.gain[...] * nnx.dot_product_attention(query, key, value, **options)

    sizes = EncoderSizes(**{**vars(SIZES), "shared": True, "layers": 3})
    model = make(sizes, Scaled)
    params = named(model)
    gains = [f"blocks/{i}/attention/attention_fn/gain" for i in range(3)]
    assert [n for n in params if not n.startswith(("blocks/0", "embeddings"))] == gains[1:]
    plain = make(EncoderSizes(**{**vars(SIZES), "layers": 3}), Scaled)
    source = {n: named_weights.Source(n.replace("blocks/1/", "blocks/0/").replace("blocks/2/", "blocks/0/"))
              for n in named(plain)} | {n: named_weights.Source(n) for n in gains}  # fmt: skip
    plain = named_weights.load(plain, {n: a.astype(np.float32) for n, a in params.items()}, source)
    x = padded(SEQUENCES, 20)
    np.testing.assert_allclose(embedded(model, *x), embedded(plain, *x), atol=1e-6)


def test_traces_are_the_scores_of_the_equations(network):
    model = network[0]
    traces = jax.jit(attention_traces.capture(model))(functional(model)[1], *padded(SEQUENCES, 20))
    assert list(traces) == ["blocks/0/attention", "blocks/1/attention"]
    for row, s in enumerate(SEQUENCES):
        for trace, expected in zip(traces.values(), reference(named(model), s)[1], strict=True):
            q, k = (np.asarray(a[row, : len(s)], np.float64) for a in (trace.query, trace.key))
            np.testing.assert_allclose(np.einsum("qhd,khd->hqk", q, k) / 2, expected, atol=2e-5)
            pairs = np.asarray(trace.where[row, 0])
            assert pairs[: len(s), : len(s)].all() and pairs.sum() == len(s) ** 2


def test_traces_of_a_causal_attention_that_is_used_twice():
    class Twice(nnx.Module):
        def __init__(self):
            self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.attention(self.attention(x, is_causal=True))

    model, x = Twice(), jnp.ones((1, 3, 4))
    before = jax.tree.leaves(nnx.state(model))
    traces = jax.jit(attention_traces.capture(model))(nnx.state(model, nnx.Param), x)
    assert list(traces) == ["attention", "attention#2"]
    np.testing.assert_array_equal(traces["attention"].where[0, 0], np.tri(3, dtype=bool))
    assert traces["attention#2"].where.all()
    after = jax.tree.leaves(nnx.state(model))  # the model is as it was
    assert all(a is b for a, b in zip(after, before, strict=True)) and len(after) == 8
    with pytest.raises(ValueError, match="Linear has no nnx.MultiHeadAttention"):
        attention_traces.capture(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))


def foreign(model):
    """The weights of a model as a file of the BERT family has them."""
    ours = named(model)
    back = {  # by the rank of ours: kernels of heads, output kernels, linear layers
        "query": lambda a: a.reshape(12, 12).T if a.ndim == 3 else a.reshape(12),
        "out": lambda a: a.reshape(12, 12).T if a.ndim == 3 else a,
    }
    arrays = {}
    for path, source in named_weights.bert_names(2, 3).items():
        part = path.split("/")[-2]
        part = "query" if part in ("key", "value") else part
        plain = (lambda a: a.T) if path.endswith("/kernel") else np.asarray
        arrays[source.name] = back.get(part, plain)(ours[path]).astype(np.float32)
    return arrays


def test_foreign_weights_by_name():
    model, names = make(), named_weights.bert_names(2, 3)
    arrays = {**foreign(model), "pooler.dense.weight": np.ones((3, 3))}
    empty = nnx.eval_shape(lambda: Encoder(SIZES, rngs=nnx.Rngs(5)))  # needs no weights of its own
    for fresh in (make(seed=5), empty):
        found = named(named_weights.load(fresh, arrays, names, named_weights.BERT_UNUSED))
        jax.tree.map(np.testing.assert_array_equal, found, named(model))


def test_names_that_do_not_match_are_listed_on_both_sides():
    model, names = make(), dict(named_weights.bert_names(2, 3))
    arrays = foreign(model)
    arrays["encoder.layer.9.output.dense.bias"] = arrays.pop("encoder.layer.1.output.dense.bias")
    names["blocks/1/upp/kernel"] = names.pop("blocks/1/up/kernel")
    with pytest.raises(ValueError) as error:
        named_weights.load(model, arrays, names)
    for line in (
        "does not name (1): blocks/1/up/kernel",
        "does not have (1): blocks/1/upp/kernel",
        "does not have (1): encoder.layer.1.output.dense.bias",
        "takes (2): encoder.layer.1.intermediate.dense.weight, encoder.layer.9.output.dense.bias",
    ):
        assert line in str(error.value)


def test_shapes_that_do_not_fit():
    model, names = make(), named_weights.bert_names(2, 3)
    arrays = foreign(model)
    wrong = {**arrays, "encoder.layer.0.intermediate.dense.weight": np.ones((12, 20), np.float32)}
    with pytest.raises(ValueError, match=r"blocks/0/up/kernel: expected \(12, 20\); encoder.* \(12, 20\) gives"):
        named_weights.load(model, wrong, names)
    wrong = {**arrays, "encoder.layer.0.attention.self.key.weight": np.ones((10, 12), np.float32)}
    with pytest.raises(ValueError, match=r"blocks/0/attention/key/kernel: .*key.weight \(10, 12\) cannot be taken"):
        named_weights.load(model, wrong, names)


@pytest.mark.parametrize(("field", "value"), [("heads", 5), ("layers", 0), ("epsilon", -1.0), ("shared", 1)])
def test_bad_sizes(field, value):
    with pytest.raises((ValueError, TypeError), match=f"model.{field}"):
        EncoderSizes(**{field: value})


def test_bad_inputs():
    model = make()
    with pytest.raises(ValueError, match=r"tokens: expected \[batch, length <= 32\]; got \(1, 33\)"):
        model(jnp.zeros((1, 33), int), jnp.ones((1, 33), bool))
    with pytest.raises(ValueError, match=r"mask: .*\(1, 5\); got \(1, 4\)"):
        model(jnp.zeros((1, 5), int), jnp.ones((1, 4), bool))


def test_batches_hold_every_sequence_once():
    sequences = [np.full(n, n, np.int32) for n in RNG.integers(1, 200, 50)]
    for batches in (in_order(sequences, 512), shuffled(sequences, np.random.default_rng(0), 512)):
        seen = []
        for batch in batches:
            assert batch.tokens.size == 512 and batch.tokens.shape[1] in (16, 32, 64, 128, 256)
            for row, i in enumerate(batch.index):
                assert batch.mask[row].sum() == (len(sequences[i]) if i >= 0 else 0)
                np.testing.assert_array_equal(batch.tokens[row][batch.mask[row]], sequences[i][: batch.mask[row].sum()])
            seen += batch.index[batch.index >= 0].tolist()
        assert sorted(seen) == list(range(50))
    with pytest.raises(ValueError, match="at most 512 tokens; got 600"):
        list(in_order([np.zeros(600, np.int32)]))


def test_heads_separate_what_is_separable():
    x = np.random.default_rng(0).normal(size=(300, 8))
    labels = np.argmax(x @ np.random.default_rng(1).normal(size=(8, 3)) + [0.0, 1.0, -1.0], axis=1)
    for fit, least in ((classify.ridge_head, 0.9), (classify.logistic_head, 0.97)):
        head = fit(x[:200], labels[:200], 3, 0.1)
        assert classify.accuracy(x[200:] @ head.kernel + head.bias, labels[200:]) > least
    ridge = classify.ridge_head(x, labels, 3, 2.0)  # the equations of least squares hold
    error = x @ ridge.kernel + ridge.bias - np.eye(3)[labels]
    np.testing.assert_allclose(x.T @ error + 2.0 * ridge.kernel, 0.0, atol=1e-4)
    with pytest.raises(ValueError, match="penalty: expected a number above 0; got 0"):
        classify.ridge_head(x, labels, 3, 0)
    with pytest.raises(ValueError, match="labels: expected integers from 0 to 1"):
        classify.logistic_head(x, labels, 2)


def test_a_classifier_starts_from_its_head_and_trains():
    encoder, labels = make(EncoderSizes(**{**vars(SIZES), "layers": 1})), np.array([0, 1, 1, 0])
    sequences = [s[:10] for s in SEQUENCES]  # of one shape
    fn, params = functional(encoder)
    embeddings = classify.outputs(fn, params, sequences, 64)
    head = classify.ridge_head(embeddings, labels, 2, 10.0)
    fn, params = functional(classify.Classifier(encoder, head))
    logits = lambda p: classify.outputs(fn, p, sequences, 64)  # noqa: E731
    np.testing.assert_allclose(logits(params), embeddings @ head.kernel + head.bias, atol=1e-5)
    loss = lambda p, b: classify.cross_entropy(fn(p, b.tokens, b.mask), b, labels)  # noqa: E731
    optimiser, losses = optax.adam(1e-2), []

    @jax.jit
    def step(params, state, batch):
        value, slope = jax.value_and_grad(loss)(params, batch)
        updates, state = optimiser.update(slope, state)
        return optax.apply_updates(params, updates), state, value

    state = optimiser.init(params)
    for _ in range(40):
        for batch in shuffled(sequences, np.random.default_rng(0), 64):
            params, state, value = step(params, state, batch)
            losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0]
    assert classify.accuracy(logits(params), labels) == 1.0


@pytest.fixture(scope="module")
def model():
    """The package's own, fetched by its name where it is neither installed nor in the cache."""
    return minilm.encoder()


def test_minilm_is_the_package_s_own(model):
    sequences = minilm.tokenise(GOLDEN["sentences"])
    assert [s.tolist() for s in sequences] == GOLDEN["tokens"]
    fn, params = functional(model)
    found = classify.outputs(fn, params, sequences, 64)
    expected = np.array(GOLDEN["embeddings"])
    cosine = np.sum(found * expected, 1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.9999
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_minilm_cuts_long_texts(model):
    (tokens,) = minilm.tokenise(["word " * 300], 16)
    assert tokens.tolist() == [101, *[2773] * 14, 102]
    with pytest.raises(ValueError, match="data.length"):
        minilm.tokenise(["a"], 2)


def test_minilm_without_its_package(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, "", "no downloads in tests")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path))
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'anaxon\[attention\]'"):
        minilm.encoder()
