"""Training for hardware: objectives and optax transformations to compose, with any loop and any optimiser.

An objective is a function `(params, key, step, inputs, *targets)` of what `fn(params, *inputs)` and
`loss(outputs, *targets)` make of them: `digital_loss` on the function as it is, `disturbed_loss` on weights with noise,
`chip_loss` on a freshly programmed chip. One loop trains all three; what `loss` returns (a scalar, or a scalar and
auxiliary values) is what the objective returns.
"""

from anaxon.training.bounds import clip_weights as clip_weights
from anaxon.training.bounds import keep_within as keep_within
from anaxon.training.bounds import matrices as matrices
from anaxon.training.noise import disturb_weights as disturb_weights
from anaxon.training.noise import scaled_noise as scaled_noise
from anaxon.training.objectives import Objective as Objective
from anaxon.training.objectives import Schedule as Schedule
from anaxon.training.objectives import chip_loss as chip_loss
from anaxon.training.objectives import digital_loss as digital_loss
from anaxon.training.objectives import disturbed_loss as disturbed_loss
from anaxon.training.observers import input_ranges as input_ranges
from anaxon.training.observers import min_max as min_max
from anaxon.training.observers import moving_average as moving_average
from anaxon.training.observers import observed_loss as observed_loss
from anaxon.training.observers import with_input_ranges as with_input_ranges
from anaxon.training.ranges import learned_ranges as learned_ranges
from anaxon.training.ranges import with_ranges as with_ranges
