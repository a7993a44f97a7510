import numpy as np
import pytest

from anaxon.data import rooms


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_its_colour_and_unit_power(exponent):
    noise = np.stack([rooms.coloured_noise(np.random.default_rng(k), exponent) for k in range(40)])
    assert np.mean(noise**2, axis=1) == pytest.approx(np.ones(40))
    power = (np.abs(np.fft.rfft(noise)) ** 2).mean(0)
    low, high = power[400:600].mean(), power[3200:4800].mean()  # three octaves apart
    # 200 bins x 40 clips: the standard error of the log ratio is about 0.012
    assert np.log2(low / high) == pytest.approx(3 * exponent, abs=0.09)


def test_resampling_keeps_a_tone():
    t = np.arange(2000) / 2000
    tone = np.sin(2 * np.pi * 50 * t)
    for count in (1501, 2000, 3200):
        expected = np.sin(2 * np.pi * 50 * np.arange(count) / count)
        np.testing.assert_allclose(rooms.resample(tone, count), expected, atol=1e-9)


def test_trim_keeps_what_is_loud():
    sound = np.concatenate([np.zeros(10), [0.5, 0.0, -1.0], np.full(5, 0.001)])
    np.testing.assert_array_equal(rooms.trim(sound), [0.5, 0.0, -1.0])
    assert len(rooms.trim(np.zeros(5))) == 1


def test_room_decays_by_60_db_within_its_time():
    for seed in range(20):
        tail = rooms.room(np.random.default_rng(seed))
        energy = np.cumsum(tail[1:][::-1] ** 2)[::-1]  # Schroeder's backward integral
        assert tail[0] == 1 and np.sqrt(energy[0]) < 0.7
        quarter = np.flatnonzero(energy < 1e-1 * energy[0])[0] / rooms.RATE  # 10 dB: a sixth of 0.1 to 0.5 s
        assert 0.1 / 6 * 0.9 < quarter < 0.5 / 6 + 0.02


def test_recording_is_the_noise_level_asked_for():
    """Word over noise is uniform in 5 to 35 dB, seen in the clips whose word starts after 0.2 s."""
    word = np.random.default_rng(0).standard_normal(4000)
    ratios = []
    for seed in range(60):
        clip = rooms.recording(np.random.default_rng(seed), word, 16000).astype(float)
        power = np.mean(clip.reshape(-1, 400) ** 2, axis=1)
        first = np.flatnonzero(power > power.max() / 3)[0]
        if first > 8:
            ratios.append(10 * np.log10(np.sort(power)[-8:].mean() / power[: first - 1].mean()))
    assert len(ratios) > 25 and 3 < min(ratios) < 15 and 25 < max(ratios) < 39
    assert np.std(ratios) == pytest.approx(30 / np.sqrt(12), rel=0.3)


def test_any_word_length_is_one_second():
    for length in (1, 10, 15999, 40000):
        assert rooms.recording(np.random.default_rng(0), np.ones(length), 22050).shape == (16000,)


def test_a_sentence_keeps_its_length_and_has_the_level_and_noise_asked_for():
    """Noise is measured in the 0.1 s before the speech; the speech is a tone of known power."""
    tone = np.sin(2 * np.pi * 500 * np.arange(44100) / 22050)  # 2 s; the peak is its own
    ratios, peaks = [], []
    for seed in range(40):
        clip = rooms.sentence(
            np.random.default_rng(seed), tone, 22050, where="dry", noise_db=(20, 20), gain_db=(-6, -6)
        )
        assert clip.dtype == np.int16 and 2.2 * 16000 <= len(clip) <= 2.6 * 16000 + 2
        power = np.mean((clip[5000:32000] / 32768) ** 2)
        ratios.append(np.mean((clip[:1600] / 32768) ** 2) / power)
        peaks.append(power)
    # 0.1 s of noise of any colour: brown noise is its mean over that time, so the spread is wide
    assert 10 * np.log10(np.mean(ratios)) == pytest.approx(-20, abs=1.5)
    # half of (10**-0.3)**2, and a hundredth of it as noise; the padded resampler rings at the ends of the tone
    np.testing.assert_allclose(peaks, 0.5 * 10**-0.6 * 1.01, rtol=0.08)


def test_a_room_changes_the_sentence_and_draws_are_the_key_s():
    sound = np.random.default_rng(0).standard_normal(22050)
    settings = {"noise_db": (30, 40), "gain_db": (-10, 0)}
    dry, wet, again = (rooms.sentence(np.random.default_rng(1), sound, 22050, where=where, **settings)
                       for where in ("dry", "random", "random"))  # fmt: skip
    np.testing.assert_array_equal(wet, again)
    assert len(dry) == len(wet)
    assert np.corrcoef(dry, wet)[0, 1] < 0.99
