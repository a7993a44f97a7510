"""Programmed ramps by the thousand: their errors, the yield against sigma, redundant columns."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.converter import ramp as nladc
from anaxon.converter.ramp import Ramp
from anaxon.ensemble import ensemble
from anaxon.prng import fold_name
from anaxon.runs.ramp_settings import READ_NOISE, SCHEMES, Settings, programming, ramp
from anaxon.types import Array, replace

YIELD_SCHEMES = ("none", "one-point", "one-point, sequential bias")
COPIES_SCHEMES = ("none", "one-point")
OneRamp = Callable[[Array], dict[str, Array]]


def keys(settings: Settings) -> Array:
    """Keys `[ramps]`; ramp i is the same however many there are."""
    key = fold_name(jax.random.key(settings.seed), "ramps")
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(settings.samples.ramps))


def errors(settings: Settings, folder: Path, progress: bool) -> dict[str, np.ndarray]:
    """Rows for every ramp, by `activation/bits/scheme`.

    `max_inl/...`, `mean_inl/...`, `dnl_rms/...` `[ramps]` and, at the shown resolution, `levels/...` (thresholds in z),
    `inl/...` `[ramps, K]` and `dnl/...` `[ramps, K - 1]`; INL in LSB of the output. The same devices under every
    scheme; beside them one read of a ramp that is programmed exactly.
    """
    rows: dict[str, np.ndarray] = {}
    for name in settings.columns.activations:
        for bits in settings.columns.bits:
            found = _run(settings, _errors(settings, name, bits), folder / f"errors-{name}-{bits}", progress)
            for kind, values in found.items():
                rows |= {f"{kind}/{name}/{bits}/{s}": values[:, i] for i, s in enumerate((*SCHEMES, READ_NOISE))}
    return rows


def _errors(settings: Settings, name: str, bits: int) -> OneRamp:
    base = ramp(settings, bits, **programming(settings.devices))
    design = nladc.design_of(base, name)
    shown = bits == settings.columns.shown

    def one(key: Array) -> dict[str, Array]:
        levels = [nladc.sample(key, replace(base, **changes), name) for changes in SCHEMES.values()]
        one_pass = design.thresholds + nladc.read_noise(fold_name(key, "read"), base, design, ())
        return _measured(design, jnp.stack([*levels, one_pass]), shown)

    return one


def _measured(design: nladc.Design, levels: Array, shown: bool) -> dict[str, Array]:
    """What is kept of thresholds `[schemes, K]`; code by code only where they are shown."""
    inl, dnl = nladc.inl(design, levels), nladc.dnl(design, levels)
    found = {"max_inl": jnp.abs(inl).max(-1), "mean_inl": jnp.abs(inl).mean(-1)}
    found["dnl_rms"] = jnp.sqrt((dnl**2).mean(-1))
    return found | ({"levels": levels, "inl": inl, "dnl": dnl} if shown else {})


def yields(settings: Settings, folder: Path, progress: bool) -> dict[str, np.ndarray]:
    """`yield/bits/scheme` `[ramps, sigmas]`: the largest |INL| of the first activation's ramps at every sigma.

    A ramp keeps its random numbers from sigma to sigma.
    """
    rows: dict[str, np.ndarray] = {}
    for bits in settings.columns.bits:
        rows |= _run(settings, _yields(settings, bits), folder / f"yield-{bits}", progress)
    return rows


def _yields(settings: Settings, bits: int) -> OneRamp:
    name, sigmas = settings.columns.activations[0], jnp.asarray(settings.sweep.sigma)

    def worst(key: Array, scheme: str, sigma: Array) -> Array:
        changes = programming(settings.devices, sigma) | SCHEMES[scheme]
        return _worst(key, ramp(settings, bits, **changes), name)

    def one(key: Array) -> dict[str, Array]:
        return {f"yield/{bits}/{s}": jax.vmap(partial(worst, key, s))(sigmas) for s in YIELD_SCHEMES}

    return one


def copies(settings: Settings, folder: Path, progress: bool) -> dict[str, np.ndarray]:
    """`copies/R/scheme` `[ramps]`: the largest |INL| of the best of R columns, first activation, shown resolution."""
    name = settings.columns.activations[0]
    base = ramp(settings, settings.columns.shown, **programming(settings.devices))

    def one(key: Array) -> dict[str, Array]:
        return {
            f"copies/{count}/{scheme}": _worst(key, replace(base, copies=count, **SCHEMES[scheme]), name)
            for count in settings.sweep.copies
            for scheme in COPIES_SCHEMES
        }

    return _run(settings, one, folder / "copies", progress)


def _worst(key: Array, sampled: Ramp, name: str) -> Array:
    return jnp.abs(nladc.inl(nladc.design_of(sampled, name), nladc.sample(key, sampled, name))).max()


def _run(settings: Settings, one: OneRamp, path: Path, progress: bool) -> dict[str, np.ndarray]:
    return ensemble(one, keys(settings), chunk=settings.samples.chunk, progress=progress, path=path)
