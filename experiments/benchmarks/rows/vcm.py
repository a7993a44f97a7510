"""VCM cells at 4-bit weights: anaxon beside a loop written by hand, and what the time of a chip goes into."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import anaxon as ax
from anaxon import prng
from anaxon.units import BOLTZMANN, ELEMENTARY_CHARGE

from .measure import ON_CPU, in_turns, over, row
from .problem import Layer, Normal, chips, layer, matmul, planned, same_error, squared_error

WEIGHT_BITS, DAC_BITS, RANGE_BITS, PRECISION_BITS, V_MAX = 4, 8, 4, 4, 0.6
SLICES, LEVELS = WEIGHT_BITS - 1, 2 ** (WEIGHT_BITS - 1) - 1
SETTINGS = {
    "weight_bits": WEIGHT_BITS,
    "dac_bits": DAC_BITS,
    "adc": f"range {RANGE_BITS}, precision {PRECISION_BITS} bits, one a tile and slice",
    "read_noise": "physical",
    "programming": "one-shot",
}


def hardware(tile: int) -> ax.Hardware:
    """3 slices of pairs on `tile` x `tile` arrays."""
    return ax.Hardware(
        device=ax.VCM(),
        array=ax.Array(rows=tile, cols=tile, weight_bits=WEIGHT_BITS),
        dac=ax.DAC(bits=DAC_BITS, v_max=V_MAX),
        adc=ax.ADC.bits(range_bits=RANGE_BITS, precision_bits=PRECISION_BITS),
    )


class Cells(NamedTuple):
    """How a hand-written loop draws: states `[2, slices, N, C]` from bits `[2, slices, N, C]`, and normals."""

    states: Callable[[jax.Array, jax.Array], jax.Array]
    normal: Normal


def cells_as_anaxon(table: jax.Array) -> Cells:
    """The same generator and the same table: the same arithmetic."""

    def states(key: jax.Array, on: jax.Array) -> jax.Array:
        code = jnp.stack(prng.code_pairs(key, on.shape[1:]))
        return prng.lookup(table.reshape(-1), jnp.where(on, code + prng.TABLE_SIZE, code))

    return Cells(states, prng.normal)


def cells_as_usual(table: jax.Array) -> Cells:
    """As many draws as a JAX user writes them: 16 random bits a cell into a quantile table, `jax.random.normal`."""
    plain = table[:, : prng.HALF]

    def states(key: jax.Array, on: jax.Array) -> jax.Array:
        code = jax.random.bits(key, on.shape, jnp.uint16).astype(jnp.int32)
        return jnp.take(plain.reshape(-1), jnp.where(on, code + prng.HALF, code), mode="clip")

    return Cells(states, jax.random.normal)


def by_hand(cells: Cells, device: ax.VCM, x_range: jax.Array, tile: int, it: Layer) -> jax.Array:
    """The layer without anaxon: same number of draws, same tiles, same quantisers."""
    rows, cols = it.weight.shape
    scale = jnp.max(jnp.abs(it.weight)) / LEVELS
    level = jnp.clip(jnp.round(it.weight / scale), -LEVELS, LEVELS).astype(jnp.int32)
    bits = (jnp.abs(level) >> jnp.arange(SLICES).reshape(-1, 1, 1)) & 1
    on = jnp.stack([(bits == 1) & (level > 0), (bits == 1) & (level < 0)])
    code = jnp.clip(jnp.round(it.x / x_range * 2 ** (DAC_BITS - 1)), -(2 ** (DAC_BITS - 1)), 2 ** (DAC_BITS - 1))
    volts = (code / 2 ** (DAC_BITS - 1) * V_MAX).reshape(-1, rows // tile, tile)
    low, high = (jnp.polyval(jnp.asarray(p[:-1], jnp.float32), volts) for p in _polynomials(device))
    density = device.bandwidth * (4 * BOLTZMANN * device.temperature + 2 * ELEMENTARY_CHARGE * jnp.abs(volts))
    unit = device.current_scale

    def columns(drive: jax.Array, state: jax.Array) -> jax.Array:
        tiles = state.reshape(SLICES, rows // tile, tile, cols)
        return jnp.einsum("btr,strc->stbc", drive, tiles, precision="highest")

    def one(key: jax.Array) -> jax.Array:
        program_key, read_key = jax.random.split(key)
        positive, negative = cells.states(program_key, on)
        z = columns(unit * volts * (low - high), negative - positive)
        variance = columns(unit**2 * density * (high - low), negative + positive)
        variance = variance + 2 * unit**2 * jnp.sum(density * low, axis=2).T[None, :, :, None]
        z = z + jnp.sqrt(jnp.maximum(variance, 0)) * cells.normal(read_key, z.shape)
        end = 2 ** (RANGE_BITS + PRECISION_BITS - 1)
        z = jnp.clip(jnp.round(z * 2**PRECISION_BITS), -end, end) / 2**PRECISION_BITS
        y = jnp.einsum("stbc,s->bc", z, 2.0 ** jnp.arange(SLICES), precision="highest")
        return squared_error(y * scale * x_range, it.exact)

    return over(one, it.keys)


def _polynomials(device: ax.VCM) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of L and H, of equal length."""
    low, high = (np.asarray(p) for p in (device.parameters.low, device.parameters.high))
    width = max(len(low), len(high))
    return np.pad(low, (width - len(low), 0)), np.pad(high, (width - len(high), 0))


