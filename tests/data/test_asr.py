import numpy as np
import pytest

from anaxon.data import asr, cache, tokens, utterances, voices
from anaxon.data.asr import SpeechData
from anaxon.data.features import SpeechLogMel

TINY = SpeechData(train=12, validation=4, test=6, workers=2)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANAXON_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def corpus(folder):
    return asr.load(TINY, progress=False)


def test_layout(corpus):
    assert corpus.name == "synthetic sentences (espeak-ng)" and corpus.notes == ()
    for split, count in (("train", 12), ("validation", 4), ("test", 6)):
        part = getattr(corpus, split)
        assert len(part) == len(part.texts) == len(part.ids) == len(part.speakers) == count
        assert part.features.dtype == np.float16 and part.features.shape == (part.starts[-1], 80)
        assert part.starts[0] == 0 and (part.lengths > 100).all() and np.isfinite(part.features).all()
        assert part.words == sum(text.count(" ") + 1 for text in part.texts)
        assert corpus.seconds(split) == pytest.approx(part.lengths.sum() / 100)
    train = corpus.train.features.astype(np.float64)
    np.testing.assert_allclose(corpus.mean, train.mean(0), rtol=1e-5)
    np.testing.assert_allclose(corpus.std, train.std(0), rtol=1e-4)


def test_ctc_can_write_every_sentence_on_frames_of_40_ms(corpus):
    for part in (corpus.train, corpus.validation, corpus.test):
        for text, frames in zip(part.texts, part.lengths, strict=True):
            assert tokens.frames_needed(tokens.encode(text)) <= 0.75 * frames / 4


def test_fast_rates_are_slowed_down():
    job = utterances.job_of(SpeechData(train=6, validation=1, test=1, rates=(300, 300)))
    shard = utterances.speak_shard(job, ("train", 0, 6))
    for text, samples in zip(utterances.written(job)["train"], shard["lengths"], strict=True):
        assert tokens.frames_needed(tokens.encode(text)) <= 0.75 * samples / 640


def test_nobody_speaks_in_two_splits_unless_voices_are_shared(corpus):
    names, cast = voices.identities(), utterances.cast(utterances.job_of(TINY))
    who = {split: {voices.identity(v) for v in variants} for split, variants in cast.items()}
    assert (
        not who["train"] & who["test"] and not who["train"] & who["validation"] and not who["test"] & who["validation"]
    )
    for split in asr.SPLITS:
        assert {names[k] for k in getattr(corpus, split).speakers} <= who[split]
    shared = utterances.cast(utterances.job_of(SpeechData(voices="shared", speakers=3)))
    assert shared["test"] == shared["train"] == shared["validation"] and len(shared["train"]) == 3


def test_second_load_reads_the_cache(corpus, monkeypatch):
    monkeypatch.setattr(utterances, "build", lambda *a: pytest.fail("the corpus was made again"))
    again = asr.load(TINY, progress=False)
    assert again.checksum == corpus.checksum and again.train.texts == corpus.train.texts
    np.testing.assert_array_equal(again.test.features, corpus.test.features)
    assert not list(cache.folder().glob("*.parts"))


def test_interrupted_build_goes_on_with_other_workers_to_the_same_corpus(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path))
    parts = utterances.cache_path(TINY).with_suffix(".parts")

    def interrupt(file, clips, config, real=utterances._featurise):
        if list(parts.glob("*[0-9].npz")):
            raise KeyboardInterrupt
        return real(file, clips, config)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(utterances, "_featurise", interrupt)
        asr.load(TINY, progress=False)
    assert len(list(parts.glob("*[0-9].npz"))) == 1
    one = SpeechData(train=12, validation=4, test=6, workers=1)
    assert asr.load(one, progress=False).checksum == corpus.checksum
    assert not parts.exists()


def test_the_cache_s_name_depends_on_every_setting_of_the_recordings():
    changes = ({"train": 13}, {"seed": 1}, {"rates": (100, 120)}, {"noise_db": (0, 10)}, {"gain_db": (-3, 0)},
               {"room": "dry"}, {"accents": ("en",)}, {"voices": "shared"}, {"speakers": 2}, {"vocabulary": 0.5},
               {"features": SpeechLogMel(mels=40)})  # fmt: skip
    names = {utterances.cache_path(SpeechData(**change)) for change in changes}
    assert len(names | {utterances.cache_path(SpeechData())}) == len(changes) + 1
    assert utterances.cache_path(SpeechData(workers=1)) == utterances.cache_path(SpeechData(workers=2))


@pytest.mark.parametrize(
    ("field", "value"),
    [("train", 0), ("seed", -1), ("rates", (150, 100)), ("rates", 120), ("noise_db", ("a", 1)), ("room", "hall"),
     ("voices", "all"), ("unknown", "keep"), ("vocabulary", 0.0), ("longest", -1), ("speeds", (9.0,)), ("path", 3),
     ("features", {"mels": 3})],
)  # fmt: skip
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=rf"data\.{field}"):
        SpeechData(**{field: value})
