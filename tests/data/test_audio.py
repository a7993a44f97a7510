import numpy as np
import pytest
import soundfile

from anaxon.data import audio

RATE = 16000


def tone(rate, seconds=1.0, hz=440.0):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize(("suffix", "kind"), [("wav", "WAV"), ("flac", "FLAC"), ("sph", "NIST")])
def test_formats_are_read_exactly(tmp_path, suffix, kind):
    path, sound = tmp_path / f"a.{suffix}", np.round(tone(8000) * 32768) / 32768
    soundfile.write(path, sound, 8000, "PCM_16", format=kind)
    found, rate = audio.read(path)
    assert rate == 8000 and found.dtype == np.float32
    np.testing.assert_array_equal(found, sound.astype(np.float32))
    cut, _ = audio.read(path, 0.25, 0.5)
    np.testing.assert_array_equal(cut, found[2000:4000])
    np.testing.assert_array_equal(audio.read(path, 0.9, 5.0)[0], found[7200:])  # a time after the end is the end


def test_channels_are_averaged(tmp_path):
    left, right = np.full(100, 0.5), np.full(100, -0.25)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE, "FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0], 0.125)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_a_tone(rate):
    found = audio.at_16_khz(tone(rate).astype(np.float32), rate)
    assert len(found) == RATE and found.dtype == np.float32
    np.testing.assert_allclose(found[1000:-1000], tone(RATE)[1000:-1000], atol=1e-3)


def test_16_khz_is_left_as_it_is():
    sound = tone(RATE).astype(np.float32)
    assert audio.at_16_khz(sound, RATE) is sound


@pytest.mark.parametrize("content", [b"", b"junk" * 100, None])
def test_damaged_and_missing_files_are_named(tmp_path, content):
    path = tmp_path / "a.flac"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.flac: not a readable sound file"):
        audio.read(path)


def test_a_file_that_ends_early_is_damaged(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 50_000), RATE)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(ValueError, match=r"a\.flac: (damaged|not a readable)"):
        audio.read(path)


def test_no_sound_and_values_that_are_none(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(ValueError, match=r"empty\.wav: holds no sound"):
        audio.read(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1]), RATE, "FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav: damaged"):
        audio.read(tmp_path / "nan.wav")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), RATE)
    with pytest.raises(ValueError, match=r"short\.wav: holds no sound from 1\.0 to 2\.0 s"):
        audio.read(tmp_path / "short.wav", 1.0, 2.0)
