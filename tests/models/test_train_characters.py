from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.models import char_lm, checkpoint
from anaxon.models.char_lm import CharLM, Sizes
from anaxon.models.train_characters import CharacterTraining, train_characters
from anaxon.training import chip_loss, digital_loss
from anaxon.types import replace

SIZES = Sizes(embedding=6, hidden=16, projection=8)
CONFIG = CharacterTraining(steps=60, batch=8, length=12, learning_rate=0.03, save_every=16)
# A text of period 16: certain for who remembers, since no symbol tells the next one.
TEXT = np.tile(np.array([1, 2, 0, 1, 3, 0, 3, 1, 0, 1, 2, 0, 2, 3, 0, 3], np.uint8), 100)


@cache
def network():
    """Numbers drawn here: the initialisers would be compiled one by one."""
    rng = np.random.default_rng(0)
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: CharLM(4, SIZES, rngs=nnx.Rngs(0))), nnx.Param)
    return functional(nnx.merge(graphdef, jax.tree.map(lambda w: jnp.asarray(rng.normal(0, 0.3, w.shape)), shapes)))


def objective():
    return digital_loss(network()[0], char_lm.next_character)


def fit(config=CONFIG, folder=None, what=None, params=None, codes=TEXT):
    params = network()[1] if params is None else params
    return train_characters(what or objective(), params, codes, SIZES.state(config.batch), config, folder, False)


@pytest.fixture(scope="module")
def uninterrupted():
    return fit()


def bpc(params):
    rows = char_lm.rows(TEXT, 4)
    return float(char_lm.bits_per_character(network()[0], params, rows, SIZES.state(4), segment=50, skip=10))


def test_it_learns(uninterrupted):
    params, loss = uninterrupted
    before = network()[1]
    assert loss.shape == (60,) and np.isfinite(loss).all() and bpc(before) > 1.9
    assert bpc(params) < 0.3  # the text is certain for a network that remembers
    assert jax.tree.structure(params) == jax.tree.structure(before)


def test_losses_are_those_of_the_equations_and_the_state_is_carried_until_the_text_ends():
    """Two segments, twice: the second starts from the state that the first one left, the third from zero again."""
    fn, params = network()
    still = CharacterTraining(steps=4, batch=8, length=12, learning_rate=1e-12, weight_decay=0.0, clip_sigma=0.0)
    _, loss = fit(still, codes=TEXT[: 8 * 25])
    rows, state, run = char_lm.rows(TEXT[: 8 * 25], 8), SIZES.state(8), jax.jit(fn)
    wanted = []
    for k in range(2):
        piece = rows[:, 12 * k : 12 * k + 13]
        value, state = char_lm.next_character(run(params, piece[:, :-1], state), piece[:, 1:])
        wanted.append(float(value))
    np.testing.assert_allclose(loss, [*wanted, *wanted], atol=1e-5)
    assert abs(loss[0] - loss[1]) > 1e-4


def test_it_tells_its_loss_after_every_loop_and_ends_when_told_to():
    heard = []

    def stop(loss):
        heard.append(loss)
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_characters(objective(), network()[1], TEXT, SIZES.state(8), CONFIG, None, False, on_loop=stop)
    assert heard[1] < heard[0] < 2.5


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.mark.slow
def test_resumed_is_uninterrupted_bit_for_bit(uninterrupted, tmp_path, monkeypatch):
    def stop_after_two(folder, number, state, real=checkpoint.save):
        real(folder, number, state)
        if number == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", stop_after_two)
        fit(folder=tmp_path / "run")
    assert checkpoint.epochs(tmp_path / "run") == [1, 2]
    assert_same(fit(folder=tmp_path / "run"), uninterrupted)
    assert checkpoint.epochs(tmp_path / "run") == [3, 4]  # after 48 and, the last one, after 60 steps
    assert_same(fit(folder=tmp_path / "run"), uninterrupted)  # a finished run trains no more
    with pytest.raises(ValueError, match="of another training run"):
        fit(folder=tmp_path / "run", codes=TEXT[::-1].copy())
    with pytest.raises(ValueError, match="of another training run"):
        fit(folder=tmp_path / "run", params=uninterrupted[0])


@pytest.mark.slow
def test_fine_tuning_on_chips_goes_on_from_the_digital_network(uninterrupted):
    """The loss of the same new chips before and after noise-aware steps."""
    fn, params = network()[0], uninterrupted[0]
    rows = char_lm.rows(TEXT, 8)
    hw = ax.preset("ramp-5bit")
    hw = replace(hw, device=replace(hw.device, sigma=0.08), activation=replace(hw.activation, bits=4))
    inputs = (rows[:, :12], SIZES.state(8))
    aware = chip_loss(fn, char_lm.next_character, ax.place(fn, {"cell/.*kernel": hw})(params, *inputs))

    @jax.jit
    def on_chips(params):
        keys = jax.random.split(jax.random.key(5), 100)
        one = lambda key: aware(params, key, 0, inputs, rows[:, 1:13])[0]  # noqa: E731
        return jax.lax.map(one, keys)

    tuned, _ = fit(replace(CONFIG, steps=60, learning_rate=0.01), what=aware, params=params)
    before, after = np.asarray(on_chips(params)), np.asarray(on_chips(tuned))
    gain = before - after  # chip by chip: the same errors
    assert gain.mean() > 5 * gain.std() / np.sqrt(gain.size) and after.mean() < 0.8 * before.mean()


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch", 1.5), ("length", 0), ("learning_rate", 0.0), ("weight_decay", -1.0), ("save_every", 0)],
)
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=rf"training\.{field} must"):
        CharacterTraining(**{field: value})


def test_too_short_a_text_and_a_state_of_another_batch():
    with pytest.raises(ValueError, match=r"8 rows of training\.length = 12 need 104 characters; got 50"):
        fit(codes=TEXT[:50])
    with pytest.raises(ValueError, match=r"expected the state of training\.batch = 8 rows; got \[3\]"):
        train_characters(objective(), network()[1], TEXT, SIZES.state(3), CONFIG, progress=False)
