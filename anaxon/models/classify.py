"""Sentence classification: an encoder and a linear head, first fitted to frozen embeddings, then free to train."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from flax import nnx

from anaxon.check import number, require
from anaxon.data.token_batches import LENGTHS, TokenBatch, in_order
from anaxon.models.encoder import Encoder
from anaxon.types import Array, PyTree


class Head(NamedTuple):
    """`logits = embedding @ kernel + bias`: `[width, classes]`, `[classes]`."""

    kernel: np.ndarray
    bias: np.ndarray


class Classifier(nnx.Module):
    """Tokens and mask `[batch, length]` to logits `[batch, classes]`.

    Paths: `encoder` (see `Encoder`), `head/kernel [width, classes]`, `head/bias`.
    """

    def __init__(self, encoder: Encoder, head: Head) -> None:
        self.encoder = encoder
        self.head = nnx.Linear(*head.kernel.shape, rngs=nnx.Rngs(0))
        self.head.kernel, self.head.bias = nnx.Param(jnp.asarray(head.kernel)), nnx.Param(jnp.asarray(head.bias))

    def __call__(self, tokens: Array, mask: Array) -> Array:
        """Before the softmax."""
        return self.head(self.encoder(tokens, mask))


def outputs(
    fn: Callable[..., Array],
    params: PyTree,
    sequences: Sequence[np.ndarray],
    tokens: int = 4096,
    lengths: Sequence[int] = LENGTHS,
) -> np.ndarray:
    """What `fn(params, tokens, mask)` gives for each sequence, `[n, ...]`: embeddings, or logits.

    Sequences go through in batches of similar length, padded to `lengths`, about `tokens` tokens each; `fn` is compiled
    once per shape.
    """
    run, found = jax.jit(fn), {}
    for batch in in_order(sequences, tokens, lengths):
        rows = np.asarray(run(params, batch.tokens, batch.mask))
        found |= {i: row for row, i in zip(rows, batch.index.tolist(), strict=True) if i >= 0}
    return np.stack([found[i] for i in range(len(sequences))])


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows whose largest logit is that of the label."""
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def cross_entropy(logits: Array, batch: TokenBatch, labels: Array) -> Array:
    """The mean over the batch's rows that are no padding; `labels [n]` are those of all sequences."""
    valid = batch.index >= 0
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels)[batch.index])
    return jnp.sum(jnp.where(valid, each, 0.0)) / jnp.maximum(jnp.sum(valid), 1)


def ridge_head(embeddings: np.ndarray, labels: np.ndarray, classes: int, penalty: float = 1.0) -> Head:
    """Least squares to one-hot labels with `penalty * |kernel|^2`, in closed form; the bias is free.

    Args:
      embeddings: `[n, width]`.
      labels: `[n]`.
      classes: how many.
      penalty: in units of one example's squared embedding; more than 0.

    Raises:
      ValueError: for a penalty that is none, or labels out of range.
    """
    x, targets = _checked(embeddings, labels, classes, penalty)
    middle, mean = x.mean(0), targets.mean(0)
    centred = x - middle
    kernel = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (targets - mean))
    return Head(kernel.astype(np.float32), (mean - middle @ kernel).astype(np.float32))


def logistic_head(embeddings: np.ndarray, labels: np.ndarray, classes: int, penalty: float = 0.01) -> Head:
    """The minimum of the summed cross entropy + `penalty / 2 * |kernel|^2`, by L-BFGS from 0; the bias is free.

    Arguments and errors as `ridge_head`.
    """
    x, targets = _checked(embeddings, labels, classes, penalty)
    width = x.shape[1]
    start = np.zeros((width + 1) * classes)
    loss = partial(_logistic, x, targets, penalty)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    found = found.reshape(width + 1, classes).astype(np.float32)
    return Head(found[:width], found[width])


def _logistic(x: np.ndarray, targets: np.ndarray, penalty: float, flat: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient."""
    weights = flat.reshape(x.shape[1] + 1, -1)
    logits = x @ weights[:-1] + weights[-1]
    logits -= logits.max(1, keepdims=True)
    total = np.exp(logits).sum(1, keepdims=True)
    loss = np.sum(np.log(total)) - np.sum(logits * targets) + penalty / 2 * np.sum(weights[:-1] ** 2)
    error = np.exp(logits) / total - targets
    slope = np.vstack([x.T @ error + penalty * weights[:-1], error.sum(0)])
    return float(loss), slope.ravel()


def _checked(
    embeddings: np.ndarray, labels: np.ndarray, classes: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """In float64: embeddings and one-hot labels."""
    number("penalty", penalty, "a number above 0", low=0, open_low=True)
    labels = np.asarray(labels)
    ok = labels.size > 0 and labels.min() >= 0 and labels.max() < classes
    require(ok, "labels", f"{labels.size} of them", f"integers from 0 to {classes - 1}")
    return np.asarray(embeddings, np.float64), np.eye(classes)[labels]
