"""A model decided on integers is its float attention on dequantised queries and keys; traces of any length as one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon import attention
from anaxon.attention import integers
from anaxon.flax import PrunedAttention
from anaxon.models.attention_traces import Trace, padded
from anaxon.models.integer_attention import IntegerAttention, with_integers


def qkv(length=7, heads=3, d=8, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=(2, length, heads, d)), jnp.float32) for _ in range(3))


def reference(q, k, v, cut, steps, bits, valid):
    """Float64 attention of rounded queries and keys, row by row."""
    top = 2 ** (bits - 1) - 1
    q, k = (
        np.clip(np.round(np.asarray(x, np.float64) / np.float32(s)), -top, top)
        for x, s in zip((q, k), steps, strict=True)
    )
    out = np.zeros(v.shape)
    for b, i, h in np.ndindex(q.shape[:3]):
        x = k[b, :, h] @ q[b, i, h] * (steps[0] * steps[1] / np.sqrt(q.shape[-1]))
        keep = (x >= cut) & valid[b, 0, i]
        weights = np.where(keep, np.exp(x), 0)
        out[b, i, h] = weights @ np.asarray(v[b, :, h], np.float64) / max(weights.sum(), 1e-300)
    return out


@pytest.mark.parametrize(("bits", "cut"), [(4, 0.4), (12, -np.inf), (16, 0.4)])  # the last beyond 32 bits
def test_it_is_attention_of_rounded_queries_and_keys(bits, cut):
    q, k, v = qkv(d=128 if bits == 16 else 8)
    steps = tuple(float(integers.step_of(np.abs(x).max(), bits)) for x in (np.asarray(q), np.asarray(k)))
    mask = (jnp.arange(7) < jnp.asarray([7, 4])[:, None])[:, None, None]
    found = jax.jit(IntegerAttention(cut, steps, head_dim=q.shape[-1], bits=bits).__call__)(q, k, v, mask=mask)
    valid = np.broadcast_to(mask, (2, 1, 7, 7))
    np.testing.assert_allclose(found, reference(q, k, v, cut, steps, bits, valid), atol=2e-5)


def test_of_many_bits_it_is_the_float_attention():
    """And of four it is not; causal, with a threshold a head."""
    q, k, v = qkv()
    cuts = np.asarray([-0.2, 0.3, 9.0])
    causal = nnx.jit(lambda attend, *qkv: attend(*qkv, is_causal=True))
    exact = causal(PrunedAttention(cuts, hard=True), q, k, v)
    error = {}
    for bits in (4, 16):
        steps = tuple(float(integers.step_of(float(jnp.abs(x).max()), bits)) for x in (q, k))
        found = causal(IntegerAttention(cuts, steps, head_dim=8, bits=bits), q, k, v)
        error[bits] = float(jnp.abs(found - exact).max())
    assert error[16] < 1e-3 < error[4]
    assert float(jnp.abs(found[:, :, 2]).max()) == 0  # all scores of the last head are pruned


def test_a_model_decides_on_integers_and_others_are_left_alone():
    model = nnx.MultiHeadAttention(2, 16, attention_fn=PrunedAttention(-9.0, hard=True), decode=False, rngs=nnx.Rngs(0))
    x = qkv(heads=1, d=16)[0][:, :, 0]
    copy = with_integers(model, [-9.0], [(3e-3, 3e-3)], 12)
    assert isinstance(model.attention_fn, PrunedAttention)
    run = nnx.jit(lambda m, x: m(x))
    nearly = np.abs(np.asarray(run(copy, x)) - np.asarray(run(model, x)))
    assert 0 < nearly.max() < 0.01
    with pytest.raises(ValueError, match="threshold: expected numbers"):
        with_integers(model, [np.nan], [(1e-3, 1e-3)], 12)
    with pytest.raises(ValueError, match="bias: added to scores"):
        copy.attention_fn(*qkv(), bias=jnp.zeros((7, 7)))


def test_traces_of_several_lengths_are_one_with_the_same_counts():
    traces = []
    for length, seed in ((5, 0), (8, 1), (20, 2)):
        where = jnp.tri(length, dtype=bool)[None, None] & jnp.ones((2, 1, 1, 1), bool)
        traces.append(Trace(*qkv(length, seed=seed), None, where))
    found = padded(traces)
    assert [t.query.shape for t in found] == [(4, 8, 3, 8), (2, 20, 3, 8)]
    assert [len(t.query) for t in padded(traces, most=1)] == [1] * 6
    count = jax.jit(lambda t: attention.count(attention.scores(t.query, t.key), 0.2, t.where))
    counted = [np.sum([np.stack(count(t)) for t in each], 0) for each in (traces, found)]
    np.testing.assert_array_equal(*counted)
    assert counted[0][0].tolist() == [2 * (15 + 36 + 210)] * 3  # valid pairs of a head
