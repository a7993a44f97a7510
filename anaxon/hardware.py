"""`Hardware`: one kind of analog accelerator, from its cells to its converters.

Floats are pytree leaves (they vary over chips, sweep under `vmap` and take gradients); kinds and bit counts are static.
"""

from typing import Literal

from anaxon.converter.adc import ADC
from anaxon.converter.dac import DAC
from anaxon.converter.ramp import Ramp
from anaxon.crossbar.mapping import Array
from anaxon.device.cell import Device
from anaxon.types import pytree, static

Bias = Literal["row", "digital"]


@pytree
class Hardware:
    """Device, array and converters of the crossbars that one rule places.

    Attributes:
      device: the memristors; None means no hardware at all: weights stay numbers and products stay products.
      array: size of the physical arrays and how weights map onto them.
      dac: row drivers; None drives exact voltages.
      adc: column converters; None passes exact sums.
      activation: a ramp ADC that computes the activation its columns end in; None for linear conversion only.
      bias: "row" programs biases as rows of the array, "digital" adds them after conversion; "row" under a ramp (the
        sum must be on the line before the activation), "digital" otherwise.
    """

    device: Device | None = None
    array: Array = Array()  # noqa: RUF009  frozen
    dac: DAC | None = None
    adc: ADC | None = None
    activation: Ramp | None = None
    bias: Bias = static(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name, kind in (("array", Array), ("dac", DAC), ("adc", ADC), ("activation", Ramp)):
            value = getattr(self, name)
            if not isinstance(value, kind) and (name == "array" or value is not None):
                raise TypeError(f"Hardware.{name}: expected {kind.__name__}(...); got {value!r}")
        if self.device is not None and (isinstance(self.device, type) or not hasattr(self.device, "program")):
            raise TypeError(f"Hardware.device: expected a device such as VCM() or Gaussian(...); got {self.device!r}")
        if self.bias is None:
            object.__setattr__(self, "bias", "digital" if self.activation is None else "row")
        if self.bias not in ("row", "digital"):
            raise ValueError(f"Hardware.bias: expected 'row' or 'digital'; got {self.bias!r}")
        if (self.bias == "row") != (self.activation is not None):
            raise ValueError(
                f"Hardware.bias: {self.bias!r} contradicts activation={self.activation!r}; a ramp needs bias rows on "
                "the line, a linear ADC adds biases digitally"
            )
        encoding = getattr(self.dac, "encoding", None)
        if self.activation is not None and encoding == "bit-serial":
            raise ValueError("DAC.encoding: a ramp converts one current per output; got 'bit-serial', one per bit")
        self._check_cells()
        self._check_volts()

    def _check_cells(self) -> None:
        limit = getattr(self.device, "cell_bits", None)
        if limit is None or not hasattr(self.array, "cell_bits"):
            return
        name = type(self.device).__name__
        if self.array.weight_bits is None:
            raise ValueError(f"Array.weight_bits: a {name} cell holds {limit} bit(s), not an analog weight; got None")
        if self.array.cell_bits > limit:
            raise ValueError(f"Array.cell_bits: a {name} cell holds {limit} bit(s); got {self.array.cell_bits}")

    def _check_volts(self) -> None:
        """A fitted I-V curve says nothing outside its voltages; inputs have both signs."""
        low, high = getattr(self.device, "voltage_range", (-float("inf"), float("inf")))
        v_max = getattr(self.dac, "v_max", None)
        if isinstance(v_max, int | float) and v_max > min(-low, high) * (1 + 1e-6):
            name = type(self.device).__name__
            raise ValueError(f"DAC.v_max: {name} reads between {low} V and {high} V, at both signs; got {v_max}")

    @property
    def cells(self) -> Device:
        """The device, where there must be one."""
        if self.device is None:
            raise TypeError("Hardware.device: ideal hardware has no memristors; got None")
        return self.device

    @property
    def is_ideal(self) -> bool:
        """Whether there is no hardware: products are the digital ones, bit for bit."""
        return self.device is None

    def __repr__(self) -> str:
        rows = [(k, getattr(self, k)) for k in ("device", "array", "dac", "adc", "activation", "bias")]
        return "Hardware\n" + "\n".join(f"  {name:<11}{value!r}" for name, value in rows)


def ideal() -> Hardware:
    """No hardware: `analog(fn)` is then `fn` itself, bit for bit."""
    return Hardware()
