import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon.models.keyword_lstm import KeywordLSTM


def test_equals_the_lstm_equations_in_float64():
    model = KeywordLSTM(hidden=5, classes=3, mels=4, rngs=nnx.Rngs(0))
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    x = np.random.default_rng(0).standard_normal((2, 7, 4))
    cell, sigmoid = p["lstm"]["cell"], lambda v: 1 / (1 + np.exp(-v))
    out = []
    for clip in x:
        c, h, states = np.zeros(5), np.zeros(5), []
        for frame in clip:
            z = frame @ cell["dense_i"]["kernel"] + h @ cell["dense_h"]["kernel"] + cell["dense_h"]["bias"]
            i, f, g, o = z[:5], z[5:10], z[10:15], z[15:]
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            states.append(h)
        out.append(np.mean(states, axis=0) @ p["readout"]["kernel"] + p["readout"]["bias"])
    np.testing.assert_allclose(np.asarray(model(jnp.asarray(x, jnp.float32))), out, atol=1e-6)


def test_forget_gate_starts_open():
    bias = np.asarray(KeywordLSTM(hidden=3, rngs=nnx.Rngs(0)).lstm.cell.dense_h.bias[...])
    np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("field", ["hidden", "classes", "mels"])
def test_bad_sizes_name_the_field(field):
    with pytest.raises(ValueError, match=rf"model\.{field} must be a positive whole number; got 0"):
        KeywordLSTM(**{field: 0}, rngs=nnx.Rngs(0))
