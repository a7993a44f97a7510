"""How long a speech recognition run will take, said before it starts."""

import time

import jax
import jax.numpy as jnp
from rich.console import Console

from anaxon.data.asr import Corpus
from anaxon.runs import asr_networks
from anaxon.runs.asr_conditions import DIGITAL, NO_LINEAR
from anaxon.runs.asr_settings import Settings
from anaxon.runs.folder import RunFolder

# Times of a digital forward pass over as many frames without padding, and compilation of one program [s]: what
# configs/asr_small.toml took on two CPU cores. On a GPU of its own, nearly all of the time is compilation, as long.
STEP, QUANTISED_STEP, CHIP_PER_SLICE, COMPILATION = 5.0, 7.0, 1.9, 25.0
FRAMES, ROWS = 400, 8


def announce(settings: Settings, corpus: Corpus, folder: RunFolder, progress: bool) -> float:
    """Says and logs an estimate [s]; what the cache holds already is not taken off."""
    seconds = estimated(settings, corpus, forward_time(settings))
    text = f"estimated: about {max(1, round(seconds / 60))} min (without what is in the cache already)"
    folder.log(text)
    Console(stderr=True, quiet=not progress).print(text)
    return seconds


def forward_time(settings: Settings) -> float:
    """Of the digital network, per input frame [s]."""
    fn, params = asr_networks.untrained(settings.model, settings.seed)
    run = jax.jit(fn)
    inputs = jnp.ones((ROWS, FRAMES, settings.model.mels)), jnp.full(ROWS, FRAMES, jnp.int32)
    jax.block_until_ready(run(params, *inputs))
    start = time.perf_counter()
    for _ in range(3):
        jax.block_until_ready(run(params, *inputs))
    return (time.perf_counter() - start) / (3 * ROWS * FRAMES)


def estimated(settings: Settings, corpus: Corpus, forward: float) -> float:
    """Of everything [s], at `forward` seconds per frame."""
    study, frames = settings.study, len(corpus.train.features)
    kinds = 1 + (NO_LINEAR in study.conditions)
    words = corpus.test.words
    heard = len(corpus.test.features) * (min(1.0, study.words / words) if study.words else 1.0)
    train = frames * settings.training.epochs * STEP * kinds
    tune = frames * settings.quantised.epochs * QUANTISED_STEP * kinds * len(study.weight_bits)
    slices = sum(bits - 1 for bits in study.weight_bits)
    chips = heard * study.chips * len(study.conditions) * slices * CHIP_PER_SLICE
    programs = kinds * (1 + len(study.weight_bits)) * settings.training.shapes
    groups = kinds + (DIGITAL in study.conditions)  # of conditions that share a program
    programs += len(study.weight_bits) * (2 * kinds + 3 + 2 * groups)
    return study.seeds * ((train + tune + chips) * forward + programs * COMPILATION)
