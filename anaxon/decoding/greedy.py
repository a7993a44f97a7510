"""The best path through CTC posteriors: the likeliest token of each frame, repetitions and blanks removed."""

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.data.tokens import BLANK
from anaxon.types import Array, ArrayLike


def greedy(log_probs: ArrayLike, lengths: ArrayLike) -> list[list[int]]:
    """Tokens of each utterance on its best path.

    Graves et al. 2006 (doi:10.1145/1143844.1143891), section 3.2, best path decoding. Frames from `lengths` on are
    padding; a frame with NaN counts as blank.

    Args:
      log_probs: `[batch, frames, vocabulary]` [nats]; token 0 is the blank.
      lengths: frames of each utterance, `[batch]`.

    Raises:
      ValueError: for other shapes.
    """
    check_shapes(jnp.shape(log_probs), jnp.shape(lengths))
    path = np.asarray(best_path(jnp.asarray(log_probs), jnp.asarray(lengths)))
    return [row[row != BLANK].tolist() for row in path]


@jax.jit
def best_path(log_probs: Array, lengths: Array) -> Array:
    """The transcript where it is written, `[batch, frames]`: the tokens of `greedy` in order, blanks elsewhere."""
    valid = jnp.arange(log_probs.shape[1]) < lengths[:, None]
    path = jnp.where(jnp.isnan(log_probs).any(-1), BLANK, log_probs.argmax(-1))
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    return jnp.where(valid & (path != before), path, BLANK)


def check_shapes(log_probs: tuple[int, ...], lengths: tuple[int, ...]) -> None:
    """Raises a `ValueError` unless these are posteriors `[batch, frames, vocabulary]` and lengths `[batch]`."""
    if len(log_probs) != 3 or log_probs[2] < 2:
        raise ValueError(f"log_probs: expected [batch, frames, vocabulary of two or more]; got shape {log_probs}")
    if lengths != log_probs[:1]:
        raise ValueError(f"lengths: expected one for each of {log_probs[0]} utterances; got shape {lengths}")
