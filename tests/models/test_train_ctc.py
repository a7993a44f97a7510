"""Training with CTC: the loss over all alignments, and runs that were interrupted."""

import dataclasses
import itertools
import shutil
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.data.asr import Corpus, Utterances
from anaxon.data.batches import Batches
from anaxon.data.spec_augment import SpecAugment
from anaxon.models import checkpoint, train_ctc
from anaxon.models.train_ctc import CtcTraining, ctc_loss, plain
from anaxon.training import digital_loss, input_ranges, min_max, observed_loss

pytestmark = pytest.mark.slow

MELS, VOCABULARY, WIDTH = 4, 29, 16
CONFIG = CtcTraining(
    epochs=6,
    frames_per_batch=64,
    shapes=1,
    learning_rate=0.02,
    save_every=2,
    masks=SpecAugment(feature_masks=0, time_every=8, time_longest=4),
)


def collapsed(path):
    """Repeats joined, blanks taken out."""
    return [a for i, a in enumerate(path) if a != 0 and (i == 0 or a != path[i - 1])]


def likelihood(log_probs, tokens):
    """The sum over all alignments (Graves et al. 2006, eq. 3)."""
    frames, symbols = log_probs.shape
    p = np.exp(np.asarray(log_probs, np.float64))
    paths = itertools.product(range(symbols), repeat=frames)
    return sum(np.prod(p[np.arange(frames), list(path)]) for path in paths if collapsed(path) == list(tokens))


def outputs(rows, frames=5, symbols=3, seed=0):
    logits = np.random.default_rng(seed).normal(size=(rows, frames, symbols))
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))


# Three rows, one of padding, one without tokens and one without frames.
TOKENS = jnp.array([[1, 2, 0], [1, 1, 2], [2, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
LENGTHS, TOKEN_LENGTHS = jnp.array([5, 5, 3, 0, 4, 0]), jnp.array([2, 3, 1, 0, 0, 1])


def test_the_loss_is_the_sum_over_all_alignments_a_token():
    """Frames and tokens behind the ends of their rows, and rows without either, do not count."""
    log_probs = outputs(6)
    expected = [-np.log(likelihood(log_probs[i, : LENGTHS[i]], TOKENS[i, : TOKEN_LENGTHS[i]])) for i in range(3)]
    loss = jax.jit(ctc_loss)
    np.testing.assert_allclose(loss((log_probs, LENGTHS), TOKENS, TOKEN_LENGTHS), sum(expected) / 6, rtol=1e-5)
    other = log_probs.at[2, 3:].set(-7.0).at[3].set(-3.0)
    padded = TOKENS.at[0, 2].set(2).at[3].set(1)
    np.testing.assert_allclose(loss((other, LENGTHS), padded, TOKEN_LENGTHS), sum(expected) / 6, rtol=1e-5)


def test_padding_has_no_gradient_and_a_batch_of_it_no_loss():
    log_probs = outputs(6)
    slope = jax.jit(jax.grad(lambda x: ctc_loss((x, LENGTHS), TOKENS, TOKEN_LENGTHS)))(log_probs)
    assert np.all(np.isfinite(slope)) and not np.any(slope[3:]) and not np.any(slope[2, 3:])
    assert np.all(np.any(slope[:3, :3] != 0, axis=(1, 2)))
    nothing = jnp.zeros(6, jnp.int32)
    assert float(ctc_loss((log_probs, nothing), TOKENS, nothing)) == 0.0


def utterances(count, seed):
    """Each letter is a few frames of its own: what CTC has to find."""
    rng = np.random.default_rng(seed)
    tones = np.random.default_rng(99).normal(size=(3, MELS))
    texts = tuple("".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(count))
    clips = [np.concatenate([np.repeat(tones["abc".index(c)][None], 6, 0) for c in text]) for text in texts]
    features = np.concatenate(clips) + 0.1 * rng.normal(size=(sum(map(len, clips)), MELS))
    starts = np.concatenate([[0], np.cumsum([len(c) for c in clips])]).astype(np.int64)
    speakers, ids = np.zeros(count, np.int32), tuple(map(str, range(count)))
    return Utterances(features.astype(np.float16), starts, texts, speakers, ids)


@cache
def corpus(checksum="0000abcd"):
    train, part = utterances(14, 1), utterances(2, 2)
    return Corpus("letters", train, part, part, np.zeros(MELS, np.float32), np.ones(MELS, np.float32), checksum)


def batches(config=CONFIG, of=None):
    made = of or corpus()
    return Batches(made, made.train, frames_per_batch=config.frames_per_batch, count=config.shapes)


def fn(params, features, lengths, key):
    """Two layers, frame by frame; the key's bits stand for a dropout, which would take seconds to compile."""
    h = jnp.tanh(features @ params["in"])
    h = h * (1 - 0.1 * (jax.random.key_data(key)[-1] % 4))
    return jax.nn.log_softmax(h @ params["out"] + params["bias"]), lengths


@cache
def params():
    rng = np.random.default_rng(0)
    shapes = {"in": (MELS, WIDTH), "out": (WIDTH, VOCABULARY), "bias": (VOCABULARY,)}
    return {name: jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32) for name, shape in shapes.items()}


DIGITAL = plain(digital_loss(fn, ctc_loss))


@cache
def plan():
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=6, cell_bits=5), dac=ax.DAC(bits=6))
    inputs = jnp.ones((2, 16, MELS)), jnp.array([16, 9]), jax.random.key(0)
    made = ax.place(fn, {"in|out": hw})(params(), *inputs)
    return ax.calibrate(fn)(jax.random.key(1), made, params(), *inputs)


