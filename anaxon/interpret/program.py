"""`program`: one chip from a plan, a key and parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.crossbar.mapping import Array as ArraySpec
from anaxon.crossbar.mapping import cell_targets, clipped, mapped_weight, weight_scale
from anaxon.interpret import paths
from anaxon.interpret.plan import Chip, Crossbar, Plan, Site
from anaxon.numerics import safe_scale
from anaxon.prng import check_key, name_code
from anaxon.types import Array, PyTree, is_concrete, replace


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
    check_weights(plan, params)
    return Chip(tree=_programmed(key, plan, params), plan=plan, key=key)


def check_weights(plan: Plan, params: PyTree) -> None:
    """Raises `ValueError` for parameters that are not the plan's, or not finite where they are concrete."""
    if not isinstance(plan, Plan):
        raise TypeError(f"plan: expected what `place` returns; got {type(plan).__name__}")
    names, leaves, _ = paths.flatten(params)
    where = dict(zip(names, leaves, strict=True))
    for site in plan.sites:
        _check(site, where)
        window_of(plan, site)
    odd = sorted(set(names) ^ set(plan.names))
    if odd and plan.names:
        what = "is missing" if odd[0] in plan.names else "was not there when it was placed"
        raise ValueError(f"params: expected the tree that was placed; {odd[0]!r} {what}")


@jax.jit  # a call outside any trace would otherwise compile hundreds of small programs
def _programmed(key: Array, plan: Plan, params: PyTree) -> PyTree:
    names, leaves, treedef = paths.flatten(params)
    where = dict(zip(names, leaves, strict=True))
    scales = scales_of(plan, where)
    cells = _cells(key, plan, where, scales)
    new = {s.path: crossbar_of(plan, s, cells, where[s.path], scales[s.path]) for s in plan.sites if s.path in cells}
    return treedef.unflatten([new.get(name, leaf) for name, leaf in zip(names, leaves, strict=True)])


def _check(site: Site, where: dict[str, Any]) -> None:
    if site.path not in where:
        raise ValueError(f"params: the plan places {site.path!r}, which is not there; there are {list(where)}")
    weight = where[site.path]
    if tuple(weight.shape) != site.shape:
        raise ValueError(f"params: {site.path} was placed with shape {site.shape}; got {tuple(weight.shape)}")
    if is_concrete(weight) and not bool(np.all(np.isfinite(np.asarray(weight, np.float32)))):
        bad = int(np.sum(~np.isfinite(np.asarray(weight, np.float32))))
        raise ValueError(f"params: {site.path} holds {bad} value(s) that are not finite; expected finite weights")


def scales_of(plan: Plan, where: dict[str, Any]) -> dict[str, Array]:
    """One scale per site; sites that share an array share the unit of its columns, scale times input range."""
    scales = {
        s.path: weight_scale(mapping_of(plan, s), as_float(where[s.path]), s.shared_axes) / window_of(plan, s)
        for s in plan.sites
        if not plan.of(s).is_ideal
    }
    for group in {s.group for s in plan.sites if s.group is not None}:
        members = [s.path for s in plan.sites if s.group == group and s.path in scales]
        used = {m: jnp.any(where[m] != 0, axis=_site(plan, m).shared_axes, keepdims=True) for m in members}
        drive = plan.row_ranges(group)
        units = _common({m: jnp.where(used[m], scales[m] * drive.get(m, 1.0), 0.0) for m in members})
        scales.update({m: unit / drive.get(m, 1.0) for m, unit in units.items()})
    return scales


def window_of(plan: Plan, site: Site) -> Array | float:
    """The share of full scale that the site's largest weight uses.

    Raises:
      ValueError: for a window beyond (0, 1], where it is known, or of another shape than the weight's.
    """
    window = plan.ranges[plan.index(site.path)].window
    if window is None:
        return 1.0
    shape = jnp.shape(window)
    alike = len(shape) == len(site.shape) and all(n in (1, m) for n, m in zip(shape, site.shape, strict=True))
    if shape and not alike:
        raise ValueError(f"ranges.window: {site.path} has shape {site.shape}; got {shape} (1 where it is common)")
    if shape and any(shape[a] != 1 for a in site.row_axes):
        raise ValueError(f"ranges.window: the rows of {site.path}, axes {site.row_axes}, share windows; got {shape}")
    if is_concrete(window) and not (np.all(np.asarray(window) > 0) and np.all(np.asarray(window) <= 1)):
        raise ValueError(f"ranges.window: expected shares of full scale in (0, 1]; got {np.asarray(window)!r}")
    return jnp.asarray(window)


def _common(scales: dict[str, Array]) -> dict[str, Array]:
    """The largest unit, for each stack index (or column) where all members have as many, for all of them elsewhere.

    A member without any weight has unit 0 here: it must not coarsen the others.
    """
    if len({s.size for s in scales.values()}) == 1:
        largest = safe_scale(jnp.max(jnp.stack([s.reshape(-1) for s in scales.values()]), axis=0))
        return {path: largest.reshape(s.shape) for path, s in scales.items()}
    largest = safe_scale(jnp.max(jnp.stack([jnp.max(s) for s in scales.values()])))
    return {path: jnp.broadcast_to(largest, s.shape) for path, s in scales.items()}


def _site(plan: Plan, path: str) -> Site:
    return plan.sites[plan.index(path)]


