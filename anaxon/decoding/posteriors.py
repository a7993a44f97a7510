"""How far the posteriors of one network are from those of another."""

import jax
import jax.numpy as jnp

from anaxon.decoding.greedy import check_shapes
from anaxon.types import Array, ArrayLike


def kl(log_p: ArrayLike, log_q: ArrayLike, lengths: ArrayLike) -> Array:
    """Kullback-Leibler divergence KL(p || q) of posteriors, mean over the frames of each utterance [nats/frame].

    `log_p` is the reference (the digital network), `log_q` the chip. Padding does not count, however it is filled; an
    utterance of no frames gives 0. Where p is 0 the token adds nothing (0 log 0 = 0).

    Args:
      log_p: `[batch, frames, vocabulary]` [nats].
      log_q: the same shape [nats].
      lengths: frames of each utterance, `[batch]`.

    Returns:
      `[batch]` [nats/frame].

    Raises:
      ValueError: for other shapes.
    """
    check_shapes(jnp.shape(log_p), jnp.shape(lengths))
    if jnp.shape(log_q) != jnp.shape(log_p):
        raise ValueError(f"log_q: expected the shape of log_p {jnp.shape(log_p)}; got shape {jnp.shape(log_q)}")
    return _kl(jnp.asarray(log_p), jnp.asarray(log_q), jnp.asarray(lengths))


@jax.jit
def _kl(log_p: Array, log_q: Array, lengths: Array) -> Array:
    valid = jnp.arange(log_p.shape[1]) < lengths[:, None]
    counts = valid[..., None] & (log_p > -jnp.inf)
    # both sides of `where` are evaluated in a gradient: the infinities go before the difference
    p, q = jnp.where(counts, log_p, 0.0), jnp.where(counts, log_q, 0.0)
    terms = jnp.where(counts, jnp.exp(p) * (p - q), 0.0)
    # log_p of NaN is not > -inf; a broken reference must not look like a perfect one
    broken = (valid[..., None] & jnp.isnan(log_p)).any((1, 2))
    return jnp.where(broken, jnp.nan, terms.sum((1, 2)) / jnp.maximum(lengths, 1))