def parts(plan: Any, it: Layer, tile: int) -> dict[str, Callable[[], Any]]:
    """What a chip is made of, each measured by itself (their sum exceeds the whole where XLA fuses them)."""
    size, batch = it.weight.shape[0], it.x.shape[0]
    device, key = plan.of(plan.sites[0]).device, it.keys[0]
    pairs, reads = (SLICES, size, size), (SLICES, size // tile, batch, size)
    table = device.tables.table.reshape(-1)
    chip = ax.program(key, plan, it.weight)
    code = jnp.stack(prng.code_pairs(key, pairs))
    drive, state = jnp.ones((batch, size // tile, tile)), jnp.ones((SLICES, size // tile, tile, size))
    dots = lambda x, w: jnp.einsum("btr,strc->stbc", x, w, precision="highest")  # noqa: E731
    program, read = jax.jit(ax.program), jax.jit(ax.analog(matmul))
    words = jax.jit(lambda k: (jax.random.bits(k, pairs), jax.random.bits(k, (int(np.prod(reads)) // 2,))))
    lookup, product = jax.jit(prng.lookup), jax.jit(lambda x, w: (dots(x, w), dots(x, w + 1)))
    normal = jax.jit(lambda k: prng.normal(k, reads))
    return {
        "program": lambda: program(key, plan, it.weight),
        "read": lambda: read(key, chip, it.x),
        "random words of both": lambda: words(key),
        "table gather of the cells": lambda: lookup(table, code),
        "normals of the read": lambda: normal(key),
        "matrix products of signal and noise": lambda: product(drive, state),
    }


def rows(quick: bool) -> list[dict[str, Any]]:
    """Beside the same generator, beside JAX's, then the parts."""
    it = layer(quick, chips=4)
    tile = min(128, it.weight.shape[0] // 2)
    plan = planned(hardware(tile), it)
    device, x_range = plan.of(plan.sites[0]).device, plan.ranges[0].input
    ours = jax.jit(chips)
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: ours(plan, it)}
    for name, make in (("same", cells_as_anaxon), ("usual", cells_as_usual)):
        loop = jax.jit(lambda t, r, it, make=make: by_hand(make(t), device, r, tile, it))
        runs[name] = lambda loop=loop: loop(device.tables.table, x_range, it)
    errors = same_error({name: run() for name, run in runs.items()}, it)
    settings = SETTINGS | {"tile": tile, "relative_error": errors, "wished_ms": 35}
    rounds = 3 if quick else 11
    times = in_turns(runs, rounds, per=len(it.keys))
    title = f"VCM 4-bit, {it.sizes}, {tile}x{tile} tiles: program anew and read, ms a chip"
    mine = ("ax.program + ax.analog over chips", times["ours"])
    same, usual = "the same by hand", "the same by hand with jax.random.bits and .normal"
    out = [
        row(title, same, mine, (same, times["same"]), limit=60 if ON_CPU else None, of="ours", **settings),
        row(title, usual, mine, (usual, times["usual"]), **settings),
    ]
    alone = in_turns(parts(plan, it, tile), rounds)
    return out + [row(title, f"part, by itself: {what}", (what, ts)) for what, ts in alone.items()]
