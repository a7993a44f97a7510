"""`program`: one chip from a plan, a key and parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.crossbar.mapping import cell_targets, clipped, weight_scale
from anaxon.interpret import paths
from anaxon.interpret.plan import Chip, Crossbar, Plan, Site
from anaxon.prng import check_key, fold_name
from anaxon.types import Array, PyTree, is_concrete


def program(key: Array, plan: Plan, params: PyTree) -> Chip:
    """Programs every placed weight onto its crossbar.

    A cell is a function of (key, the weight's path, the cell's coordinate): one chip is the same however many are made
    beside it, in whatever order.

    Args:
      key: the chip's key.
      plan: from `place`.
      params: the parameter tree that was placed.

    Returns:
      The chip: the same tree with a `Crossbar` for every placed weight.

    Raises:
      ValueError: for a parameter tree that is not the plan's, or (where values are concrete) weights that are not
        finite.
    """
    check_key(key)
    names, leaves, treedef = paths.flatten(params)
    where = dict(zip(names, leaves, strict=True))
    for site in plan.sites:
        _check(site, where)
    scales = _scales(plan, where)
    new = {
        site.path: where[site.path]
        if plan.of(site).is_ideal
        else _crossbar(key, plan, site, where[site.path], scales[site.path])
        for site in plan.sites
    }
    tree = treedef.unflatten([new.get(name, leaf) for name, leaf in zip(names, leaves, strict=True)])
    return Chip(tree=tree, plan=plan, key=key)


def _check(site: Site, where: dict[str, Any]) -> None:
    if site.path not in where:
        raise ValueError(f"params: the plan places {site.path!r}, which is not there; there are {list(where)}")
    weight = where[site.path]
    if tuple(weight.shape) != site.shape:
        raise ValueError(f"params: {site.path} was placed with shape {site.shape}; got {tuple(weight.shape)}")
    if is_concrete(weight) and not bool(np.all(np.isfinite(np.asarray(weight, np.float32)))):
        bad = int(np.sum(~np.isfinite(np.asarray(weight, np.float32))))
        raise ValueError(f"params: {site.path} holds {bad} value(s) that are not finite; expected finite weights")


def _scales(plan: Plan, where: dict[str, Any]) -> dict[str, Array]:
    """One scale per site, or one for all sites that share an array."""
    scales = {
        s.path: weight_scale(plan.of(s).array, _float(where[s.path]), s.shared_axes)
        for s in plan.sites
        if not plan.of(s).is_ideal
    }
    for group in {s.group for s in plan.sites if s.group is not None}:
        members = [s.path for s in plan.sites if s.group == group and s.path in scales]
        common = jnp.max(jnp.stack([jnp.max(scales[m]) for m in members]))
        scales.update({m: jnp.broadcast_to(common, scales[m].shape) for m in members})
    return scales


def _float(weight: Array) -> Array:
    return jnp.asarray(weight).astype(jnp.float32)


def _crossbar(key: Array, plan: Plan, site: Site, weight: Array, scale: Array) -> Crossbar:
    hardware = plan.of(site)
    limited = clipped(hardware.array, _float(weight), site.shared_axes)
    targets = cell_targets(hardware.array, limited, scale)
    return Crossbar(
        cells=hardware.device.program(fold_name(key, site.path), targets),
        scale=scale if scale.size > 1 else scale.reshape(()),
        digital=weight if site.digital else None,
        path=site.path,
        shape=site.shape,
        dtype=site.dtype,
    )


def is_crossbar(node: Any) -> bool:
    """For `jax.tree` functions: whether a node of a chip's tree is a placed weight."""
    return isinstance(node, Crossbar)


def cells_of(chip: Chip) -> dict[str, PyTree]:
    """The state of every crossbar, by path."""
    leaves = jax.tree.leaves(chip.tree, is_leaf=is_crossbar)
    return {leaf.path: leaf.cells for leaf in leaves if is_crossbar(leaf)}
