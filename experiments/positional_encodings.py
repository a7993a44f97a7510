# %% [markdown]
# Why positional encodings overflow an ADC, without any audio: sinusoidal encodings through a random layer.
#
# 499 relative encodings of width 512 (250 frames) pass a random linear layer on one-shot VCM cells, read with the
# noise of the published torch port, behind ADCs of several splits of range against precision (Hilmes et al.,
# arXiv 2606.13379); then with the cures: a range for the layer, a gain for each array, the known mean taken off.

# %%
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


def measure(plan: Plan, params: dict, x: jax.Array, seed: int = 0) -> tuple[float, float]:
    """Error relative to the quantised layer, and the share of saturated conversions, on one chip."""
    program_key, read_key = jax.random.split(jax.random.key(seed))
    chip = ax.program(program_key, plan, params)
    y, layers = ax.observe(layer)(read_key, chip, params, x)
    exact = quantised(params, x, plan.hardware[0].array.weight_bits)
    return float(jnp.linalg.norm(y - exact) / jnp.linalg.norm(exact)), float(layers["kernel"].saturation)


def quantised(params: dict, x: jax.Array, bits: int) -> jax.Array:
    """The layer with weights of `bits` bits and 8-bit inputs, digital."""
    scale, step = jnp.abs(params["kernel"]).max() / (2 ** (bits - 1) - 1), jnp.abs(x).max() / 127
    weight, inputs = jnp.round(params["kernel"] / scale) * scale, jnp.round(x / step) * step
    return jnp.matmul(inputs, weight, precision="highest")


def conditions(bits: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Every split and every cure: error and saturation."""
    bound = WIDTH**-0.5
    params = {"kernel": jax.random.uniform(jax.random.key(seed), (WIDTH, WIDTH), minval=-bound, maxval=bound)}
    x, key = jnp.asarray(encodings()), jax.random.key(seed + 1)
    hardware = ax.preset("vcm-4bit-legacy")
    array = ax.Array(weight_bits=bits)

    def plan_of(precision: int, range_: int) -> Plan:
        adc = ax.ADC.bits(range_bits=range_, precision_bits=precision)
        made = ax.Hardware(device=hardware.device, array=array, dac=hardware.dac, adc=adc)
        return ax.calibrate(layer)(key, ax.place(layer, made)(params, x), params, x)

    found = {f"{p}/{r}": measure(plan_of(p, r), params, x, seed) for p, r in SPLITS}
    default = plan_of(4, 4)
    sweeps = adc_ranges.sweep_ranges(layer)(key, default, params, x)
    found["range of the layer"] = measure(adc_ranges.split_by_layer(default, sweeps), params, x, seed)
    found["gain of each array"] = measure(adc_ranges.gain_by_array(default, sweeps), params, x, seed)
    still = without_offsets(layer)(key, default, params, x)
    found["mean taken off, 4/4"] = measure(still, params, x, seed)
    again = adc_ranges.sweep_ranges(layer)(key, still, params, x)
    found["mean taken off, gain of each array"] = measure(adc_ranges.gain_by_array(still, again), params, x, seed)
    return found


# %%
if __name__ == "__main__":
    for bits in (8, 4):
        print(f"{bits}-bit weights       error  saturated")
        for name, (error, saturated) in conditions(bits).items():
            print(f"  {name:<36} {error:.4f}  {saturated:.4f}")
