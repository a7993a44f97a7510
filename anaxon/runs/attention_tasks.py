"""The tasks of the attention jobs: a model whose every attention has a threshold, its batches, what is good."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from anaxon.data import characters, images, minilm, texts, token_batches
from anaxon.flax import PrunedAttention
from anaxon.models import classify
from anaxon.models.causal_lm import CausalLM
from anaxon.models.encoder import Encoder
from anaxon.models.vit import PictureTransformer
from anaxon.runs.attention_settings import Settings
from anaxon.types import Array

Epoch = Callable[[np.random.Generator], Iterator["Batch"]]
Shape = tuple[int, tuple[int, ...]]  # tokens of a batch, lengths of its rows
Baseline = tuple[str, float]  # what it is called, its quality


class Batch(NamedTuple):
    """Inputs of the model, targets of its rows, and which example a row is, `[rows]`; -1 for padding."""

    inputs: tuple[np.ndarray, ...]
    targets: np.ndarray
    index: np.ndarray


@dataclasses.dataclass(frozen=True)
class Task:
    """A model and what it is tried on.

    Attributes:
      name: of the task.
      model: every attention is a `PrunedAttention` that keeps everything.
      epoch: batches of the training split in random order.
      ordered: a few batches of the training split, for calibration.
      test: all batches of the test split.
      quality: of every row `[rows]` from results and targets; the higher the better.
      loss: of every row.
      unit: of a difference of quality, and how many of it are 1.
      facts: name, sizes and checksum of the data.
      baseline: makes the name of something simple, and its quality on the test split.
      trained: an NNX filter of the parameters that are trained.
    """

    name: str
    model: nnx.Module
    epoch: Epoch
    ordered: list[Batch]
    test: list[Batch]
    quality: Callable[[Array, Array], Array]
    loss: Callable[[Array, Array], Array]
    unit: tuple[str, float]
    facts: dict[str, Any]
    baseline: Callable[[], Baseline]
    trained: Any = nnx.Param


def task(settings: Settings, name: str, seed: int) -> Task:
    """A task of a configuration, by its name.

    Raises:
      ModuleNotFoundError, FileNotFoundError: for data that are not there; the sentence says what installs them.
    """
    made = {"minilm": _texts, "shared": _texts, "gpt": _characters, "pictures": _pictures}[settings.kind]
    return made(settings, name, seed)


def names(settings: Settings) -> tuple[str, ...]:
    """What the tasks are called, without loading anything."""
    return settings.data.sources if settings.kind in ("minilm", "shared") else (settings.kind,)


def keeping_all(_: int = 0) -> PrunedAttention:
    """An attention function whose threshold prunes nothing yet."""
    return PrunedAttention(-jnp.inf, hard=True)


def correct(logits: Array, labels: Array) -> Array:
    """1 for a row whose largest logit is the label's."""
    return (jnp.argmax(logits, -1) == labels).astype(jnp.float32)


def nats(logits: Array, symbols: Array) -> Array:
    """Of a sequence, the mean over its characters."""
    return CROSS_ENTROPY(logits, symbols).mean(-1)


def likelihood(logits: Array, symbols: Array) -> Array:
    """The mean logarithm of the probability of a sequence's characters."""
    return -nats(logits, symbols)


# Of a vocabulary of 30,522 a few thousand sentences say little, and its optimiser would take most of a step's time.
FROZEN_EMBEDDINGS = nnx.All(nnx.Param, nnx.Not(nnx.PathContains("embeddings")))
CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
SHIFT = 2  # pixels
POINTS = ("points of accuracy", 100.0)
# 0.01 is 1 % of perplexity: a goal of 0.2 reads alike for both units.
NATS = ("log-likelihood of a character, hundredths of a nat (1 is 1 % of perplexity)", 100.0)


def _texts(settings: Settings, source: str, seed: int) -> Task:
    data = settings.data
    asked = texts.TextData(source, data.path, data.train, data.test)
    found = texts.load(asked)
    train, test = (minilm.tokenise(split.texts, data.length) for split in (found.train, found.test))
    labels, shape = found.train.labels, (settings.training.batch, data.padded)
    fresh = lambda: Encoder(settings.model, keeping_all, rngs=nnx.Rngs(seed))  # noqa: E731
    return Task(
        name=source,
        model=_fitted(fresh(), found, train, shape) if settings.kind == "shared"
        else nnx.clone(_pretrained(asked, found.checksum, data.length, shape)),
        epoch=lambda rng: (_row(b, labels) for b in token_batches.shuffled(train, rng, *shape)),
        ordered=[_row(b, labels) for b in token_batches.in_order(train[:256], *shape)],
        test=[_row(b, found.test.labels) for b in token_batches.in_order(test, *shape)],
        quality=correct,
        loss=CROSS_ENTROPY,
        unit=POINTS,
        facts={"name": source, "classes": len(found.classes), "train": len(train), "test": len(test),
               "length": data.length, "checksum": found.checksum},
        baseline=lambda: _commonest(labels, found.test.labels),
        trained=FROZEN_EMBEDDINGS if settings.kind == "minilm" else nnx.Param,
    )  # fmt: skip


