"""V16: no wrong decision on a real model's queries and keys, and the closed form's mean cycles on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon import attention
from anaxon.attention.bitserial import expected_cycles, terminate
from anaxon.attention.integers import integer_threshold, quantised, step_of
from anaxon.models.attention_traces import capture

TEXTS = [
    "The committee met in the old town hall to discuss whether the bridge could be repaired before the winter storms.",
    "A resistor that remembers how much charge has passed through it can store a weight and multiply with it at once.",
    "She had not expected the letter, and for a long while it lay unopened on the table beside the bread.",
    "Prices rose by four percent in the third quarter, mostly because of energy, while wages hardly moved at all.",
    "If the detector sees fewer than three photons in a window of ten nanoseconds, the trigger drops the event.",
    "It was a dull film with two good scenes, neither of which had anything to do with what the poster had promised.",
]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 0.75, 0.9])
def test_no_wrong_decision_and_the_closed_form_on_minilm(rate):
    pytest.importorskip("tokenizers")
    from anaxon.data import minilm

    try:
        model, tokens = minilm.encoder(), minilm.tokenise(TEXTS)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    size = max(map(len, tokens))
    codes = jnp.asarray([np.pad(t, (0, size - len(t))) for t in tokens])
    mask = jnp.arange(size) < jnp.asarray([len(t) for t in tokens])[:, None]
    traces = jax.jit(capture(model))(nnx.state(model, nnx.Param), codes, mask)
    simulated, expected, pairs = 0.0, 0.0, 0
    for trace in traces.values():
        x = attention.scores(trace.query, trace.key)
        cut = float(attention.quantile_threshold(x, rate, trace.where))
        steps = [float(step_of(float(jnp.abs(a).max()), 12)) for a in (trace.query, trace.key)]
        q, k = (jnp.moveaxis(quantised(a, s, 12), 1, 2) for a, s in zip((trace.query, trace.key), steps, strict=True))
        level = integer_threshold(cut, *steps, q.shape[-1], 12)
        found = terminate(q, k, level, where=trace.where)
        exact = np.asarray(q, np.float64) @ np.swapaxes(np.asarray(k, np.float64), -1, -2)
        valid = np.broadcast_to(trace.where, exact.shape)
        np.testing.assert_array_equal(found.kept, (exact * (steps[0] * steps[1] / np.sqrt(q.shape[-1])) >= cut) & valid)
        np.testing.assert_array_equal(np.asarray(found.scores)[found.kept], exact[found.kept])
        norms = jnp.abs(q).sum(-1), jnp.linalg.norm(q.astype(jnp.float32), axis=-1)
        closed = np.asarray(expected_cycles(found.scores, level, *norms))
        simulated, expected = simulated + float(np.sum(found.cycles)), expected + closed[valid].sum()
        pairs += valid.sum()
        assert float(np.mean(np.asarray(found.kept)[valid])) == pytest.approx(1 - rate, abs=0.02)
    assert pairs > 100_000
    assert expected == pytest.approx(simulated, rel=5e-3)
