import numpy as np
import pytest

from anaxon.data.features import LogMel, SpeechLogMel, filter_bank, log_mel, log_mel_batches, log_mel_utterances


def reference(clip, config):
    """Log-mel of one clip in float64, term by term."""
    n, bins = config.window, config.window // 2 + 1
    t = np.arange(n)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * t / n)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(bins), t) / n)
    hz = np.arange(bins) * 16000 / n
    to_mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edge = [to_mel(config.low) + k * (to_mel(config.high) - to_mel(config.low)) / (config.mels + 1)
            for k in range(config.mels + 2)]  # fmt: skip
    out = np.zeros((config.frames(len(clip)), config.mels))
    for frame in range(len(out)):
        x = clip[frame * config.hop : frame * config.hop + n] * hann
        power = np.abs(dft @ x) ** 2 / n
        for m in range(config.mels):
            for k in range(bins):
                at = to_mel(hz[k])
                if edge[m] < at <= edge[m + 1]:
                    out[frame, m] += power[k] * (at - edge[m]) / (edge[m + 1] - edge[m])
                elif edge[m + 1] < at < edge[m + 2]:
                    out[frame, m] += power[k] * (edge[m + 2] - at) / (edge[m + 2] - edge[m + 1])
    return np.log(config.floor + out)


def test_equals_the_float64_reference():
    config = LogMel()
    rng = np.random.default_rng(0)
    clip = 0.1 * rng.standard_normal(2560) + 0.5 * np.sin(2 * np.pi * 700 * np.arange(2560) / 16000)
    np.testing.assert_allclose(np.asarray(log_mel(clip[None].astype(np.float32), config))[0],
                               reference(clip.astype(np.float32).astype(np.float64), config), atol=2e-4)  # fmt: skip


def test_integers_are_scaled_and_a_second_has_49_frames():
    clips = np.random.default_rng(1).integers(-3000, 3000, (2, 16000)).astype(np.int16)
    whole = np.asarray(log_mel(clips))
    assert whole.shape == (2, 49, 40)
    np.testing.assert_allclose(whole, np.asarray(log_mel(clips.astype(np.float32) / 32768)), atol=1e-4)


def test_a_tone_is_loudest_in_its_band():
    config = LogMel()
    clip = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)[None].astype(np.float32)
    mels = 2595 * np.log10(1 + np.array([config.low, 1000.0, config.high]) / 700)
    band = (mels[1] - mels[0]) / (mels[2] - mels[0]) * (config.mels + 1) - 1
    assert abs(np.asarray(log_mel(clip, config))[0, 20].argmax() - band) <= 0.5 + 1e-6


def test_batches_do_not_change_a_clip():
    clips = np.random.default_rng(2).integers(-3000, 3000, (7, 16000)).astype(np.int16)
    parts = log_mel_batches(clips, LogMel(), batch=3)
    assert parts.dtype == np.float16 and parts.shape == (7, 49, 40)
    np.testing.assert_allclose(parts, np.asarray(log_mel(clips)), atol=0.01)


@pytest.mark.parametrize(
    ("field", "value"), [("mels", 0), ("hop", -1), ("window", 2.5), ("high", 9000.0), ("floor", 0)]
)
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=rf"features\..*{field}"):
        LogMel(**{field: value})


def speech_reference(sound, config):
    """Peak, first difference, then the terms of `reference` with a padded window, in float64."""
    sound = sound / np.abs(sound).max()
    sound = np.array([sound[0]] + [b - config.emphasis * a for a, b in zip(sound, sound[1:], strict=False)])
    t, bins = np.arange(config.window), config.fft // 2 + 1
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * t / config.window)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(bins), t) / config.fft)
    at = 2595 * np.log10(1 + np.arange(bins) * 16000 / config.fft / 700)
    low, high = (2595 * np.log10(1 + f / 700) for f in (config.low, config.high))
    edge = low + (high - low) * np.arange(config.mels + 2) / (config.mels + 1)
    rows = []
    for first in range(0, len(sound) - config.window + 1, config.hop):
        power = np.abs(dft @ (sound[first : first + config.window] * hann)) ** 2 / config.window
        bands = [np.sum(power * np.interp(at, edge[m : m + 3], [0, 1, 0], left=0, right=0)) for m in range(config.mels)]
        rows.append(np.log(config.floor + np.array(bands)))
    return np.array(rows)


def test_utterances_of_any_length_equal_the_float64_reference():
    rng = np.random.default_rng(3)
    config = SpeechLogMel()
    sounds = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (400, 5000, 399, 12345, 0)]
    features, starts = log_mel_utterances(sounds, config)
    np.testing.assert_array_equal(np.diff(starts), [1, 29, 0, 75, 0])  # floor((n - 400) / 160) + 1
    assert features.dtype == np.float16 and features.shape == (105, 80)
    for k in (0, 1, 3):
        expected = speech_reference(sounds[k].astype(np.float64), config)
        # float16 from -16 to 16 is spaced by 2**-7 at the most
        np.testing.assert_allclose(features[starts[k] : starts[k + 1]], expected, atol=2**-8 + 1e-3)


def test_utterances_are_the_same_in_any_company():
    """Blocks of windows do not meet: an utterance over two blocks is the utterance alone."""
    rng = np.random.default_rng(4)
    sounds = [rng.integers(-3000, 3000, n).astype(np.int16) for n in (500_000, 300_000, 700_000)]
    together, starts = log_mel_utterances(sounds, SpeechLogMel())
    for k, sound in enumerate(sounds):
        alone, _ = log_mel_utterances([sound], SpeechLogMel())
        np.testing.assert_array_equal(together[starts[k] : starts[k + 1]], alone)


def test_level_peak_forgets_the_gain_and_kept_does_not():
    sound = (0.2 * np.random.default_rng(5).standard_normal(4000)).astype(np.float32)
    for level, same in (("peak", True), ("kept", False)):
        config = SpeechLogMel(level=level)
        loud, quiet = (log_mel_utterances([gain * sound], config)[0].astype(np.float32) for gain in (1.0, 0.25))
        assert (np.abs(loud - quiet).max() < 0.02) == same


def test_every_band_of_the_speech_features_holds_a_bin():
    assert (filter_bank(SpeechLogMel()).sum(0) > 0.2).all()


@pytest.mark.parametrize(("field", "value"), [("fft", 256), ("emphasis", 1.0), ("level", "loud"), ("mels", 0)])
def test_bad_speech_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=rf"features\..*{field}"):
        SpeechLogMel(**{field: value})
