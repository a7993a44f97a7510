"""Peak memory of an ensemble: it must not grow with the number of chips."""

import json
import resource
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp

import anaxon as ax

from .measure import row

FEW, MANY = 100, 10_000
SIZES, BATCH = (64, 96, 10), 16


def rows(quick: bool) -> list[dict[str, Any]]:
    """Each count in fresh processes, in turns."""
    few, many = (10, 100) if quick else (FEW, MANY)
    took = {count: [] for count in (few, many)}
    for _ in range(1 if quick else 2):
        for count, found in took.items():
            found.append(_in_a_process(count))
    peaks = {count: [p["peak"] for p in found] for count, found in took.items()}
    settings = {
        "network": f"perceptron {SIZES}, batch {BATCH}, clipped Gaussian cells: {_cells()} a chip",
        "cells_of_all_chips_MiB": round(4 * _cells() * many / 2**20),
        "added_by_the_ensemble_MiB": {str(n): [round(p["peak"] - p["before"]) for p in f] for n, f in took.items()},
    }
    title = "Peak memory of a process that runs an ensemble, MiB"
    mine, other = (f"{many} chips", peaks[many]), (f"{few} chips", peaks[few])
    return [row(title, f"{many} chips beside {few}", mine, other, unit="MiB", limit=1.2, **settings)]


def _cells() -> int:
    return 2 * sum(n * m for n, m in zip(SIZES[:-1], SIZES[1:], strict=True))


def _in_a_process(count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "rows.memory", str(count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def _peak() -> float:
    """MiB; the system reports KiB, macOS bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _network(params: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in params[:-1]:
        x = jax.nn.relu(x @ w)
    return x @ params[-1]


def _ensemble(count: int) -> dict[str, float]:
    """The peak before and after an ensemble of `count` chips."""
    hardware = ax.Hardware(
        device=ax.Gaussian(sigma=0.03, clipped=True),
        array=ax.Array(weight_bits=None),
        dac=ax.DAC(bits=8),
        adc=ax.ADC.bits(range_bits=4, precision_bits=4),
    )
    shapes = list(zip(SIZES[:-1], SIZES[1:], strict=True))
    params = [jax.random.normal(jax.random.key(i), s) / s[0] ** 0.5 for i, s in enumerate(shapes)]
    x = jax.random.normal(jax.random.key(9), (BATCH, SIZES[0]))
    plan = ax.place(_network, hardware)(params, x)
    exact = _network(params, x)

    def one(key: jax.Array) -> jax.Array:
        program_key, read_key = jax.random.split(key)
        y = ax.analog(_network)(read_key, ax.program(program_key, plan, params), x)
        return jnp.mean((y - exact) ** 2)

    keys = jax.random.split(jax.random.key(7), count)
    before = _peak()
    errors = ax.ensemble(one, keys, progress=False)
    assert errors.shape == (count,)
    return {"before": before, "peak": _peak()}


if __name__ == "__main__":
    print(json.dumps(_ensemble(int(sys.argv[1]))))
