"""What the cells and the column amplifiers of every array draw while it is read, at given inputs.

A column whose cells have conductances g at inputs x (both relative to full scale) takes `sum g x^2` in its cells and
`r (sum g x)^2` in the transimpedance amplifier that turns its current into a voltage over r; the two columns of a pair
have one each. (The model of Kern et al., AICAS 2022, arXiv 2205.01707, with its units mended.) Over chips both are
expected values: the spread of the cells adds nothing to the first and `r sum Var g E x^2` to the second, and inputs
that vary, because arrays before them do, come with their second moments `E x x'`.

`power` takes the inputs of the mean chip, in any function; `power_over_chips` follows their means and covariances with
`predict`; `power_of_chip` measures one programmed chip.
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
from anaxon.interpret.moments.cell_spread import second_moments
from anaxon.interpret.moments.examples import check_inputs, checked
from anaxon.interpret.moments.expected import expected, mean_chip
from anaxon.interpret.moments.predict import Propagation, check_divisions, check_finite, example
from anaxon.interpret.moments.reads import Columns
from anaxon.interpret.observe import by_path
from anaxon.interpret.placed import Placed
from anaxon.interpret.plan import Chip, Plan, Site
from anaxon.interpret.product import Product
from anaxon.interpret.program import check_weights, mapping_of
from anaxon.interpret.reads import Reading
from anaxon.types import Array, ArrayLike, PyTree, is_concrete, pytree


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

    def amplifiers_at(self, sigma: ArrayLike) -> Array:
        """Of amplifiers, over chips whose cells deviate by sigma of full scale."""
        return jnp.sum(self.amplifiers) + jnp.asarray(sigma) ** 2 * jnp.sum(self.spread)


def power(fn: Callable[..., Any]) -> Callable[..., dict[str, Power]]:
    """Transforms `fn` into `(plan, params, *inputs) -> {path: Power}`, the mean over the inputs' leading axis.

    The arrays' inputs are those of the mean chip, which is a little less than they draw over chips.

    Raises:
      ValueError: for errors that go with the conductance (`sigma_rel`), columns that end in a ramp, several pairs for
        each weight (`weight_bits`), levels in time, cells with a floor, and inputs without a calibrated range, whose
        full scale would be that of the batch.
    """

    @jax.jit
    def measured(plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Power]:
        key = jax.random.key(0)
        chip = mean_chip(plan, params)
        seen = by_path(observed(fn, (_of_targets,), key, chip, params, *inputs)[1])
        batch = jax.tree.leaves(inputs)[0].shape[0]
        return {path: _per_column(plan, path, values, batch) for path, values in seen.items()}

    def run(plan: Plan, params: PyTree, *inputs: PyTree) -> dict[str, Power]:
        check_weights(plan, params)
        check_inputs(inputs)
        _check_all(plan)
        _check_constant(plan)
        return measured(plan, params, *inputs)

    return run


def power_over_chips(fn: Callable[..., Any]) -> Callable[..., tuple[PyTree, Array, dict[str, Power]]]:
    """Transforms `fn` into `(plan, params, *inputs) -> (mean, covariance, {path: Power})`.

    The first two are those of `predict`; the power is expected over chips, with what earlier arrays' deviations make of
    an array's inputs, the mean over the inputs' leading axis. Noise of reads draws nothing.

    Raises:
      TypeError, ValueError: as `predict` and as `power`.
    """

    @jax.jit
    def mapped(
        plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]
    ) -> tuple[PyTree, Array, dict[str, Array], dict[str, Power]]:
        chip = expected(plan, params)

        def one(xs: tuple) -> tuple[PyTree, Array, dict[str, Array], dict[str, dict[str, Array]]]:
            seen: dict[str, dict[str, Array]] = {}

            def watch(columns: Columns, *drive: Any) -> None:
                found, path = _expected(columns, *drive), columns.weight.path
                before = seen.get(path)  # other cells of the same weight
                seen[path] = found if before is None else jax.tree.map(jnp.add, before, found)

            return *example(Propagation(params=params, watch=watch), fn, chip, xs), seen

        mean, covariance, doubts, seen = jax.lax.map(one, inputs)
        total = lambda values: {name: jnp.sum(v, 0) for name, v in values.items()}  # noqa: E731
        batch = covariance.shape[0]
        return mean, covariance, doubts, {p: _per_column(plan, p, total(values), batch) for p, values in seen.items()}

    def found(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> tuple[PyTree, Array, dict[str, Power]]:
        _check_all(plan)
        _check_constant(plan)
        mean, covariance, doubts, powers = mapped(plan, params, inputs)
        check_divisions(doubts)
        check_finite(mean, covariance)
        return mean, covariance, powers

    return checked(fn, found)


def power_of_chip(fn: Callable[..., Any]) -> Callable[..., dict[str, Power]]:
    """Transforms `fn` into `(read_key, chip, params, *inputs) -> {path: Power}` of one chip, the inputs' mean.

    `params` are the digital weights. The cells' deviations are in `cells` and `amplifiers`; `spread` is 0.

    Raises:
      ValueError: as `power`, and for a chip that holds only the differences of its pairs: `Gaussian(sigma_rel=0.0)`
        programs both cells.
    """

    def run(read_key: Array, chip: Chip, params: PyTree, *inputs: PyTree) -> dict[str, Power]:
        _check_all(chip.plan)
        seen = by_path(observed(fn, (_of_cells,), read_key, chip, params, *inputs)[1])
        batch = jax.tree.leaves(inputs)[0].shape[0]
        return {path: _per_column(chip.plan, path, values, batch) for path, values in seen.items()}

    return run


def _check_all(plan: Plan) -> None:
    for site in plan.sites:
        _check(plan, site)


def _check_constant(plan: Plan) -> None:
    for site in plan.sites:
        if not _is_zero(getattr(plan.of(site).cells, "sigma_rel", None) or 0.0):
            raise ValueError(
                f"{site.path}: expected cells of one sigma; got {plan.of(site).cells!r}, whose deviations go with the "
                "conductance. Average `power_of_chip` over chips"
            )


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
    odd = [name for name in ("clipped", "has_stuck") if getattr(hw.cells, name, False)]
    odd += [] if _is_zero(getattr(hw.cells, "g_min", 0.0)) else ["g_min"]
    if odd:
        raise ValueError(
            f"{site.path}: power is that of unclipped, free cells with g_min = 0; got a {type(hw.cells).__name__} with "
            f"{', '.join(odd)}"
        )
    if plan.ranges[plan.index(site.path)].input is None:
        raise ValueError(
            f"{site.path}: full input is that of its range, which follows the data; `calibrate` the plan first"
        )


def _is_zero(value: Any) -> bool:
    return not is_concrete(value) or bool(np.all(np.asarray(value) == 0))


def _of_targets(reading: Reading) -> dict[tuple[str, str], Array]:
    """Of perfect cells, and what their deviations add to the amplifiers."""
    found = _drawn(reading, _targets(reading.weight, reading.product))
    spread = _per_output(reading, 2 * jnp.sum(reading.code**2, (1, 2)))
    return _summed(reading.weight, reading.product, {**found, "spread": spread})


def _of_cells(reading: Reading) -> dict[tuple[str, str], Array]:
    """Of the cells as they were programmed."""
    cells = reading.weight.cells
    if not hasattr(cells, "shape") or cells.shape[0] != 2:
        raise ValueError(
            f"{reading.weight.path}: expected both conductances of every pair; got cells that are one number, their "
            "difference: program with Gaussian(sigma_rel=0.0)"
        )
    g = reading.product.weight(cells[:, 0])
    nothing = _per_output(reading, jnp.zeros(g.shape[1]))
    return _summed(reading.weight, reading.product, {**_drawn(reading, g), "spread": nothing})


def _targets(weight: Placed, product: Product) -> Array:
    """Of both cells of every pair, `[2, G, N, C]`."""
    assert weight.value is not None
    return product.weight(cell_targets(weight.hardware.array, weight.value, weight.scale)[:, 0])


def _drawn(reading: Reading, g: Array) -> dict[str, Array]:
    """Sums over vectors, tiles and polarities of conductances `[2, G, N, C]` under the reading's codes, `[G, C]`."""
    u = reading.code
    current = jnp.stack(xbar.product(u, g, reading.weight.hardware.array.rows))  # [2, G, T, M, C]
    return {"cells": jnp.einsum("gmn,pgnc->gc", u**2, g), "amplifiers": jnp.sum(current**2, (0, 2, 3))}


