"""What recognisers hear: utterances in a few stacks of batches of one shape, and pieces of speech without padding."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from anaxon.data.asr import Corpus, Utterances
from anaxon.data.batches import Batch, Batches


class Panel(NamedTuple):
    """Utterances in a few stacks of batches of one shape, each leaf `[batches, rows, ...]`.

    Attributes:
      stacks: the batches.
      texts: of the utterances, `[n]`.
      index: their numbers in the split, `[n]`, ascending.
    """

    stacks: tuple[Batch, ...]
    texts: tuple[str, ...]
    index: np.ndarray

    @property
    def frames(self) -> int:
        """Input frames of a pass over it, padding included."""
        return sum(int(np.prod(s.features.shape[:3])) for s in self.stacks)

    @property
    def words(self) -> np.ndarray:
        """Of every reference, `[n]`."""
        return np.array([len(text.split()) for text in self.texts], np.int64)

    def in_order(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Values of every stack, `[..., batches, rows]`, as those of the utterances, `[..., n]`."""
        table = np.zeros((*values[0].shape[:-2], len(self.texts)), values[0].dtype)
        for stack, value in zip(self.stacks, values, strict=True):
            index = np.asarray(stack.index).reshape(-1)
            table[..., index[index >= 0]] = value.reshape(*value.shape[:-2], -1)[..., index >= 0]
        return table


def panel_of(
    corpus: Corpus, split: Utterances, words: int, frames_per_batch: int, seed: int = 0, shapes: int = 2
) -> Panel:
    """Utterances of a split, chosen by the seed, of about so many words (0: all of it), in up to `shapes` stacks."""
    order = np.random.default_rng([seed, 303]).permutation(len(split))
    counts = np.cumsum([len(split.texts[k].split()) for k in order])
    chosen = np.sort(order[: np.searchsorted(counts, words) + 1]) if words else np.arange(len(split))
    part = taken(split, chosen)
    found: dict[tuple, list[Batch]] = {}
    for batch in Batches(corpus, part, frames_per_batch=frames_per_batch, count=shapes).in_order():
        found.setdefault(batch.features.shape, []).append(batch)
    stacks = tuple(jax.tree.map(lambda *x: np.stack(x), *same) for same in found.values())
    return Panel(stacks, part.texts, chosen)


def taken(split: Utterances, index: np.ndarray) -> Utterances:
    """Some utterances of a split."""
    pieces = [split.features[split.starts[k] : split.starts[k + 1]] for k in index]
    starts = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    return Utterances(np.concatenate(pieces), starts, tuple(split.texts[k] for k in index), split.speakers[index],
                      tuple(split.ids[k] for k in index))  # fmt: skip


def speech_of(corpus: Corpus, split: Utterances, count: int) -> tuple[np.ndarray, np.ndarray]:
    """About `count` utterances, evenly over the split, as speech without padding: statistics see nothing else.

    They follow one another and are cut into rows of their mean length.

    Returns:
      Features `[rows, frames, mels]`, normalised, and lengths `[rows]`, all `frames`.
    """
    index = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
    features = (taken(split, index).features.astype(np.float32) - corpus.mean) / corpus.std
    frames = len(features) // len(index)
    rows = features[: frames * len(index)].reshape(len(index), frames, -1)
    return rows, np.full(len(index), frames, np.int32)
