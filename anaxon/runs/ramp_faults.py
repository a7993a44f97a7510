"""What a single fault does to a ramp: a dead device, another read voltage, a wrong gain. No chance is involved."""

from typing import Any, Literal

import numpy as np

from anaxon.converter import ramp as nladc
from anaxon.converter.ramp import Design, Ramp
from anaxon.runs.ramp_curves import codes, levels_of
from anaxon.runs.ramp_settings import Settings, ramp
from anaxon.types import replace

Reference = Literal["tracking", "fixed"]


def dead_step(design: Design, step: int) -> tuple[np.ndarray, np.ndarray]:
    """INL `[K]` [LSB of the output] with ramp device `step` (from 1) stuck at OFF, and after one-point calibration."""
    g = np.array(nladc.conductances(design))
    g[step - 1] = 0.0
    levels = nladc.thresholds_of(design, g)
    mended = nladc.calibrated(design, levels, "one-point")
    return np.asarray(nladc.inl(design, levels)), np.asarray(nladc.inl(design, mended))


def code_change(ramp: Ramp, name: str, reference: Reference, ratio: float, z: np.ndarray) -> tuple[int, float]:
    """Largest and mean change of the code over inputs `z` `[n]` when the read voltage is `ratio` times nominal."""
    design = nladc.design_of(ramp, name)
    there = levels_of(replace(ramp, reference=reference, v_ratio=ratio), name)
    change = np.abs(codes(design, z, there) - codes(design, z, levels_of(ramp, name)))
    return int(change.max()), float(change.mean())


def gain_error(ramp: Ramp, name: str, kappa: float) -> np.ndarray:
    """INL `[K]` [LSB of the output] when the ramp's gain is `kappa` times that of the dot product."""
    return np.asarray(nladc.inl(nladc.design_of(ramp, name), levels_of(replace(ramp, gain=kappa), name)))


def found(settings: Settings) -> dict[str, Any]:
    """The single faults of the first activation at the shown resolution, for `results.json`."""
    name, base = settings.columns.activations[0], ramp(settings, settings.columns.shown)
    return {"dead": _dead(nladc.design_of(base, name)), "v_read": _v_read(settings, base, name),
            "gain": _gain(settings, base, name)}  # fmt: skip


def _dead(design: Design) -> dict[str, list]:
    steps = list(range(1, len(nladc.conductances(design)) + 1))
    pairs = [dead_step(design, step) for step in steps]
    return {"step": steps, "before": [float(np.abs(b).max()) for b, _ in pairs],
            "after": [float(np.abs(a).max()) for _, a in pairs]}  # fmt: skip


def _v_read(settings: Settings, base: Ramp, name: str) -> dict[str, Any]:
    z, ratios = np.linspace(-4, 4, 8001), settings.sweep.v_ratio
    changes = {kind: [code_change(base, name, kind, r, z) for r in ratios] for kind in ("tracking", "fixed")}
    return {"v_ratio": list(ratios)} | {
        kind: {"max": [worst for worst, _ in pairs], "mean": [mean for _, mean in pairs]}
        for kind, pairs in changes.items()
    }


def _gain(settings: Settings, base: Ramp, name: str) -> dict[str, list]:
    errors = [np.abs(gain_error(base, name, kappa)) for kappa in settings.sweep.gain]
    return {"kappa": list(settings.sweep.gain), "max": [float(e.max()) for e in errors],
            "mean": [float(e.mean()) for e in errors]}  # fmt: skip