def _per_output(reading: Reading, value: Array) -> Array:
    """`[G]` for every column, `[G, C]`."""
    return jnp.broadcast_to(value[:, None], (value.shape[0], reading.product.sizes[3]))


def _expected(columns: Columns, mean: Array, covariance: Array | None) -> dict[str, Array]:
    """The same of drives that vary: with `S = sum over vectors of E u u'`, `diag(S) g` and, in a tile, `g' S g`."""
    weight, product = columns.weight, columns.product
    g, rows = _targets(weight, product), weight.hardware.array.rows
    second = jnp.asarray(second_moments(columns, mean, covariance)[0][0])
    n = product.sizes[2]

    def add(total: Array, where: Array) -> tuple[Array, None]:  # [G, N]
        return total + second[where[:, :, None], where[:, None, :]], None

    start = jnp.zeros((g.shape[1], n, n), second.dtype)
    over = jax.lax.scan(add, start, jnp.moveaxis(jnp.asarray(columns.index), 1, 0))[0]
    tile = np.arange(n) // rows
    inside = jnp.where(tile[:, None] == tile, over, 0.0)
    same = jnp.diagonal(over, axis1=1, axis2=2)
    found = {
        "cells": jnp.einsum("gn,pgnc->gc", same, g),
        "amplifiers": jnp.einsum("pgnc,gnk,pgkc->gc", g, inside, g),
        "spread": jnp.broadcast_to(2 * jnp.sum(same, 1)[:, None], g.shape[1::2]),
    }
    return {name: x for (_, name), x in _summed(weight, product, found).items()}


def _summed(weight: Placed, product: Product, found: dict[str, Array]) -> dict[tuple[str, str], Array]:
    """Values of columns `[G, C]` at the first element of each, in the weight's own shape."""
    assert weight.index is not None
    heads = product.weight(weight.index)[:, 0, :]
    at = lambda x: jnp.zeros(weight.elements, x.dtype).at[heads].add(x).reshape(weight.site.shape)  # noqa: E731
    return {("sum", name): at(x) for name, x in found.items()}


def _per_column(plan: Plan, path: str, values: dict[str, Array], batch: int) -> Power:
    axes = plan.sites[plan.index(path)].row_axes
    return Power(**{name: jnp.sum(v, axes, keepdims=True) / batch for name, v in values.items()})
