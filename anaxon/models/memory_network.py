"""An end-to-end memory network whose hops prune what they do not need.

Sukhbaatar, Szlam, Weston, Fergus, "End-To-End Memory Networks", NIPS 2015, arXiv 1503.08895: three hops, adjacent
weight tying (the output embedding of a hop is the input embedding of the next; the first one also embeds questions,
the last one also reads answers), position encoding within a sentence, temporal encoding by age, no scaling of scores.
A threshold per hop prunes memories before the softmax (Li et al., ISCA 2022, arXiv 2204.03227).

One thing is not theirs: every softmax has a rest, one more memory that holds nothing and scores 0. Weights that sum to 1
over the survivors cannot tell one of them from two of the same kind, so that a network that counts has to keep others
to compare with; and a hop without survivors gives 0, as it does here in the limit.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.attention import Softmax, kept
from anaxon.check import integer
from anaxon.types import Array, ArrayLike


@dataclasses.dataclass(frozen=True)
class MemorySize:
    """Sizes of the network.

    Attributes:
      width: of the embeddings.
      hops: reads of the memories.
      memories: sentences that it can hold.
    """

    width: int = 32
    hops: int = 3
    memories: int = 50

    def __post_init__(self) -> None:
        integer("model.width", self.width, 2, 4096)
        integer("model.hops", self.hops, 1, 16)
        integer("model.memories", self.memories, 1, 4096)


class Hops(NamedTuple):
    """What every hop compares: states `[hops, batch, width]`, memories `[hops, batch, memories, width]`, scores."""

    states: Array
    stored: Array
    scores: Array


class MemoryNetwork(nnx.Module):
    """Answers questions from memories; weights have the standard deviation 0.1 at the start."""

    def __init__(self, words: int, size: MemorySize, *, rngs: nnx.Rngs):
        shape = (size.hops + 1, words + 1, size.width)
        self.embedding = nnx.Param(0.1 * jax.random.normal(rngs.params(), shape))
        self.age = nnx.Param(0.1 * jax.random.normal(rngs.params(), (size.hops + 1, size.memories, size.width)))
        self.threshold = nnx.Param(jnp.zeros(size.hops))
        self.hops = size.hops

    def __call__(
        self, memories: Array, question: Array, valid: Array, softmax: Softmax | None = None
    ) -> tuple[Array, Array]:
        """Logits of the answer's code `[batch, words + 1]`, and the scores of every hop `[hops, batch, memories]`.

        Args:
          memories: codes of words `[batch, memories, words]`, newest first, 0 where there is none.
          question: `[batch, words]`.
          valid: memories there are, `[batch]`.
          softmax: weights from (scores, threshold, where): `dense`, `linear`, `hard` or `soft`.
        """
        state, hops = self.read(memories, question, valid, softmax)
        return state @ self.embedding[self.hops].T, hops.scores

    def read(
        self, memories: Array, question: Array, valid: Array, softmax: Softmax | None = None
    ) -> tuple[Array, Hops]:
        """The state after all hops `[batch, width]`, and what each compared; arguments as a call's."""
        weigh = softmax or dense
        where = jnp.arange(memories.shape[1]) < valid[:, None]
        words = self.embedding.shape[1]
        told, asked = bags(memories, words), bags(question, words)
        state = self._embedded(asked, 0)
        found = []
        stored = self._embedded(told, 0) + self.age[0][: memories.shape[1]]
        for hop in range(self.hops):
            x = jnp.einsum("bd,bmd->bm", state, stored)
            compared = (state, stored, x)
            stored = self._embedded(told, hop + 1) + self.age[hop + 1][: memories.shape[1]]
            state = state + jnp.einsum("bm,bmd->bd", weigh(x, self.threshold[hop], where), stored)
            found.append(compared)
        return state, Hops(*map(jnp.stack, zip(*found, strict=True)))

    def _embedded(self, bag: Array, number: int) -> Array:
        """Position encoding is affine in the place along the embedding: two bags of words, `[..., width]`."""
        table = self.embedding[number]
        place = jnp.arange(1, table.shape[1] + 1) / table.shape[1]
        both = bag @ table  # [..., 2, width]
        return both[..., 0, :] - place * both[..., 1, :]


def bags(codes: Array, words: int) -> Array:
    """Words of sentences `[..., length]` weighed by their place, `[..., 2, words]`.

    The weight `(1 - j/J) - (k/d) (1 - 2 j/J)` of the j-th of J words at place k of d (arXiv 1503.08895, section 4.1)
    is made of these two.
    """
    there = codes > 0
    count = jnp.maximum(jnp.sum(there, -1, keepdims=True), 1)
    j = jnp.cumsum(there, -1) / count
    weights = jnp.stack([1 - j, 1 - 2 * j], -2) * there[..., None, :]
    return jnp.einsum("...pj,...jw->...pw", weights, jax.nn.one_hot(codes, words))


def dense(x: Array, threshold: ArrayLike, where: ArrayLike | None) -> Array:
    """Nothing is pruned."""
    del threshold
    return _weights(x, _valid(x, where))


def hard(x: Array, threshold: ArrayLike, where: ArrayLike | None) -> Array:
    """The rule that is deployed: weights of the survivors, and of the rest."""
    return _weights(x, kept(x, threshold, where))


def linear(x: Array, threshold: ArrayLike, where: ArrayLike | None) -> Array:
    """No softmax at all: how training starts (arXiv 1503.08895, section 4.3)."""
    del threshold
    return jnp.where(_valid(x, where), x, 0.0)


def soft(x: Array, threshold: ArrayLike, where: ArrayLike | None, sharpness: ArrayLike) -> Array:
    """Weights of all memories, each times `sigmoid(sharpness (x - Th))`; the hard rule in the limit.

    The published soft threshold falls by its floor of 1000 within a fraction of a score: a question whose memories have
    all slipped below has no gradient to bring one back. Here the slope stays, at most `sharpness`.
    """
    return _weights(x + jax.nn.log_sigmoid(sharpness * (x - threshold)), _valid(x, where))


def smooth_l0(x: Array, threshold: ArrayLike, where: Array, sharpness: ArrayLike, spread: ArrayLike) -> Array:
    """The share of memories that is kept, with a slope near and far: the mean of two sigmoids around the threshold.

    One is as sharp as the soft rule; the other is as wide as the spread of scores, for the first has no slope where no
    score is near: thresholds would stay between two groups of memories.
    """
    over = x - threshold
    both = (jax.nn.sigmoid(sharpness * over) + jax.nn.sigmoid(over / spread)) / 2
    return jnp.sum(jnp.where(where, both, 0.0)) / jnp.maximum(jnp.sum(where), 1)


def _valid(x: Array, where: ArrayLike | None) -> Array:
    return jnp.broadcast_to(True if where is None else jnp.asarray(where), x.shape)


def _weights(x: Array, where: Array) -> Array:
    """`exp(x) / (1 + sum of exp(x))` of the memories named, 0 of others."""
    top = jax.lax.stop_gradient(jnp.max(jnp.where(where, x, 0.0), -1, keepdims=True, initial=0.0))
    powers = jnp.where(where, jnp.exp(jnp.where(where, x, 0.0) - top), 0.0)
    return powers / (jnp.sum(powers, -1, keepdims=True) + jnp.exp(-top))
