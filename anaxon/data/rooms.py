"""From a dry word or sentence to a recording: speed, room, microphone, place in the clip, level and noise."""

import math

import numpy as np
from scipy.fft import next_fast_len

RATE = 16_000  # Hz
CLIP = 16_000  # samples: one second
_FFT = 20_480  # longest word (a clip) + longest room, a product of small primes


def resample(sound: np.ndarray, count: int) -> np.ndarray:
    """`sound` `[n]` stretched to `[count]` samples by truncating or padding its spectrum (a band-limited resampler)."""
    spectrum = np.fft.rfft(sound)
    kept = np.zeros(count // 2 + 1, spectrum.dtype)
    low = min(len(kept), len(spectrum))
    kept[:low] = spectrum[:low]
    return np.fft.irfft(kept, count) * (count / len(sound))


def trim(sound: np.ndarray, level: float = 0.02) -> np.ndarray:
    """`sound` without the parts before and after it where it is below `level` of its peak."""
    loud = np.flatnonzero(np.abs(sound) > level * np.abs(sound).max(initial=1e-9))
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound[:1]


def coloured_noise(rng: np.random.Generator, exponent: float, count: int = CLIP) -> np.ndarray:
    """Noise `[count]` of unit power whose spectral density falls as f**-exponent (0 white, 1 pink, 2 brown)."""
    bins = count // 2 + 1
    spectrum = rng.standard_normal((bins, 2)) @ np.array([1.0, 1j])
    spectrum *= np.maximum(np.arange(bins), 20 * count / RATE) ** (-exponent / 2)  # flat below 20 Hz
    noise = np.fft.irfft(spectrum, count)
    return noise / np.sqrt(np.mean(noise**2))


def room(rng: np.random.Generator) -> np.ndarray:
    """An impulse response `[n]`: the direct sound, then noise that decays by 60 dB in 0.1 to 0.5 s (Moorer 1979)."""
    decay = rng.uniform(0.1, 0.5)
    time = np.arange(_FFT - CLIP) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: int(rng.uniform(0.001, 0.01) * RATE)] = 0  # the first reflection comes later than the direct sound
    tail *= rng.uniform(0.0, 0.7) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def microphone(rng: np.random.Generator, points: int = _FFT) -> np.ndarray:
    """A frequency response `[points // 2 + 1]`: high-pass at 50 to 300 Hz, -4 to 4 dB an octave above 1 kHz."""
    frequency = np.fft.rfftfreq(points, 1 / RATE)
    high_pass = frequency / np.hypot(frequency, rng.uniform(50, 300))
    return high_pass * np.maximum(frequency / 1000, 1.0) ** (rng.uniform(-4, 4) / 6.02)


def recording(rng: np.random.Generator, word: np.ndarray | None, rate: int) -> np.ndarray:
    """A clip `[16000]` int16 of `word` (`[n]` at `rate` Hz; None: silence) in a random room, noise at 5 to 35 dB."""
    noise = coloured_noise(rng, rng.choice([0.0, 0.5, 1.0, 2.0]))
    if word is None:
        return _to_int16(noise * 10 ** rng.uniform(-4, -1.0))
    word = trim(word)
    word = resample(word, max(16, round(len(word) * RATE / rate * rng.uniform(0.87, 1.13))))[:CLIP]
    spectrum = np.fft.rfft(word, _FFT) * np.fft.rfft(room(rng), _FFT) * microphone(rng)
    wet = np.fft.irfft(spectrum, _FFT)[:CLIP]
    wet *= 10 ** rng.uniform(-1.2, 0.0) / np.abs(wet).max()
    clip = np.zeros(CLIP)
    slack = CLIP - len(word)
    start = int(rng.triangular(0, slack / 2, slack)) if slack else 0  # mostly in the middle, as people record
    clip[start:] = wet[: CLIP - start]
    power = np.mean(wet[: len(word)] ** 2)
    return _to_int16(clip + noise * np.sqrt(power) * 10 ** (-rng.uniform(5, 35) / 20))


def sentence(rng: np.random.Generator, sound: np.ndarray, rate: int, *, where: str, noise_db: tuple[float, float],
             gain_db: tuple[float, float]) -> np.ndarray:  # fmt: skip
    """A recording `[n]` int16 at 16 kHz of a sentence `[m]` at `rate` Hz, with 0.1 to 0.3 s before and after it.

    `where` is "random" (a room and a microphone are drawn) or "dry". Speech over noise is uniform in `noise_db`, the
    peak of the speech in `gain_db` below full scale.
    """
    sound = _at_16_khz(trim(sound), rate)
    before, after = rng.integers(RATE // 10, 3 * RATE // 10, 2)
    sound = np.concatenate([np.zeros(before), sound, np.zeros(after)])
    if where == "random":
        points = next_fast_len(len(sound) + _FFT - CLIP, real=True)
        spectrum = np.fft.rfft(sound, points) * np.fft.rfft(room(rng), points) * microphone(rng, points)
        sound = np.fft.irfft(spectrum, points)[: len(sound)]
    sound = sound * 10 ** (rng.uniform(*gain_db) / 20) / max(np.abs(sound).max(), 1e-9)
    power = np.mean(sound[before:-after] ** 2)
    exponent = rng.choice([0.0, 0.5, 1.0, 2.0])
    noise = coloured_noise(rng, exponent, next_fast_len(len(sound), real=True))[: len(sound)]
    return _to_int16(sound + noise * np.sqrt(power) * 10 ** (-rng.uniform(*noise_db) / 20))


def _at_16_khz(sound: np.ndarray, rate: int) -> np.ndarray:
    """`sound` resampled, and padded with zeros to a length whose transform is fast on both sides."""
    step = rate // math.gcd(rate, RATE)
    blocks = next_fast_len(-(-len(sound) // step), real=True)
    padded = np.pad(sound, (0, blocks * step - len(sound)))
    return resample(padded, len(padded) * RATE // rate)[: -(-len(sound) * RATE // rate)]


def _to_int16(clip: np.ndarray) -> np.ndarray:
    return np.clip(np.round(clip * 32767), -32768, 32767).astype(np.int16)
