"""From CTC posteriors to words, and from words to their errors."""

from anaxon.decoding.decode_all import decode_all as decode_all
from anaxon.decoding.greedy import greedy as greedy
from anaxon.decoding.language_model import LanguageModel as LanguageModel
from anaxon.decoding.language_model import NGrams as NGrams
from anaxon.decoding.language_model import counted as counted
from anaxon.decoding.language_model import read_arpa as read_arpa
from anaxon.decoding.language_model import write_arpa as write_arpa
from anaxon.decoding.posteriors import kl as kl
from anaxon.decoding.prefix_beam import Hypothesis as Hypothesis
from anaxon.decoding.prefix_beam import prefix_beam as prefix_beam
from anaxon.decoding.word_errors import WordErrors as WordErrors
from anaxon.decoding.word_errors import word_errors as word_errors