@lru_cache(maxsize=1)  # the same for all seeds; a changed folder has another checksum
def _pretrained(asked: texts.TextData, checksum: str, length: int, shape: Shape) -> classify.Classifier:
    del checksum
    found = texts.load(asked)
    return _fitted(minilm.encoder(keeping_all), found, minilm.tokenise(found.train.texts, length), shape)


def _fitted(encoder: Encoder, found: texts.Texts, train: list[np.ndarray], shape: Shape) -> classify.Classifier:
    """With a head fitted to the embeddings as they are: of unit length, they would teach a head of zeros nothing."""
    graphdef, params, rest = nnx.split(encoder, nnx.Param, ...)
    embed = lambda p, *x: nnx.merge(graphdef, p, rest, copy=True)(*x)  # noqa: E731
    vectors = classify.outputs(embed, params, train, *shape)
    return classify.Classifier(encoder, classify.logistic_head(vectors, found.train.labels, len(found.classes)))


def _commonest(labels: np.ndarray, tested: np.ndarray) -> Baseline:
    return "always the commonest class", float(np.mean(tested == np.bincount(labels).argmax()))


def _linear(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], classes: int) -> Baseline:
    pixels = [x.reshape(len(x), -1) for x, _ in (train, test)]
    head = classify.logistic_head(pixels[0], train[1], classes, penalty=10.0)
    hits = np.argmax(pixels[1] @ head.kernel + head.bias, -1) == test[1]
    return "a linear classifier of the pixels", float(np.mean(hits))


def _unigram(train: np.ndarray, targets: np.ndarray, symbols: int) -> Baseline:
    share = (np.bincount(train, minlength=symbols) + 1) / (len(train) + symbols)
    return "how often each character is", float(np.mean(np.log(share[targets])))


def _row(batch: token_batches.TokenBatch, labels: np.ndarray) -> Batch:
    return Batch((batch.tokens, batch.mask), labels[batch.index], batch.index)


def _pictures(settings: Settings, name: str, seed: int) -> Task:
    found = images.load(settings.data)
    model = PictureTransformer(settings.model, 10, keeping_all, rngs=nnx.Rngs(seed))
    facts = {"name": found.name, "train": len(found.train.labels), "test": len(found.test.labels),
             "checksum": found.checksum}  # fmt: skip
    splits = [(s.features.astype(np.float32), s.labels) for s in (found.train, found.test)]
    linear = lambda: _linear(splits[0], splits[1], 10)  # noqa: E731
    made = _arrays(settings, name, model, splits, correct, CROSS_ENTROPY, POINTS, facts | {"shift": SHIFT}, linear)
    return dataclasses.replace(made, epoch=lambda rng: (_shifted(batch, rng) for batch in made.epoch(rng)))


def _shifted(batch: Batch, rng: np.random.Generator) -> Batch:
    """Every picture moved by up to `SHIFT` pixels both ways: a few thousand are too few for a transformer."""
    (x,) = batch.inputs
    wide = np.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    down, right = rng.integers(0, 2 * SHIFT + 1, (2, len(x), 1)) + np.arange(x.shape[1])
    return batch._replace(inputs=(wide[np.arange(len(x))[:, None, None], down[:, :, None], right[:, None, :]],))


def _characters(settings: Settings, name: str, seed: int) -> Task:
    data, size = settings.data, settings.model.context
    found = characters.load(characters.CharacterData(data.path, data.rare))
    model = CausalLM(settings.model, len(found.symbols), keeping_all, rngs=nnx.Rngs(seed))
    rng = np.random.default_rng(0)
    splits = [_cut(codes, size, n, rng) for codes, n in ((found.train, data.train), (found.test, data.test))]
    facts = {"name": found.name, "train": data.train, "test": data.test, "checksum": found.checksum}
    unigram = lambda: _unigram(found.train, splits[1][1], len(found.symbols))  # noqa: E731
    return _arrays(settings, name, model, splits, likelihood, nats, NATS, facts, unigram)


def _cut(codes: np.ndarray, size: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequences from anywhere, and the same one character on."""
    at = rng.integers(0, len(codes) - size - 1, count)[:, None] + np.arange(size)
    return codes[at].astype(np.int32), codes[at + 1].astype(np.int32)


def _arrays(
    settings: Settings, name: str, model: nnx.Module, splits: list[tuple[np.ndarray, np.ndarray]], quality: Any,
    loss: Any, unit: tuple[str, float], facts: dict[str, Any], baseline: Callable[[], Baseline],
) -> Task:  # fmt: skip
    """A task of examples that are all of one size."""
    (x, y), tested = splits
    size = min(settings.training.batch, len(x))
    epoch = lambda rng: _slices(x, y, rng.permutation(len(x))[: len(x) // size * size], size)  # noqa: E731
    test = list(_slices(*tested, np.arange(len(tested[0])), min(size, len(tested[0]))))
    some = list(_slices(x, y, np.arange(min(256, len(x))), min(size, len(x))))
    return Task(name, model, epoch, some, test, quality, loss, unit, facts, baseline)


def _slices(x: np.ndarray, y: np.ndarray, order: np.ndarray, size: int) -> Iterator[Batch]:
    for first in range(0, len(order), size):
        index = order[first : first + size]
        yield Batch((x[index],), y[index], index)
