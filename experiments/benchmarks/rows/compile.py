"""Compile time of an ensemble whose function closes over large weights, and how often it compiles."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.monitoring
import jax.numpy as jnp

import anaxon as ax
from anaxon.interpret.plan import Plan

from .measure import clock, over, row

CHIPS = 2
HARDWARE = ax.Hardware(
    device=ax.Gaussian(sigma=0.03),
    array=ax.Array(rows=512, cols=512, weight_bits=None),
    dac=ax.DAC(bits=8),
    adc=ax.ADC.bits(range_bits=4, precision_bits=4),
)
Params = list[jax.Array]


def rows(quick: bool) -> list[dict[str, Any]]:
    """Time to the first result minus run time, and the number of programs compiled by a run of several chunks."""
    size, depth = (64, 1) if quick else (2240, 5)
    params = [jax.random.normal(jax.random.key(i), (size, size)) / size**0.5 for i in range(depth)]
    x = jax.random.normal(jax.random.key(9), (1, size))
    plan = ax.place(network, HARDWARE)(params, x)
    keys = jax.random.split(jax.random.key(8), CHIPS)
    took: dict[str, list[tuple[float, float]]] = {"closed over": [], "arguments": []}
    for _ in range(1 if quick else 7):
        explicit = jax.jit(lambda plan, params, x, keys: over(one_of(plan, params, x), keys))
        took["arguments"].append(timed(lambda explicit=explicit: explicit(plan, params, x, keys)))
        run = timed(lambda explicit=explicit: explicit(plan, params, x, keys))
        closed = timed(lambda: ax.ensemble(one_of(plan, params, x), keys, chunk=CHIPS, progress=False))
        took["closed over"].append(closed)
        for found in took.values():
            found[-1] = tuple(first - again for first, again in zip(found[-1], run, strict=True))
    megabytes = sum(p.nbytes for p in params) / 1e6
    settings = {"weights": f"{depth} x {size}x{size} float32", "chips": CHIPS, "device": "Gaussian", "batch": 1}
    title = f"Compile time of an ensemble, {megabytes:.0f} MB of weights closed over beside explicit arguments, s"
    out = []
    for i, what in enumerate(("CPU time", "wall time")):
        mine = ("ensemble of a closure", [t[i] for t in took["closed over"]])
        other = ("jit of arguments", [t[i] for t in took["arguments"]])
        out.append(row(title, what, mine, other, unit="s", limit=1.5, **settings))
    return [*out, compilations(plan, params, x)]


def network(params: Params, x: jax.Array) -> jax.Array:
    """A perceptron."""
    for w in params:
        x = jax.nn.relu(x @ w)
    return x


def one_of(plan: Plan, params: Params, x: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """One chip, closed over what it needs."""

    def one(key: jax.Array) -> jax.Array:
        program_key, read_key = jax.random.split(key)
        return jnp.mean(ax.analog(network)(read_key, ax.program(program_key, plan, params), x))

    return one


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """(CPU, wall) seconds to the result."""
    cpu, wall = clock(), time.perf_counter()
    jax.block_until_ready(run())
    return clock() - cpu, time.perf_counter() - wall


def compilations(plan: Plan, params: Params, x: jax.Array) -> dict[str, Any]:
    """Programs compiled by a run of three chunks, the last of them partly filled: one, and small change.

    The small change (slices and padding of the array of keys) takes milliseconds; a program counts if it took more
    than a tenth of the longest.
    """
    took: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            took.append(seconds)

    keys = jax.random.split(jax.random.key(7), 5)
    jax.block_until_ready(keys)
    jax.monitoring.register_event_duration_secs_listener(listen)
    ax.ensemble(one_of(plan, params, x), keys, chunk=2, progress=False)
    count = sum(t > 0.1 * max(took) for t in took)
    title, name = "Programs compiled by one run", "ensemble of 5 chips in chunks of 2"
    small = {"small_programs": len(took) - count, "seconds": [round(t, 4) for t in sorted(took, reverse=True)]}
    return row(title, name, ("compilations", [count]), unit="programs", limit=1, of="ours", **small)