def mapping_of(plan: Plan, site: Site) -> ArraySpec:
    """The site's mapping; a bias row is never clipped, since a layer's few biases have no outliers to speak of."""
    array = plan.of(site).array
    return replace(array, clip_sigma=None) if site.bias else array


def as_float(weight: Array) -> Array:
    """In float32, or in float64 where it has that."""
    weight = jnp.asarray(weight)
    return weight.astype(jnp.promote_types(jnp.float32, weight.dtype))


def _cells(key: Array, plan: Plan, where: dict[str, Any], scales: dict[str, Array]) -> dict[str, PyTree]:
    """The cells of every site. Sites alike are programmed together: a network of equal blocks compiles as one block."""
    alike: dict[tuple, list[Site]] = {}
    for s in plan.sites:
        if not plan.of(s).is_ideal:
            alike.setdefault((s.hardware, s.shape, s.shared_axes, s.bias, scales[s.path].shape), []).append(s)
    cells = {}
    for sites in alike.values():
        hardware, array = plan.of(sites[0]), mapping_of(plan, sites[0])

        def one(key: Array, weight: Array, scale: Array, site: Site = sites[0], hw: Any = hardware, array: Any = array):
            limited = clipped(array, weight, site.shared_axes)
            return hw.cells.program(key, cell_targets(array, limited, scale))

        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray([name_code(s.path) for s in sites]))
        weights = jnp.stack([as_float(where[s.path]) for s in sites])
        scale = jnp.stack([scales[s.path] for s in sites])
        # One after another on a CPU: the targets and random words of all blocks at once would not fit its caches.
        state = _batched(one, len(sites))(keys, weights, scale)
        cells.update({s.path: jax.tree.map(lambda x, i=i: x[i], state) for i, s in enumerate(sites)})
    return cells


def _batched(fn: Callable[..., PyTree], count: int) -> Callable[..., PyTree]:
    if jax.default_backend() == "cpu" and count > 1:
        return lambda *args: jax.lax.map(lambda a: fn(*a), args)
    return jax.vmap(fn)


def crossbar_of(plan: Plan, site: Site, cells: dict[str, PyTree], weight: Array, scale: Array) -> Crossbar:
    """What stands in the place of a weight."""
    offset = plan.ranges[plan.index(site.path)].offset
    return Crossbar(
        cells=cells[site.path],
        scale=scale if scale.size > 1 else scale.reshape(()),
        digital=weight if site.digital else None,
        compensation=None if offset is None else _compensation(plan, site, offset, as_float(weight), scale),
        path=site.path,
        shape=site.shape,
        dtype=site.dtype,
    )


def _compensation(plan: Plan, site: Site, offset: Array, weight: Array, scale: Array) -> Array:
    """What an offset of the operand contributes to the columns: its product with the weight as it was mapped."""
    array = mapping_of(plan, site)
    shape = jnp.shape(offset)
    if len(shape) != len(site.shape) or any(n not in (1, full) for n, full in zip(shape, site.shape, strict=True)):
        raise ValueError(f"ranges.offset: {site.path} has shape {site.shape}; got {shape} (1 where it is common)")
    exact = mapped_weight(array, clipped(array, weight, site.shared_axes), scale)
    return jnp.sum(jnp.asarray(offset, jnp.float32) * exact, axis=site.row_axes, keepdims=True)


def compact(chip: Chip, dtype: Any = jnp.float16) -> Chip:
    """The chip with its cells in 16 bits: half the memory, and reads on an accelerator's units for half precision.

    A cell's state is then rounded once, to 2**-12 of full scale in float16 (bfloat16: 2**-9), far below the spread
    of the shipped VCM cells; sums stay in float32.

    Raises:
      TypeError: for a type that is not float16 or bfloat16.
    """
    if jnp.dtype(dtype) not in (jnp.dtype(jnp.float16), jnp.dtype(jnp.bfloat16)):
        raise TypeError(f"compact: expected float16 or bfloat16; got {jnp.dtype(dtype).name}")
    small = lambda x: replace(x, cells=jax.tree.map(lambda c: c.astype(dtype), x.cells)) if is_crossbar(x) else x  # noqa: E731
    return replace(chip, tree=jax.tree.map(small, chip.tree, is_leaf=is_crossbar))


def mapped(plan: Plan, params: PyTree) -> PyTree:
    """The parameters with every placed weight as perfect cells would hold it: limited and quantised, not programmed.

    Raises:
      ValueError: as `program`.
    """
    check_weights(plan, params)
    names, leaves, treedef = paths.flatten(params)
    where = dict(zip(names, leaves, strict=True))
    scales = scales_of(plan, where)
    return treedef.unflatten([_mapped(plan, p, where[p], scales[p]) if p in scales else where[p] for p in names])


def _mapped(plan: Plan, path: str, weight: Array, scale: Array) -> Array:
    site = _site(plan, path)
    array = mapping_of(plan, site)
    return mapped_weight(array, clipped(array, as_float(weight), site.shared_axes), scale).astype(weight.dtype)


def is_crossbar(node: Any) -> bool:
    """For `jax.tree` functions: whether a node of a chip's tree is a placed weight."""
    return isinstance(node, Crossbar)


def cells_of(chip: Chip) -> dict[str, PyTree]:
    """The state of every crossbar, by path."""
    leaves = jax.tree.leaves(chip.tree, is_leaf=is_crossbar)
    return {leaf.path: leaf.cells for leaf in leaves if is_crossbar(leaf)}
