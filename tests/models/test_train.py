import jax
import numpy as np
import pytest
from flax import nnx

from anaxon.data.keywords import Split
from anaxon.flax import functional
from anaxon.models import checkpoint, train
from anaxon.models.keyword_lstm import KeywordLSTM
from anaxon.models.train import Training

CONFIG = Training(epochs=10, batch=16, save_every=2, learning_rate=0.02)


def toy(count, seed):
    """Three classes of 10-frame, 4-mel clips: which mel is loud."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 3
    features = rng.standard_normal((count, 10, 4)).astype(np.float32) * 0.5
    features[np.arange(count), :, labels] += 1.5
    return Split(features, labels, np.zeros(count, np.int32))


def fit(config=CONFIG, folder=None, data=None):
    fn, params = functional(KeywordLSTM(hidden=6, classes=3, mels=4, rngs=nnx.Rngs(0)))
    return train.fit(fn, params, data or toy(96, 0), toy(30, 1), config, folder, progress=False)


@pytest.fixture(scope="module")
def uninterrupted():
    return fit()


def assert_same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    for x, y in leaves:
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_it_learns(uninterrupted):
    params, history = uninterrupted
    assert history["accuracy"].shape == (10,) and history["accuracy"][-1] > 0.9  # chance is 0.33
    assert history["loss"][-1] < history["loss"][0]
    model = KeywordLSTM(hidden=6, classes=3, mels=4, rngs=nnx.Rngs(0))
    before = nnx.state(model, nnx.Param)
    assert jax.tree.structure(params) == jax.tree.structure(before)
    assert not np.array_equal(params["readout"]["kernel"][...], before["readout"]["kernel"][...])


def test_resumed_is_uninterrupted_bit_for_bit(uninterrupted, tmp_path, monkeypatch):
    def stop_after_four(folder, epoch, state, real=checkpoint.save):
        real(folder, epoch, state)
        if epoch == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", stop_after_four)
        fit(folder=tmp_path / "run")
    assert checkpoint.epochs(tmp_path / "run") == [2, 4]
    assert_same(fit(folder=tmp_path / "run"), uninterrupted)
    assert checkpoint.epochs(tmp_path / "run") == [8, 10]  # the last two are kept
    assert_same(fit(folder=tmp_path / "run"), uninterrupted)  # a finished run trains no more

    for path in (tmp_path / "run" / "epoch_00010").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"epoch_00010: this checkpoint cannot be read"):
        fit(folder=tmp_path / "run")
    other = Training(epochs=10, batch=16, save_every=2, learning_rate=0.01)
    (tmp_path / "run" / "epoch_00010").rename(tmp_path / "damaged")
    with pytest.raises(ValueError, match="of another training run"):
        fit(other, folder=tmp_path / "run")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"epoch_00002: cannot write the checkpoint"):
        checkpoint.save(tmp_path / "file" / "run", 2, {"w": np.zeros(3)})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch", 1.5), ("learning_rate", 0.0), ("weight_decay", -1.0), ("smoothing", 1.0), ("seed", -1)],
)
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=rf"training\.{field} must"):
        Training(**{field: value})


def test_too_few_examples():
    with pytest.raises(ValueError, match="training.batch is 16, but there are only 9"):
        fit(data=toy(9, 0))


def test_what_is_restored_may_go_on_on_any_device(tmp_path):
    config = Training(epochs=2, batch=16, save_every=2)
    fit(config, tmp_path / "run")
    params, _ = fit(config, tmp_path / "run")
    assert not any(x.committed for x in jax.tree.leaves(params))
