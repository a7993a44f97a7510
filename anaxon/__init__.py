"""Run any JAX function on simulated memristor hardware."""

from anaxon.calibrate import calibrate as calibrate
from anaxon.converter import ramp as ramp
from anaxon.converter.adc import ADC as ADC
from anaxon.converter.dac import DAC as DAC
from anaxon.converter.ramp import Ramp as Ramp
from anaxon.converter.ramp import activation as activation
from anaxon.crossbar.mapping import Array as Array
from anaxon.device.gaussian import Gaussian as Gaussian
from anaxon.device.ideal import IdealDevice as IdealDevice
from anaxon.device.table import device_from_table as device_from_table
from anaxon.device.vcm import VCM as VCM
from anaxon.ensemble import ensemble as ensemble
from anaxon.hardware import Hardware as Hardware
from anaxon.hardware import ideal as ideal
from anaxon.interpret.analog import analog as analog
from anaxon.interpret.cost import cost as cost
from anaxon.interpret.disturb import disturb as disturb
from anaxon.interpret.explain import explain as explain
from anaxon.interpret.observe import observe as observe
from anaxon.interpret.place import place as place
from anaxon.interpret.program import compact as compact
from anaxon.interpret.program import program as program
from anaxon.presets import preset as preset
from anaxon.presets import presets as presets
from anaxon.store import load as load
from anaxon.store import save as save
