"""Batches of utterances of similar length, in a few fixed shapes so that few programs are compiled."""

import dataclasses
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from anaxon.data import tokens
from anaxon.data.asr import Corpus, Utterances
from anaxon.types import pytree

T = TypeVar("T")

_FRAMES, _TOKENS = 16, 8  # shapes are multiples of these
_END = object()


@pytree
class Batch:
    """Rows of one shape; a padding row has length 0, no tokens and `index` -1.

    `features` `[rows, frames, mels]` float32, normalised by the corpus's mean and std, 0 beyond an utterance's end;
    `lengths` `[rows]` int32 in frames; `tokens` `[rows, longest]` int32; `token_lengths`, `index` (number of the
    utterance in its split) `[rows]` int32.
    """

    features: np.ndarray
    lengths: np.ndarray
    tokens: np.ndarray
    token_lengths: np.ndarray
    index: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shape:
    """One bucket: `rows` utterances of at most `frames` frames and `tokens` tokens."""

    rows: int
    frames: int
    tokens: int


class Batches:
    """The batches of one split: `Batches(corpus, corpus.train, frames_per_batch=16_000)`.

    Up to `count` buckets are cut so that the epoch has the fewest frames, padding included; a bucket's batches hold as
    many rows as fit into `frames_per_batch` frames (at least one). `shapes` are those of the buckets, shortest first;
    `len` is the number of batches of an epoch, the same for all.

    Raises:
      ValueError: for a split without utterances, or a budget or count below 1.
    """

    def __init__(self, corpus: Corpus, split: Utterances, *, frames_per_batch: int = 16_000, count: int = 4) -> None:
        if not len(split):
            raise ValueError("batches: the split has no utterances")
        if frames_per_batch < 1 or count < 1:
            raise ValueError(
                f"batches: expected frames_per_batch and count of 1 or more; got {frames_per_batch}, {count}"
            )
        self._corpus, self._split = corpus, split
        self._tokens = [np.array(tokens.encode(text), np.int32) for text in split.texts]
        sizes = _up(split.lengths, _FRAMES)
        limits = _limits(sizes, frames_per_batch, count)
        bucket = np.searchsorted(limits, sizes)
        self._members = [np.flatnonzero(bucket == k) for k in range(len(limits))]
        self.shapes = tuple(
            self._shape(own, frames, frames_per_batch) for own, frames in zip(self._members, limits, strict=True)
        )

    @property
    def checksum(self) -> int:
        """Of the corpus."""
        return int(self._corpus.checksum, 16)

    def _shape(self, members: np.ndarray, frames: int, frames_per_batch: int) -> Shape:
        longest = max(len(self._tokens[k]) for k in members)
        return Shape(_rows(frames, len(members), frames_per_batch), frames, int(_up(np.int64(longest), _TOKENS)))

    def __len__(self) -> int:
        return sum(-(-len(members) // shape.rows) for members, shape in zip(self._members, self.shapes, strict=True))

    def epoch(self, seed: int, epoch: int) -> Iterator[Batch]:
        """Every utterance once, in an order that is a function of (seed, epoch)."""
        rng = np.random.default_rng([seed, 501, epoch])
        cut = [rows for members, shape in zip(self._members, self.shapes, strict=True)
               for rows in _cut(rng.permutation(members), shape)]  # fmt: skip
        return (self._batch(*cut[k]) for k in rng.permutation(len(cut)))

    def in_order(self) -> Iterator[Batch]:
        """Every utterance once, the longest bucket first, for evaluation."""
        both = zip(self._members[::-1], self.shapes[::-1], strict=True)
        return (self._batch(*rows) for members, shape in both for rows in _cut(members, shape))

    def _batch(self, members: np.ndarray, shape: Shape) -> Batch:
        mean, std = self._corpus.mean, self._corpus.std
        features = np.zeros((shape.rows, shape.frames, len(mean)), np.float32)
        written = np.zeros((shape.rows, shape.tokens), np.int32)
        lengths, token_lengths = np.zeros(shape.rows, np.int32), np.zeros(shape.rows, np.int32)
        for row, k in enumerate(members):
            first, last = self._split.starts[k : k + 2]
            lengths[row], token_lengths[row] = last - first, len(self._tokens[k])
            features[row, : last - first] = (self._split.features[first:last].astype(np.float32) - mean) / std
            written[row, : token_lengths[row]] = self._tokens[k]
        index = np.full(shape.rows, -1, np.int32)
        index[: len(members)] = members
        return Batch(features=features, lengths=lengths, tokens=written, token_lengths=token_lengths, index=index)


def _up(values: np.ndarray | np.int64, multiple: int) -> np.ndarray:
    return np.maximum(1, -(-values // multiple)) * multiple


def _rows(frames: int, members: int, frames_per_batch: int) -> int:
    return max(1, min(frames_per_batch // frames, members))


def _limits(sizes: np.ndarray, frames_per_batch: int, count: int) -> list[int]:
    """The longest utterance of each bucket, shortest first: those with which an epoch has the fewest frames.

    Exact, by dynamic programming over the distinct lengths.
    """
    frames, counts = np.unique(sizes, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])

    def cost(first: int, last: int) -> int:
        """Frames of the batches of the utterances of lengths `first` to `last`."""
        members, longest = int(before[last + 1] - before[first]), int(frames[last])
        rows = _rows(longest, members, frames_per_batch)
        return -(-members // rows) * rows * longest

    best: list[tuple[int, list[int]]] = [(cost(0, last), [last]) for last in range(len(frames))]
    for _ in range(min(count, len(frames)) - 1):
        best = [min([best[last]] + [(best[k][0] + cost(k + 1, last), [*best[k][1], last]) for k in range(last)])
                for last in range(len(frames))]  # fmt: skip
    return [int(frames[k]) for k in best[-1][1]]


def _cut(members: np.ndarray, shape: Shape) -> Iterator[tuple[np.ndarray, Shape]]:
    return ((members[first : first + shape.rows], shape) for first in range(0, len(members), shape.rows))


def prefetch(items: Iterator[T], ahead: int = 2) -> Iterator[T]:
    """`items`, made on a thread up to `ahead` in advance. What it raises is raised here; it ends with its consumer."""
    made: queue.Queue = queue.Queue(max(1, ahead))
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer
            put(_Failure(error))

    thread = threading.Thread(target=produce, daemon=True, name="prefetch")
    thread.start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


@dataclasses.dataclass(frozen=True)
class _Failure:
    error: BaseException
