"""The chip in expectation: moments of every pair of cells in the places of weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from anaxon.crossbar.mapping import cell_targets, clipped
from anaxon.device.cell import Device
from anaxon.device.moments import PairMoments, pair_moments
from anaxon.interpret import paths
from anaxon.interpret.plan import Chip, Plan, Site
from anaxon.interpret.program import as_float, crossbar_of, mapping_of, scales_of
from anaxon.types import Array, PyTree, is_concrete, pytree, replace

MIXED = 1e-3  # of the largest result: more than another batch size rounds


def expected(plan: Plan, params: PyTree) -> Chip:
    """What `program` makes on average: a chip whose cells are `PairMoments`."""
    names, leaves, treedef = paths.flatten(params)
    where = dict(zip(names, leaves, strict=True))
    scales = scales_of(plan, where)
    sites = [s for s in plan.sites if s.path in scales]
    cells = {s.path: _moments(plan, s, where[s.path], scales[s.path]) for s in sites}
    new = {s.path: crossbar_of(plan, s, cells, where[s.path], scales[s.path]) for s in sites}
    return Chip(tree=treedef.unflatten([new.get(n, x) for n, x in zip(names, leaves, strict=True)]), plan=plan,
                key=jax.random.key(0))  # fmt: skip


def _moments(plan: Plan, site: Site, weight: Array, scale: Array) -> PairMoments:
    array = mapping_of(plan, site)
    target = cell_targets(array, clipped(array, as_float(weight), site.shared_axes), scale)
    return pair_moments(plan.of(site).cells, target, None if array.weight_bits is None else array.cell_levels)


def check_followed(plan: Plan) -> None:
    """Raises `ValueError` for what neither `predict` nor `linearised` follows, naming the weight."""
    for site, ranges in zip(plan.sites, plan.ranges, strict=True):
        hw = plan.of(site)
        if hw.activation is not None:
            raise ValueError(f"{site.path}: ends in a ramp ADC, whose codes are not followed; sample chips")
        if hw.adc is not None and hw.adc.has_columns:
            raise ValueError(f"{site.path}: offset and gain errors of its ADC's columns are not followed; sample chips")
        follows = hw.dac is not None or hw.adc is not None or not getattr(hw.cells, "ohmic", False)
        if follows and not hw.is_ideal and ranges.input is None:
            raise ValueError(f"{site.path}: its input range follows the data; `calibrate` the plan first")
        if hw.adc is not None and ranges.column is None and hw.adc.full_scale is None:
            raise ValueError(f"{site.path}: its ADC range follows the columns; `calibrate` the plan first")


def check_apart(digital: Callable[..., PyTree], params: PyTree, inputs: tuple[PyTree, ...]) -> None:
    """Raises `ValueError` for a function whose examples mix, where values are known: the first two tell.

    Args:
      digital: the compiled function.
    """
    leaves = jax.tree.leaves(inputs)
    if not is_concrete(*leaves, *jax.tree.leaves(params)) or not leaves or jnp.shape(leaves[0])[:1] <= (1,):
        return
    first = lambda n: jax.tree.leaves(digital(params, *jax.tree.map(lambda x: x[:n], inputs)))  # noqa: E731
    with jax.ensure_compile_time_eval():  # the plan may be traced: an objective of `tune.minimise`
        try:
            alone = first(1)
        except (TypeError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            if not _takes(digital, params, inputs):
                shapes = [jnp.shape(x) for x in leaves]
                raise ValueError(f"fn: does not take inputs of shapes {shapes}: {line}") from error
            raise ValueError(f"fn: examples are followed as batches of one, which it does not take: {line}") from error
        beside = first(2)
        for a, b in zip(alone, beside, strict=True):
            if jnp.ndim(a) == 0 or a.shape[0] != 1 or not jnp.issubdtype(a.dtype, jnp.floating):
                return  # what such results are is said where they are made
            away = float(jnp.max(jnp.abs(a[0] - b[0]), initial=0.0))
            if away > MIXED * float(jnp.max(jnp.abs(b[0]), initial=0.0)):
                raise ValueError(
                    f"fn: the first example's result moves by {away:.3g} when a second stands beside it; expected a "
                    "function whose examples do not mix, since each is followed by itself (a batch norm in training?)"
                )


def _takes(fn: Callable[..., PyTree], params: PyTree, inputs: tuple[PyTree, ...]) -> bool:
    try:
        jax.eval_shape(fn, params, *inputs)
    except (TypeError, ValueError):
        return False
    return True


def mean_chip(plan: Plan, params: PyTree) -> Chip:
    """The expected chip as one that reads: every pair passes its mean current, read noise is the device's."""
    hardware = tuple(hw if hw.is_ideal else replace(hw, device=Expected(device=hw.cells)) for hw in plan.hardware)
    return replace(expected(plan, params), plan=replace(plan, hardware=hardware))


@pytree
class Expected:
    """A device whose cells are their own moments: it reads like `device`, without any deviation."""

    device: Device

    @property
    def cell_bits(self) -> int | None:
        """The device's."""
        return self.device.cell_bits

    @property
    def g_max(self) -> Array | float:
        """The device's."""
        return self.device.g_max

    def program(self, key: Array, target: Array) -> PyTree:
        """Nothing is programmed: `expected` makes the cells."""
        raise NotImplementedError

    def drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """The device's."""
        return self.device.drive(volts, v_max)

    def response(self, cells: PairMoments) -> tuple[Array, ...]:
        """Means."""
        return tuple(x[0] for x in cells.mean)

    def noise_drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """The device's."""
        return self.device.noise_drive(volts, v_max)

    def noise_response(self, cells: PairMoments) -> tuple[Array, ...]:
        """Means."""
        return tuple(x[0] for x in cells.noise)

    def explain(self) -> list[tuple[str, str]]:
        """The device's."""
        return self.device.explain()
