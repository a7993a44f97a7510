import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from anaxon.data import cache, espeak, keywords, speak, synthesis, voices
from anaxon.data.keywords import KeywordData

TINY = KeywordData(train=36, validation=12, test=24, workers=2)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache_folder(shared_cache, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(shared_cache))


@pytest.fixture(scope="module")
def corpus(shared_cache):
    os.environ["ANAXON_CACHE"] = str(shared_cache)
    return keywords.load(TINY, progress=False)


def test_shapes_and_ranges(corpus):
    assert corpus.name == "synthetic (espeak-ng)"
    assert corpus.train.features.shape == (36, 49, 40)
    assert corpus.test.features.dtype == np.float32
    assert corpus.train.labels.dtype == corpus.train.speakers.dtype == np.int32
    assert np.abs(corpus.test.features).max() <= 3.0
    np.testing.assert_array_equal(np.bincount(corpus.test.labels), 2)  # classes are balanced
    # Normalised by the training split: its own mean is 0 but for what the bound cut.
    assert np.abs(corpus.train.features.mean((0, 1))).max() < 0.05


def test_speakers_are_held_out(corpus):
    cast = {split: {voices.identity(v) for v in voices.cast(0)[split]} for split in voices.SPLITS}
    assert not cast["train"] & cast["test"] and not cast["train"] & cast["validation"]
    assert not cast["validation"] & cast["test"]
    names = voices.identities()
    for split in voices.SPLITS:
        part = getattr(corpus, split)
        assert {names[k] for k in part.speakers if k >= 0} <= cast[split]
        np.testing.assert_array_equal(part.speakers == -1, part.labels == voices.SILENCE)


def test_identity_joins_numbered_variants():
    assert voices.identity("steph2") == voices.identity("steph") == "steph"
    assert voices.identity("RicishayMax3") == "ricishaymax"
    assert voices.identity("f1") != voices.identity("f2")


def test_same_clips_in_another_process_and_prefixes_agree():
    whole = speak.speak_shard(0, "train", 0, 48)
    code = (
        "from anaxon.data import speak, espeak, cache\n"
        "with espeak.speaker() as s: s.say('house', 'en+whisper', rate=170, pitch=50, pitch_range=50)\n"  # noise state
        "a = speak.speak_shard(0, 'train', 0, 36); print(cache.crc(a['clips'], a['labels'], a['speakers']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == cache.crc(*(whole[name][:36] for name in ("clips", "labels", "speakers")))
    other = speak.speak_shard(1, "train", 0, 12)["clips"]
    assert not np.array_equal(other, whole["clips"][:12])


def test_breath_noise_is_not_seeded_by_the_clock():
    def said():
        with espeak.speaker() as speaker:
            return speaker.say("house", "en+f2", rate=170, pitch=50, pitch_range=50)

    first = said()
    time.sleep(1.1)
    np.testing.assert_array_equal(first, said())


def test_a_voice_that_is_not_there_is_named():
    with espeak.speaker() as speaker, pytest.raises(ValueError, match="no 'en\\+nobody'"):
        speaker.say("yes", "en+nobody", rate=170, pitch=50, pitch_range=50)


def test_words_are_audible_and_silence_has_none():
    shard = speak.speak_shard(0, "train", 0, 36)
    power = np.mean((shard["clips"] / 32768.0).reshape(36, 20, 800) ** 2, axis=2)  # 50 ms pieces
    contrast = power.max(1) / np.median(power, axis=1)
    spoken = shard["labels"] != voices.SILENCE
    assert contrast[spoken].min() > 2 and np.abs(shard["clips"][spoken]).max(1).min() > 1000


def test_second_load_reads_the_cache_and_the_checksum_is_stable(corpus, monkeypatch):
    monkeypatch.setattr(synthesis, "build", lambda *a: pytest.fail("the corpus was made again"))
    again = keywords.load(TINY, progress=False)
    assert again.checksum == corpus.checksum
    np.testing.assert_array_equal(again.train.features, corpus.train.features)
    assert not list(cache.folder().glob("*.parts"))


def test_interrupted_build_goes_on_with_other_workers_and_remakes_damaged_shards(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path))
    parts = synthesis.cache_path(TINY).with_suffix(".parts")
    calls = []

    def interrupt(folder, part, clips, config, real=synthesis._featurise):
        if calls:
            raise KeyboardInterrupt
        calls.append(part)
        return real(folder, part, clips, config)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(synthesis, "_featurise", interrupt)
        keywords.load(TINY, progress=False)
    kept = next(iter(parts.glob("*-000.npz")))
    kept.write_bytes(kept.read_bytes()[:1000])
    one = KeywordData(train=36, validation=12, test=24, workers=1)
    assert keywords.load(one, progress=False).checksum == corpus.checksum
    assert not parts.exists()


def test_workers_end_with_their_parent(tmp_path):
    code = (
        "import time; from anaxon.data import workers; from pathlib import Path\n"
        "shards = [['train', k, 512] for k in range(200)]\n"
        f"p = workers.start('anaxon.data.speak', {{'seed': 0}}, Path({str(tmp_path)!r}), shards)\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    time.sleep(2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker went on without its parent")


def test_damaged_cache_is_one_sentence_with_the_path(corpus, tmp_path, monkeypatch):
    path = synthesis.cache_path(TINY)
    data = bytearray(path.read_bytes())
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path))
    data[len(data) // 2] ^= 0xFF
    synthesis.cache_path(TINY).write_bytes(data)
    with pytest.raises(ValueError, match=r"keywords-.*\.npz: this cache file is damaged .* delete it"):
        keywords.load(TINY, progress=False)


@pytest.mark.parametrize("field", ["train", "validation", "test", "seed", "workers"])
def test_bad_counts_name_the_field(field):
    with pytest.raises(ValueError, match=rf"data\.{field} must be a whole number"):
        KeywordData(**{field: -1})


def test_missing_espeak_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ValueError, match=r"espeakng-loader .*data\.path"):
        keywords.load(TINY, progress=False)


def test_panel_is_balanced_fixed_and_of_the_asked_size():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 50))
    panel = keywords.stratified_panel(labels, 200, seed=3)
    counts = np.bincount(labels[panel], minlength=12)
    assert counts.sum() == 200 and set(counts) == {16, 17} and len(set(panel)) == 200
    np.testing.assert_array_equal(panel, keywords.stratified_panel(labels, 200, seed=3))
    assert not np.array_equal(panel, keywords.stratified_panel(labels, 200, seed=4))
    with pytest.raises(ValueError, match="panel of 700"):
        keywords.stratified_panel(labels, 700)
