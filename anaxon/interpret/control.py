"""Control flow: loops, branches and rematerialisation with crossbars and bit lines inside.

Bit lines are converted at every boundary. Weights pass as loop constants or, stacked, as scanned inputs. What a machine
observes inside a loop (sums, maxima, minima) leaves it as an extra output and is reduced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.interpret import jaxpr as jx
from anaxon.interpret.lines import Line
from anaxon.interpret.values import Param
from anaxon.types import Array

if TYPE_CHECKING:
    from anaxon.interpret.trace import Walk

Stats = dict[tuple[str, str, str], Array]  # (how to combine, path, name) -> value
REDUCE = {"sum": jnp.sum, "max": jnp.max, "min": jnp.min}
COMBINE = {"sum": jnp.add, "max": jnp.maximum, "min": jnp.minimum}


@dataclass
class Scope:
    """Where the walk is: the loops around it, how often each path was read before, and what was observed so far.

    `pending` are observations that wait for the end of their scope, when all that a read was used for is known. `ramp`
    is the array whose ramp converted last in this scope or, before it, in one around it.
    """

    loops: tuple[tuple[Array, int | None], ...] = ()
    uses: dict[str, int] = field(default_factory=dict)
    stats: Stats = field(default_factory=dict)
    pending: list[Callable[[], Stats]] = field(default_factory=list)
    ramp: Any = None

    def next_use(self, path: str) -> int:
        """The number of this read of `path`, in trace order."""
        self.uses[path] = self.uses.get(path, 0) + 1
        return self.uses[path] - 1

    def observe(self, stats: Stats) -> None:
        """Adds observations to those made before."""
        for key, value in stats.items():
            old = self.stats.get(key)
            self.stats[key] = value if old is None else COMBINE[key[0]](old, value)

    def settle(self) -> None:
        """Makes the pending observations."""
        for observation in self.pending:
            self.observe(observation())
        self.pending = []

    @contextmanager
    def inside(self, *loop: tuple[Array, int | None], uses: dict[str, int]) -> Iterator[Stats]:
        """Within a body: its own observations; `uses` restarts, since JAX may trace a body more than once."""
        outer = self.stats, self.loops, self.pending, self.ramp
        self.uses, self.stats, self.loops, self.pending = dict(uses), {}, self.loops + loop, []
        try:
            yield self.stats
            self.settle()
        finally:
            self.stats, self.loops, self.pending, self.ramp = outer


def _identity(op: str, like: Any) -> Array:
    """The observation that changes nothing."""
    info = jnp.finfo if jnp.issubdtype(like.dtype, jnp.floating) else jnp.iinfo
    value = {"sum": 0, "max": info(like.dtype).min, "min": info(like.dtype).max}[op]
    return jnp.full(like.shape, value, like.dtype)


def _arrays(walk: Walk, values: list[Any]) -> list[Array]:
    return [walk.digital(v) for v in values]


def _as(value: Any, dtype: Any) -> Array:
    """Of the traced type: a literal is a Python number, a line's sum may have been wider."""
    value = jnp.asarray(value)
    return value if value.dtype == dtype else value.astype(dtype)


def _settled(walk: Walk, values: list[Any]) -> list[Any]:
    """Lines converted; weights and parameters as they are."""
    return [walk.digital(v) if isinstance(v, Line) else v for v in values]


def scan(walk: Walk, eqn: Any, values: list[Any]) -> list[Any]:
    """`lax.scan`: entered; its reads draw fresh noise at every step."""
    split, p, scope = jx.scan_split(eqn), eqn.params, walk.machine.scope
    values = _settled(walk, values)
    consts, rest = values[: split.consts], values[split.consts :]
    carry, xs = _arrays(walk, rest[: split.carry]), rest[split.carry :]
    dtypes = [v.aval.dtype for v in eqn.invars[split.consts : split.consts + split.carry]]
    uses = dict(scope.uses)
    # A stacked weight travels as its arrays, stack axis first, and is put together again inside.
    packed = [v.unstack() if hasattr(v, "unstack") else (walk.digital(v), None) for v in xs]

    def body(carry: list[Array], step: tuple[Array, list[Any]]) -> tuple[list[Array], Any]:
        index, leaves = step
        inputs = [x if make is None else make(x) for x, (_, make) in zip(leaves, packed, strict=True)]
        with scope.inside((index, p["length"]), uses=uses) as stats:
            outs = _arrays(walk, walk.run(p["jaxpr"], [*consts, *carry, *inputs]))
        new = [_as(o, t) for o, t in zip(outs[: split.carry], dtypes, strict=True)]
        return new, (outs[split.carry :], stats)

    steps = (jnp.arange(p["length"]), [leaves for leaves, _ in packed])
    carry, (ys, stats) = lax.scan(
        body, list(carry), steps, length=p["length"], reverse=p["reverse"], unroll=p["unroll"]
    )
    scope.observe({key: REDUCE[key[0]](value, axis=0) for key, value in stats.items()})
    return [*carry, *ys]


