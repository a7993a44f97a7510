"""The causal language model: nothing looks ahead, and its attention functions are part of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon.flax import PrunedAttention, pruning
from anaxon.models.causal_lm import CausalLM, CausalSizes

SIZES = CausalSizes(context=12, width=16, heads=2, blocks=2, feed_forward=16)


def test_a_character_depends_on_none_after_it():
    model = CausalLM(SIZES, 9, rngs=nnx.Rngs(0))
    codes = jax.random.randint(jax.random.key(1), (2, 12), 0, 9)
    changed = codes.at[:, 7:].set((codes[:, 7:] + 1) % 9)
    before, after = model(codes), model(changed)
    np.testing.assert_allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert float(jnp.abs(before[:, 7:] - after[:, 7:]).max()) > 1e-3


def test_pairs_that_look_ahead_are_not_counted():
    model = CausalLM(SIZES, 9, lambda _: PrunedAttention(-jnp.inf, hard=True), rngs=nnx.Rngs(0))
    model(jnp.zeros((3, 12), jnp.int32))
    for counts in pruning(model).counts.values():
        assert counts.pairs.tolist() == [[3 * 12 * 13 // 2] * 2]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="model.heads: expected a divisor of model.width=16; got 3"):
        CausalSizes(width=16, heads=3)
