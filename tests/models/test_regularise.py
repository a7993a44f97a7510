import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from anaxon.models.regularise import TrainingNoise, augment, disturb_weights, keep_within

OFF = {"weight": 0.0, "level": 0.0, "shift": 0, "time_mask": 0, "mel_mask": 0}
KEY = jax.random.key(0)


def test_weight_noise_is_relative_to_the_largest_weight_and_spares_biases():
    params = {"kernel": jnp.full((200, 200), 0.5).at[0, 0].set(-4.0), "bias": jnp.ones(200)}
    noisy = disturb_weights(KEY, params, TrainingNoise(**{**OFF, "weight": 0.05}))
    z = np.asarray(noisy["kernel"] - params["kernel"]) / (0.05 * 4.0)
    n = z.size
    assert abs(z.mean()) * np.sqrt(n) < 5 and abs(z.var() - 1) * np.sqrt(n / 2) < 5
    np.testing.assert_array_equal(noisy["bias"], params["bias"])


def test_no_noise_changes_nothing():
    x = jax.random.normal(KEY, (4, 9, 5))
    np.testing.assert_array_equal(augment(KEY, x, TrainingNoise(**OFF)), x)


def test_masks_are_one_stretch_of_at_most_their_width():
    x = jnp.ones((400, 12, 10))
    y = np.asarray(augment(KEY, x, TrainingNoise(**{**OFF, "time_mask": 4, "mel_mask": 3})))
    frames, mels = (y == 0).all(2), (y == 0).all(1)
    for masked, widest in ((frames, 4), (mels, 3)):
        widths = masked.sum(1)
        assert set(widths) == set(range(widest + 1))
        assert (np.abs(np.diff(masked.astype(int), axis=1, prepend=0, append=0)).sum(1) <= 2).all()
    np.testing.assert_array_equal(y, (~frames[:, :, None] & ~mels[:, None, :]).astype(np.float32))


def test_shift_moves_frames_and_repeats_the_edge():
    x = jnp.broadcast_to(jnp.arange(6.0)[None, :, None], (200, 6, 2))
    y = np.asarray(augment(KEY, x, TrainingNoise(**{**OFF, "shift": 2})))[..., 0]
    assert {tuple(row) for row in y} == {tuple(np.clip(np.arange(6) - s, 0, 5)) for s in range(-2, 3)}


def test_level_is_one_number_a_clip():
    x = jnp.zeros((4000, 3, 2))
    y = np.asarray(augment(KEY, x, TrainingNoise(**{**OFF, "level": 0.3})))
    assert (y == y[:, :1, :1]).all()
    assert abs((y[:, 0, 0] / 0.3).var() - 1) * np.sqrt(4000 / 2) < 5


def test_weights_stay_within_their_sigmas():
    params = {"kernel": jax.random.normal(KEY, (40, 40)), "bias": 10 * jax.random.normal(KEY, (40,))}
    step = jax.tree.map(lambda w: 0.1 * w, params)
    updates, _ = keep_within(2.0).update(step, optax.EmptyState(), params)
    moved = optax.apply_updates(params, updates)
    wanted = np.asarray(params["kernel"] * 1.1, np.float64)
    np.testing.assert_allclose(moved["kernel"], np.clip(wanted, -2 * wanted.std(), 2 * wanted.std()), atol=1e-5)
    np.testing.assert_allclose(moved["bias"], params["bias"] * 1.1, rtol=1e-6)
    assert keep_within(0).update(step, optax.EmptyState(), params)[0] is step


@pytest.mark.parametrize("field", list(OFF))
def test_negative_noise_names_the_field(field):
    with pytest.raises(ValueError, match=rf"training\.noise\.{field} must not be negative"):
        TrainingNoise(**{field: -1})
