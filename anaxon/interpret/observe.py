"""What a run tells besides its result: ranges, saturation and error of every layer."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from anaxon.interpret.analog import observed
from anaxon.interpret.control import Stats
from anaxon.interpret.plan import Chip
from anaxon.interpret.reads import Reading
from anaxon.numerics import contract
from anaxon.types import Array, PyTree, pytree


@pytree
class LayerStats:
    """One placed weight over one run.

    Attributes:
      error: relative error of its products, `|analog - digital| / |digital|` in the 2-norm, at the run's own inputs.
      saturation: share of conversions beyond the ADC's range.
      conversions: conversions made.
      saturated: conversions beyond the range.
      input_max: largest magnitude of what drives its rows [operand units].
      column_max: largest magnitude of its columns [column units].
    """

    error: Array
    saturation: Array
    conversions: Array
    saturated: Array
    input_max: Array
    column_max: Array


def ranges(reading: Reading) -> dict[tuple[str, str], Array]:
    """The largest input and column magnitudes."""
    return {
        ("max", "input"): reading.largest,
        ("max", "column"): jnp.max(jnp.abs(reading.columns), initial=0.0),
    }


def saturation(reading: Reading) -> dict[tuple[str, str], Array]:
    """Conversions, and those whose column lies beyond the range."""
    beyond = jnp.abs(reading.columns) > reading.full_scale
    return {
        ("sum", "saturated"): jnp.sum(beyond, dtype=jnp.int32),
        ("sum", "conversions"): jnp.asarray(reading.columns.size, jnp.int32),
    }


def error(reading: Reading) -> dict[tuple[str, str], Array]:
    """Squared norms of the error and of the digital product of the same inputs."""
    exact = exact_output(reading)
    return {
        ("sum", "error"): jnp.sum((reading.output - exact) ** 2),
        ("sum", "signal"): jnp.sum(exact**2),
    }


def exact_output(reading: Reading) -> Array:
    """The digital product of the same inputs, `[G, M, C]`."""
    assert reading.weight.value is not None, "observers that need it run with the digital weights"
    weight = reading.product.weight(reading.weight.value).astype(jnp.float32)
    return contract(reading.operand, weight, (((2,), (1,)), ((0,), (0,))))


def observe(fn: Callable[..., Any]) -> Callable[..., tuple[Any, dict[str, LayerStats]]]:
    """Transforms `fn` into `(read_key, chip, params, *inputs) -> (result, {path: LayerStats})`.

    `params` are the digital weights, to compare each layer with; the result is that of `analog(fn)`.
    """

    def run(read_key: Array, chip: Chip, params: PyTree, *inputs: PyTree) -> tuple[Any, dict[str, LayerStats]]:
        out, stats = observed(fn, (ranges, saturation, error), read_key, chip, params, *inputs)
        return out, {path: _layer(values) for path, values in by_path(stats).items()}

    return run


def by_path(stats: Stats) -> dict[str, dict[str, Array]]:
    """Observations of each weight."""
    layers: dict[str, dict[str, Array]] = {}
    for (_, path, name), value in sorted(stats.items()):
        layers.setdefault(path, {})[name] = value
    return layers


def _layer(values: dict[str, Array]) -> LayerStats:
    signal = jnp.maximum(values["signal"], jnp.finfo(jnp.float32).tiny)
    return LayerStats(
        error=jnp.sqrt(values["error"] / signal),
        saturation=values["saturated"] / values["conversions"],
        conversions=values["conversions"],
        saturated=values["saturated"],
        input_max=values["input"],
        column_max=values["column"],
    )
