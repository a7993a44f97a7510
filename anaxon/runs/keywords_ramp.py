"""The keyword spotter behind ramp ADCs: accuracy against resolution, with and without training for the chips."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from anaxon.interpret.analog import analog
from anaxon.interpret.plan import Plan
from anaxon.models.train import Training
from anaxon.runs import keywords_ramp_results as found
from anaxon.runs import network, results
from anaxon.runs.folder import REPORT, RunFolder
from anaxon.runs.keywords_ramp_settings import Settings
from anaxon.runs.keywords_ramp_settings import read as read
from anaxon.runs.network import Network
from anaxon.runs.ramp_points import Point, aware_training, calibrated, further_training
from anaxon.runs.ramp_points import planned as planned_at
from anaxon.runs.side_by_side import side_by_side
from anaxon.runs.trainings import Ready, on_chips


def planned(settings: Settings) -> Plan:
    """The plan of the first network behind its ramp, from shapes: what `anaxon explain` prints."""
    point = Point(settings.size.hidden[0], "ramp", settings.chips.main_bits)
    return planned_at(point, settings.hardware, *network.shapes(settings.model(point.hidden), settings.data))


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      ValueError: for a damaged cache or checkpoint, or data that are not what they should be.
      OSError: when something cannot be written; what is there is kept.
    """
    with folder.phase("corpus"):
        inputs = results.load_inputs(settings.data, settings.chips.panel, settings.seed, progress)
    with folder.phase("training"):
        first = _networks(settings, inputs, progress)
        further = _further(settings, inputs, first, progress)
        networks = {h: max(first[h], further[h], key=lambda net: net.history["accuracy"][-1]) for h in first}
    with folder.phase("calibration"):
        plain = _plain(settings, inputs, networks, progress)
    with folder.phase("noise-aware training"):
        aware = _aware(settings, inputs, first, plain, progress)
    ready = {p: {"plain": plain[p]} | ({"aware": aware[p]} if p in aware else {}) for p in plain}
    with folder.phase("chips"):
        chips = _panel(settings, folder, inputs, networks, ready, progress)
    with folder.phase("chips on everything"):
        full = _everything(settings, folder, inputs, networks, ready, progress)
    with folder.busy("digital", progress):
        digital = {h: network.logits(net, inputs.everything).argmax(-1) for h, net in networks.items()}
    measured = found.Measured(inputs, networks, ready, digital, chips, full)
    return _written(settings, folder, measured, progress)


