import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.data.spec_augment import SpecAugment, mask

LENGTHS = jnp.array([400, 130, 20, 0])


def masked(config, keys=200, mels=1, frames=400):
    """Masked places `[keys, batch, frames, mels]`."""
    ones = jnp.ones((4, frames, mels))
    run = jax.jit(jax.vmap(lambda key: mask(key, ones, LENGTHS * frames // 400, config) == 0))
    return np.asarray(run(jax.random.split(jax.random.key(0), keys)))


def runs(row):
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def test_time_masks_stay_within_the_utterance():
    time = masked(SpecAugment(feature_masks=0)).all(-1)
    for row, length in enumerate(LENGTHS):
        assert not time[:, row, int(length) :].any()
    assert time[:, 0].any(0).all() and time[:, 1, :130].any(0).all()  # every frame at some time
    assert not time[:, 2].any()  # less than 25 frames: no mask


@pytest.mark.slow
def test_number_and_width_of_masks_are_as_configured():
    """With one slot a row shows its one mask whole: there or not with probability 1/2, width uniform in 1 to 20."""
    time = masked(SpecAugment(feature_masks=0, time_every=400), keys=2000)[:, 0].all(-1)
    assert time.any(-1).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000))
    widths = np.concatenate([runs(row) for row in time])
    assert widths.min() == 1 and widths.max() == 20
    assert widths.mean() == pytest.approx(10.5, abs=4 * 5.77 / np.sqrt(len(widths)))
    always = masked(SpecAugment(feature_masks=0, time_every=400, least=1))[:, 0].all(-1)
    assert always.any(-1).all()


def test_feature_masks_span_all_frames_and_differ_from_row_to_row():
    band = masked(SpecAugment(time_longest=0), mels=80, frames=4)
    np.testing.assert_array_equal(band, np.broadcast_to(band[:, :, :1], band.shape))
    assert band[:, :, 0].sum(-1).max() <= 5 * 8
    assert (band[:, 0] != band[:, 1]).any() and band[:, 0, 0].any(0).all()
    one = masked(SpecAugment(time_longest=0, feature_masks=1), 2000, mels=80, frames=1)[:, 0, 0]
    widths = np.concatenate([runs(row) for row in one])
    assert widths.max() == 8 and widths.mean() == pytest.approx(4.5, abs=4 * 2.3 / np.sqrt(len(widths)))


def test_a_share_of_the_default_masks():
    """0 to 16 masks of 10.5 frames of 400: at most 8 x 10.5 / 400 = 0.21, less by the overlaps."""
    share = masked(SpecAugment(feature_masks=0)).all(-1)[:, 0].mean()
    expected = 1 - np.mean([(1 - 10.5 / 400) ** n for n in range(17)])
    assert share == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_nothing_else_changes_and_gradients_stop_at_masks():
    features = jax.random.normal(jax.random.key(1), (4, 400, 80))
    out, pull = jax.vjp(jax.jit(lambda f: mask(jax.random.key(2), f, LENGTHS)), features)
    assert ((out == features) | (out == 0)).all() and (out != features).any()
    np.testing.assert_array_equal(*pull(jnp.ones_like(out)), out == features)
    off = SpecAugment(time_longest=0, feature_masks=0)
    np.testing.assert_array_equal(mask(jax.random.key(2), features, LENGTHS, off), features)


@pytest.mark.parametrize("field", ["time_every", "time_longest", "feature_masks", "feature_longest", "least"])
def test_bad_settings_name_the_field(field):
    with pytest.raises(ValueError, match=rf"SpecAugment\.{field}"):
        SpecAugment(**{field: -1})
