"""Linear analog-to-digital converters at the end of a column.

`code = clip(round(z / step), -full_scale / step, full_scale / step)`, returned as `step * code` (SynaptogenML's
converter: step 2**-precision_bits, range +-2**(range_bits-1); arXiv 2505.24721, arXiv 2606.13379). Column units: 1 is
one cell (pair) fully on at full input.
"""

import jax.numpy as jnp

from anaxon.numerics import quantise
from anaxon.prng import fold_name, normal
from anaxon.types import Array, is_concrete, pytree, static


@pytree
class ADC:
    """Column converters; build them with `ADC.bits` or `ADC.uniform`.

    Attributes:
      full_scale: largest magnitude that converts without saturation [column units]; None means the absmax of the
        traced columns until `calibrate` fixes it.
      step: distance of two codes [column units]; None means `full_scale / steps`.
      steps: codes on each side of zero where `step` is None.
      total_bits: bits of one conversion, for the cost.
      noise: standard deviation of the input-referred noise of every conversion [column units].
      offset_sigma: standard deviation of a converter's offset, drawn once per chip and column [column units].
      gain_sigma: standard deviation of a converter's relative gain error, drawn once per chip and column.
    """

    full_scale: float | Array | None = None
    step: float | Array | None = None
    steps: int = static(default=127)
    total_bits: int = static(default=8)
    noise: float | Array | None = None
    offset_sigma: float | Array | None = None
    gain_sigma: float | Array | None = None

    def __post_init__(self) -> None:
        for name in ("full_scale", "step"):
            value = getattr(self, name)
            if is_concrete(value) and isinstance(value, int | float) and not value > 0:
                raise ValueError(f"ADC.{name}: expected a value > 0 column units; got {value!r}")
        for name in ("noise", "offset_sigma", "gain_sigma"):
            value = getattr(self, name)
            if is_concrete(value) and isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"ADC.{name}: expected a standard deviation >= 0; got {value!r}")
        if self.step is not None and self.full_scale is None:
            raise ValueError("ADC.full_scale: a fixed step needs a fixed full_scale; got full_scale=None")

    @classmethod
    def bits(cls, range_bits: int = 4, precision_bits: int = 4, **kwargs: float | Array) -> "ADC":
        """Step `2**-precision_bits`, range `+-2**(range_bits-1)` column units: the papers' (precision/range) split."""
        for name, value in (("range_bits", range_bits), ("precision_bits", precision_bits)):
            if not isinstance(value, int) or not 0 <= value <= 16:
                raise ValueError(f"ADC.bits {name}: expected an integer from 0 to 16; got {value!r}")
        return cls(
            full_scale=2.0 ** (range_bits - 1),
            step=2.0**-precision_bits,
            steps=max(1, 2 ** (range_bits + precision_bits - 1)),
            total_bits=range_bits + precision_bits,
            **kwargs,
        )

    @classmethod
    def uniform(cls, bits: int = 8, full_scale: float | Array | None = None, **kwargs: float | Array) -> "ADC":
        """`2**bits - 1` symmetric codes over `+-full_scale`; without one, the range follows the traced columns."""
        if not isinstance(bits, int) or not 2 <= bits <= 16:
            raise ValueError(f"ADC.uniform bits: expected an integer from 2 to 16; got {bits!r}")
        return cls(full_scale=full_scale, step=None, steps=2 ** (bits - 1) - 1, total_bits=bits, **kwargs)

    def scales(self, full_scale: Array) -> tuple[Array, Array]:
        """The step and the number of steps to the range's end, for a range of `full_scale`.

        A calibrated range keeps the number of codes: a fixed step is stretched with its range.
        """
        if self.step is None or self.full_scale is None:
            return full_scale / self.steps, jnp.float32(self.steps)
        step = self.step * (full_scale / self.full_scale)
        return step, full_scale / step

    def convert(self, z: Array, full_scale: Array) -> Array:
        """Quantised columns, the shape of `z`, in column units."""
        step, steps = self.scales(full_scale)
        return quantise(z, step, -steps, steps)

    def errors(self, chip_key: Array, read_key: Array, z: Array, columns: tuple[int, ...]) -> Array:
        """`z` with the converters' gain, offset (`columns` broadcast to z; drawn from the chip's key) and noise."""
        if self.gain_sigma is not None:
            z = z * (1.0 + self.gain_sigma * normal(fold_name(chip_key, "adc gain"), columns))
        if self.offset_sigma is not None:
            z = z + self.offset_sigma * normal(fold_name(chip_key, "adc offset"), columns)
        if self.noise is not None:
            z = z + self.noise * normal(fold_name(read_key, "adc noise"), z.shape)
        return z
