"""Speech from espeak-ng's formant synthesiser, through ctypes on the library of the PyPI package `espeakng-loader`."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_RETRIEVAL, _NO_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def _loader() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise ValueError(
            "the synthetic keyword corpus needs the package espeakng-loader (pip install 'anaxon[speech]'), "
            "or point data.path to a Speech Commands folder"
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def variants() -> list[str]:
    """The names of all voice variants that espeak-ng brings, sorted."""
    return sorted(path.name for path in (Path(_loader()[1]) / "voices" / "!v").iterdir())


class Speaker:
    """One private copy of the synthesiser.

    espeak-ng keeps the state of its noise sources in static memory, so a word's samples depend on every word before
    it. Each `Speaker` loads a *new copy* of the library and seeds its generator and the C library's `rand`: what it
    says depends only on the sequence of its own calls. One at a time in a process, since `rand` is shared.
    """

    def __init__(self) -> None:
        library, data = _loader()
        self._library = _private_copy(library)
        self._variants = set(variants())
        voices_root = os.path.dirname(data).encode()
        self._pieces: list[bytes] = []
        self._collect = _CALLBACK(self._on_samples)  # kept: the library calls it
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        text, flag, pointer = (ctypes.c_char_p, ctypes.c_size_t), ctypes.c_uint, ctypes.c_void_p
        self._library.espeak_Synth.argtypes = [*text, flag, ctypes.c_int, flag, flag, pointer, pointer]
        self.rate = self._library.espeak_Initialize(_RETRIEVAL, 0, voices_root, _NO_EXIT)
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng did not start with the voices in {data}")
        self._library.espeak_SetSynthCallback(self._collect)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breath noise; starting espeak seeds it by the clock
        with contextlib.suppress(OSError, TypeError, AttributeError):  # TypeError: no global C library on Windows
            ctypes.CDLL(None).srand(1)

    def _on_samples(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, *, rate: int, pitch: int, pitch_range: int) -> np.ndarray:
        """`text` as `[samples]` float32 in [-1, 1] at `self.rate` Hz.

        `voice` is "accent+variant"; `rate` in words a minute, pitch and range in espeak's 0..100.

        Raises:
          ValueError: for a voice that espeak-ng does not have.
        """
        known = voice.partition("+")[2] in self._variants  # espeak ignores a variant that it does not know
        if not known or self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"voice: espeak-ng has no {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        self._pieces.clear()
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None)
        return np.frombuffer(b"".join(self._pieces), np.int16).astype(np.float32) / 32768

    def close(self) -> None:
        """Ends the synthesiser; its memory goes with the process."""
        self._library.espeak_Terminate()


def _private_copy(library: str) -> ctypes.CDLL:
    folder = tempfile.mkdtemp(prefix="anaxon-espeak-")
    try:
        return ctypes.CDLL(shutil.copy(library, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # loaded: the name is no longer needed (Windows keeps it)


@contextlib.contextmanager
def speaker() -> Iterator[Speaker]:
    """A `Speaker` that is closed at the end."""
    voice = Speaker()
    try:
        yield voice
    finally:
        voice.close()
