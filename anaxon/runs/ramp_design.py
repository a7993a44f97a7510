"""The ramp design job: columns for the activations one names, how good they are, and whether the simulator is right."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from anaxon import statistics
from anaxon.converter import ramp as nladc
from anaxon.interpret.text import columns as aligned
from anaxon.prng import fold_name
from anaxon.runs import ramp_accounts, ramp_exact, ramp_faults, ramp_monte_carlo, ramp_samples, ramp_settings, record
from anaxon.runs.folder import REPORT, RunFolder
from anaxon.runs.ramp_settings import READ_NOISE, SCHEMES, Settings, programming, ramp


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    return ramp_settings.read(table)


def explained(settings: Settings) -> str:
    """The columns and what is active in them: what `anaxon explain` prints."""
    head = ("activation", "bits", "thresholds", "steps", "bias devices", "smallest [uS]", "largest/smallest")
    rows = [
        (d["activation"], *(str(d[k]) for k in ("bits", "thresholds", "steps", "bias_devices")),
         f"{d['smallest'] * 1e6:.4g}", f"{d['ratio']:.4g}")
        for d in designs(settings)
    ]  # fmt: skip
    active = aligned([(f"  {name}", words) for name, words in nonidealities(settings)])
    return "\n\n".join([aligned([head, *rows], range(1, 7)), f"Ramp\n{active}", *nladc.DEFINITIONS.values()])


def nonidealities(settings: Settings) -> list[tuple[str, str]]:
    """What is active in the programmed ramps, name and sentence."""
    shown = ramp(settings, settings.columns.shown, **programming(settings.devices))
    return [*shown.explain(), ("calibrations", "each of " + "; ".join(SCHEMES))]


def designs(settings: Settings) -> list[dict[str, Any]]:
    """A line for every activation and resolution; conductances in siemens."""
    return [_design(settings, name, bits) for name in settings.columns.activations for bits in settings.columns.bits]


def _design(settings: Settings, name: str, bits: int) -> dict[str, Any]:
    devices, design = settings.devices, nladc.design_of(ramp(settings, bits), name)
    g = devices.g_max * np.asarray(nladc.conductances(design), np.float64)
    return {
        "activation": name,
        "bits": bits,
        "thresholds": int(np.size(design.thresholds)),
        "steps": len(g),
        "devices": design.devices,
        "bias_devices": nladc.bias_devices(design).count,
        "span": [float(design.levels[0]), float(design.levels[-1])],
        "smallest": g.min(),
        "ratio": g.max() / g.min(),
        "total": g.sum(),
        "below_sigma": int((g < 3 * devices.sigma).sum()),
        "below_g_min": int((g < devices.g_min).sum()),
    }


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      OSError: when something cannot be written; what is there is kept.
    """
    with folder.phase("programmed ramps"):
        rows = ramp_samples.errors(settings, folder.chunks("ramps"), progress)
    with folder.phase("yield"):
        rows |= ramp_samples.yields(settings, folder.chunks("ramps"), progress)
        rows |= ramp_samples.copies(settings, folder.chunks("ramps"), progress)
    with folder.busy("single faults", progress):
        faults = ramp_faults.found(settings)
    with folder.busy("validation", progress):
        key = fold_name(jax.random.key(settings.seed), "validation")
        checked = [
            *ramp_exact.statements(),
            *ramp_accounts.statements(),
            *ramp_monte_carlo.statements(key, settings.samples.validation),
        ]
    checked = sorted((s.as_json() for s in checked), key=lambda s: int(s["name"][1:]))
    return _written(settings, folder, rows, {"faults": faults, "validation": checked}, progress)


def _written(
    settings: Settings, folder: RunFolder, rows: dict[str, np.ndarray], found: dict[str, Any], progress: bool
) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import ramp_design as report

        written = collect(settings, rows) | found | programming_tables(settings, folder) | {"seconds": folder.seconds}
        figures = report.figures(written, rows)
        page = report.page(written, figures)
    return folder.keep(written, rows, page, figures)


def collect(settings: Settings, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """What `results.json` says about the programmed ramps."""
    return {
        **record.head(settings.record),
        "definitions": nladc.DEFINITIONS,
        "schemes": [*SCHEMES, READ_NOISE],
        "designs": designs(settings),
        "metrics": metrics(settings, rows),
        "nonidealities": nonidealities(settings),
    }


def metrics(settings: Settings, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over ramps, and shares of ramps within the limit: `within/...`, `yield/bits/scheme/sigma`."""
    limit, found = settings.columns.limit, {}
    for label, values in rows.items():
        kind, _, rest = label.partition("/")
        if kind in ("max_inl", "mean_inl", "dnl_rms", "copies"):
            found[label] = statistics.mean_over(values, "ramps")
        if kind == "max_inl":
            found[f"within/{rest}"] = statistics.proportion(values < limit, "ramps")
        if kind == "yield":
            for sigma, worst in zip(settings.sweep.sigma, values.T, strict=True):
                found[f"{label}/{1e6 * sigma:g} uS"] = statistics.proportion(worst < limit, "ramps")
    return {label: estimate.as_json() for label, estimate in found.items()}


def programming_tables(settings: Settings, folder: RunFolder) -> dict[str, Any]:
    """Writes a CSV of target conductances for every activation and resolution; returns the rows of the shown ones."""
    found = {}
    for name in settings.columns.activations:
        for bits in settings.columns.bits:
            design = nladc.design_of(ramp(settings, bits), name)
            text = nladc.programming_table(design, settings.devices.g_max)
            folder.write(file := f"tables/{name}-{bits}bit.csv", text.encode())
            if bits == settings.columns.shown:
                found[name] = {"file": file, "rows": list(csv.reader(text.splitlines()))}
    return {"programming": found}


def summary(written: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    m, columns = written["metrics"], written["config"]["columns"]
    bits, limit = columns["shown"], columns["limit"]
    shown = Table("", "largest |INL|, none", "one-point", f"within {limit:g} LSB, none", "one-point", box=None,
                  pad_edge=False)  # fmt: skip
    for name in columns["activations"]:
        labels = [f"{name}/{bits}/{scheme}" for scheme in ("none", "one-point")]
        shown.add_row(
            f"{name}, {bits} bit",
            *(f"{m[f'max_inl/{label}']['mean']:.3f} LSB" for label in labels),
            *(f"{m[f'within/{label}']['mean']:.1%}" for label in labels),
        )
    console.print(shown)
    console.print(f"Means over {written['config']['samples']['ramps']:,} ramps. {nladc.DEFINITIONS['INL_out']}.")
    failed = [s["name"] for s in written["validation"] if not s["passed"]]
    console.print(
        f"Validation: {len(written['validation']) - len(failed)} of {len(written['validation'])} statements hold"
        + (f"; not: {', '.join(sorted(set(failed)))}." if failed else ".")
    )
    console.print("Simulated; none of these figures is the paper's.")
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
