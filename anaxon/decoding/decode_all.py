"""Prefix beam search over many utterances, on one core or several."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from anaxon import check
from anaxon.data.tokens import SYMBOLS
from anaxon.decoding.greedy import check_shapes
from anaxon.decoding.language_model import LanguageModel
from anaxon.decoding.prefix_beam import prefix_beam

TOGETHER = 16  # utterances sent to a process at once


def decode_all(
    log_probs: np.ndarray,
    lengths: np.ndarray,
    beam: int = 16,
    language_model: LanguageModel | None = None,
    weight: float = 0.5,
    insertion: float = 0.0,
    *,
    letters: Sequence[str] = SYMBOLS,
    least: float = 1e-4,
    workers: int = 1,
    progress: bool = False,
) -> list[list[int]]:
    """Tokens of the best transcript of each utterance by `prefix_beam`, whose arguments these are.

    Args:
      log_probs: `[batch, frames, vocabulary]` [nats].
      lengths: frames of each utterance, `[batch]`; what follows is padding.
      beam: prefixes kept after each frame.
      language_model: of words.
      weight: of its natural log probabilities.
      insertion: added for every word [nats].
      letters: of each token.
      least: tokens less likely in a frame start no new prefix there.
      workers: processes; each starts anew, which takes seconds: worth it from about an hour of speech. A script
        that asks for more than one needs the usual `if __name__ == "__main__":`.
      progress: whether to show a bar.

    Raises:
      ValueError: for shapes, or what `prefix_beam` refuses.
    """
    check_shapes(np.shape(log_probs), np.shape(lengths))
    check.integer("workers", workers, 1, 4096)
    host, counts = np.asarray(log_probs), np.asarray(lengths).tolist()
    search = partial(
        _best, beam=beam, model=language_model, weight=weight, insertion=insertion, letters=letters, least=least
    )
    utterances = (frames[:count] for frames, count in zip(host, counts, strict=True))
    if workers == 1:
        return list(_shown(map(search, utterances), len(host), progress))
    # spawned, not forked: JAX runs threads, and a fork may hang in their locks
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_keep, initargs=(search,)) as pool:
        return list(_shown(pool.map(_kept, utterances, chunksize=TOGETHER), len(host), progress))


_searches: list[Callable[[np.ndarray], list[int]]] = []  # of this process: a language model travels once, not with work


def _keep(search: Callable[[np.ndarray], list[int]]) -> None:
    _searches.append(search)


def _kept(frames: np.ndarray) -> list[int]:
    return _searches[-1](frames)


def _best(
    frames: np.ndarray,
    beam: int,
    model: LanguageModel | None,
    weight: float,
    insertion: float,
    letters: Sequence[str],
    least: float,
) -> list[int]:
    found = prefix_beam(frames, beam, model, weight, insertion, letters=letters, least=least)
    return list(found[0].tokens) if found else []


def _shown(results: Iterable[list[int]], total: int, progress: bool) -> Iterator[list[int]]:
    from rich.progress import track

    yield from track(results, "decoding", total, transient=True, disable=not progress)
