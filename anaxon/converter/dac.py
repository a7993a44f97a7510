"""Digital-to-analog converters: from digital inputs to row voltages.

A code is `round(x / range * 2**(bits-1)) / 2**(bits-1)` in [-1, 1]: 2**bits + 1 symmetric levels, the grid of
SynaptogenML (Rossenbach et al., arXiv 2505.24721). `range` is the absmax of the operand unless it was calibrated.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jax.lax import stop_gradient

from anaxon.check import choice, integer, numbers
from anaxon.numerics import clip, quantise
from anaxon.types import Array, pytree, static

Encoding = Literal["amplitude", "pulse-width", "bit-serial"]
# Points at which predistortion inverts the I-V curve: linear interpolation error below 1e-5 of full scale for the VCM.
PREDISTORTION_POINTS = 513


@pytree
class DAC:
    """Row drivers.

    Attributes:
      bits: resolution including the sign, 2..16.
      v_max: row voltage at full input [V].
      encoding: "amplitude" puts the code on the voltage; "pulse-width" drives +-v_max for a time proportional to the
        code, so the I-V curve does not bend it; "bit-serial" drives +-v_max or 0 once per magnitude bit and converts
        every time.
      predistortion: "none", or "inverse" to choose each voltage so that the device's mean I-V curve becomes linear
        (the reachable range shrinks to the weaker polarity; the lost gain is corrected digitally).
    """

    bits: int = static(default=8)
    v_max: float | Array = 0.6
    encoding: Encoding = static(default="amplitude")
    predistortion: Literal["none", "inverse"] = static(default="none")

    def __post_init__(self) -> None:
        integer("DAC.bits", self.bits, 2, 16)
        choice("DAC.encoding", self.encoding, get_args(Encoding))
        choice("DAC.predistortion", self.predistortion, ("none", "inverse"))
        if self.predistortion == "inverse" and self.encoding != "amplitude":
            raise ValueError(f"DAC.predistortion: only amplitude encoding is bent by the I-V; got {self.encoding!r}")
        numbers(self, ("v_max",), "a voltage > 0 V", low=0.0, open_low=True)

    @property
    def levels(self) -> int:
        """Codes on each side of zero."""
        return 2 ** (self.bits - 1)

    @property
    def cycles(self) -> int:
        """Reads of the array per input vector."""
        return self.bits if self.encoding == "bit-serial" else 1

    def encode(self, x: Array, full_scale: Array) -> Array:
        """Quantised inputs in [-1, 1], the shape of `x`; straight-through gradients to `x` and `full_scale`."""
        return quantise(x / full_scale, jnp.float32(1.0 / self.levels), -self.levels, self.levels)


def encode_exact(x: Array, full_scale: Array) -> Array:
    """Inputs of an array without a DAC: limited to the range, not quantised."""
    return clip(x / full_scale, -jnp.ones_like(full_scale), jnp.ones_like(full_scale))


def plane_weights(bits: int) -> Array:
    """What the planes of `bit_planes` are worth, `[bits]`."""
    return 2.0 ** jnp.arange(bits) / 2 ** (bits - 1)


def bit_planes(code: Array, bits: int) -> Array:
    """Sign-magnitude planes of DAC codes, `[bits, *code]` in {-1, 0, 1}, least significant first.

    A code of +-1 has magnitude 2**(bits-1), so there are `bits` magnitude planes. The planes sum back to the code, and
    the straight-through gradient of the code is shared among them in proportion to their weights.
    """
    levels = 2 ** (bits - 1)
    magnitude = jnp.round(jnp.abs(code) * levels).astype(jnp.int32)
    shifts = jnp.arange(bits, dtype=jnp.int32).reshape((bits,) + (1,) * code.ndim)
    planes = jnp.sign(code) * ((magnitude >> shifts) & 1).astype(code.dtype)
    weights = plane_weights(bits)
    share = (weights / jnp.sum(weights**2)).reshape(shifts.shape)
    return stop_gradient(planes) + share * (code - stop_gradient(code))
