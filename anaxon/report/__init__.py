"""The report of a keyword run: figures, and one self-contained page that holds them."""

from anaxon.report.figures import confusion_change as confusion_change
from anaxon.report.figures import figures as figures
from anaxon.report.page import page as page
