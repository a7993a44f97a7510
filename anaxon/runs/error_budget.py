"""The error budget job: how far a network on chips is off, by cause and layer, and which windows lessen it."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from anaxon import statistics
from anaxon.data import images
from anaxon.data.images import Images
from anaxon.flax import functional
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.models.convnet import NETWORKS
from anaxon.runs import (
    error_causes,
    error_delta,
    error_measures,
    error_power,
    error_settings,
    error_tuning,
    plan_record,
    record,
)
from anaxon.runs.error_measures import Panel, Point
from anaxon.runs.error_networks import Placed, trained
from anaxon.runs.error_settings import Settings
from anaxon.runs.folder import REPORT, RunFolder

BASES = ("uniform", "tensor", "layer")  # choices of windows that the others are compared with, on the same chips
KURTOSIS = 0.5  # of the results, from which the Gaussian prediction is no longer trusted
read = error_settings.read


def planned(settings: Settings) -> Plan:
    """The plan of the first untrained network: what `anaxon explain` prints."""
    fn, params = functional(NETWORKS[settings.study.networks[0]](settings.model, rngs=nnx.Rngs(0)))
    return place(fn, settings.hardware)(params, jnp.zeros((1, 28, 28)))


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      OSError: when something cannot be written; what is there is kept.
    """
    study, seed = settings.study, settings.seed
    with folder.phase("data"):
        data = images.load(settings.data)
    nets: dict[str, Placed] = {}
    with folder.phase("training"):
        for kind in study.networks:
            nets[kind] = trained(settings, data, kind, progress)
    found, rows = {}, {}
    for kind, net in nets.items():
        found[kind], more = _budget(settings, kind, net, data, folder, progress)
        rows |= {f"{kind}/{name}": x for name, x in more.items()}
    first = nets[study.networks[0]]
    with folder.busy("causes", progress):
        panel = error_measures.panel_of(first, data.test, study.images)
        causes, more = error_causes.split(first, panel, study.sigma, settings.causes, seed, folder.chunks("causes"),
                                          progress=False)  # fmt: skip
        rows |= {f"causes/{name}": x for name, x in more.items()}
    with folder.phase("windows"):
        tuned, sampled = _tuned(settings, first, data, folder, progress)
    delta, more = error_delta.measured(settings, data, folder, progress)
    found = {"networks": found, "causes": causes, "tuned": tuned, "delta": delta}
    return _written(settings, folder, data, found, rows | sampled | more, progress)


