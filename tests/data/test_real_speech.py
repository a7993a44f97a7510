import wave

import numpy as np
import pytest

from anaxon.data import real_speech, voices


def prompts(folder, rate=8000):
    """A tone of 0.3 s between silences for each prompt that the check uses."""
    tone = np.sin(2 * np.pi * 440 * np.arange(int(0.3 * rate)) / rate) * 8000
    sound = np.concatenate([np.zeros(500), tone, np.zeros(900)]).astype("<i2")
    for name in ["vm-no", *(f"digits/{k}" for k in range(10))]:
        path = folder / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(sound.tobytes())


def test_prompts_become_centred_clips_of_the_right_class(tmp_path):
    prompts(tmp_path)
    found = real_speech.asterisk_prompts(tmp_path)
    assert found.clips.shape == (11, 16000) and found.clips.dtype == np.int16
    assert found.words[0] == "no" and found.labels[0] == voices.KEYWORDS.index("no")
    assert set(found.labels[1:]) == {voices.UNKNOWN}
    loud = np.flatnonzero(np.abs(found.clips[0].astype(int)) > 2000)
    assert abs((loud[0] + loud[-1]) / 2 - 8000) < 50 and abs(loud[-1] - loud[0] - 4800) < 50
    assert np.abs(np.fft.rfft(found.clips[0])).argmax() == pytest.approx(440, abs=4)  # 1 Hz bins: the pitch stays


def test_nothing_installed_is_no_check(tmp_path, monkeypatch):
    assert real_speech.asterisk_prompts(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert real_speech.flite_words(progress=False) is None


def test_flite_is_spoken_once(tmp_path, monkeypatch):
    """A stand-in `flite` that writes a click; the second call must not run it."""
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
    program = tmp_path / "flite"
    prompts(tmp_path, rate=16000)
    program.write_text(f"#!/bin/sh\n/bin/cp {tmp_path}/vm-no.wav $6\necho x >> {tmp_path}/calls\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    first = real_speech.flite_words(progress=False)
    again = real_speech.flite_words(progress=False)
    assert len((tmp_path / "calls").read_text().split()) == 4 * 35 == len(first.labels)
    np.testing.assert_array_equal(first.clips, again.clips)
    assert again.words == first.words
