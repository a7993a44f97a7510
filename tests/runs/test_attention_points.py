"""Points of the attention job, part by part: which layer is told what, which examples are traced, what they decide."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon.flax import PrunedAttention, calibrate_pruning
from anaxon.runs.attention_points import Bench, calibrated, thresholds
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