def _training(settings: Settings, epochs: int) -> Training:
    return dataclasses.replace(settings.training, epochs=epochs, save_every=max(1, epochs // 4))


def _networks(settings: Settings, inputs: results.Inputs, progress: bool) -> dict[int, Network]:
    """The digital networks, trained side by side; the largest first, since it takes longest."""
    sizes = sorted(zip(settings.size.hidden, settings.size.epochs, strict=True), reverse=True)

    def task(hidden: int, epochs: int) -> Any:
        model, training = settings.model(hidden), _training(settings, epochs)
        return lambda on_epoch: network.trained(model, settings.data, training, inputs.corpus, False, on_epoch)

    tasks = [task(hidden, epochs) for hidden, epochs in sizes]
    trained = side_by_side(tasks, sum(settings.size.epochs), "training, digital", progress)
    return dict(sorted(zip((h for h, _ in sizes), trained, strict=True)))


def _further(
    settings: Settings, inputs: results.Inputs, networks: dict[int, Network], progress: bool
) -> dict[int, Network]:
    """The digital networks trained on for as long as those for chips are: the fairer of the two to compare with."""
    sizes = sorted(zip(settings.size.hidden, settings.size.aware_epochs, strict=True), reverse=True)

    def task(hidden: int, epochs: int) -> Any:
        training = _again(settings, epochs)
        return lambda tick: further_training(networks[hidden], inputs.corpus, training, settings.aware, tick)

    tasks = [task(hidden, epochs) for hidden, epochs in sizes]
    trained = side_by_side(tasks, sum(settings.size.aware_epochs), "training on, digital", progress)
    return dict(sorted(zip((h for h, _ in sizes), trained, strict=True)))


def _again(settings: Settings, epochs: int) -> Training:
    return dataclasses.replace(_training(settings, epochs), learning_rate=settings.aware.learning_rate)


def _plain(
    settings: Settings, inputs: results.Inputs, networks: dict[int, Network], progress: bool
) -> dict[Point, Ready]:
    """Every point with the digital weights and the ranges that they need; what takes time is compiling."""
    features = inputs.corpus.train.features[: settings.chips.calibration]
    clip = jax.ShapeDtypeStruct((1, *features.shape[1:]), np.float32)
    points = [p for hidden in networks for p in settings.points(hidden)]

    def task(point: Point) -> Any:
        def calibrate(tick: Callable[[float], None]) -> Ready:
            net = networks[point.hidden]
            plan = planned_at(point, settings.hardware, net.fn, net.params, clip)
            ready = Ready(net.params, jax.device_get(calibrated(settings.seed, plan, net, features)))
            tick(0.0)
            return ready

        return calibrate

    ready = side_by_side([task(p) for p in points], len(points), "calibration", progress)
    return dict(zip(points, ready, strict=True))


def _aware(
    settings: Settings,
    inputs: results.Inputs,
    networks: dict[int, Network],
    plain: dict[Point, Ready],
    progress: bool,
) -> dict[Point, Ready]:
    epochs = dict(zip(settings.size.hidden, settings.size.aware_epochs, strict=True))
    points = sorted((p for p in plain if settings.is_aware(p)), key=lambda p: -p.hidden)

    def task(point: Point) -> Any:
        net, plan = networks[point.hidden], plain[point].plan
        training = _again(settings, epochs[point.hidden])
        return lambda on_epoch: aware_training(net, plan, inputs.corpus, training, settings.aware, on_epoch)

    total = sum(epochs[p.hidden] for p in points)
    trained = side_by_side([task(p) for p in points], total, "training for the chips", progress)
    return dict(zip(points, trained, strict=True))


def _answers(
    settings: Settings, net: Network, ready: dict[str, Ready], features: np.ndarray, chips: int, path: Path, **how: Any
) -> np.ndarray:
    """Classes `[chips, trainings, clips]` uint8 that chips give to features `[clips, frames, mels]`."""
    run, heard = analog(net.fn), jnp.asarray(features)
    read = lambda key, chip: run(key, chip, heard).argmax(-1).astype(jnp.uint8)  # noqa: E731
    return on_chips(settings.seed, read, list(ready.values()), chips, path, **how)


def _panel(
    settings: Settings,
    folder: RunFolder,
    inputs: results.Inputs,
    networks: dict[int, Network],
    ready: dict[Point, dict[str, Ready]],
    progress: bool,
) -> dict[Point, np.ndarray]:
    """Answers on the panel, of every point."""
    heard = inputs.corpus.test.features[inputs.panel]

    def of(point: Point) -> np.ndarray:
        main = point.kind == "ramp" and point.bits == settings.chips.main_bits
        chips = settings.chips.main_chips if main else settings.chips.chips
        path = folder.chunks(point.name)
        return _answers(settings, networks[point.hidden], ready[point], heard, chips, path, progress=progress)

    return {point: of(point) for point in ready}


def _everything(
    settings: Settings,
    folder: RunFolder,
    inputs: results.Inputs,
    networks: dict[int, Network],
    ready: dict[Point, dict[str, Ready]],
    progress: bool,
) -> dict[Point, np.ndarray]:
    """Answers on the whole test set and the recorded voices, of the ramps that the goals are about."""
    chips, wanted = settings.chips.full_test_chips, (settings.chips.main_bits, found.RECOVERED_AT)

    def of(point: Point) -> np.ndarray:
        path, net = folder.chunks(f"{point.name}-everything"), networks[point.hidden]
        how = {"progress": progress, "per_device": 1}
        return _answers(settings, net, ready[point], inputs.everything, chips, path, **how)

    return {point: of(point) for point in ready if point.kind == "ramp" and point.bits in wanted}


def _written(settings: Settings, folder: RunFolder, measured: found.Measured, progress: bool) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import keywords_ramp as report
        from anaxon.report import keywords_ramp_figures

        rows = found.rows(measured)
        record = found.collect(settings, measured, folder.seconds)
        figures = keywords_ramp_figures.figures(record, rows)
        page = report.page(record, figures)
    return folder.keep(record, rows, page, figures)


def summary(record: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    shown = Table("units", "converter", "bits", "training", "chips", "accuracy", "95 % interval", "loss to float",
                  box=None, pad_edge=False)  # fmt: skip
    for p in record["points"]:
        a, lost = p["accuracy"], p["loss"]
        lo, hi = a["ci95"]
        shown.add_row(str(p["hidden"]), p["kind"], str(p["bits"]), p["training"], f"{a['n']:,}", f"{a['mean']:.1%}",
                      f"{lo:.1%} to {hi:.1%}", f"{100 * lost['mean']:+.2f} points")  # fmt: skip
    console.print(shown)
    for goal in record["goals"]:
        mark = "met" if goal["met"] else "NOT met"
        console.print(f"{goal['what']}: {goal['obtained']:.3g} (asked {goal['asked']}): {mark}")
    if record["data"]["synthetic"]:
        console.print("The speech is synthetic: this says little about real speech (see the report).")
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
