"""Is early termination exact? From float queries and keys to decisions, and these against whole float64 products.

    case = decided(query, key, cut, steps, bits=12, where=where)
    sums = audited(case, where)                      # pairs, wrong decisions, wrong scores, alike with floats

A score of integers below 2**53 is exact in float64, whatever the order of its sum. The comparison is one program on the
device that ran the termination; four numbers leave it.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention import bitserial, integers
from anaxon.types import Array


class Case(NamedTuple):
    """Pairs of integer queries and keys, decided by early termination.

    Attributes:
      query: `[batch, heads, q, d]`.
      key: `[batch, heads, k, d]`.
      unit: of their products [score], `s_q s_k / sqrt(d)`.
      cut: threshold [score]; a pair is kept where `S * unit >= cut` in float64.
      run: what became of each pair.
    """

    query: Array
    key: Array
    unit: float
    cut: float
    run: bitserial.Terminated


class Sums(NamedTuple):
    """Of an audit; they add up over cases with `total`.

    Attributes:
      pairs: valid ones, each compared.
      wrong: decisions other than those of the float64 product.
      wrong_scores: survivors whose score is not the product.
      alike: pairs that float scores decide alike.
    """

    pairs: int
    wrong: int
    wrong_scores: int
    alike: int

    def told(self) -> dict[str, float]:
        """For a record: the first three, and the share of pairs that `agree` with floats."""
        found = {"pairs": self.pairs, "wrong": self.wrong, "wrong_scores": self.wrong_scores}
        return {k: float(v) for k, v in found.items()} | {"agree": self.alike / max(self.pairs, 1)}


def decided(
    query: Array,
    key: Array,
    cut: float,
    steps: tuple[float, float],
    *,
    bits: int,
    per_cycle: int = 1,
    where: Array | np.ndarray | None = None,
) -> Case:
    """Quantises a layer and runs early termination.

    Args:
      query: floats `[batch, length, heads, d]`, as attentions have them.
      key: likewise.
      cut: threshold of the scaled scores `q . k / sqrt(d)`; a number of the host.
      steps: of the integer queries and keys.
      bits: of both, sign included.
      per_cycle: key bits a cycle.
      where: valid pairs, broadcasts against `[batch, heads, q, k]`.

    Raises:
      ValueError, TypeError: as `integers.integer_threshold` and `bitserial.terminate`.
    """
    q, k = (jnp.moveaxis(integers.quantised(x, s, bits), -2, -3) for x, s in zip((query, key), steps, strict=True))
    head = q.shape[-1]
    level = integers.integer_threshold(cut, *steps, head, bits)
    run = bitserial.terminate(q, k, level, bits=bits, per_cycle=per_cycle, where=where)
    return Case(q, k, steps[0] * steps[1] / math.sqrt(head), float(cut), run)


def audited(case: Case, where: Array | np.ndarray | None = None, floats: Array | None = None) -> Sums:
    """Every decision and every survivor's score against the float64 product.

    Args:
      case: of `decided`.
      where: valid pairs, as given to it; the run's own mask is not asked.
      floats: what float scores decide, broadcasts against the pairs; without them `alike` compares with the products.
    """
    with jax.enable_x64(True):
        valid = jnp.asarray(True if where is None else where, bool)
        return Sums(*(int(x) for x in _sums(case, valid, floats)))


def total(sums: Iterable[Sums]) -> Sums:
    """Of several cases."""
    return Sums(*(sum(each) for each in zip(*sums, strict=True)))


def histogram(run: bitserial.Terminated, bits: int) -> np.ndarray:
    """Valid pairs by the bits that they took at one bit a cycle, `[2, bits + 1]`: pruned, kept."""
    codes = np.asarray(_codes(run, bits))  # a byte a pair leaves the device
    found = np.bincount(codes.ravel(), minlength=2 * (bits + 1)).reshape(2, bits + 1)
    found[:, 0] = 0  # masked ones
    return found


@jax.jit
def _sums(case: Case, valid: Array, floats: Array | None) -> tuple[Array, ...]:
    """In a context of 64 bits."""
    exact = jnp.einsum("...qd,...kd->...qk", *(x.astype(jnp.float64) for x in (case.query, case.key)),
                       precision="highest")  # fmt: skip
    valid = jnp.broadcast_to(valid, exact.shape)
    right = (exact * case.unit >= case.cut) & valid
    kept, scores = case.run.kept, case.run.scores
    if isinstance(scores, integers.Wide):
        scores = jnp.asarray(scores.high, jnp.int64) * 2**integers.LOW + scores.low
    alike = (kept == (right if floats is None else floats)) & valid
    each = valid, kept != right, (scores.astype(jnp.float64) != exact) & kept, alike
    return tuple(jnp.sum(x, dtype=jnp.int64) for x in each)


@jax.jit(static_argnames="bits")
def _codes(run: bitserial.Terminated, bits: int) -> Array:
    return jnp.where(run.kept, run.cycles + bits + 1, run.cycles).astype(jnp.uint8)
