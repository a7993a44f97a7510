"""The ramp ADC that computes an activation: a counter of nonlinear thresholds instead of a linear code.

A column of memristors makes a ramp whose levels are `V_k = g^-1(y_k)`; the number of levels that a dot product passes
is the code of `g` of it (Yang et al., Nat. Commun. 16:1136, 2025, 10.1038/s41467-025-56254-6).
"""

from anaxon.converter.ramp.activation import Activation as Activation
from anaxon.converter.ramp.activation import activation as activation
from anaxon.converter.ramp.activation import find as find
from anaxon.converter.ramp.activation import is_known as is_known
from anaxon.converter.ramp.activation import marked_name as marked_name
from anaxon.converter.ramp.calibration import best as best
from anaxon.converter.ramp.calibration import bias_error as bias_error
from anaxon.converter.ramp.calibration import calibrated as calibrated
from anaxon.converter.ramp.calibration import one_point as one_point
from anaxon.converter.ramp.calibration import two_point as two_point
from anaxon.converter.ramp.column import bias_devices as bias_devices
from anaxon.converter.ramp.column import conductances as conductances
from anaxon.converter.ramp.column import program as program
from anaxon.converter.ramp.column import thresholds_of as thresholds_of
from anaxon.converter.ramp.convert import Comparators as Comparators
from anaxon.converter.ramp.convert import codes as codes
from anaxon.converter.ramp.convert import comparators as comparators
from anaxon.converter.ramp.convert import convert as convert
from anaxon.converter.ramp.design import Design as Design
from anaxon.converter.ramp.design import design as design
from anaxon.converter.ramp.design import thresholds as thresholds
from anaxon.converter.ramp.linearity import DEFINITIONS as DEFINITIONS
from anaxon.converter.ramp.linearity import best_fit_inl as best_fit_inl
from anaxon.converter.ramp.linearity import dnl as dnl
from anaxon.converter.ramp.linearity import inl as inl
from anaxon.converter.ramp.linearity import inl_input as inl_input
from anaxon.converter.ramp.linearity import missing_codes as missing_codes
from anaxon.converter.ramp.linearity import share_within as share_within
from anaxon.converter.ramp.ramp import Ramp as Ramp
from anaxon.converter.ramp.ramp import check_reachable as check_reachable
from anaxon.converter.ramp.ramp import design_of as design_of
from anaxon.converter.ramp.ramp import read_noise as read_noise
from anaxon.converter.ramp.ramp import sample as sample
from anaxon.converter.ramp.table import programming_table as programming_table
from anaxon.converter.ramp.table import read_conductances as read_conductances
from anaxon.converter.ramp.table import write_programming_table as write_programming_table
