"""Points of the attention job, part by part: which layer is told what, which examples are traced, what they decide."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon.flax import PrunedAttention, calibrate_pruning
from anaxon.models.attention_traces import Trace, steps_of
from anaxon.runs.attention_points import Bench, calibrated, some, thresholds
from anaxon.runs.attention_tasks import Batch
from anaxon.runs.attention_training import with_thresholds


class Deep(nnx.Module):
    """Attentions in a row, each with larger scores than the last."""

    def __init__(self, layers=11):  # "10" comes before "2" by name
        rngs = nnx.Rngs(0)
        own = lambda: PrunedAttention(-jnp.inf, hard=True)  # noqa: E731
        self.layers = nnx.List(
            nnx.MultiHeadAttention(1, 4, decode=False, rngs=rngs, attention_fn=own()) for _ in range(layers)
        )
        for i, layer in enumerate(self.layers):
            layer.query.kernel[...] = layer.query.kernel[...] * (1 + i)

    def __call__(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


@pytest.fixture(scope="module")
def deep():
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    batch = Batch((x,), np.zeros(3, np.int32), np.arange(3))
    model = Deep()
    task = SimpleNamespace(ordered=[batch], test=[batch], quality=lambda y, _: y.mean((1, 2)))
    return Bench(task, model), model, batch  # type: ignore[arg-type]


def test_thresholds_and_counts_of_more_than_ten_layers_are_those_of_their_layers(deep):
    bench, model, batch = deep
    (cuts,) = calibrated(bench, model, [0.5])
    reference = nnx.clone(model)
    calibrate_pruning(reference, [batch.inputs], 0.5)
    np.testing.assert_allclose(cuts, thresholds(reference), rtol=1e-6)
    assert len(set(np.round(cuts, 4))) == 11
    only_third = np.full(11, -np.inf)
    only_third[2] = np.inf
    found = bench.measured(with_thresholds(model, only_third))
    np.testing.assert_array_equal(np.flatnonzero(found.kept == 0), [2])


def test_steps_ignore_what_stands_at_padding():
    """Padded tokens with the largest queries and keys; a causal mask leaves every token valid."""
    x = np.ones((1, 4, 1, 2), np.float32) * np.array([1, 2, 3, 50], np.float32)[None, :, None, None]
    valid = np.array([True, True, True, False])
    padded = Trace(x, 2 * x, x, None, (valid[:, None] & valid)[None, None])
    causal = Trace(x, 2 * x, x, None, np.tril(np.ones((4, 4), bool))[None, None])
    assert steps_of([padded], 8) == pytest.approx((3 / 127, 6 / 127))
    assert steps_of([padded, causal], 8) == pytest.approx((50 / 127, 100 / 127))


def test_traced_examples_are_spread_and_keep_the_shape_of_their_batch():
    batches = [Batch((np.arange(4),), np.zeros(4), np.array([4 * i, 4 * i + 1, 4 * i + 2, -1])) for i in range(3)]
    found = some(batches, 3)
    assert all(b.inputs[0].shape == (4,) for b in found)
    assert np.concatenate([b.index[b.index >= 0] for b in found]).tolist() == [0, 5, 10]
    assert sum((b.index >= 0).sum() for b in some(batches, 100)) == 9
