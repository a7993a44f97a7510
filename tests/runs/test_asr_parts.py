"""What a speech recognition run is put together from, without any network."""

import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.data import asr, tokens
from anaxon.runs import asr_decoding, asr_goals, asr_panel
from anaxon.runs.asr_decoding import Decoding

TEXTS = ("a bad cab", "egg", "deaf cab", "a egg egg bad", "cab")


@pytest.fixture
def corpus():
    rng = np.random.default_rng(1)
    starts = np.concatenate([[0], np.cumsum([40 * len(t.split()) + 7 for t in TEXTS])])
    features = (10 + 3 * rng.normal(size=(starts[-1], 8))).astype(np.float16)
    split = asr.Utterances(features, starts, TEXTS, np.zeros(5, np.int32), tuple("vwxyz"))
    return asr.Corpus(
        "synthetic (test)", split, split, split, np.full(8, 10, np.float32), np.full(8, 3, np.float32), "0"
    )


def posteriors(panel, say):
    """Log probabilities of every stack that write `say(text)` surely, three frames a token."""
    found = []
    for stack in panel.stacks:
        batches, rows, frames = stack.features.shape[:3]
        table = np.full((batches, rows, frames, tokens.COUNT), -12.0, np.float32)
        table[..., 0] = -1e-3
        lengths = np.zeros((batches, rows), np.int32)
        for place in np.ndindex(batches, rows):
            if stack.index[place] >= 0:
                written = tokens.encode(say(panel.texts[stack.index[place]]))
                lengths[place] = 3 * len(written)
                for k, token in enumerate(written):
                    table[(*place, 3 * k)] = np.where(np.arange(tokens.COUNT) == token, -1e-3, -12.0)
        found.append((table, lengths))
    return found


@pytest.mark.parametrize("shapes", [1, 2])
def test_a_panel_holds_every_utterance_once(corpus, shapes):
    panel = asr_panel.panel_of(corpus, corpus.test, 0, 300, shapes=shapes)
    assert panel.texts == TEXTS and panel.words.tolist() == [3, 1, 2, 4, 1]
    seen = np.sort(np.concatenate([s.index.reshape(-1) for s in panel.stacks]))
    assert seen[seen >= 0].tolist() == [0, 1, 2, 3, 4]
    numbered = [np.stack([s.index, 10 + s.index]) for s in panel.stacks]
    np.testing.assert_array_equal(panel.in_order(numbered), [np.arange(5), 10 + np.arange(5)])


def test_a_panel_of_some_words_is_chosen_by_the_seed(corpus):
    chosen = {asr_panel.panel_of(corpus, corpus.test, 4, 300, seed).texts for seed in range(20)}
    assert len(chosen) > 1 and all(sum(len(t.split()) for t in texts) >= 4 for texts in chosen)


def test_speech_has_no_padding(corpus):
    features, lengths = asr_panel.speech_of(corpus, corpus.test, 3)
    assert features.shape[0] == 3 and np.all(lengths == features.shape[1])
    index = [0, 2, 4]
    flat = np.concatenate([corpus.test.features[corpus.test.starts[k] : corpus.test.starts[k + 1]] for k in index])
    np.testing.assert_allclose(features.reshape(-1, 8), ((flat.astype(np.float32) - 10) / 3)[: features.shape[1] * 3])


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(beam=4), Decoding(beam=8, order=2, weight=0.3)])
def test_decoders_write_what_is_said(corpus, decoding):
    panel = asr_panel.panel_of(corpus, corpus.test, 0, 300)
    decoder = asr_decoding.decoder_of(decoding, corpus)

    def errors(say):
        kept = [np.stack([np.asarray(decoder.keep(jnp.asarray(p), jnp.asarray(n))) for p, n in zip(*both, strict=True)])
                for both in posteriors(panel, say)]  # fmt: skip
        return asr_decoding.errors_of(panel, decoder, kept)

    assert errors(lambda text: text).tolist() == [0, 0, 0, 0, 0]
    assert errors(lambda text: text.replace("egg", "bad")).tolist() == [0, 1, 0, 2, 0]


def test_a_language_model_changes_what_is_written(corpus):
    """Two words almost as likely: the model's preference decides."""
    panel = asr_panel.panel_of(corpus, corpus.test, 0, 10**6, shapes=1)
    table, lengths = posteriors(panel, lambda text: text.replace("egg", "bad"))[0]
    exact, _ = posteriors(panel, lambda text: text)[0]
    mixed = np.logaddexp(np.log(0.55) + table, np.log(0.45) + exact)
    wrong, right = [], []
    for decoding, out in ((Decoding(beam=16), wrong), (Decoding(beam=16, order=3, weight=3.0), right)):
        decoder = asr_decoding.decoder_of(decoding, corpus)
        kept = np.asarray(decoder.keep(jnp.asarray(mixed[0]), jnp.asarray(lengths[0])))
        index = panel.stacks[0].index[0]
        out += [text for text, i in zip(decoder.write(kept), index, strict=True) if i >= 0]
    assert tuple(right) == panel.texts and wrong == [t.replace("egg", "bad") for t in panel.texts], (right, wrong)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"order": 3}, "decoding.beam"),
        ({"beam": 4, "arpa": "/no/such.arpa"}, "decoding.arpa: expected a file"),
        ({"beam": -1}, "decoding.beam"),
        ({"weight": -0.5}, "decoding.weight"),
    ],
)
def test_wrong_decodings_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        Decoding(**settings)


def share(name, mean, lo, hi, **more):
    removed = {"mean": mean, "ci95": [lo, hi]}
    return {"condition": name, "removed": removed, "equal_bits": True, "adc_energy_share": 1.0, **more}


@pytest.mark.parametrize(("ends", "met"), [((0.6, 0.9), True), ((0.4, 0.9), None), ((0.1, 0.4), False)])
def test_a_goal_is_met_by_the_whole_interval(ends, met):
    cures = {"layers": share("layers", sum(ends) / 2, *ends)}
    named, best = asr_goals._shares("4 bits", cures)
    assert named["met"] is met and best["met"] is met


def test_the_automatic_cure_is_told_beside_the_best():
    cures = {"layers": share("layers", 0.7, 0.6, 0.8), "arrays": share("arrays", 0.8, 0.6, 0.9)}
    told = [g["what"] for g in asr_goals._shares("4 bits", cures)]
    assert "'layers'" in told[0] and "the best of 2, 'arrays'" in told[1]


def test_no_share_without_a_gap():
    cures = {"layers": {**share("layers", 0, 0, 0), "removed": None}}
    (goal,) = asr_goals._shares("4 bits", cures)
    assert goal["met"] is None and "under 4 standard errors" in goal["obtained"]
