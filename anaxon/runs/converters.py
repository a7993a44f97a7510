"""The same array behind two kinds of converter: a ramp that computes activations, or a linear ADC before them."""

from typing import Literal

from anaxon.converter.adc import ADC
from anaxon.hardware import Hardware
from anaxon.types import replace

Kind = Literal["ramp", "linear"]
KINDS: tuple[Kind, ...] = ("ramp", "linear")


def at_bits(hardware: Hardware, kind: Kind, bits: int, rows: int, cols: int) -> Hardware:
    """`hardware` (with a ramp) at another resolution of inputs and outputs alike, on one array of `rows` x `cols`.

    A "linear" one converts with as many bits over the range of its columns; activations are then digital, exact.

    Raises:
      ValueError: for hardware without a ramp.
    """
    if hardware.activation is None:
        raise ValueError('hardware.activation: expected a ramp, such as that of preset = "ramp-5bit"; got none')
    common = {
        "array": replace(hardware.array, rows=rows, cols=cols),
        "dac": None if hardware.dac is None else replace(hardware.dac, bits=bits),
    }
    if kind == "ramp":
        return replace(hardware, **common, activation=replace(hardware.activation, bits=bits))
    return replace(hardware, **common, adc=ADC.uniform(bits=bits), activation=None, bias="digital")
