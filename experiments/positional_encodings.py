# %% [markdown]
# Why positional encodings overflow an ADC, without any audio: sinusoidal encodings through a random layer.
#
# 499 relative encodings of width 512 (250 frames) pass a random linear layer on one-shot VCM cells, read with the
# noise of the published torch port, behind ADCs of several splits of range against precision (Hilmes et al.,
# arXiv 2606.13379); then with the cures: a range for the layer, a gain for each array, the known mean taken off.

# %%
import argparse

import jax
import jax.numpy as jnp
import numpy as np

import anaxon as ax
from anaxon import adc_ranges
from anaxon.interpret.plan import Plan
from anaxon.row_offsets import without_offsets

WIDTH, FRAMES = 512, 250
SPLITS = ((4, 4), (3, 5), (2, 6), (1, 7), (0, 8), (4, 8), (8, 4))  # (precision, range) bits


def encodings(frames: int = FRAMES, width: int = WIDTH) -> np.ndarray:
    """Relative sinusoidal encodings, `[2 frames - 1, width]` (Dai et al. 2019, arXiv 1901.02860)."""
    position = np.arange(frames - 1, -frames, -1)[:, None]
    angle = position / 10_000 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(2 * frames - 1, width).astype(np.float32)


def layer(params: dict, x: jax.Array) -> jax.Array:
    return x @ params["kernel"]


def weights(seed: int) -> dict[str, jax.Array]:
    """A linear layer as it is initialised, uniform in `+-1 / sqrt(width)`."""
    bound = WIDTH**-0.5
    return {"kernel": jax.random.uniform(jax.random.key(seed), (WIDTH, WIDTH), minval=-bound, maxval=bound)}


def hardware(bits: int, precision: int, range_: int) -> ax.Hardware:
    """One-shot VCM cells read with the published port's noise, weights of `bits` bits, an ADC of this split."""
    preset = ax.preset("vcm-4bit-legacy")
    adc = ax.ADC.bits(range_bits=range_, precision_bits=precision)
    return ax.Hardware(device=preset.device, array=ax.Array(weight_bits=bits), dac=preset.dac, adc=adc)


def planned(split: tuple[int, int], bits: int, params: dict, x: jax.Array, seed: int = 0) -> Plan:
    """The calibrated plan of a split (precision, range)."""
    plan = ax.place(layer, hardware(bits, *split))(params, x)
    return ax.calibrate(layer)(jax.random.key(seed + 1), plan, params, x)


@jax.jit  # splits of as many bits differ in numbers alone: they share a program
def measured(key: jax.Array, plan: Plan, params: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Error relative to the quantised layer, and the share of saturated conversions, on one chip."""
    program_key, read_key = jax.random.split(key)
    chip = ax.program(program_key, plan, params)
    y, layers = ax.observe(layer)(read_key, chip, params, x)
    exact = quantised(params, x, plan.hardware[0].array.weight_bits)
    return jnp.linalg.norm(y - exact) / jnp.linalg.norm(exact), layers["kernel"].saturation


def measure(plan: Plan, params: dict, x: jax.Array, seed: int = 0) -> tuple[float, float]:
    """`measured` on the chip of a seed."""
    error, saturated = measured(jax.random.key(seed), plan, params, x)
    return float(error), float(saturated)


def quantised(params: dict, x: jax.Array, bits: int) -> jax.Array:
    """The layer with weights of `bits` bits and 8-bit inputs, digital."""
    scale, step = jnp.abs(params["kernel"]).max() / (2 ** (bits - 1) - 1), jnp.abs(x).max() / 127
    weight, inputs = jnp.round(params["kernel"] / scale) * scale, jnp.round(x / step) * step
    return jnp.matmul(inputs, weight, precision="highest")


def splits(bits: int, seed: int = 0, tried: tuple[tuple[int, int], ...] = SPLITS) -> dict[str, tuple[float, float]]:
    """Error and saturation of every split of range against precision, one draw of the weights and one chip."""
    params, x = weights(seed), jnp.asarray(encodings())
    return {f"{p}/{r}": measure(planned((p, r), bits, params, x, seed), params, x, seed) for p, r in tried}


def cures(bits: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Error and saturation of what is chosen from data, at the bits of the default 4/4."""
    params, x, key = weights(seed), jnp.asarray(encodings()), jax.random.key(seed + 1)
    default = planned((4, 4), bits, params, x, seed)
    sweeps = adc_ranges.sweep_ranges(layer)(key, default, params, x)
    still = without_offsets(layer)(key, default, params, x)
    again = adc_ranges.sweep_ranges(layer)(key, still, params, x)
    plans = {
        "range of the layer": adc_ranges.split_by_layer(default, sweeps),
        "gain of each array": adc_ranges.gain_by_array(default, sweeps),
        "mean taken off, 4/4": still,
        "mean taken off, gain of each array": adc_ranges.gain_by_array(still, again),
    }
    return {name: measure(plan, params, x, seed) for name, plan in plans.items()}


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Errors and saturation of a layer of positional encodings.")
    parser.add_argument("--draws", type=int, default=1, help="of weights and cells; several: mean and spread")
    draws = parser.parse_args().draws
    for bits in (8, 4):
        print(f"{bits}-bit weights, {draws} draws    error (spread)    saturated")
        found = [{**splits(bits, seed), **cures(bits, seed)} for seed in range(draws)]
        for name in found[0]:
            errors, saturated = np.array([draw[name] for draw in found]).T
            spread = f"({errors.std(ddof=1):.4f})" if draws > 1 else "        "
            print(f"  {name:<36} {errors.mean():.4f} {spread}  {saturated.mean():.4f}")
