"""Run any JAX function on simulated memristor hardware."""

from anaxon.converter.adc import ADC as ADC
from anaxon.converter.dac import DAC as DAC
from anaxon.converter.ramp import Ramp as Ramp
from anaxon.converter.ramp import activation as activation
from anaxon.crossbar.mapping import Array as Array
from anaxon.device.ideal import IdealDevice as IdealDevice
from anaxon.hardware import Hardware as Hardware
from anaxon.hardware import ideal as ideal
from anaxon.interpret.analog import analog as analog
from anaxon.interpret.place import place as place
from anaxon.interpret.program import program as program
