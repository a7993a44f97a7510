"""The letters that a recogniser writes: 29 tokens, of which 0 is the blank of CTC."""

import re
import string
import unicodedata
from collections.abc import Iterable

BLANK = 0
SYMBOLS = ("", " ", "'", *string.ascii_lowercase)  # by token; the blank writes nothing
COUNT = len(SYMBOLS)

_TOKEN = {symbol: token for token, symbol in enumerate(SYMBOLS) if symbol}
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u0060\u00b4", "'''''")


def encode(text: str) -> list[int]:
    """Tokens of a normalised text.

    Raises:
      ValueError: for a symbol that has no token; the sentence names it.
    """
    try:
        return [_TOKEN[symbol] for symbol in text]
    except KeyError as error:
        raise ValueError(f"transcript: {error.args[0]!r} has no token; in {text[:60]!r}") from None


def decode(tokens: Iterable[int]) -> str:
    """The text of tokens (already collapsed: repeats are kept); blanks are left out."""
    return "".join(SYMBOLS[int(token)] for token in tokens)


def normalise(text: str) -> str:
    """Lower case, accents removed, typographic apostrophes made plain, blanks joined.

    Raises:
      ValueError: for symbols that have no token (digits, punctuation, other scripts); the sentence names them.
    """
    text = _folded(text)
    if odd := unknown(text):
        raise ValueError(f"transcript: unknown symbols {odd!r} in {text[:60]!r}")
    return text


def dropped(text: str) -> str:
    """`normalise` with a blank in the place of every symbol that has no token."""
    return _folded("".join(s if s in _TOKEN else " " for s in _folded(text)))


def unknown(text: str) -> str:
    """The symbols without a token in a text, each once, sorted."""
    return "".join(sorted(set(_folded(text)) - _TOKEN.keys()))


def frames_needed(tokens: list[int]) -> int:
    """The fewest output frames in which CTC can write `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in zip(tokens, tokens[1:], strict=False))


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES).lower())
    return re.sub(r"\s+", " ", "".join(s for s in plain if not unicodedata.combining(s))).strip()