def while_loop(walk: Walk, eqn: Any, values: list[Any]) -> list[Any]:
    """`lax.while_loop`: entered; what its body observes is carried along (a condition has no such output)."""
    p, scope, values = eqn.params, walk.machine.scope, _settled(walk, values)
    nc, nb = p["cond_nconsts"], p["body_nconsts"]
    cond_consts, body_consts = values[:nc], values[nc : nc + nb]
    carry, before = _arrays(walk, values[nc + nb :]), dict(scope.uses)

    def condition(state: tuple) -> Array:
        with scope.inside((state[0], None), uses=before):
            return walk.digital(walk.run(p["cond_jaxpr"], [*cond_consts, *state[1]])[0])

    def step(index: Array, carry: list[Array]) -> tuple[list[Array], Stats]:
        with scope.inside((index, None), uses=uses) as stats:
            outs = _arrays(walk, walk.run(p["body_jaxpr"], [*body_consts, *carry]))
        return [_as(o, c.dtype) for o, c in zip(outs, carry, strict=True)], stats

    def body(state: tuple) -> tuple:
        index, carry, stats = state
        outs, new = step(index, carry)
        return index + 1, outs, {k: COMBINE[k[0]](stats[k], v) for k, v in new.items()}

    start = jnp.int32(0)
    jax.eval_shape(condition, (start, carry))
    uses = dict(scope.uses)  # reads of the body come after those of the condition
    shapes = jax.eval_shape(step, start, carry)[1]
    stats = {key: _identity(key[0], shape) for key, shape in shapes.items()}
    _, carry, stats = lax.while_loop(condition, body, (start, carry, stats))
    scope.observe(stats)
    return carry


def cond(walk: Walk, eqn: Any, values: list[Any]) -> list[Any]:
    """`lax.cond` and `lax.switch`: every branch entered, converted at its end."""
    scope, values = walk.machine.scope, _settled(walk, values)
    index, operands = walk.digital(values[0]), values[1:]
    dtypes = [v.aval.dtype for v in eqn.outvars]

    def branch(jaxpr: Any, uses: dict[str, int]) -> tuple[Any, Any]:
        def run() -> tuple[list[Array], Stats]:
            with scope.inside(uses=uses) as stats:
                outs = _arrays(walk, walk.run(jaxpr, operands))
            return [_as(o, t) for o, t in zip(outs, dtypes, strict=True)], stats

        return run, jax.eval_shape(run)[1]

    runs, shapes = [], {}
    for jaxpr in eqn.params["branches"]:
        run, seen = branch(jaxpr, dict(scope.uses))
        runs.append(run)
        shapes.update(seen)

    def padded(run: Any) -> Any:
        def whole() -> tuple[list[Array], Stats]:
            outs, stats = run()
            return outs, {k: stats[k] if k in stats else _identity(k[0], s) for k, s in shapes.items()}

        return whole

    uses = dict(scope.uses)
    outs, stats = lax.switch(index, [padded(r) for r in runs])
    scope.uses = uses  # of all branches, whichever were traced last
    scope.observe(stats)
    return list(outs)


def remat(walk: Walk, eqn: Any, values: list[Any]) -> list[Any]:
    """`jax.checkpoint`: wrapped again with its own policy."""
    scope, p, values = walk.machine.scope, eqn.params, _settled(walk, values)
    uses = dict(scope.uses)
    plain = [i for i, v in enumerate(values) if not _is_bound(v)]

    def body(arrays: list[Array]) -> tuple[list[Array], Stats]:
        inputs = list(values)
        for i, array in zip(plain, arrays, strict=True):
            inputs[i] = array
        with scope.inside(uses=uses) as stats:
            outs = _arrays(walk, walk.run(p["jaxpr"], inputs))
        return outs, stats

    wrapped = jax.checkpoint(body, policy=p["policy"], prevent_cse=p["prevent_cse"])
    outs, stats = wrapped([values[i] for i in plain])
    scope.observe(stats)
    return list(outs)


def _is_bound(value: Any) -> bool:
    """Weights and parameters reach a rematerialised body by closure."""
    return isinstance(value, Param) or not hasattr(value, "aval")


HANDLERS = {"scan": scan, "while": while_loop, "cond": cond, **dict.fromkeys(jx.REMATS, remat)}