def _budget(
    settings: Settings, kind: str, net: Placed, data: Images, folder: RunFolder, progress: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One network: against sigma, for the first also against the window, and its power."""
    study, seed = settings.study, settings.seed
    panel = error_measures.panel_of(net, data.test, study.images)
    points = tuple(Point(sigma) for sigma in study.sigmas)
    narrow = tuple(Point(study.sigma, w) for w in study.windows) if kind == study.networks[0] else ()
    with folder.busy(f"prediction, {kind}", progress):
        followed = error_measures.followed(net, panel, points + narrow, seed, shown=points)
    with folder.phase(f"chips, {kind}"):
        chips = error_measures.sampled(net, panel, points, study.chips, seed, folder.chunks(kind), progress)
    found = _compared(net, panel, followed[: len(points)], chips, study.sigma)
    rows = {name: chips[name] for name in ("error", "hit", "flip")}
    if narrow:
        with folder.phase(f"chips of narrow windows, {kind}"):
            chips = error_measures.sampled(net, panel, narrow, study.window_chips, seed,
                                           folder.chunks(f"{kind} windows"), progress)  # fmt: skip
        found["windows"] = [_beside(line, chips, i) for i, line in enumerate(followed[len(points) :])]
        found["windows"].append(found["lines"][study.sigmas.index(study.sigma)])
        rows["windows/error"] = chips["error"]
    with folder.phase(f"power, {kind}"):
        drawn = error_power.sampled(net, panel, Point(study.sigma), study.power_chips, seed,
                                    folder.chunks(f"{kind} power"), progress)  # fmt: skip
    found["power"] = error_power.beside(followed[study.sigmas.index(study.sigma)]["power"], drawn)
    return found, rows | {f"power/{name}": x for name, x in drawn.items()}


def _compared(
    net: Placed, panel: Panel, followed: list[dict[str, Any]], chips: dict[str, np.ndarray], shown: float
) -> dict[str, Any]:
    """A line for every sigma, prediction beside sampling; and the time that each takes."""
    lines = []
    for i, line in enumerate(followed):
        spread = statistics.std_over(chips["hit"][:, i].mean(1), "chips")
        lines.append({**_beside(line, chips, i), "spread_sampled": spread.as_json()})
    at = [line["sigma"] for line in followed].index(shown)
    speed = error_measures.seconds_to_sample(net, panel, shown, chips["error"][:, at].mean(1))
    digital = float((panel.exact.argmax(-1) == panel.labels).mean())
    return {"lines": lines, "speed": speed, "test_accuracy": net.accuracy, "panel_accuracy": digital}


def _beside(line: dict[str, Any], chips: dict[str, np.ndarray], i: int) -> dict[str, Any]:
    """A line of `followed` with what the chips of its point, the i-th, have in its place."""
    tails = error_measures.kurtosis(chips["away"][:, i].astype(np.float64))
    over = lambda name: statistics.mean_over(chips[name][:, i].mean(1), "chips")  # noqa: E731
    sampled = over("error")
    return {
        **{k: v for k, v in line.items() if not isinstance(v, np.ndarray)},
        **{k: float(line[k].mean()) for k in ("predicted", "linearised", "chance", "flip")},
        "sampled": sampled.as_json(),
        "ratio": float(line["predicted"].mean() / sampled.mean),
        "ratio_linearised": float(line["linearised"].mean() / sampled.mean),
        "by_picture": np.quantile(line["predicted"] / chips["error"][:, i].mean(0), [0, 0.5, 1]).tolist(),
        "accuracy": over("hit").as_json(),
        "flip_sampled": over("flip").as_json(),
        "kurtosis": tails,
        "trusted": tails < KURTOSIS,
    }  # fmt: skip


def _tuned(
    settings: Settings, net: Placed, data: Images, folder: RunFolder, progress: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Windows chosen from training pictures, sampled on the same ones."""
    study = settings.study
    found = error_tuning.chosen(net, data.train, study)
    chips = error_tuning.sampled(
        net, study.sigma, data.train, study.tuned_images, found["windows"], study.tuned_chips, settings.seed,
        folder.chunks("windows"), progress,
    )  # fmt: skip
    for row in found["rows"]:
        budget = f"{row['budget']:g}"
        name = f"{budget}/{row['choice']}"
        error = chips[f"error/{name}"]
        row["sampled"] = statistics.mean_over(error, "chips").as_json()
        row["of"] = {base: _ratio(error, chips[f"error/{budget}/{base}"]) for base in BASES}
        row["accuracy"] = statistics.mean_over(chips[f"accuracy/{name}"], "chips").as_json()
    windows = {k: {p: np.asarray(v).reshape(-1) for p, v in w.items()} for k, w in found.pop("windows").items()}
    rows = {f"windows/{k}/{p}": v for k, w in windows.items() for p, v in w.items()}
    return found, rows | {f"tuned/{k}": v for k, v in chips.items()}


def _ratio(error: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Of two means over the same chips, with a 95 % interval by linear expansion (the chips are paired)."""
    ratio = error.mean() / base.mean()
    spread = statistics.mean_over((error - ratio * base) / base.mean(), "chips")
    return {"mean": float(ratio), "ci95": [float(ratio + x) for x in spread.ci95]}


def _written(
    settings: Settings,
    folder: RunFolder,
    data: Images,
    found: dict[str, Any],
    rows: dict[str, np.ndarray],
    progress: bool,
) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import error_budget as report

        splits = {"train": len(data.train.labels), "test": len(data.test.labels)}
        written = {
            **record.head(settings.record),
            "data": {"name": data.name, "checksum": data.checksum, **splits},
            "nonidealities": plan_record.explained(planned(settings)),
            **found,
            "seconds": folder.seconds,
        }
        figures = report.figures(written)
        page = report.page(written, figures)
    return folder.keep(written, rows, page, figures)


def summary(written: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    shown = Table("network", "sigma", "predicted", "first order", "sampled", "95 % interval", "kurtosis", box=None,
                  pad_edge=False)  # fmt: skip
    for kind, net in written["networks"].items():
        for line in net["lines"]:
            low, high = line["sampled"]["ci95"]
            shown.add_row(kind, f"{line['sigma']:g}", f"{line['predicted']:.4g}", f"{line['linearised']:.4g}",
                          f"{line['sampled']['mean']:.4g}", f"{low:.4g} to {high:.4g}",
                          f"{line['kurtosis']:+.2f}{'' if line['trusted'] else ' (not trusted)'}")  # fmt: skip
    for kind, net in written["delta"]["networks"].items():
        for line in net["lines"]:
            low, high = line["sampled"]["ci95"]
            shown.add_row(kind, f"{line['sigma']:g}", "", f"{line['predicted']:.4g}", f"{line['sampled']['mean']:.4g}",
                          f"{low:.4g} to {high:.4g}", f"{line['kurtosis']:+.2f}")  # fmt: skip
    console.print(shown)
    tuned = Table("power", "windows", "error, predicted", "sampled", "of uniform", "accuracy", box=None, pad_edge=False)
    for row in written["tuned"]["rows"]:
        tuned.add_row(f"{row['budget']:.0%}", row["choice"], f"{row['predicted']:.4g}", f"{row['sampled']['mean']:.4g}",
                      f"{row['of']['uniform']['mean']:.2f}", f"{row['accuracy']['mean']:.1%}")  # fmt: skip
    console.print(tuned)
    console.print(f"Data: {written['data']['name']}. Mean squared errors of logits.")
    for kind, why in written["delta"]["skipped"].items():
        console.print(f"{kind} is left out: {why}", markup=False)
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
