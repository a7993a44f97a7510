"""From log probabilities to transcripts: the best path, or a beam of prefixes with a language model."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from anaxon.check import integer
from anaxon.data import tokens
from anaxon.data.asr import Corpus
from anaxon.decoding.decode_all import decode_all
from anaxon.decoding.greedy import best_path
from anaxon.decoding.language_model import LanguageModel, counted, read_arpa
from anaxon.decoding.word_errors import word_errors
from anaxon.runs.asr_panel import Panel
from anaxon.types import Array


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How transcripts are written, of digital networks and of chips alike.

    Attributes:
      beam: prefixes kept; 0 takes the best path.
      order: words of an n-gram counted from the training transcripts; 0 for no language model.
      arpa: a file with a language model, instead of that.
      weight: of the language model's natural log probabilities.
      insertion: added for every word [nats].

    Raises:
      ValueError: for a value out of range, or a language model without a beam.
    """

    beam: int = 0
    order: int = 0
    arpa: str | None = None
    weight: float = 0.5
    insertion: float = 0.0

    def __post_init__(self) -> None:
        integer("decoding.beam", self.beam, 0, 10_000)
        integer("decoding.order", self.order, 0, 10)
        if not self.weight >= 0:
            raise ValueError(f"decoding.weight must not be negative; got {self.weight!r}")
        if self.beam == 0 and (self.order or self.arpa):
            raise ValueError("decoding.beam: expected 1 or more where there is a language model; got 0")
        if self.arpa is not None and not Path(self.arpa).is_file():
            raise ValueError(f"decoding.arpa: expected a file in the ARPA format; there is none at {self.arpa}")

    @property
    def told(self) -> str:
        """For reports."""
        if not self.beam:
            return "best path, without a language model"
        model = f"language model {Path(self.arpa).name}" if self.arpa else f"{self.order}-grams of the training set"
        weighed = f"{model}, weight {self.weight:g}, {self.insertion:+g} a word"
        return f"prefix beam search, {self.beam} wide, " + (weighed if self.arpa or self.order else "no language model")


class Decoder(NamedTuple):
    """A decoder in two halves.

    Attributes:
      keep: on the device, `(log_probs [rows, frames, tokens], lengths [rows])` to what the host needs, `[rows, ...]`.
      write: on the host, from that of any number of rows to their transcripts.
    """

    keep: Callable[[Array, Array], Array]
    write: Callable[[np.ndarray], list[str]]


def decoder_of(decoding: Decoding, corpus: Corpus) -> Decoder:
    """The decoder of a run."""
    if not decoding.beam:
        return Decoder(lambda p, n: best_path(p, n).astype(jnp.uint8), _paths)
    model = _model(decoding, corpus)

    def write(kept: np.ndarray) -> list[str]:
        lengths = np.isfinite(kept[..., 0]).sum(-1)
        found = decode_all(kept.astype(np.float32), lengths, decoding.beam, model, decoding.weight, decoding.insertion)
        return [tokens.decode(row) for row in found]

    return Decoder(_posteriors, write)


def _model(decoding: Decoding, corpus: Corpus) -> LanguageModel | None:
    if decoding.arpa is not None:
        return read_arpa(decoding.arpa)
    return counted(corpus.train.texts, decoding.order) if decoding.order else None


def _paths(kept: np.ndarray) -> list[str]:
    return [tokens.decode(row[row > 0]) for row in kept]


def _posteriors(log_probs: Array, lengths: Array) -> Array:
    """In half precision, NaN behind an utterance's end."""
    inside = jnp.arange(log_probs.shape[1]) < lengths[:, None]
    floor = jnp.maximum(log_probs, float(jnp.finfo(jnp.float16).min))
    return jnp.where(inside[..., None], floor, jnp.nan).astype(jnp.float16)


def errors_of(panel: Panel, decoder: Decoder, kept: Sequence[np.ndarray]) -> np.ndarray:
    """Word errors of every utterance `[n]`, of what the decoder kept of every stack `[batches, rows, ...]`."""
    texts = [""] * len(panel.texts)
    for stack, rows in zip(panel.stacks, kept, strict=True):
        index = np.asarray(stack.index).reshape(-1)
        written = decoder.write(rows.reshape(-1, *rows.shape[2:])[index >= 0])
        for i, text in zip(index[index >= 0], written, strict=True):
            texts[i] = text
    return word_errors(panel.texts, texts).errors
