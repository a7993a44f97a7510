"""A tile's cycles as one GPU kernel: a program walks a few heads to their end, with their state in registers.

As a loop of XLA every simulated cycle is a dozen kernels and a word back to the host. Written in Pallas for its Triton
backend: NVIDIA GPUs since compute capability 8.0.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from anaxon.types import Array

OLDEST = 8  # compute capability that the compiler of the kernel knows
LANES = 32  # of a program: one warp


def takes(slots: tuple[int, ...], capability: str) -> bool:
    """Whether lists `[heads, units, slots]` have a kernel on a GPU of this compute capability ("9.0")."""
    major = capability.partition(".")[0]
    heads, units, length = slots
    addressed = min(slots) > 0 and (heads + LANES) * units * length < 2**31
    return addressed and major.isdigit() and int(major) >= OLDEST


def walked(
    slots: Array,
    survivors: Array,
    rows: Array | None,
    modes: Array,
    *,
    walk: Callable[..., tuple[Array, Array, Array, Array]],
    ends: tuple[int, int],
    interpret: bool = False,
) -> tuple[Array, Array, Array, Array]:
    """What `walk` comes to for heads whose lists are `[heads, units, n]`; `rows` are `[heads, n]`.

    Args:
      slots, survivors, rows: lists, each with something behind its last entry.
      modes: int32 scalars for `walk`, `[n]`.
      walk: of lookups by number, the block's heads and units, and the modes: `[heads]`, twice `[heads, units]`,
        `[heads]`.
      ends: what is behind the last of `slots` and of the others.
      interpret: runs anywhere, slowly.
    """
    heads, units, _ = slots.shape
    wide = pl.next_power_of_2(units)
    block = max(1, LANES // wide)
    padded = -(-heads // block) * block
    tables = [x for x in (slots, survivors, rows) if x is not None]
    single, each = (pl.BlockSpec((block, n), lambda i: (i, 0)) for n in (1, wide))
    shape = lambda n: jax.ShapeDtypeStruct((padded, n), jnp.int32)  # noqa: E731
    cycles, busy, stalls, popped = pl.pallas_call(
        partial(_block, walk=walk, ends=ends, heads=heads, units=units, lengths=[x.shape[-1] for x in tables]),
        grid=(padded // block,),
        in_specs=[pl.BlockSpec()] * (len(tables) + 1),
        out_specs=[single, each, each, single],
        out_shape=[shape(1), shape(wide), shape(wide), shape(1)],
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
        interpret=interpret,
        name="tile",
    )(modes, *(x.ravel() for x in tables))
    return cycles[:heads, 0], busy[:heads, :units], stalls[:heads, :units], popped[:heads, 0]


def _block(modes_ref, *refs, walk: Callable, ends: tuple[int, int], heads: int, units: int, lengths: list[int]) -> None:
    """A few heads."""
    *tables, cycles_ref, busy_ref, stalls_ref, popped_ref = refs
    shape = busy_ref.shape
    head, unit = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    head = head + pl.program_id(0) * shape[0]
    there = (head < heads) & (unit < units)

    def listed(ref, length: int, nothing: int) -> Callable[[Array], Array]:
        first = jnp.where(there, (head * units + unit) * length, 0)
        return lambda index: triton.load(ref.at[first + jnp.minimum(index, length - 1)], mask=there, other=nothing)

    def of_heads(ref, length: int) -> Callable[[Array], Array]:
        own = jax.lax.broadcasted_iota(jnp.int32, (shape[0], 1), 0) + pl.program_id(0) * shape[0]
        first = jnp.where(own < heads, own * length, 0)
        return lambda index: triton.load(
            ref.at[first + jnp.minimum(index, length - 1)], mask=own < heads, other=ends[1]
        )

    slot = listed(tables[0], lengths[0], ends[0])
    survivor = listed(tables[1], lengths[1], ends[1])
    row = of_heads(tables[2], lengths[2]) if len(tables) > 2 else None
    modes = [modes_ref[i] for i in range(modes_ref.shape[0])]
    cycles, busy, stalls, popped = walk(SimpleNamespace(slot=slot, survivor=survivor, row=row), shape, *modes)
    cycles_ref[...], popped_ref[...] = cycles[:, None], popped[:, None]
    busy_ref[...], stalls_ref[...] = busy, stalls
