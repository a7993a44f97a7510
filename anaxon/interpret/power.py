"""`power`: what the cells and the column amplifiers of every array draw while it is read, at given inputs.

A column whose cells have conductances g at inputs x (both relative to full scale) takes `sum g x^2` in its cells and
`r (sum g x)^2` in the transimpedance amplifier that turns its current into a voltage over r; the two columns of a pair
have one each. (The model of Kern et al., AICAS 2022, arXiv 2205.01707, with its units mended.) Targets are meant: the
spread of the cells adds nothing to the first and `r sum Var g x^2` to the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.crossbar import array as xbar
from anaxon.crossbar.mapping import cell_targets
from anaxon.interpret.analog import observed
from anaxon.interpret.moments.expected import mean_chip
from anaxon.interpret.observe import by_path
from anaxon.interpret.plan import Plan, Site
from anaxon.interpret.program import check_weights, mapping_of
from anaxon.interpret.reads import Reading
from anaxon.types import Array, PyTree, is_concrete, pytree


@pytree
class Power:
    """Of one placed weight, in units of `g_max v_max^2` (one full cell at full input), for one example.

    Attributes:
      cells: linear in the window, in the weight's shape with extent 1 along its rows.
      amplifiers: quadratic in the window, of the same shape, for `r = 1 / g_max`.
      spread: of the amplifiers by the cells' deviation, at sigma = 1; does not depend on the window.
    """

    cells: Array
    amplifiers: Array
    spread: Array

    @property
    def total(self) -> Array:
        """Of cells and amplifiers."""
        return jnp.sum(self.cells) + jnp.sum(self.amplifiers)


def power(fn: Callable[..., Any]) -> Callable[..., dict[str, Power]]:
    """Transforms `fn` into `(plan, params, *inputs) -> {path: Power}`, the mean over the inputs' leading axis.

    Raises:
      ValueError: for columns that end in a ramp, several pairs for each weight (`weight_bits`), levels in time, cells
        with a floor, and inputs without a calibrated range, whose full scale would be that of the batch.
    """

    @jax.jit
    def measured(plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Power]:
        key = jax.random.key(0)
        chip = mean_chip(plan, params)
        seen = by_path(observed(fn, (_powers,), key, chip, params, *inputs)[1])
        batch = jax.tree.leaves(inputs)[0].shape[0]
        return {path: _per_column(plan, path, values, batch) for path, values in seen.items()}

    def run(plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Power]:
        check_weights(plan, params)
        for site in plan.sites:
            _check(plan, site)
        return measured(plan, params, *inputs)

    return run


def _check(plan: Plan, site: Site) -> None:
    hw = plan.of(site)
    if hw.is_ideal:
        return
    if hw.activation is not None:
        raise ValueError(
            f"{site.path}: power is that of columns which end in an amplifier of their own; this one's sums, bias rows "
            "with them, end in a ramp"
        )
    if mapping_of(plan, site).slices > 1:
        raise ValueError(f"{site.path}: expected one pair for a weight (weight_bits=None); got several slices")
    if hw.dac is not None and hw.dac.encoding != "amplitude":
        raise ValueError(f"DAC.encoding: power is that of amplitudes; got {hw.dac.encoding!r}")
    limited = getattr(hw.cells, "clipped", False) or getattr(hw.cells, "has_stuck", False)
    if limited or not _is_zero(getattr(hw.cells, "g_min", 0.0)):
        raise ValueError(f"{site.path}: power is that of unclipped, free cells with g_min = 0; got {hw.cells!r}")
    if plan.ranges[plan.index(site.path)].input is None:
        raise ValueError(
            f"{site.path}: full input is that of its range, which follows the data; `calibrate` the plan first"
        )


def _is_zero(value: Any) -> bool:
    return not is_concrete(value) or bool(np.all(np.asarray(value) == 0))


def _powers(reading: Reading) -> dict[tuple[str, str], Array]:
    """Sums over vectors, tiles and polarities, at the first element of every column."""
    weight, product = reading.weight, reading.product
    assert weight.value is not None and weight.index is not None
    array = weight.hardware.array
    g = product.weight(cell_targets(array, weight.value, weight.scale)[:, 0])  # [2, G, N, C]
    u = reading.code
    memory = jnp.einsum("gmn,pgnc->gc", u**2, g)
    current = jnp.stack(xbar.product(u, g, array.rows))  # [2, G, T, M, C]
    spread = 2 * jnp.broadcast_to(jnp.sum(u**2, (1, 2))[:, None], memory.shape)
    heads = product.weight(weight.index)[:, 0, :]
    at = lambda x: jnp.zeros(weight.elements, x.dtype).at[heads].add(x).reshape(weight.site.shape)  # noqa: E731
    found = {"cells": memory, "amplifiers": jnp.sum(current**2, (0, 2, 3)), "spread": spread}
    return {("sum", name): at(x) for name, x in found.items()}


def _per_column(plan: Plan, path: str, values: dict[str, Array], batch: int) -> Power:
    axes = plan.sites[plan.index(path)].row_axes
    return Power(**{name: jnp.sum(v, axes, keepdims=True) / batch for name, v in values.items()})
