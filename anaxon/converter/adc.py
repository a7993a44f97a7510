"""Linear analog-to-digital converters at the end of a column.

`code = clip(round(z / step), -full_scale / step, full_scale / step)`, returned as `step * code` (SynaptogenML's
converter: step 2**-precision_bits, range +-2**(range_bits-1); arXiv 2505.24721, arXiv 2606.13379). Column units: 1 is
one cell (pair) fully on at full input.
"""

import jax.numpy as jnp

from anaxon.check import integer, numbers
from anaxon.numerics import quantise
from anaxon.prng import fold_name, normal, normals
from anaxon.types import Array, pytree, static


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
        numbers(self, ("full_scale", "step"), "a value > 0 column units", low=0.0, open_low=True)
        numbers(self, ("noise", "offset_sigma", "gain_sigma"), "a standard deviation >= 0", low=0.0)
        integer("ADC.steps", self.steps, 1, 2**31)
        integer("ADC.total_bits", self.total_bits, 0, 32)
        if self.step is not None and self.full_scale is None:
            raise ValueError("ADC.full_scale: a fixed step needs a fixed full_scale; got full_scale=None")

    @classmethod
    def bits(cls, range_bits: int = 4, precision_bits: int = 4, **kwargs: float | Array) -> "ADC":
        """Step `2**-precision_bits`, range `+-2**(range_bits-1)` column units: the papers' (precision/range) split."""
        integer("ADC.bits range_bits", range_bits, 0, 16)
        integer("ADC.bits precision_bits", precision_bits, 0, 16)
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
        integer("ADC.uniform bits", bits, 2, 16)
        return cls(full_scale=full_scale, step=None, steps=2 ** (bits - 1) - 1, total_bits=bits, **kwargs)

    def scales(self, full_scale: Array) -> tuple[Array, Array]:
        """The step and the number of steps to the range's end, for a range of `full_scale`.

        A calibrated range keeps the number of codes: a fixed step is stretched with its range.
        """
        if self.step is None or self.full_scale is None:
            return full_scale / self.steps, jnp.float32(self.steps)
        step = self.step * (full_scale / self.full_scale)
        return step, full_scale / step

    def convert(self, z: Array, full_scale: Array, step: Array | None = None) -> Array:
        """Quantised columns, the shape of `z`, in column units; a `step` replaces the converter's own."""
        step, steps = self.scales(full_scale) if step is None else (step, full_scale / step)
        return quantise(z, step, -steps, steps)

    @property
    def has_columns(self) -> bool:
        """Whether columns differ from each other, so that a read must know which they are."""
        return self.gain_sigma is not None or self.offset_sigma is not None

    def errors(
        self, chip_key: Array, read_key: Array, columns: tuple[Array, ...], heads: Array | None, elements: int
    ) -> tuple[Array, ...]:
        """Columns of every slice, `[G, T, M, C]`, with the converters' gain, offset and noise.

        Gain and offset belong to the chip's physical columns. `heads` `[G, T, C]` numbers the weight element at the top
        of each column, of `elements`: the same column has the same converter however the weight is sliced or indexed.
        """
        if heads is not None:
            drawn = lambda name: normal(fold_name(chip_key, name), (len(columns), elements))[:, heads][:, :, :, None]  # noqa: E731
            if self.gain_sigma is not None:
                gains = 1.0 + self.gain_sigma * drawn("adc gain")
                columns = tuple(z * gain for z, gain in zip(columns, gains, strict=True))
            if self.offset_sigma is not None:
                offsets = self.offset_sigma * drawn("adc offset")
                columns = tuple(z + offset for z, offset in zip(columns, offsets, strict=True))
        if self.noise is not None:
            noise = normals(fold_name(read_key, "adc noise"), len(columns), columns[0].shape)
            columns = tuple(z + self.noise * n for z, n in zip(columns, noise, strict=True))
        return columns
