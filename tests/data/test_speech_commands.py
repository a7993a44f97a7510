import wave

import numpy as np
import pytest

from anaxon.data import keywords, voices
from anaxon.data.keywords import KeywordData


def write(path, samples, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three speakers a word; one is on the official validation list and one on the test list. A v2 folder."""
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "speech_commands"
    rng = np.random.default_rng(0)
    lists = {"validation": [], "testing": []}
    for number, word in enumerate((*voices.KEYWORDS, *voices.OTHERS)):
        for speaker, part in (("aa11", None), ("bb22", "validation"), ("cc33", "testing")):
            level = 100 * (number + 1)
            length = 12000 if word == "up" else 16000
            write(root / word / f"{speaker}_nohash_0.wav", rng.integers(-level, level, length))
            if part:
                lists[part].append(f"{word}/{speaker}_nohash_0.wav")
    for part, lines in lists.items():
        (root / f"{part}_list.txt").write_text("\n".join(lines) + "\n")
    write(root / "_background_noise_" / "hum.wav", rng.integers(-500, 500, 40000))
    return root


def test_official_split_same_layout(folder):
    corpus = keywords.load(KeywordData(path=str(folder)), progress=False)
    assert corpus.name == "Speech Commands v2"
    for split in voices.SPLITS:
        part = getattr(corpus, split)
        assert part.features.shape == (12, 49, 40) and part.features.dtype == np.float32
        np.testing.assert_array_equal(np.sort(part.labels), np.arange(12))  # ten words, silence, one unknown
        assert len(set(part.speakers[part.speakers >= 0])) == 1
    speakers = [set(getattr(corpus, split).speakers) - {-1} for split in voices.SPLITS]
    assert len(set.union(*speakers)) == 3  # each split its own person
    again = keywords.load(KeywordData(path=str(folder)), progress=False)
    assert again.checksum == corpus.checksum


def test_without_the_words_of_v2_it_is_v1(folder):
    for word in ("backward", "follow", "forward", "learn", "visual"):
        for path in (folder / word).iterdir():
            path.unlink()
        (folder / word).rmdir()
    assert keywords.load(KeywordData(path=str(folder)), progress=False).name == "Speech Commands v1"


def test_a_folder_that_is_none(folder, tmp_path):
    with pytest.raises(ValueError, match=r"data\.path: .* is no Speech Commands folder: it has no validation_list"):
        keywords.load(KeywordData(path=str(tmp_path)), progress=False)
    (folder / "testing_list.txt").unlink()
    with pytest.raises(ValueError, match=r"it has no testing_list\.txt"):
        keywords.load(KeywordData(path=str(folder)), progress=False)


def test_a_bad_wav_is_named(folder):
    write(folder / "yes" / "aa11_nohash_0.wav", np.zeros(8000), rate=8000)
    with pytest.raises(ValueError, match=r"aa11_nohash_0\.wav: expected mono"):
        keywords.load(KeywordData(path=str(folder)), progress=False)
    (folder / "yes" / "aa11_nohash_0.wav").write_bytes(b"not a wav")
    with pytest.raises(ValueError, match=r"aa11_nohash_0\.wav: not a readable WAV"):
        keywords.load(KeywordData(path=str(folder)), progress=False)
