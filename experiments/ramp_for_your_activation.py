# %% [markdown]
# # A ramp for your own activation
# Any elementwise JAX function: thresholds, conductances, what programming errors do to it, and the table for the lab.
# Everything here is simulated.

# %%
import jax
import jax.numpy as jnp

import anaxon as ax
from anaxon import ramp


def snake(z):
    return z + jnp.sin(z) ** 2  # Ziyin et al., NeurIPS 2020; rises everywhere, has no closed inverse


activation = ax.activation(snake, domain=(-3, 3))  # unbounded, so the ramp's range must be said
design = ramp.design(activation, bits=5)
print("thresholds", design.thresholds.round(3))
print("conductances [uS]", (150 * ramp.conductances(design)).round(1), ramp.bias_devices(design))

# %% [markdown]
# Programming errors of 2.73 uS on 150 uS, with and without calibration: 2,000 columns each.

# %%
keys = jax.random.split(jax.random.key(0), 2_000)
print(ramp.DEFINITIONS["INL_out"])
for sigma in (0.5, 1.0, 2.73, 5.0):
    for calibration in ("none", "one-point", "two-point"):
        hardware = ax.Ramp(bits=5, sigma=sigma / 150, calibration=calibration)
        inl = ramp.inl(design, jax.vmap(lambda k, h=hardware: ramp.sample(k, h, design.activation))(keys))
        largest = float(jnp.abs(inl).max(axis=1).mean())
        share = float(ramp.share_within(inl, 0.5))
        print(f"{sigma:4} uS {calibration:9} mean largest |INL_out| {largest:.2f} LSB, within 0.5 LSB {share:.1%}")

# %%
ramp.write_programming_table("snake_5bit.csv", design)
