"""Attention that prunes itself: learned thresholds, and bit-serial dot products that stop early."""

from anaxon.attention.bitserial import Terminated as Terminated
from anaxon.attention.bitserial import bounds as bounds
from anaxon.attention.bitserial import cycles_at as cycles_at
from anaxon.attention.bitserial import expected_cycles as expected_cycles
from anaxon.attention.bitserial import terminate as terminate
from anaxon.attention.integers import integer_threshold as integer_threshold
from anaxon.attention.integers import quantised as quantised
from anaxon.attention.integers import step_of as step_of
from anaxon.attention.threshold import SHARPNESS as SHARPNESS
from anaxon.attention.threshold import SLOPE as SLOPE
from anaxon.attention.threshold import Counts as Counts
from anaxon.attention.threshold import Softmax as Softmax
from anaxon.attention.threshold import count as count
from anaxon.attention.threshold import edge as edge
from anaxon.attention.threshold import kept as kept
from anaxon.attention.threshold import l0 as l0
from anaxon.attention.threshold import pruned as pruned
from anaxon.attention.threshold import pruned_softmax as pruned_softmax
from anaxon.attention.threshold import quantile_threshold as quantile_threshold
from anaxon.attention.threshold import scores as scores
from anaxon.attention.threshold import soft_softmax as soft_softmax
from anaxon.attention.threshold import soft_threshold as soft_threshold
from anaxon.attention.threshold import weigh as weigh
