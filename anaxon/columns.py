"""Column values of every layer against the range of its ADC: what a choice of ranges is judged by."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from anaxon.crossbar.array import array_sums
from anaxon.interpret.analog import observed
from anaxon.interpret.observe import by_path, error, saturation
from anaxon.interpret.plan import LINEAR, Chip
from anaxon.interpret.reads import Reading
from anaxon.types import Array, PyTree, pytree

REACH = 4.0  # the histogram goes so many times beyond the hardware's own range
BINS = 161


def edges() -> np.ndarray:
    """Of the histogram's bins, in units of the hardware's own ADC range, `[BINS + 1]`; the outer ones hold the rest."""
    return np.linspace(-REACH, REACH, BINS + 1)


@pytree
class Columns:
    """The columns of one placed weight over one run.

    Attributes:
      histogram: share of column values in every bin of `edges()`, `[BINS]`.
      saturation: share of conversions beyond the range.
      by_array: that share in every physical array, `[S, G, T, K]` (slice, stack, row tile, column tile).
      error: relative error of the products, in the 2-norm.
    """

    histogram: Array
    saturation: Array
    by_array: Array
    error: Array


def column_study(fn: Callable[..., Any]) -> Callable[..., dict[str, Columns]]:
    """Transforms `fn` into `(read_key, chip, params, *inputs) -> {path: Columns}` for weights behind linear ADCs.

    The histogram is in units of the hardware's own range, whatever ranges the plan has set: it shows what a range has
    to hold. A range that follows its columns is its own unit.
    """

    def run(read_key: Array, chip: Chip, params: PyTree, *inputs: PyTree) -> dict[str, Columns]:
        watching = (_histogram, saturation, _beyond, error)
        seen = by_path(observed(fn, watching, read_key, chip, params, *inputs)[1])
        return {path: _columns(v) for path, v in seen.items() if "histogram" in v}

    return run


def _columns(seen: dict[str, Array]) -> Columns:
    return Columns(
        histogram=seen["histogram"] / jnp.sum(seen["histogram"]),
        saturation=seen["saturated"] / seen["conversions"],
        by_array=seen["beyond"] / seen["read"],
        error=jnp.sqrt(seen["error"] / jnp.maximum(seen["signal"], jnp.finfo(jnp.float32).tiny)),
    )


def _histogram(reading: Reading) -> dict[tuple[str, str], Array]:
    adc = reading.weight.hardware.adc
    if reading.kind != LINEAR or adc is None:
        return {}
    own = reading.full_scale if adc.full_scale is None else adc.full_scale
    place = jnp.floor((reading.columns / own + REACH) * (BINS / (2 * REACH)))
    counted = jnp.bincount(jnp.clip(place, 0, BINS - 1).astype(jnp.int32).reshape(-1), length=BINS)
    return {("sum", "histogram"): counted.astype(jnp.float32)}


def _beyond(reading: Reading) -> dict[tuple[str, str], Array]:
    if reading.kind != LINEAR or reading.weight.hardware.adc is None:
        return {}
    cols = reading.weight.hardware.array.cols
    over = (jnp.abs(reading.columns) > reading.full_scale).astype(jnp.float32)
    return {
        ("sum", "beyond"): array_sums(over, cols),
        ("sum", "read"): array_sums(jnp.ones_like(over), cols),
    }
