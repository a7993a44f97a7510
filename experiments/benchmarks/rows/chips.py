"""Chips one after another, in batches, all at once: whether `ensemble`'s default chunk suits this backend."""

from collections.abc import Callable
from typing import Any

import jax

import anaxon as ax
from anaxon.ensemble import ACCELERATOR_CHUNK, CPU_CHUNK
from anaxon.interpret.plan import Plan

from . import gaussian
from .measure import ON_CPU, in_turns, row
from .problem import Layer, layer, matmul, planned, squared_error

# (how the chips of one compiled call run, chips a call); the first is what `ensemble` does by itself.
WAYS = (
    [("map", CPU_CHUNK), ("map", 1), ("map", 4), ("map", 64), ("vmap", 4), ("vmap", 16), ("vmap", 64)]
    if ON_CPU
    else [("vmap", ACCELERATOR_CHUNK), ("vmap", 1), ("vmap", 16), ("vmap", 64), ("map", 64)]
)
NAMES = {"map": "one after another", "vmap": "as one batch"}


def rows(quick: bool) -> list[dict[str, Any]]:
    """A layer of the usual size and a small one, whose chips cost less than a call."""
    usual, small = layer(quick), layer(quick=True)
    total = 4 if quick else max(count for _, count in WAYS)
    return [r for it in ([small] if quick else [usual, small]) for r in _of(it, total, 2 if quick else 7)]


def _of(it: Layer, total: int, rounds: int) -> list[dict[str, Any]]:
    plan = planned(gaussian.hardware(it.weight.shape[0]), it)
    keys = jax.random.split(jax.random.key(5), total)
    ways = {(how, min(count, total)): None for how, count in WAYS}
    runs = {f"{count} a call, {NAMES[how]}": _run(how, count, plan, it, keys) for how, count in ways}
    times = in_turns(runs, rounds, per=total)
    (default, ours), *others = times.items()
    title = f"Gaussian noise, {it.sizes}: chips a second; ensemble's default ({default}) beside"
    mine = (default, [1e3 / t for t in ours])
    return [row(title, what, mine, (what, [1e3 / t for t in ts]), unit="chips/s", chips=total) for what, ts in others]


def _run(how: str, count: int, plan: Plan, it: Layer, keys: jax.Array) -> Callable[[], Any]:
    """All chips, `count` a call; results leave the device after every call, as in `ensemble`."""

    def batch(plan: Plan, it: Layer, keys: jax.Array) -> jax.Array:
        def one(key: jax.Array) -> jax.Array:
            program_key, read_key = jax.random.split(key)
            chip = ax.program(program_key, plan, it.weight)
            return squared_error(ax.analog(matmul)(read_key, chip, it.x), it.exact)

        return jax.lax.map(one, keys) if how == "map" else jax.vmap(one)(keys)

    call = jax.jit(batch)
    chunks = [keys[i : i + count] for i in range(0, len(keys), count)]
    return lambda: [jax.device_get(call(plan, it, chunk)) for chunk in chunks]