def observing():
    return observed_loss(fn, ctc_loss, plan(), min_max), input_ranges(plan())


KINDS = {"digital": lambda: (DIGITAL, ()), "observed": observing}


def fit(kind="digital", config=CONFIG, folder=None, on_epoch=None, of=None, start=None):
    objective, carried = KINDS[kind]()
    start = params() if start is None else start
    return train_ctc.fit(objective, start, carried, batches(config, of), config, folder, False, on_epoch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of a kind: what an uninterrupted training returns, its folder, and this as it was after epoch 5 of 6."""

    @cache
    def run(kind):
        folder = tmp_path_factory.mktemp(kind)
        left = folder.with_name(f"{folder.name} left")

        def on_epoch(epoch, trained):
            if epoch == 4:
                shutil.copytree(folder, left)

        return fit(kind, folder=folder, on_epoch=on_epoch), folder, left

    return run


class Interrupt(Exception):
    pass


def stop_after(last):
    def on_epoch(epoch, trained):
        if epoch == last:
            raise Interrupt

    return on_epoch


def test_an_interrupted_training_ends_with_the_same_bits(whole, tmp_path):
    """It stops after epoch 5 of 6, which is lost: the last checkpoint is that of epoch 4."""
    with pytest.raises(Interrupt):
        fit(folder=tmp_path, on_epoch=stop_after(4))
    assert checkpoint.epochs(tmp_path) == [2, 4]
    epochs = []
    found = fit(folder=tmp_path, on_epoch=lambda epoch, trained: epochs.append(epoch))
    assert epochs == [4, 5] and checkpoint.epochs(tmp_path) == [4, 6]
    jax.tree.map(np.testing.assert_array_equal, found, whole("digital")[0])
    again = fit(folder=tmp_path, on_epoch=stop_after(0))  # it is done: nothing runs
    jax.tree.map(np.testing.assert_array_equal, again, found)


def test_what_is_carried_is_resumed_too(whole):
    found, _, left = whole("observed")
    assert checkpoint.epochs(left) == [2, 4]
    jax.tree.map(np.testing.assert_array_equal, fit("observed", folder=left), found)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_leaves_what_it_was_given(kind, whole):
    before = jax.tree.map(np.array, params())
    trained, carried, loss = whole(kind)[0]
    assert loss.shape == (6,) and np.all(np.isfinite(loss)) and loss[-1] < 0.7 * loss[0]
    jax.tree.map(np.testing.assert_array_equal, params(), before)
    assert all(np.any(np.asarray(trained[name]) != before[name]) for name in before)
    if kind == "observed":
        start = input_ranges(plan())
        assert set(carried) == {"in", "out"} and all(float(carried[p]) > float(start[p]) for p in carried)


def test_the_reported_loss_is_the_mean_of_its_batches():
    """Of the first epoch at rate zero, in NumPy: the weights do not move, masks and dropout are off."""
    config = dataclasses.replace(
        CONFIG, epochs=1, learning_rate=1e-30, clip_sigma=0, masks=SpecAugment(time_longest=0, feature_masks=0)
    )
    quiet = lambda p, x, n, key: fn_without_dropout(p, x, n)  # noqa: E731
    made = batches(config)
    loss = train_ctc.fit(plain(digital_loss(quiet, ctc_loss)), params(), (), made, config, None, False)[2]
    p = {name: np.asarray(w, np.float64) for name, w in params().items()}
    losses = []
    for batch in made.epoch(config.seed, 0):
        logits = np.tanh(batch.features @ p["in"]) @ p["out"] + p["bias"]
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        rows = [forward(log_probs[i, :n], batch.tokens[i, :u])
                for i, (n, u) in enumerate(zip(batch.lengths, batch.token_lengths, strict=True)) if n]  # fmt: skip
        losses.append(-sum(rows) / batch.token_lengths.sum())
    np.testing.assert_allclose(loss, [np.mean(losses)], rtol=1e-5)


def fn_without_dropout(params, features, lengths):
    return jax.nn.log_softmax(jnp.tanh(features @ params["in"]) @ params["out"] + params["bias"]), lengths


def forward(log_probs, tokens):
    """The log likelihood by the forward recursion (Graves et al. 2006, eqs. 5-8), a state at a time."""
    states = [0, *(s for token in tokens for s in (token, 0))]
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = log_probs[0, states[:2]]
    for frame in log_probs[1:]:
        new = np.full_like(alpha, -np.inf)
        for s, symbol in enumerate(states):
            skip = s > 1 and symbol not in (0, states[s - 2])
            new[s] = np.logaddexp.reduce(alpha[max(0, s - 2 if skip else s - 1) : s + 1]) + frame[symbol]
        alpha = new
    return np.logaddexp(alpha[-1], alpha[-2])


@pytest.mark.parametrize("other", ["settings", "data", "weights"])
def test_checkpoints_of_another_run_are_refused(other, whole):
    changes = {
        "settings": {"config": dataclasses.replace(CONFIG, weight_decay=0.02)},
        "data": {"of": corpus("00000001")},
        "weights": {"start": {**params(), "bias": params()["bias"].at[0].add(1)}},
    }
    with pytest.raises(ValueError, match="these checkpoints are of another training run"):
        fit(folder=whole("digital")[1], **changes[other])


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("epochs", 0, "training.epochs must be a positive whole number; got 0"),
        ("frames_per_batch", 2.5, "training.frames_per_batch must be a positive whole number; got 2.5"),
        ("save_every", True, "training.save_every must be a positive whole number; got True"),
        ("learning_rate", 0.0, "training.learning_rate must be positive; got 0.0"),
        ("weight_decay", -1.0, "training.weight_decay must not be negative; got -1.0"),
        ("warm_up", 1.5, "training.warm_up must be from 0 to 1; got 1.5"),
    ],
)
def test_settings_out_of_range_are_named(field, value, says):
    with pytest.raises(ValueError, match=says):
        CtcTraining(**{field: value})
