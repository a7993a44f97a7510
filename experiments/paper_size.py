# %% [markdown]
# A speech recogniser at the papers' size on simulated memristors: 12 blocks of 512, a billion cells, on one GPU.
#
# The Conformer of Hilmes et al. (arXiv 2606.13379) with 8-bit weights: programmed, kept in 16 bits, read for 30 s of
# audio with physical read noise; several chips one after another, the last one saved and loaded. Its weights are
# random: time and memory do not depend on training. Features are noise.

# %%
import argparse
import dataclasses
import functools
import tempfile
import time
from statistics import median

import jax
import jax.numpy as jnp
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.models.conformer import PAPER_512, SMALL, Conformer
from anaxon.models.scanned import Scanned
from anaxon.types import PyTree

print = functools.partial(print, flush=True)  # noqa: A001  minutes lie between the lines
SECONDS, FRAMES = 30, 3000  # of audio; a frame is 10 ms


def timed(call, repeats: int) -> tuple[PyTree, float]:
    """The last result and the median time of a call [s]; the first call, which compiles, does not count."""
    jax.block_until_ready(call(0))
    times = []
    for i in range(1, repeats + 1):
        start = time.perf_counter()
        result = jax.block_until_ready(call(i))
        times.append(time.perf_counter() - start)
    return result, median(times)


def peak_memory() -> float:
    """Of the first device [GiB]; 0 where it does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0) / 2**30


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", choices=("paper", "small"), default="paper")
    options.add_argument("--bits", type=int, default=8)
    options.add_argument("--chips", type=int, default=3)
    options.add_argument("--blocks", type=int, help="another number than the size has")
    options.add_argument(
        "--unrolled", action="store_true", help="block by block instead of a loop: compiles for minutes"
    )
    options.add_argument(
        "--float32", action="store_true", help="read the chip's float32 cells, too: compiles once more"
    )
    args = options.parse_args()
    sizes = PAPER_512 if args.size == "paper" else SMALL
    sizes = dataclasses.replace(sizes, blocks=args.blocks or sizes.blocks)
    model = Conformer(sizes, rngs=nnx.Rngs(0))
    if not args.unrolled:
        model.blocks = nnx.List([Scanned(model.blocks)])
    fn, params = functional(model)
    features = jax.random.normal(jax.random.key(0), (1, FRAMES, 80))
    lengths = jnp.array([FRAMES], jnp.int32)
    base = ax.preset("vcm-4bit")
    hardware = ax.Hardware(device=base.device, array=ax.Array(weight_bits=args.bits), dac=base.dac, adc=base.adc)
    plan = ax.place(fn, {"blocks/.*kernel": hardware})(params, features, lengths)
    cells = sum(s.cells(plan.of(s)) for s in plan.sites)
    print(f"{jax.local_devices()[0].device_kind}, jax {jax.__version__}: {cells:,} cells, {len(plan.sites)} weights")
    keys = jax.random.split(jax.random.key(2), args.chips + 1)

    chip, seconds = timed(lambda i: ax.compact(ax.program(keys[i], plan, params)), args.chips)
    print(f"programming and compacting a chip: {seconds:.3f} s; peak memory {peak_memory():.1f} GiB")

    read = jax.jit(lambda key, chip: ax.analog(fn)(key, chip, features, lengths)[0])
    reads = jax.random.split(jax.random.key(3), 8)
    start = time.perf_counter()
    jax.block_until_ready(read(reads[0], chip))
    print(f"first read, compilation included: {time.perf_counter() - start:.1f} s")
    half, seconds = timed(lambda i: read(reads[i], chip), 7)
    print(
        f"reading {SECONDS} s of audio: {seconds:.4f} s ({seconds / SECONDS:.5f} s a second of audio), cells in float16"
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        ax.save(f"{folder}/chip", chip, dtype=jnp.float16)
        saved = time.perf_counter() - start
        start = time.perf_counter()
        loaded = ax.load(f"{folder}/chip", params, dtype=jnp.float16)
        same = bool(jnp.all(read(reads[7], loaded) == half))
        print(
            f"saved in {saved:.1f} s, loaded and read in {time.perf_counter() - start:.1f} s, the same output: {same}"
        )
    if not args.float32:
        return
    again = ax.program(keys[args.chips], plan, params)
    full, seconds = timed(lambda i: read(reads[i], again), 7)
    print(f"the same chip in float32: {seconds:.4f} s")
    digital = jax.jit(fn)(params, features, lengths)[0]
    distance = lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))  # noqa: E731
    print(f"log probabilities: float16 against float32 cells {distance(half, full):.2e}, "
          f"chip against digital {distance(full, digital):.2e}; peak memory {peak_memory():.1f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
