"""LibriSpeech, TED-LIUM 2 and manifests, as small folders of noise."""

import gzip
import json
import logging
import sys

import numpy as np
import pytest
import soundfile

from anaxon.data import asr, asterisk, audio, cache, reading, tedlium
from anaxon.data.asr import SpeechData
from anaxon.data.features import SpeechLogMel, log_mel_utterances

RATE = 16000


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def write(path, seconds=1.0, rate=RATE, **format):
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = 0.1 * np.random.default_rng(len(path.name)).standard_normal(round(seconds * rate))
    soundfile.write(path, sound, rate, "PCM_16", **format)
    return path


def librispeech(root, parts=("train-clean-100", "dev-clean", "test-clean")):
    for part in parts:
        for speaker in (19, 26):
            chapter = root / part / str(speaker) / "7"
            lines = [f"{speaker}-7-{k:04d} IT'S NUMBER {['ONE', 'TWO', 'THREE'][k]}" for k in range(3)]
            for k in range(3):
                write(chapter / f"{speaker}-7-{k:04d}.flac", 1 + k / 4)
            (chapter / f"{speaker}-7.trans.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("above", ["", "LibriSpeech"])
def test_librispeech(folder, above):
    librispeech(folder / above)
    corpus = asr.load(SpeechData(path=str(folder)), progress=False)
    assert corpus.name == "LibriSpeech" and corpus.notes == ()
    for split in asr.SPLITS:
        part = getattr(corpus, split)
        assert part.texts[:3] == ("it's number one", "it's number two", "it's number three")
        np.testing.assert_array_equal(part.lengths, [98, 123, 148] * 2)
        assert part.ids[3] == "26-7-0000"
        assert len(set(part.speakers[:3])) == 1 and part.speakers[0] != part.speakers[3]
    file = folder / above / "test-clean" / "26" / "7" / "26-7-0002.flac"
    expected, _ = log_mel_utterances([audio.read(file)[0]], SpeechLogMel())
    np.testing.assert_array_equal(corpus.test.features[corpus.test.starts[5] :], expected)


def test_parts_are_chosen_by_patterns(folder):
    librispeech(folder, ("train-clean-100", "train-other-500", "dev-clean", "dev-other", "test-other"))
    config = SpeechData(path=str(folder), train_folders=["train-clean-*"], validation_folders=["dev-other"])
    corpus = asr.load(config, progress=False)
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (6, 6, 6)
    with pytest.raises(ValueError, match=r"data\.test_folders: .*LibriSpeech.* no utterances for test in test-clean"):
        asr.load(SpeechData(path=str(folder), test_folders=("test-clean",)), progress=False)


def test_what_cannot_be_used_is_skipped_counted_and_listed(folder, caplog):
    root = librispeech(folder) / "train-clean-100"
    (root / "19/7/19-7-0000.flac").write_bytes(b"junk")
    (root / "19/7/19-7-0001.flac").unlink()
    write(root / "19/7/19-7-0002.flac", 5.0)
    write(root / "26/7/26-7-0002.flac", 1.5, rate=8000)
    (root / "26/7/26-7.trans.txt").write_text("26-7-0000 NUMBER 1\n26-7-0001 " + "A WORD " * 20 + "\n26-7-0002 TWO\n")
    with caplog.at_level(logging.WARNING, "anaxon.data"):
        corpus = asr.load(SpeechData(path=str(folder), longest=4.0), progress=False)
    assert corpus.train.ids == ("26-7-0002",) and corpus.train.lengths[0] == 148  # resampled: 1.5 s
    notes = "\n".join(corpus.notes)
    for sentence in ("2 of 6 utterances skipped, not readable: 19-7-0000", "1 of 6 utterances skipped, longer than 4 s",
                     "1 of 6 utterances skipped, unknown symbols in the transcript: 26-7-0000 1",
                     "1 of 6 utterances skipped, too short for its transcript: 26-7-0001",
                     "1 of 6 utterances resampled from 8000 Hz to 16000 Hz"):  # fmt: skip
        assert f"train: {sentence}" in notes and sentence in caplog.text
    listed = next(cache.folder().glob("*.skipped.txt")).read_text().splitlines()
    assert len(listed) == 5 and all(line.startswith("train\t") for line in listed)
    assert len(corpus.test) == 6  # the test is never shortened by what CTC can write


def test_unknown_symbols_are_dropped_on_request(folder):
    librispeech(folder)
    (folder / "dev-clean/19/7/19-7.trans.txt").write_text("19-7-0000 Well-known, 3 TIMES.\n")
    corpus = asr.load(SpeechData(path=str(folder), unknown="drop"), progress=False)
    assert corpus.validation.texts[0] == "well known times"


def test_nothing_left_is_an_error_with_the_reasons(folder):
    for file in librispeech(folder).glob("dev-clean/*/*/*.flac"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no utterance of validation can be used: .*6 of 6 .* not readable"):
        asr.load(SpeechData(path=str(folder)), progress=False)


def test_an_interrupted_reading_goes_on_to_the_same_corpus(folder, monkeypatch):
    librispeech(folder)
    config = SpeechData(path=str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(reading, "SHARD", 4)
        done = []

        def interrupt(*arguments, real=reading.features_of, **more):
            if len(done) == 3:
                raise KeyboardInterrupt
            done.append(0)
            return real(*arguments, **more)

        patch.setattr(reading, "features_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            asr.load(config, progress=False)
        parts = reading.cache_path(config).with_suffix(".parts")
        assert len(list(parts.glob("*.npz"))) == 3
        done[:] = []
        corpus = asr.load(config, progress=False)
        assert len(done) == 3 and not parts.exists()  # 3 of 6 shards were made again
    librispeech(folder)  # newer files: another cache file
    assert asr.load(config, progress=False).checksum == corpus.checksum
    assert len(list(cache.folder().glob("speech-*.npz"))) == 2


def test_speeds_repeat_training_alone(folder):
    librispeech(folder)
    corpus = asr.load(SpeechData(path=str(folder), speeds=(1.0, 0.8)), progress=False)
    assert len(corpus.train) == 12 and len(corpus.test) == 6
    assert corpus.train.ids[:2] == ("19-7-0000", "19-7-0000-x0.8")
    np.testing.assert_array_equal(corpus.train.lengths[:2], [98, 123])  # 1 s, and 1 / 0.8 s
    np.testing.assert_array_equal(corpus.train.features[:98], corpus.test.features[:98])


def ted(root):
    for part in ("train", "dev", "test"):
        write(root / part / "sph" / "Talk_2010.sph", 10.0, format="NIST")
        stm = root / part / "stm" / "Talk_2010.stm"
        stm.parent.mkdir(parents=True)
        stm.write_text(";; a comment\n"
                       "Talk_2010 1 Talk_2010 0.00 1.00 <o,,unknown> ignore_time_segment_in_scoring\n"
                       "Talk_2010 1 Talk_2010 1.00 3.50 <o,f0,male> and it 's a(2) good {NOISE} thing <unk>\n"
                       "Talk_2010 1 Talk_2010 4.25 6.25 <o,f0,male> they 're here\n")  # fmt: skip
    return root


def test_tedlium(folder):
    corpus = asr.load(SpeechData(path=str(ted(folder / "TEDLIUM_release2"))), progress=False)
    assert corpus.name == "TED-LIUM 2"
    assert corpus.test.texts == ("and it's a good thing", "they're here")
    np.testing.assert_array_equal(corpus.test.lengths, [248, 198])
    assert "3 segments are not to be scored and left out" in corpus.notes
    assert "3 transcripts hold <unk>, which is removed" in corpus.notes
    sound, _ = audio.read(folder / "TEDLIUM_release2/test/sph/Talk_2010.sph")
    expected, _ = log_mel_utterances([sound[4 * RATE + RATE // 4 :][: 2 * RATE]], SpeechLogMel())
    np.testing.assert_array_equal(corpus.test.features[248:], expected)


def test_tedlium_transcripts_and_bad_lines(folder):
    assert tedlium.transcript("<o,f3,female> we 've  seen(2) [laughter] 'cause") == "we've seen'cause"
    (ted(folder) / "dev/stm/Talk_2010.stm").write_text("Talk_2010 1 Talk_2010 one 2.0 <o> text\n")
    with pytest.raises(ValueError, match=r"Talk_2010\.stm: not an STM line"):
        asr.load(SpeechData(path=str(folder)), progress=False)


def rows(folder, count=40, **columns):
    for k in range(count):
        write(folder / "clips" / f"c{k}.wav", 0.5)
    return [{"path": f"c{k}.wav", "sentence": f"Clip {'ab'[k % 2]}", **{n: f(k) for n, f in columns.items()}}
            for k in range(count)]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_manifests_with_a_split_column(folder, suffix):
    made = rows(folder, 6, split=lambda k: ("train", "validation", "test")[k % 3], speaker=lambda k: f"s{k}")
    mark = {"csv": ",", "tsv": "\t"}.get(suffix)
    lines = [mark.join(made[0]), *(mark.join(row.values()) for row in made)] if mark else map(json.dumps, made)
    file = folder / f"all.{suffix}"
    file.write_text("\n".join(lines) + "\n")
    for path in (file, folder):
        corpus = asr.load(SpeechData(path=str(path)), progress=False)
        assert [len(getattr(corpus, s)) for s in asr.SPLITS] == [2, 2, 2]
        assert corpus.train.texts == ("clip a", "clip b") and (corpus.train.lengths == 48).all()


def test_a_manifest_without_splits_holds_out_speakers(folder):
    made = rows(folder, 60, client_id=lambda k: f"speaker {k % 20}", duration=lambda k: 0.4, offset=lambda k: 0.05)
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, made)))
    corpus = asr.load(SpeechData(path=str(folder)), progress=False)
    who = [set(getattr(corpus, s).speakers.tolist()) for s in asr.SPLITS]
    assert sum(map(len, who)) == len(set.union(*who)) == 20
    assert (corpus.train.lengths == 38).all()  # 0.4 s of 0.5


def test_manifests_named_by_split_come_before_others(folder):
    made = rows(folder, 2)
    for name in ("train", "dev", "test", "validated"):
        text = "path\tsentence\n" + "".join(f'{r["path"]}\t"{r["sentence"]}\n' for r in made)  # a lone quote is text
        (folder / f"{name}.tsv").write_text(text)
    corpus = asr.load(SpeechData(path=str(folder), unknown="drop"), progress=False)
    assert len(corpus.train) == len(corpus.test) == 2 and corpus.train.texts[0] == "clip a"


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [("a.csv", "sound,text\na.wav,hello\n", r"a\.csv: line 1 has no file; expected a column named audio"),
     ("a.csv", "audio,words\na.wav,hello\n", r"a\.csv: line 1 has no text"),
     ("a.csv", "audio,text,start\na.wav,hello,soon\n", r"a\.csv: line 1: start and duration"),
     ("a.jsonl", "{audio: 1}\n", r"a\.jsonl: line 1 is not JSON"),
     ("a.jsonl", "[1]\n", r"a\.jsonl: every line must be a JSON object"),
     ("a.txt", "hello", r"data\.path: .* holds no LibriSpeech .* no TED-LIUM 2 .* no manifest")],
)  # fmt: skip
def test_bad_manifests_are_named(folder, name, text, error):
    folder.mkdir()
    (folder / name).write_text(text)
    for path in (folder, folder / name):
        with pytest.raises(ValueError, match=error):
            asr.load(SpeechData(path=str(path)), progress=False)


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_package_is_named(folder, monkeypatch, package):
    librispeech(folder)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"needs the package {package}: pip install"):
        asr.load(SpeechData(path=str(folder)), progress=False)


def test_a_path_that_is_not_there(folder):
    with pytest.raises(ValueError, match=r"data\.path: there is no"):
        asr.load(SpeechData(path=str(folder)), progress=False)


def test_asterisk_prompts(folder):
    lines = [
        "; Core",
        "",
        "one: Hello, World.",
        "beep: [a tone]",
        "press: Press 1 now",
        "gone: Not there",
        "sub/two: It's",
    ]
    texts = folder / "core.txt.gz"
    folder.mkdir()
    texts.write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("one", "beep", "press", "sub/two"):
        write(folder / f"{name}.wav", 0.5, rate=8000)
    found = asterisk.prompts(sounds=folder, texts=texts)
    assert found.texts == ("hello world", "it's") and found.ids == ("one", "sub/two")
    np.testing.assert_array_equal(found.starts, [0, 48, 96])
    assert asterisk.prompts(sounds=folder / "none", texts=texts) is None
