import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_conformer as reference
from flax import nnx
from test_conformer import TINY, float64

from anaxon.models.dropout import dropout
from anaxon.models.relative_attention import RelativeAttention, encodings, quantised, shift

pytestmark = pytest.mark.slow


def test_encodings_are_sinusoids_of_relative_positions():
    wanted = [reference.encoding(p, 8) for p in range(599, -600, -1)]
    np.testing.assert_allclose(encodings(600, 8), wanted, atol=1e-7)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_shift_finds_the_column_of_each_pair(frames):
    scores = np.random.default_rng(0).normal(size=(2, frames, 2 * frames - 1))
    wanted = [[[s[i, frames - 1 - i + j] for j in range(frames)] for i in range(frames)] for s in scores]
    np.testing.assert_array_equal(shift(jnp.asarray(scores, jnp.float32)), np.asarray(wanted, np.float32))


def test_attention_is_that_of_transformer_xl():
    attention = jax.jit(lambda: RelativeAttention(TINY, rngs=nnx.Rngs(0)))()
    x = np.random.default_rng(0).normal(size=(1, 9, 8))
    got = attention(jnp.asarray(x, jnp.float32), jnp.ones((1, 9), bool), encodings(9, 8))
    wanted = reference.attention(float64(nnx.state(attention, nnx.Param)), x[0], TINY.heads)
    np.testing.assert_allclose(got[0], wanted, atol=1e-5)


def test_scores_are_quantised_to_each_utterances_largest_valid_value():
    x = np.zeros((2, 3, 1, 2), np.float32)
    x[0, :2, 0] = [[0.2, -2.9], [7.0, 3.4]]
    x[0, 2] = 100.0  # padding
    got = quantised(jnp.asarray(x), jnp.asarray([[True, True, False]] * 2), 4)
    np.testing.assert_allclose(got[0, :, 0], [[0, -3], [7, 3], [7, 7]], rtol=1e-6)
    np.testing.assert_array_equal(got[1], 0)


def test_dropout_keeps_the_mean_and_drops_at_its_rate():
    rate = 26 / 256  # what 0.1 is rounded to
    x = jnp.ones((3, 33_333))
    y = np.asarray(dropout(jax.random.key(0), x, 0.1))
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    z = ((y == 0).mean() - rate) / np.sqrt(rate * (1 - rate) / y.size)
    assert abs(z) < 4
    assert dropout(None, x, 0.1) is x and dropout(jax.random.key(0), x, 0.0) is x
