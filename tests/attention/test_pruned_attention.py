"""The learned threshold inside Flax models: parameters, intermediates, masks, modes, training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import anaxon as ax
from anaxon import attention
from anaxon.flax import PrunedAttention, calibrate_pruning, functional, pruning
from anaxon.models.attention_traces import capture


class Encoder(nnx.Module):
    """Two residual attention layers; `shared` uses one twice."""

    def __init__(self, shared=False, seed=0, **kwargs):
        rngs = nnx.Rngs(seed)
        layer = lambda: nnx.MultiHeadAttention(  # noqa: E731
            2, 8, decode=False, rngs=rngs, attention_fn=PrunedAttention(**kwargs)
        )
        self.layers = nnx.List([layer()] if shared else [layer(), layer()])
        self.uses = 2 // len(self.layers)

    def __call__(self, x, mask=None, is_causal=False):
        for layer in list(self.layers) * self.uses:
            x = x + layer(x, mask=mask, is_causal=is_causal)
        return x


def inputs(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def qkv(seed=0, heads=2):
    return tuple(inputs(2, 6, heads, 4, seed=seed + i) for i in range(3))


def thresholds(model):
    return [np.asarray(layer.attention_fn.threshold[...]) for layer in model.layers]


@nnx.jit
def forward(model, x, mask=None):
    return model(x, mask), pruning(model)


PATHS = ["layers/0/attention_fn", "layers/1/attention_fn"]


def test_calibration_needs_a_batch():
    attend = nnx.MultiHeadAttention(2, 8, attention_fn=PrunedAttention(), decode=False, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="batches: expected at least one tuple of the model's inputs; got none"):
        calibrate_pruning(attend, [], 0.5)


def test_without_pruning_it_is_flax():
    """Every mask a caller of Flax can give, dropout with the same key, and weights that are sown."""
    q, k, v = qkv()
    bias, mask = inputs(2, 2, 6, 6, seed=7), nnx.make_causal_mask(jnp.ones((2, 6)))
    ours = PrunedAttention(-np.inf, hard=True)
    for options in (
        {"bias": bias, "mask": mask},
        {"is_causal": True, "dropout_rng": jax.random.key(1), "dropout_rate": 0.4},
        {"dropout_rng": jax.random.key(1), "dropout_rate": 0.4, "broadcast_dropout": False},
    ):
        found = nnx.jit(partial(PrunedAttention.__call__, **options))(ours, q, k, v)
        exact = jax.jit(partial(nnx.dot_product_attention, **options))(q, k, v)
        np.testing.assert_allclose(found, exact, atol=2e-6)
    host = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    ours(q, k, v, module=host)
    np.testing.assert_allclose(host.attention_weights.get_value()[0].sum(-1), 1, rtol=1e-6)


def test_half_precision_goes_in_and_out():
    out = PrunedAttention()(*qkv(), dtype=jnp.bfloat16)
    assert out.dtype == jnp.bfloat16


def test_it_is_the_pure_function():
    q, k, v = qkv()
    pruned = jax.jit(attention.pruned, static_argnames="softmax")
    for hard, softmax in ((True, attention.pruned_softmax), (False, attention.soft_softmax)):
        module = PrunedAttention([0.1, -0.3], hard=hard)
        exact, counts = pruned(q, k, v, jnp.asarray([0.1, -0.3])[:, None, None], softmax=softmax)
        np.testing.assert_allclose(module(q, k, v), exact, atol=1e-6)
        np.testing.assert_array_equal(np.stack(pruning(module).counts[""])[:, 0], np.stack(counts))


def test_the_threshold_is_a_parameter_with_a_gradient():
    """The loss takes L0 out of the model, so nothing piles up from step to step, under jit, too."""
    model, x = Encoder(heads=2), inputs(16, 12, 8)

    @nnx.jit
    def step(model, x):
        def loss(model):
            y = model(x)
            found = pruning(model)
            return jnp.mean(y**2) + found.l0, found

        return nnx.value_and_grad(loss, has_aux=True)(model)

    (_, first), grads = step(model, x)
    (_, second), _ = step(model, x)
    assert step._cache_size() == 1 if hasattr(step, "_cache_size") else True
    for layer in grads["layers"].values():
        slope = layer["attention_fn"]["threshold"][...]
        assert slope.shape == (2,)
        assert (slope != 0).all()
    assert len(jax.tree.leaves(nnx.state(model, nnx.Intermediate))) == 0
    assert float(first.l0) == float(second.l0)
    assert list(first.counts) == PATHS
    assert {c.pairs.shape for c in first.counts.values()} == {(1, 2)}


@pytest.mark.parametrize("heads", [None, 2])
def test_thresholds_train_in_an_nnx_optimizer_layer_by_layer(heads):
    """Each layer's own; they survive split, merge and a state that is replaced, and nothing sown is left behind."""
    model, x = Encoder(heads=heads, sharpness=1.0, slope=0.01), inputs(4, 6, 8)
    optimizer = nnx.Optimizer(model, optax.sgd(0.5), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        def loss(model):
            y = model(x)
            return jnp.mean(y**2) + pruning(model).l0

        grads = nnx.grad(loss)(model)
        optimizer.update(model, grads)
        return grads

    before = thresholds(model)
    grads = step(model, optimizer, x)
    after = thresholds(model)
    slopes = [np.asarray(grads["layers"][i]["attention_fn"]["threshold"][...]) for i in range(2)]
    assert all(x.shape == (() if heads is None else (2,)) for x in after)
    for one, other, slope in zip(after, before, slopes, strict=True):
        np.testing.assert_allclose(one, other - 0.5 * slope, rtol=1e-5, atol=1e-7)
    assert all((slope != 0).all() for slope in slopes)
    assert not np.array_equal(after[0], after[1])  # an instance a layer, a threshold each
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    assert sum("threshold" in str(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)) == 2
    assert len(jax.tree.leaves(nnx.state(model, nnx.Intermediate))) == 0
    merged = nnx.merge(graphdef, params, rest)
    np.testing.assert_array_equal(np.stack(thresholds(merged)), np.stack(after))
    np.testing.assert_allclose(forward(merged, x)[0], forward(model, x)[0], atol=1e-6)
    fresh = Encoder(heads=heads, sharpness=1.0, slope=0.01, seed=1)
    nnx.update(fresh, params)
    np.testing.assert_array_equal(np.stack(thresholds(fresh)), np.stack(after))


def test_counts_and_l0_are_intermediates_of_each_layer_and_head():
    model, x = Encoder(heads=2), inputs(4, 6, 8)
    model(x)
    state = nnx.pop(model, nnx.Intermediate)
    for i in range(2):
        sown = state["layers"][i]["attention_fn"]
        (counts,) = sown["counts"].get_value()
        assert counts.pairs.tolist() == [4 * 36] * 2
        assert sown["l0"].get_value()[0].shape == ()


def test_l0_is_the_mean_over_layers():
    """And `nnx.pop` finds it, too."""
    model, x = Encoder(), inputs(4, 6, 8)
    model(x)
    state = nnx.pop(nnx.clone(model), nnx.Intermediate)
    shares = [float(state["layers"][i]["attention_fn"]["l0"].get_value()[0]) for i in range(2)]
    assert float(pruning(model).l0) == pytest.approx(np.mean(shares), rel=1e-6)


def test_a_shared_layer_reports_each_use():
    _, found = forward(Encoder(shared=True), inputs(4, 6, 8))
    assert found.counts[PATHS[0]].kept.shape == (2, 2)


def test_hard_is_an_attribute_like_deterministic():
    model, x = Encoder(threshold=0.2), inputs(4, 6, 8)
    soft, found = forward(model, x)
    assert 0 < float(found.l0) < 1
    model.set_attributes(hard=True)
    hard, found = forward(model, x)
    assert not np.allclose(hard, soft, atol=1e-4)
    assert found.l0 is None
    model.set_attributes(hard=False)
    np.testing.assert_array_equal(forward(model, x)[0], soft)


def test_padding_changes_nothing():
    model, x, length = Encoder(hard=True), inputs(1, 8, 8), 5
    inside = (jnp.arange(8) < length)[None]
    padded, one = forward(model, x, nnx.make_attention_mask(inside, inside))
    alone, two = forward(model, x[:, :length])
    np.testing.assert_allclose(padded[:, :length], alone, atol=1e-6)
    for path in PATHS:
        np.testing.assert_array_equal(np.stack(one.counts[path]), np.stack(two.counts[path]))


@pytest.mark.parametrize("heads", [None, 2])
def test_calibration_prunes_the_rate_of_the_first_layer(heads):
    """Whose scores pruning does not change; padded pairs count nowhere."""
    model, x = Encoder(heads=heads), inputs(4, 7, 8)
    inside = jnp.arange(7) < jnp.asarray([7, 5, 3, 6])[:, None]
    mask = nnx.make_attention_mask(inside, inside)
    calibrate_pruning(model, [(x[:2], mask[:2]), (x[2:], mask[2:])], 0.4)
    assert not model.layers[0].attention_fn.hard
    model.set_attributes(hard=True)
    counts = forward(model, x, mask)[1].counts[PATHS[0]]
    pairs, kept = (np.asarray(c[0]) for c in (counts.pairs, counts.kept))
    pairs, kept = (pairs, kept) if heads else (pairs.sum(), kept.sum())
    np.testing.assert_array_equal(pairs - kept, np.floor(0.4 * pairs + 0.5))


def test_a_threshold_that_layers_share_is_calibrated_on_the_scores_of_all():
    model, x = Encoder(), inputs(4, 6, 8, seed=30)
    for i, layer in enumerate(model.layers):
        layer.query.kernel[...] = layer.query.kernel[...] * 4.0**i
    model.layers[1].attention_fn = model.layers[0].attention_fn
    calibrate_pruning(model, [(x[:2],), (x[2:],)], 0.4)
    dense = nnx.clone(model)
    dense.layers[0].attention_fn.threshold[...] = jnp.float32(-np.inf)
    dense.layers[0].attention_fn.hard = True
    found = capture(dense)(nnx.state(dense, nnx.Param), x)
    scores = np.concatenate([np.ravel(attention.scores(t.query, t.key)) for t in found.values()])
    assert np.mean(scores < thresholds(model)[0]) == pytest.approx(0.4, abs=2 / scores.size)


def test_traces_hold_what_the_hardware_is_given():
    model, x = Encoder(), inputs(4, 6, 8)
    mask = jnp.tril(jnp.ones((6, 6)))
    _, found = forward(model, x, mask)
    trace = capture(model)(nnx.state(model, nnx.Param), x, mask)["layers/1"]
    assert trace.query.shape == (4, 6, 2, 4)
    counts = attention.count(attention.scores(trace.query, trace.key), 0.0, trace.where)
    np.testing.assert_array_equal(counts.kept, found.counts[PATHS[1]].kept[0])


def test_a_functional_model_is_pure_and_analog():
    """The threshold is a parameter that goes on no array; pruning is digital arithmetic between reads."""
    model, x = Encoder(threshold=0.1, hard=True), inputs(2, 5, 8)
    fn, params = functional(model)
    exact = jax.jit(fn)(params, x)
    plan = ax.place(fn, ax.ideal())(params, x)
    assert {s.path.split("/")[2] for s in plan.sites} == {"query", "key", "value", "out"}
    chip = ax.program(jax.random.key(0), plan, params)
    np.testing.assert_array_equal(jax.jit(ax.analog(fn))(jax.random.key(1), chip, x), exact)
    other = jax.tree.map(lambda a: a + 5.0 if a.ndim == 0 else a, params)
    assert not np.allclose(fn(other, x), exact, atol=1e-3)
    assert len(jax.tree.leaves(nnx.state(model, nnx.Intermediate))) == 0


def test_intermediates_also_go_to_a_capture():
    if not hasattr(nnx, "capture"):
        pytest.skip("this flax has none")
    model, x = Encoder(), inputs(4, 6, 8)
    _, state = nnx.capture(model, nnx.Intermediate)(x)
    shares = [float(state["layers"][i]["attention_fn"]["l0"][0]) for i in range(2)]
    model(x)
    assert float(pruning(model).l0) == pytest.approx(np.mean(shares), rel=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"threshold": np.nan}, "expected numbers, not NaN"),
        ({"threshold": np.zeros(3), "heads": 2}, r"got shape \(3,\)"),
        ({"threshold": np.zeros((2, 2))}, r"got shape \(2, 2\)"),
    ],
)
def test_bad_thresholds(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PrunedAttention(**kwargs)


def test_bad_models():
    with pytest.raises(ValueError, match="one for each of 2 heads"):
        PrunedAttention(heads=3)(*qkv())
    with pytest.raises(ValueError, match="dropout_rng: expected a key"):
        PrunedAttention()(*qkv(), dropout_rate=0.1)
    with pytest.raises(ValueError, match="a model with a PrunedAttention as an attention_fn; got Linear"):
        pruning(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="called since the last look"):
        pruning(Encoder())


class Finder(nnx.Module):
    """Says which token was flagged, at the last position of a causal sequence."""

    length, tokens = 12, 4

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.embed = nnx.Linear(self.tokens + 5, 16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs, attention_fn=PrunedAttention(-20.0))
        self.head = nnx.Linear(16, self.tokens, rngs=rngs)

    def __call__(self, x):
        x = self.embed(x)
        return self.head((x + self.attention(x, is_causal=True))[:, -1])


def stories(seed, *shape):
    """Tokens, a flag and four numbers of no meaning (which make scores a continuum), and the flagged token."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, Finder.tokens, (*shape, Finder.length))
    flagged = rng.integers(0, Finder.length, (*shape, 1))
    flags = np.eye(Finder.length)[flagged[..., 0]][..., None]
    x = np.concatenate([np.eye(Finder.tokens)[tokens], flags, rng.normal(size=(*tokens.shape, 4))], -1)
    return jnp.asarray(x, jnp.float32), jnp.asarray(np.take_along_axis(tokens, flagged, -1)[..., 0])


@pytest.mark.slow
def test_only_the_regulariser_raises_thresholds():
    """V3 and the toy of spec 1.4: with lambda the pruning rate rises and the hard network stays right."""
    graphdef, params, rest = nnx.split(Finder(), nnx.Param, ...)
    is_threshold = jax.tree_util.tree_map_with_path(lambda path, _: "threshold" in str(path), params)
    adam = optax.adam(1.0)

    def loss(params, story, weight):
        model, (x, target) = nnx.merge(graphdef, params, rest), story
        task = optax.softmax_cross_entropy_with_integer_labels(model(x), target).mean()
        return task + weight * pruning(model).l0

    @jax.jit
    def train(params, batches, weight, rate, threshold_rate):
        def step(carry, batch):
            params, state = carry
            grads = jax.grad(loss)(params, batch, weight)
            moves, state = adam.update(grads, state)
            # plain gradient steps for thresholds: Adam would make much of the little that the task alone asks for
            moves = jax.tree.map(lambda m, g, t: -threshold_rate * g if t else rate * m, moves, grads, is_threshold)
            return (optax.apply_updates(params, moves), state), None

        return jax.lax.scan(step, (params, adam.init(params)), batches)[0][0]

    @jax.jit
    def evaluate(params, test):
        model = nnx.merge(graphdef, params, rest)
        model.set_attributes(hard=True)
        x, target = test
        right = jnp.mean(jnp.argmax(model(x), -1) == target)
        return right, pruning(model).counts["attention/attention_fn"].pruning_rate

    dense = train(params, stories(0, 150, 32), 0.0, 1e-2, 0.0)
    start = jax.tree.map(lambda p, t: jnp.zeros_like(p) if t else p, dense, is_threshold)
    found = {w: train(start, stories(1, 150, 32), w, 1e-3, 1.0) for w in (0.0, 0.3)}
    learned = {w: float(p["attention"]["attention_fn"]["threshold"][...]) for w, p in found.items()}
    right, rates = zip(*[[float(v) for v in evaluate(p, stories(2, 500))] for p in found.values()], strict=True)
    assert min(right) > 0.99
    assert abs(learned[0.0]) < 1e-3
    assert learned[0.3] > 0.5
    assert rates[1] > rates[0] + 0.2
