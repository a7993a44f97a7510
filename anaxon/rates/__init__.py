"""Word error rates over training seeds, chips and utterances, with what each of them adds to the uncertainty.

A network is trained from several seeds, each is programmed on several chips, and every chip hears the same utterances:
a table of errors `[seeds, chips, utterances]` in which chips are nested in seeds and utterances are crossed with both.
What every chip shares, such as a digital network, is a table without the axis of chips, `[seeds, utterances]`.
"""

from anaxon.rates.components import RateComponents as RateComponents
from anaxon.rates.components import difference_components as difference_components
from anaxon.rates.components import rate_components as rate_components
from anaxon.rates.intervals import rate as rate
from anaxon.rates.intervals import rate_difference as rate_difference
from anaxon.rates.intervals import removed_share as removed_share
from anaxon.rates.intervals import standard_errors as standard_errors
