"""The network of the keyword job: its corpus, its training, and its parameters as a file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.data import cache, keywords
from anaxon.flax import functional
from anaxon.interpret import paths
from anaxon.models import train
from anaxon.models.keyword_lstm import KeywordLSTM
from anaxon.types import Array, PyTree

FILE = "network.npz"


@dataclasses.dataclass(frozen=True)
class Model:
    """`hidden`: units of the LSTM. `use_bias`: whether its gates have one.

    Raises:
      ValueError: for fewer than one.
    """

    hidden: int = 32
    use_bias: bool = True

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"model.hidden must be a positive whole number; got {self.hidden!r}")


class Network(NamedTuple):
    """A trained network: `fn(params, features [batch, frames, mels]) -> logits [batch, classes]`."""

    fn: Callable[[PyTree, Array], Array]
    params: PyTree
    history: dict[str, np.ndarray]


def untrained(model: Model, data: keywords.KeywordData, seed: int) -> nnx.Module:
    """The model with the weights that training starts from."""
    classes, mels = len(keywords.CLASSES), data.features.mels
    return KeywordLSTM(model.hidden, classes, mels, model.use_bias, rngs=nnx.Rngs(seed))


def shapes(model: Model, data: keywords.KeywordData) -> tuple[Callable, PyTree, jax.ShapeDtypeStruct]:
    """The function, its parameters and one clip, as shapes: enough to place it."""
    fn, params = functional(untrained(model, data, 0))
    clip = jax.ShapeDtypeStruct((1, data.features.frames(), data.features.mels), jnp.float32)
    return fn, params, clip


def trained(
    model: Model,
    data: keywords.KeywordData,
    training: train.Training,
    corpus: keywords.Corpus,
    progress: bool = True,
    on_epoch: Callable[[float], None] | None = None,
) -> Network:
    """Trains, or continues, or reads the finished checkpoint of these settings and this corpus from the cache.

    Raises:
      ValueError: for a damaged checkpoint, or fewer clips than a batch.
    """
    fn, start = functional(untrained(model, data, training.seed))
    where = checkpoints(model, training, corpus)
    params, history = train.fit(
        fn, start, corpus.train, corpus.validation, training, where, progress, on_epoch=on_epoch
    )
    return Network(fn, params, history)


def checkpoints(model: Model, training: train.Training, corpus: keywords.Corpus) -> Path:
    """The cache folder of this training's checkpoints."""
    code = cache.fingerprint(
        corpus=corpus.checksum, model=dataclasses.asdict(model), training=dataclasses.asdict(training)
    )
    return cache.folder() / "models" / f"keyword-lstm-{code}"


def logits(network: Network, features: np.ndarray) -> np.ndarray:
    """The digital network in float32, `[n, classes]`."""
    return np.asarray(jax.jit(network.fn)(network.params, jnp.asarray(features)))


def save(path: Path, network: Network) -> None:
    """Writes parameters and history with a checksum.

    Raises:
      OSError: when the disk is full or the folder not writable.
    """
    names, leaves, _ = paths.flatten(network.params)
    arrays: dict[str, Any] = {f"param:{n}": np.asarray(x) for n, x in zip(names, leaves, strict=True)}
    cache.save(path, arrays | {f"history:{n}": x for n, x in network.history.items()})


def load(path: Path, model: Model, data: keywords.KeywordData) -> Network:
    """The network of a run that is continued.

    Raises:
      FileNotFoundError: when it was not written yet.
      ValueError: when the file is damaged.
    """
    arrays, _ = cache.load(path)
    fn, params = functional(untrained(model, data, 0))
    names, _, treedef = paths.flatten(params)
    missing = [n for n in names if f"param:{n}" not in arrays]
    if missing:
        raise ValueError(f"{path}: holds no {missing[0]}; delete the file and it will be made again")
    leaves = [jnp.asarray(arrays[f"param:{n}"]) for n in names]
    history = {n.removeprefix("history:"): x for n, x in arrays.items() if n.startswith("history:")}
    return Network(fn, treedef.unflatten(leaves), history)
