"""Log-mel features of one-second clips, in JAX."""

import dataclasses
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


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """Hz to mel, 2595 log10(1 + f / 700) (O'Shaughnessy 1987, p. 150)."""
    return 2595 * np.log10(1 + np.asarray(frequency, np.float64) / 700)


def filter_bank(config: LogMel) -> np.ndarray:
    """Triangular filters `[bins, mels]` float32, evenly spaced in mel, peak 1 (Davis & Mermelstein 1980, fig. 1)."""
    edges = np.linspace(mel(config.low), mel(config.high), config.mels + 2)
    at = mel(np.fft.rfftfreq(config.window, 1 / RATE))[:, None]
    up = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


@partial(jax.jit, static_argnames="config")
def log_mel(clips: Array, config: LogMel = LogMel()) -> Array:  # noqa: B008 - frozen
    """Features `[batch, frames, mels]` float32 of clips `[batch, samples]` (int16, or float in [-1, 1]) at 16 kHz.

    log(floor + mel filters . |FFT(Hann window . frame)|^2 / window).
    """
    scale = 1 / 32768 if jnp.issubdtype(clips.dtype, jnp.integer) else 1.0
    index = np.arange(config.frames(clips.shape[-1]))[:, None] * config.hop + np.arange(config.window)
    frames = clips.astype(jnp.float32)[:, index] * scale
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
    spectrum = jnp.fft.rfft(frames * hann.astype(np.float32))
    power = (spectrum.real**2 + spectrum.imag**2) / config.window
    return jnp.log(config.floor + contract(power, jnp.asarray(filter_bank(config)), (((2,), (0,)), ((), ()))))


def log_mel_batches(clips: np.ndarray, config: LogMel, batch: int = 128) -> np.ndarray:
    """`log_mel` of many clips `[n, samples]`, a batch at a time with one compiled shape, as float16 on the host."""
    rows = []
    for first in range(0, len(clips), batch):
        part = clips[first : first + batch]
        padded = np.concatenate([part, np.zeros((batch - len(part), part.shape[1]), part.dtype)])
        rows.append(np.asarray(log_mel(padded, config).astype(jnp.float16))[: len(part)])
    empty = np.zeros((0, config.frames(clips.shape[1]), config.mels), np.float16)
    return np.concatenate([empty, *rows])
