import pytest

from anaxon.data import tokens


def test_tokens_are_29_letters_and_round_trip():
    text = "it's a quick brown fox jumping over the lazy dog"
    assert tokens.COUNT == 29 and tokens.BLANK == 0 and tokens.SYMBOLS[0] == ""
    assert tokens.encode(" 'az") == [1, 2, 3, 28]
    assert tokens.decode(tokens.encode(text)) == text
    assert tokens.decode([0, 3, 0, 0, 3, 4]) == "aab"  # blanks write nothing; collapsing repeats is the decoder's


def test_normalise_folds_case_accents_apostrophes_and_blanks():
    assert tokens.normalise("  IT\u2019S  Caf\u00e9\n Na\u00efve ") == "it's cafe naive"


@pytest.mark.parametrize(("text", "odd"), [("two 2s", "2"), ("wait. what?", ".?"), ("\u00df", "\u00df")])
def test_unknown_symbols_are_named_and_dropped_on_request(text, odd):
    assert tokens.unknown(text) == odd
    with pytest.raises(ValueError, match="transcript: unknown symbols"):
        tokens.normalise(text)
    assert not tokens.unknown(tokens.dropped(text))


def test_a_dropped_symbol_parts_words():
    assert tokens.dropped("well-known, 3 Things") == "well known things"


def test_encode_names_the_symbol():
    with pytest.raises(ValueError, match="'A' has no token"):
        tokens.encode("A")


def test_ctc_needs_a_blank_between_equal_letters():
    assert tokens.frames_needed(tokens.encode("hello")) == 6
    assert tokens.frames_needed(tokens.encode("aaa")) == 5
    assert tokens.frames_needed([]) == 0
