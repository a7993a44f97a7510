"""A scanned LSTM whose gates end in ramp ADCs, beside the same scan with linear ADCs and digital activations.

One programmed chip is read; programming is not timed. Both run through `ax.analog`, with calibrated ranges, the same
cells and the same row drivers, and differ in the converters alone. Then the counter by itself, beside other ways to
count the same thresholds: what `converter.ramp.counter.COMPARED` rests on.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import anaxon as ax
from anaxon import ramp
from anaxon.converter.ramp.counter import guide_of, passed

from .measure import ON_CPU, in_turns, row

LIMITS = {3: 1.3, 4: 1.3, 5: 1.3, 8: 3.0}
# inputs, hidden units, batch, steps
SIZES = [(40, 32, 200, 49), (40, 128, 200, 49)] if ON_CPU else [(40, 128, 200, 49), (128, 1024, 256, 64)]


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row for each size and bit width."""
    sizes = [(8, 8, 4, 3)] if quick else SIZES
    rounds = 2 if quick else 15
    reads = [_row(bits, size, rounds) for size in sizes for bits in LIMITS]
    return reads + [row for bits in ((3, 8) if quick else (4, 5, 6, 7, 8)) for row in _counters(bits, rounds, quick)]


def _counters(bits: int, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """The counter beside one comparison a level and beside a binary search; all must give the same."""
    z = 2 * jax.random.normal(jax.random.key(4), (4, 16) if quick else (200, 512))
    levels = ramp.sample(jax.random.key(5), ax.Ramp(bits=bits, sigma=0.0182), "logistic")
    ways: dict[str, Callable[..., jax.Array]] = {
        "counter": lambda v, z: passed(v, guide_of(v), z),
        "one comparison a level": lambda v, z: sum((z >= v[k]).astype(jnp.int32) for k in range(v.shape[0])),
        "binary search": lambda v, z: jnp.searchsorted(v, z, side="right", method="scan_unrolled").astype(jnp.int32),
    }
    calls = {name: jax.jit(way) for name, way in ways.items()}
    found = {name: call(levels, z) for name, call in calls.items()}
    assert all(jnp.array_equal(f, found["counter"]) for f in found.values())
    times = in_turns({name: lambda call=call: call(levels, z) for name, call in calls.items()}, rounds)
    title = f"Counting {2**bits - 1} thresholds for {z.size:,} values, ms"
    mine = ("counter", times.pop("counter"))
    return [row(title, name, mine, (name, ts), bits=bits) for name, ts in times.items()]


def _row(bits: int, size: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    params, x = problem(*size)
    runs = {
        "ramp": _run({"activation": ax.Ramp(bits=bits, sigma=0.0182)}, params, x),
        "linear": _run({"adc": ax.ADC.uniform(bits=bits)}, params, x),
    }
    times = in_turns(runs, rounds)
    inputs, hidden, batch, steps = size
    title = f"LSTM {inputs} -> {hidden}, batch {batch}, {steps} steps: one read of a chip, ms"
    name = f"{bits}-bit ramp ADC beside {bits}-bit linear ADC and digital activations"
    mine, theirs = ("ramp", times["ramp"]), ("linear ADC, digital activations", times["linear"])
    return row(title, name, mine, theirs, limit=LIMITS[bits], bits=bits)


def _run(converters: dict[str, Any], params: Any, x: jax.Array) -> Callable[[], Any]:
    rows = sum(w.shape[0] for w in (params["w"], params["u"])) + 1
    hw = ax.Hardware(
        device=ax.Gaussian(sigma=0.0182),
        array=ax.Array(rows=rows, cols=params["w"].shape[1], weight_bits=None),
        dac=ax.DAC(bits=5, v_max=0.2, encoding="pulse-width"),
        **converters,
    )
    plan = ax.calibrate(lstm)(jax.random.key(1), ax.place(lstm, hw)(params, x), params, x)
    chip = ax.program(jax.random.key(2), plan, params)
    read = jax.jit(ax.analog(lstm))
    return lambda: read(jax.random.key(3), chip, x)


def lstm(params: Any, x: jax.Array) -> jax.Array:
    """The mean hidden state `[batch, hidden]` of inputs `[batch, steps, inputs]`."""

    def step(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        c, h = carry
        i, f, g, o = jnp.split(x @ params["w"] + h @ params["u"] + params["b"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    zero = jnp.zeros((x.shape[0], params["u"].shape[0]))
    return jax.lax.scan(step, (zero, zero), jnp.swapaxes(x, 0, 1))[1].mean(0)


def problem(inputs: int, hidden: int, batch: int, steps: int) -> tuple[dict[str, jax.Array], jax.Array]:
    """Weights and inputs of the usual sizes."""
    keys = jax.random.split(jax.random.key(0), 3)
    wide = 4 * hidden
    params = {
        "w": jax.random.normal(keys[0], (inputs, wide)) / inputs**0.5,
        "u": jax.random.normal(keys[1], (hidden, wide)) / hidden**0.5,
        "b": jnp.zeros(wide),
    }
    return params, jnp.clip(jax.random.normal(keys[2], (batch, steps, inputs)), -3, 3)
