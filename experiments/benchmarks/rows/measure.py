"""Functions that take turns, and rows made of their times."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

ON_CPU = jax.default_backend() == "cpu"


def clock() -> float:
    """CPU seconds of this process; wall seconds on an accelerator, whose work no CPU time shows."""
    return time.process_time() if ON_CPU else time.perf_counter()


def milliseconds(run: Callable[[], Any]) -> float:
    """Of one call, until its result is there."""
    start = clock()
    jax.block_until_ready(run())
    return (clock() - start) * 1e3


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int, per: int = 1) -> dict[str, list[float]]:
    """Times `[rounds]` of every function in ms / `per`: A B A B ..., after one call each that compiles."""
    for run in runs.values():
        jax.block_until_ready(run())
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(milliseconds(run) / per)
    return times


def summary(what: str, values: list[float]) -> dict[str, Any]:
    """Median and spread of one quantity."""
    return {
        "what": what,
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def row(
    title: str,
    name: str,
    ours: tuple[str, list[float]],
    alternative: tuple[str, list[float]] | None = None,
    *,
    unit: str = "ms",
    limit: float | None = None,
    of: str = "ratio",
    **settings: Any,
) -> dict[str, Any]:
    """One row of the table `title`; `limit` bounds the median of the ratio or of our own figure (`of`)."""
    ratios = [a / b for a, b in zip(ours[1], alternative[1], strict=True)] if alternative else []
    ratio = summary("anaxon / alternative, round by round", ratios) if ratios else None
    held = statistics.median(ours[1]) if of == "ours" else statistics.median(ratios) if ratios else None
    return {
        "title": title,
        "name": name,
        "ours": summary(*ours),
        "alternative": summary(*alternative) if alternative else None,
        "unit": unit,
        "ratio": ratio,
        "goal": None if limit is None else f"{'ratio' if of == 'ratio' else unit} <= {limit:g}",
        "met": None if limit is None or held is None else held <= limit,
        "settings": settings,
    }


def over(one: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """A function of a key for many keys, as `ensemble` does it: one after another on a CPU, one batch elsewhere."""
    return jax.lax.map(one, keys) if ON_CPU else jax.vmap(one)(keys)
