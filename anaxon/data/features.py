"""Log-mel features of one-second clips and of utterances of any length, in JAX."""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.numerics import contract
from anaxon.types import Array

RATE = 16_000  # Hz


@dataclasses.dataclass(frozen=True)
class LogMel:
    """40 mel bands, windows of 40 ms every 20 ms: 49 frames a second. Sizes in samples, frequencies in Hz.

    Raises:
      ValueError: for a size that is not positive or bands outside 0 to 8 kHz.
    """

    mels: int = 40
    window: int = 640
    hop: int = 320
    low: float = 40.0
    high: float = 7600.0
    floor: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("mels", "window", "hop"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"features.{name} must be a positive whole number; got {value!r}")
        if self.mels > self.window // 2:
            raise ValueError(f"features.mels: expected at most half of window={self.window}; got {self.mels}")
        if not 0 <= self.low < self.high <= RATE / 2:
            raise ValueError(f"features.low, features.high: need 0 <= low < high <= {RATE / 2}; "
                             f"got {self.low}, {self.high}")  # fmt: skip
        if not self.floor > 0:
            raise ValueError(f"features.floor must be positive; got {self.floor!r}")

    def frames(self, samples: int = RATE) -> int:
        """Frames of a clip of `samples`."""
        return (samples - self.window) // self.hop + 1

    @property
    def points(self) -> int:
        """Length of the Fourier transform of a window."""
        return self.window


@dataclasses.dataclass(frozen=True)
class SpeechLogMel(LogMel):
    """80 mel bands from 60 to 7600 Hz, windows of 25 ms every 10 ms, as in arXiv:2505.24721.

    Windows are padded to `fft` samples, so that the lowest bands hold a bin. `emphasis` is the coefficient of the first
    difference before the windows (0: none). `level` "peak" brings every utterance's peak to 1 first; "kept" does not.

    Raises:
      ValueError: for a value out of range; the sentence names it.
    """

    mels: int = 80
    window: int = 400
    hop: int = 160
    low: float = 60.0
    floor: float = 1e-8
    fft: int = 512
    emphasis: float = 0.97
    level: str = "peak"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.fft, int) or self.fft < self.window:
            raise ValueError(f"features.fft must be a whole number, window={self.window} or more; got {self.fft!r}")
        if not 0 <= self.emphasis < 1:
            raise ValueError(f"features.emphasis must be from 0 to below 1; got {self.emphasis!r}")
        if self.level not in ("peak", "kept"):
            raise ValueError(f"features.level must be 'peak' or 'kept'; got {self.level!r}")

    @property
    def points(self) -> int:
        """Length of the Fourier transform of a window."""
        return self.fft


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """Hz to mel, 2595 log10(1 + f / 700) (O'Shaughnessy 1987, p. 150)."""
    return 2595 * np.log10(1 + np.asarray(frequency, np.float64) / 700)


def filter_bank(config: LogMel) -> np.ndarray:
    """Triangular filters `[bins, mels]` float32, evenly spaced in mel, peak 1 (Davis & Mermelstein 1980, fig. 1)."""
    edges = np.linspace(mel(config.low), mel(config.high), config.mels + 2)
    at = mel(np.fft.rfftfreq(config.points, 1 / RATE))[:, None]
    up = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


@partial(jax.jit, static_argnames="config")
def log_mel(clips: Array, config: LogMel = LogMel()) -> Array:  # noqa: B008 - frozen
    """Features `[batch, frames, mels]` float32 of clips `[batch, samples]` (int16, or float in [-1, 1]) at 16 kHz.

    log(floor + mel filters . |FFT(Hann window . frame)|^2 / window).
    """
    index = np.arange(config.frames(clips.shape[-1]))[:, None] * config.hop + np.arange(config.window)
    return log_mel_windows(_unit(clips)[:, index], config)


@partial(jax.jit, static_argnames="config")
def log_mel_windows(windows: Array, config: LogMel) -> Array:
    """Features `[..., mels]` float32 of windows `[..., window]` that are already cut."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
    spectrum = jnp.fft.rfft(_unit(windows) * hann.astype(np.float32), config.points)
    power = (spectrum.real**2 + spectrum.imag**2) / config.window
    bank = jnp.asarray(filter_bank(config))
    return jnp.log(config.floor + contract(power, bank, (((power.ndim - 1,), (0,)), ((), ()))))


def _unit(sound: Array) -> Array:
    """Samples as float32 in [-1, 1]."""
    scale = 1 / 32768 if jnp.issubdtype(sound.dtype, jnp.integer) else 1.0
    return sound.astype(jnp.float32) * scale


def log_mel_batches(clips: np.ndarray, config: LogMel, batch: int = 128) -> np.ndarray:
    """`log_mel` of many clips `[n, samples]`, a batch at a time with one compiled shape, as float16 on the host."""
    rows = []
    for first in range(0, len(clips), batch):
        part = clips[first : first + batch]
        padded = np.concatenate([part, np.zeros((batch - len(part), part.shape[1]), part.dtype)])
        rows.append(np.asarray(log_mel(padded, config).astype(jnp.float16))[: len(part)])
    empty = np.zeros((0, config.frames(clips.shape[1]), config.mels), np.float16)
    return np.concatenate([empty, *rows])


_BLOCK = 4096  # windows at a time: one compiled shape for utterances of all lengths


def log_mel_utterances(sounds: Sequence[np.ndarray], config: SpeechLogMel) -> tuple[np.ndarray, np.ndarray]:
    """Features of utterances of any lengths, one after the other: `[frames, mels]` float16, and starts `[n + 1]`.

    Sounds `[samples]` are int16 or float at 16 kHz; one shorter than a window has no frames.
    """
    counts = np.array([max(0, config.frames(len(sound))) for sound in sounds], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    features = np.empty((starts[-1], config.mels), np.float16)
    windows = np.zeros((_BLOCK, config.window), np.float32)
    filled = done = 0
    for cut in (_windows(sound, config) for sound, count in zip(sounds, counts, strict=True) if count):
        for first in range(0, len(cut), _BLOCK):  # in pieces no longer than a block
            piece = cut[first : first + _BLOCK]
            room = min(len(piece), _BLOCK - filled)
            windows[filled : filled + room] = piece[:room]
            filled += room
            if filled == _BLOCK:
                features[done : done + _BLOCK] = log_mel_windows(windows, config)
                done, filled = done + _BLOCK, len(piece) - room
                windows[:filled] = piece[room:]
    if filled:
        features[done:] = np.asarray(log_mel_windows(windows, config))[:filled]
    return features, starts


def _windows(sound: np.ndarray, config: SpeechLogMel) -> np.ndarray:
    """The windows `[frames, window]` of one utterance after levelling and pre-emphasis."""
    scale = 1 / 32768 if np.issubdtype(sound.dtype, np.integer) else 1.0
    sound = sound.astype(np.float32) * np.float32(scale)
    if config.level == "peak":
        sound = sound / max(float(np.abs(sound).max()), 1e-9)
    sound = np.concatenate([sound[:1], sound[1:] - np.float32(config.emphasis) * sound[:-1]])
    return np.lib.stride_tricks.sliding_window_view(sound, config.window)[:: config.hop]
