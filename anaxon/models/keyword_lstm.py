"""A keyword spotter in plain Flax NNX: one LSTM over log-mel frames, its mean state, one linear layer."""

import jax.numpy as jnp
from flax import nnx

from anaxon.types import Array


class KeywordLSTM(nnx.Module):
    """Log-mel frames `[batch, frames, mels]` to logits `[batch, classes]`.

    Without `use_bias` the gates need no row but those of inputs and state: with 40 mels and 32 units an array of
    72 x 128, the size of Yang et al., Nat. Commun. 16:1136 (2025), Table 1 (read from its 1.125 kB).

    Raises:
      ValueError: for a size that is not a positive whole number.
    """

    def __init__(
        self, hidden: int = 32, classes: int = 12, mels: int = 40, use_bias: bool = True, *, rngs: nnx.Rngs
    ) -> None:
        for name, value in (("hidden", hidden), ("classes", classes), ("mels", mels)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"model.{name} must be a positive whole number; got {value!r}")
        self.hidden = hidden
        cell = nnx.OptimizedLSTMCell(mels, hidden, bias_init=_forget_bias, rngs=rngs)
        if not use_bias:
            cell.dense_h = nnx.Linear(
                hidden, 4 * hidden, use_bias=False, kernel_init=nnx.initializers.orthogonal(), rngs=rngs
            )
        self.lstm = nnx.RNN(cell, rngs=rngs)
        self.readout = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, features: Array) -> Array:
        """Logits from the mean of the hidden state over frames: the word may stand anywhere in the clip."""
        zero = jnp.zeros((features.shape[0], self.hidden), features.dtype)
        states = self.lstm(features, initial_carry=(zero, zero))
        return self.readout(states.mean(axis=1))


def _forget_bias(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    """Gate order i, f, g, o; the forget gate starts at 1 (Jozefowicz et al. 2015, section 2.2)."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[1].set(1.0).reshape(shape)
