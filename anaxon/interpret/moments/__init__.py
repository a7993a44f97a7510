"""Error without sampling: means and covariances of a function's values over chips and reads."""

from anaxon.interpret.moments.classes import accuracy_draws as accuracy_draws
from anaxon.interpret.moments.classes import class_chances as class_chances
from anaxon.interpret.moments.ledger import Ledger as Ledger
from anaxon.interpret.moments.ledger import Random as Random
from anaxon.interpret.moments.low_rank import LowRank as LowRank
from anaxon.interpret.moments.low_rank import low_rank as low_rank
from anaxon.interpret.moments.predict import predict as predict
from anaxon.interpret.moments.rules import register as register
