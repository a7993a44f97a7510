import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.models.regularise import TrainingNoise, augment

OFF = {"weight": 0.0, "level": 0.0, "shift": 0, "time_mask": 0, "mel_mask": 0}
KEY = jax.random.key(0)


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


@pytest.mark.parametrize("field", list(OFF))
def test_negative_noise_names_the_field(field):
    with pytest.raises(ValueError, match=rf"training\.noise\.{field} must not be negative"):
        TrainingNoise(**{field: -1})
