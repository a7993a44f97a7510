"""Batches of token sequences of similar length, in a few fixed shapes so that few programs are compiled."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from anaxon.check import integer

LENGTHS = (16, 32, 64, 128, 256, 512)  # of rows


class TokenBatch(NamedTuple):
    """`tokens` int32 and `mask` bool `[rows, length]`; `index [rows]` of the sequences, -1 for rows of padding."""

    tokens: np.ndarray
    mask: np.ndarray
    index: np.ndarray


def in_order(
    sequences: Sequence[np.ndarray], tokens: int = 4096, lengths: Sequence[int] = LENGTHS
) -> Iterator[TokenBatch]:
    """Every sequence once, short ones first; about `tokens` tokens a batch, padding included.

    Args:
      sequences: of tokens.
      tokens: of a batch.
      lengths: of rows, increasing; a sequence goes to the shortest it fits.

    Raises:
      ValueError: for a sequence that is too long, or a number out of range.
    """
    order = np.argsort([len(s) for s in sequences], kind="stable")
    for length, members in _by_length(sequences, order, lengths):
        yield from _batches(sequences, members, length, _rows(tokens, length))


def shuffled(
    sequences: Sequence[np.ndarray],
    rng: np.random.Generator,
    tokens: int = 4096,
    lengths: Sequence[int] = LENGTHS,
) -> Iterator[TokenBatch]:
    """One epoch: batches of similar lengths, both they and what is in them in random order; rows may be padding.

    Arguments and errors as of `in_order`.
    """
    order = rng.permutation(len(sequences))
    made = [batch for length, members in _by_length(sequences, order, lengths)
            for batch in _batches(sequences, members, length, _rows(tokens, length))]  # fmt: skip
    yield from (made[i] for i in rng.permutation(len(made)))


def _by_length(
    sequences: Sequence[np.ndarray], order: np.ndarray, lengths: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    sizes = np.array([len(s) for s in sequences], int)
    if sizes.size and sizes.max() > lengths[-1]:
        raise ValueError(f"sequences: expected at most {lengths[-1]} tokens; got {sizes.max()}")
    rung = np.searchsorted(lengths, sizes)
    for i, length in enumerate(lengths):
        if len(members := order[rung[order] == i]):
            yield length, members


def _batches(
    sequences: Sequence[np.ndarray], members: np.ndarray, length: int, rows: int
) -> Iterator[TokenBatch]:  # fmt: skip
    for first in range(0, len(members), rows):
        index = np.full(rows, -1)
        chosen = members[first : first + rows]
        index[: len(chosen)] = chosen
        batch = TokenBatch(np.zeros((rows, length), np.int32), np.zeros((rows, length), bool), index)
        for row, i in enumerate(chosen):
            batch.tokens[row, : len(sequences[i])] = sequences[i]
            batch.mask[row, : len(sequences[i])] = True
        yield batch


def _rows(tokens: int, length: int) -> int:
    integer("tokens", tokens, 1, 1 << 24)
    return max(1, tokens // length)
