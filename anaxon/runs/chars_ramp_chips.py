"""Bits per character of float networks and of chips, on the same rows of test text."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.interpret.analog import analog
from anaxon.models.char_lm import Forward, bits_by_row, rows
from anaxon.runs.trainings import Ready, on_chips
from anaxon.types import Array, PyTree

if TYPE_CHECKING:
    from anaxon.runs.chars_ramp_settings import Settings

SEGMENT = 64  # characters read at a time


def read_rows(settings: "Settings", codes: np.ndarray) -> np.ndarray:
    """What everyone reads of the test split `[n]`: `[rows, characters + 1]`, the last is only a target.

    Raises:
      ValueError: for a split that is too short.
    """
    test = settings.test
    whole = -(-(test.warm_up + test.characters) // SEGMENT) * SEGMENT
    table = rows(codes, test.rows)
    if table.shape[1] < whole + 1:
        raise ValueError(
            f"test: {test.rows} rows of {whole + 1:,} characters (whole segments of {SEGMENT}) need "
            f"{test.rows * (whole + 1):,}; the test split has {len(codes):,}"
        )
    return table[:, : whole + 1]


def reader(settings: "Settings", fn: Forward) -> Callable[[PyTree, Array], Array]:
    """`(params, codes [rows, n]) -> bits per character [rows]`, the state carried along each row."""
    state = settings.size.widths.state(settings.test.rows)
    return partial(_read, fn, state, settings.test.warm_up)


def _read(fn: Forward, state: tuple[Array, Array], skip: int, params: PyTree, codes: Array) -> Array:
    return bits_by_row(fn, params, codes, state, segment=SEGMENT, skip=skip)


def on_float(settings: "Settings", fn: Forward, networks: Sequence[PyTree], codes: np.ndarray) -> np.ndarray:
    """Bits per character `[networks, rows]` of networks in float32."""
    run = jax.jit(reader(settings, fn))
    return np.stack([np.asarray(run(params, jnp.asarray(codes))) for params in networks])


def bits_on_chips(
    settings: "Settings",
    fn: Forward,
    trainings: Sequence[Ready],
    codes: np.ndarray,
    chips: int,
    path: Path,
    progress: bool = True,
) -> np.ndarray:
    """Bits per character `[chips, trainings, rows]` of freshly programmed chips."""
    text, run = jnp.asarray(codes), analog(reader(settings, fn))
    read = lambda key, chip: run(key, chip, text)  # noqa: E731
    return on_chips(settings.seed, read, trainings, chips, path, progress, per_device=5)
