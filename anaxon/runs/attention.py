"""The attention job: how much of a model's attention can be pruned, at what loss, and what that saves in hardware."""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from anaxon.attention import energy
from anaxon.data.cache import Content
from anaxon.report.attention_named import KINDS, points_of
from anaxon.runs import attention_settings, record
from anaxon.runs.attention_paired import paired
from anaxon.runs.attention_points import Bench, Measured, calibrated, hardware, steps_of, thresholds
from anaxon.runs.attention_pooled import every_pool
from anaxon.runs.attention_settings import Settings
from anaxon.runs.attention_tasks import Task, names, task
from anaxon.runs.attention_training import Trained, dense, learned, longer, with_thresholds
from anaxon.runs.folder import REPORT, RunFolder

read = attention_settings.read


def explained(settings: Settings) -> str:
    """What `anaxon explain` prints: the tile, areas of the designs, costs of operations with their sources."""
    design = settings.accelerator
    areas = energy.areas(design.tile, design.table.costs)
    base = sum(areas["baseline"].values())
    lines = [f"  {name:<24}{1e6 * sum(parts.values()):.3f} mm2, {sum(parts.values()) / base:.2f} of the baseline's"
             for name, parts in areas.items()]  # fmt: skip
    return "\n".join([f"{design.tile}\n", "area, by gate counts, not a layout", *lines, "", repr(design.table)])


class Prepared:
    """A task with its dense model, made when the first part asks for it."""

    def __init__(self, settings: Settings, name: str, seed: int, progress: bool) -> None:
        self.settings, self.name, self.seed, self.progress = settings, name, seed, progress

    @cached_property
    def task(self) -> Task:
        """Of the configuration."""
        return task(self.settings, self.name, self.seed)

    @cached_property
    def dense(self) -> Trained:
        """The model without thresholds."""
        return dense(self.task, self.settings.training, self.seed, self.progress)

    @cached_property
    def bench(self) -> Bench:
        """Compiled once for all points."""
        return Bench(self.task, self.dense.model)

    @cached_property
    def cuts(self) -> np.ndarray:
        """Calibrated thresholds `[rates + 1, layers]`; the last are where learning starts."""
        rates = [*self.settings.study.rates, self.settings.training.start]
        return calibrated(self.bench, self.dense.model, rates)


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      ModuleNotFoundError, FileNotFoundError: for data that are not there.
      OSError: when something cannot be written; what is there is kept.
    """
    makers: dict[str, Callable[[], Content]] = {}
    for name in names(settings):
        for seed in settings.study.seeds:
            made = Prepared(settings, name, seed, progress)
            makers[f"{name}-{seed}-free"] = partial(_free, made)
            makers[f"{name}-{seed}-longer"] = partial(_longer, made)
            for penalty in settings.study.penalties:
                makers[f"{name}-{seed}-learned-{penalty:g}"] = partial(_learned, made, penalty)
    with folder.phase("points"):
        parts = folder.parts(makers)
    return _written(settings, folder, parts, progress)


def _free(made: Prepared) -> Content:
    """The dense model and the training-free curve: thresholds by calibration alone."""
    arrays, facts = _curve(made, made.dense, made.cuts)
    return arrays, facts | {"baseline": made.task.baseline()}


def _longer(made: Prepared) -> Content:
    """The dense model, trained on for as long as thresholds are learned, and its calibrated curve."""
    found = longer(made.task, made.dense.model, made.settings.training, made.seed, made.progress)
    return _curve(made, found, calibrated(made.bench, found.model, list(made.settings.study.rates)))


def _curve(made: Prepared, trained: Trained, cuts: np.ndarray) -> Content:
    """A model without thresholds and with calibrated ones, `[rates, layers]` (more rows are left alone)."""
    base = made.bench.measured(trained.model).quality
    bits = made.settings.accelerator.bits
    integers = made.bench.integers(trained.model, steps_of(made.bench, trained.model, bits), bits)
    arrays, points = {"quality": base, "integers": integers, "loss": trained.loss}, []
    for rate, cut in zip(made.settings.study.rates, cuts, strict=False):
        found, point = _point(made, with_thresholds(trained.model, cut), whole=False)
        arrays |= {f"{rate:g}/{name}": values for name, values in found.items()}
        points.append({"rate": rate} | point)
    return arrays, {"task": made.task.facts, "unit": made.task.unit, "points": points, "quality": float(base.mean())}


def _learned(made: Prepared, penalty: float) -> Content:
    """Weights and thresholds trained together."""
    training = made.settings.training
    found = learned(made.task, made.dense.model, made.cuts[-1], penalty, training, made.seed, made.progress)
    # what other tiles and other ways of pruning would do is told of one seed
    arrays, point = _point(made, found.model, whole=made.seed == made.settings.study.seeds[0])
    arrays |= {"loss": found.loss, "share": found.share, "thresholds": found.thresholds}
    return arrays, {"penalty": penalty, "points": [{"penalty": penalty} | point]}


def _point(made: Prepared, model: nnx.Module, whole: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Quality by float scores and by the hardware's integers, `[items]` each, and the facts."""
    bits = made.settings.accelerator.bits
    measured: Measured = made.bench.measured(model)
    steps = steps_of(made.bench, model, bits)
    arrays = {"quality": measured.quality, "integers": made.bench.integers(model, steps, bits)}
    found = hardware(made.bench, model, steps, made.settings, whole)
    layers = {name: getattr(measured, name).tolist() for name in ("pairs", "kept", "rows", "emptied")}
    return arrays, {"thresholds": thresholds(model), "quality": float(measured.quality.mean()),
                    "pruning_rate": measured.pruning_rate, "layers": layers, **found._asdict()}  # fmt: skip


