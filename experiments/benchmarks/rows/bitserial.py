"""Bit-serial early termination of one attention layer, beside the float32 scores `q @ k.T` of the same heads."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.attention.bitserial import terminate
from anaxon.attention.integers import quantised, step_of

from .measure import ON_CPU, in_turns, row, summary

LIMITS = {(64, 2): 10, (64, 1): 20, (32, 2): 12, (32, 1): 28}  # head size and bits a cycle, on a CPU
GOAL = 5e11  # simulated cycles a second on an accelerator
QUEUED = 1 if ON_CPU else 10  # calls of one timing: one layer behind the other, so that an accelerator does not wait
PRUNED = 0.75  # share of the pairs: it sets the cycles that are simulated, not the work of simulating them


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row for each head size and bits a cycle; on an accelerator a batch of layers."""
    length, heads, rounds = (32, 2, 2) if quick else (512, 12 if ON_CPU else 96, 15)
    return [made for head_dim in (64, 32) for made in _rows(length, heads, head_dim, rounds)]


def _rows(length: int, heads: int, head_dim: int, rounds: int) -> list[dict[str, Any]]:
    query, key, threshold = problem(length, heads, head_dim)
    whole = query.astype(jnp.float32), key.astype(jnp.float32)
    dense = jax.jit(lambda q, k: jnp.einsum("hqd,hkd->hqk", q, k))
    runs = {per: jax.jit(lambda q, k, th, per=per: terminate(q, k, th, bits=12, per_cycle=per)) for per in (2, 1)}
    calls = {str(per): lambda run=run: run(query, key, threshold) for per, run in runs.items()}
    calls = {"dense": lambda: dense(*whole), **calls}
    times = in_turns({name: partial(_queued, call) for name, call in calls.items()}, rounds, per=QUEUED)
    title = f"Early termination, {heads} heads of {head_dim}, {length} tokens, 12 bits, ms"
    made = []
    for per, run in runs.items():
        cycles = float(np.sum(run(query, key, threshold).cycles, dtype=np.float64))
        rates = [cycles / t * 1e3 for t in times[str(per)]]
        limit = LIMITS[head_dim, per] if ON_CPU else None
        name, mine, theirs = f"{per} bits a cycle", ("terminate", times[str(per)]), ("float32 scores", times["dense"])
        rate = summary("simulated cycles a second", rates)
        made.append(row(title, name, mine, theirs, limit=limit, cycles=cycles, rate=rate, queued=QUEUED))
        if not ON_CPU:
            made.append(_rate(title, name, rates))
    return made


def _queued(call: Callable[[], Any]) -> list[Any]:
    """Results of calls that follow each other without waiting."""
    return [call() for _ in range(QUEUED)]


def _rate(title: str, name: str, rates: list[float]) -> dict[str, Any]:
    """Picoseconds of one simulated cycle: 2 are 5e11 cycles a second."""
    each = ("terminate", [1e12 / rate for rate in rates])
    limit = 1e12 / GOAL
    return row(title.replace(", ms", ", ps of a simulated cycle"), name, each, unit="ps", limit=limit, of="ours")


def problem(length: int, heads: int, head_dim: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gaussian queries and keys, 12 bits with one step a tensor, and each head's quantile as a threshold."""
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((heads, length, head_dim), np.float32) for _ in range(2))
    q, k = (quantised(x, step_of(np.abs(x).max(), 12), 12) for x in (q, k))
    scores = np.matmul(np.asarray(q, np.float64), np.swapaxes(np.asarray(k, np.float64), 1, 2))
    level = np.ceil(np.quantile(scores, PRUNED, axis=(1, 2), keepdims=True)).astype(np.int32)
    return q, k, jnp.asarray(level)
