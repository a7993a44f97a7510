"""An end-to-end memory network whose hops prune what they do not need.

Sukhbaatar, Szlam, Weston, Fergus, "End-To-End Memory Networks", NIPS 2015, arXiv 1503.08895: three hops, adjacent
weight tying (the output embedding of a hop is the input embedding of the next; the first one also embeds questions,
the last one also reads answers), position encoding within a sentence, temporal encoding by age, no scaling of scores.
A threshold per hop prunes memories before the softmax (Li et al., ISCA 2022, arXiv 2204.03227).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.attention import Softmax, l0, pruned_softmax, soft_softmax
from anaxon.attention.threshold import FLOOR
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
          softmax: weights from (scores, threshold, where): `dense`, `linear`, `pruned_softmax` or `soft_softmax`.
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
    return pruned_softmax(x, -jnp.inf, where)


def linear(x: Array, threshold: ArrayLike, where: ArrayLike | None) -> Array:
    """No softmax at all: how training starts (arXiv 1503.08895, section 4.3)."""
    del threshold
    return jnp.where(True if where is None else where, x, 0.0)


def soft(x: Array, threshold: ArrayLike, where: ArrayLike | None, sharpness: float) -> Array:
    """Weights behind the soft threshold; those of a hop that keeps no memory go to 0, as the hard rule's do."""
    return soft_softmax(x, threshold, where, sharpness=sharpness)


def smooth_l0(x: Array, threshold: ArrayLike, where: Array, band: float) -> Array:
    """L0 for networks with few scores: those within about `band` of its edge, `1.1 band` below the threshold, count.

    The published constants leave a band of 1e-3 around theirs, about one score a step here. Pairs are half pruned
    where a soft threshold of sharpness `1 / (2 band)` is halfway down to the floor; the logit's ends are +-5.
    """
    return l0(x, threshold, sharpness=0.5 / band, slope=10 / FLOOR, alpha=FLOOR / 2, where=where)