def _written(settings: Settings, folder: RunFolder, parts: dict[str, Content], progress: bool) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import attention as report

        found = [_task(settings, parts, name, seed) for name in names(settings) for seed in settings.study.seeds]
        pools = every_pool(settings, parts, found)
        written = {
            **record.head(settings.record),
            "tasks": found,
            "pooled": pools[-1]["rows"],
            "pools": pools,
            "audit": _audit(found),
            "area": energy.areas(settings.accelerator.tile, settings.accelerator.table.costs),
            "sources": dict(settings.accelerator.table.sources),
            "seconds": folder.seconds,
        }
        figures = report.figures(written)
        page = report.page(written, figures)
    rows = {f"{part}/{name}": x for part, (arrays, _) in parts.items() for name, x in arrays.items()}
    return folder.keep(written, rows, page, figures)


def _task(settings: Settings, parts: dict[str, Content], name: str, seed: int) -> dict[str, Any]:
    """A task's points with paired differences: to the dense model, and to that trained on for as long as learning."""
    free, after = (_calibrated(settings, parts[f"{name}-{seed}-{phase}"]) for phase in ("free", "longer"))
    facts, (on, trained_on) = parts[f"{name}-{seed}-free"][1], parts[f"{name}-{seed}-longer"]
    trained, history = [], {}
    for penalty in settings.study.penalties:
        own, found = parts[f"{name}-{seed}-learned-{penalty:g}"]
        told = _differences(own["quality"], own["integers"], on["quality"], settings.study.resamples)
        trained.append(found["points"][0] | told)
        history[f"{penalty:g}"] = {k: own[k].tolist() for k in ("loss", "share", "thresholds")}
    whole = [_integers(part[0]["quality"], part[0]["integers"], settings.study.resamples)
             for part in (parts[f"{name}-{seed}-free"], (on, trained_on))]  # fmt: skip
    return {"name": name, "seed": seed, "data": facts["task"], "unit": facts["unit"], "baseline": facts["baseline"],
            "dense": facts["quality"], "longer": trained_on["quality"], "dense_integers": whole[0],
            "longer_integers": whole[1], "free": free, "after": after, "learned": trained,
            "history": history}  # fmt: skip


def _calibrated(settings: Settings, part: Content) -> list[dict[str, Any]]:
    """The points of a curve with differences to the model that they are of."""
    arrays, facts = part
    own = lambda p, name: arrays[f"{p['rate']:g}/{name}"]  # noqa: E731
    resamples = settings.study.resamples
    return [p | _differences(own(p, "quality"), own(p, "integers"), arrays["quality"], resamples)
            for p in facts["points"]]  # fmt: skip


def _differences(own: np.ndarray, integers: np.ndarray, base: np.ndarray, resamples: int) -> dict[str, Any]:
    """Of a point to the model without thresholds; of its integer decisions to its float ones."""
    return {"difference": paired([own - base], resamples), "integers": _integers(own, integers, resamples)}


def _integers(floats: np.ndarray, integers: np.ndarray, resamples: int) -> dict[str, Any]:
    """Quality of integer decisions, and what it is more than that of float ones on the same examples."""
    return {"quality": float(integers.mean()), "difference": paired([integers - floats], resamples)}


def _audit(found: list[dict[str, Any]]) -> dict[str, float]:
    """Over all points: pairs compared with float64 products, wrong decisions, share that float scores decide alike."""
    points = [p for t in found for kind in KINDS for p in t[kind]]
    pairs, wrong, scores = (sum(p["audit"][name] for p in points) for name in ("pairs", "wrong", "wrong_scores"))
    alike = sum(p["audit"]["pairs"] * p["audit"]["agree"] for p in points) / max(pairs, 1)
    return {"pairs": pairs, "wrong": wrong, "wrong_scores": scores, "agree": alike}


def summary(written: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    shown = Table("task", "thresholds", "quality", "difference, 95 %", "pruned", "cycles", "speed-up", "energy",
                  box=None, pad_edge=False)  # fmt: skip
    for found in written["tasks"]:
        factor = found["unit"][1]
        told, quality = found["baseline"]
        shown.add_row(found["name"], f"({told})", f"{factor * quality:.2f}", "", "", "", "", "")
        shown.add_row(found["name"], "none", f"{factor * found['dense']:.2f}", "", "", "", "", "")
        shown.add_row(found["name"], "none, trained on", f"{factor * found['longer']:.2f}", "", "", "", "", "")
        for told, point in points_of(found):
            low, high = point["difference"]["ci95"]
            whole = next(r for r in point["rows"] if r["layer"] == "all")
            shown.add_row(found["name"], told, f"{factor * point['quality']:.2f}",
                          f"{factor * point['difference']['mean']:+.2f} [{factor * low:+.2f}, {factor * high:+.2f}]",
                          f"{point['pruning_rate']:.1%}", f"{whole['mean_cycles']:.2f}", f"{whole['speed_up']:.2f} x",
                          f"{whole['energy_ratio']:.2f} x")  # fmt: skip
    console.print(shown)
    console.print(f"Early termination and float64 products: {written['audit']['pairs']:.4g} pairs, "
                  f"{written['audit']['wrong']:.0f} wrong. Quality in {written['tasks'][0]['unit'][0]}.")  # fmt: skip
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
