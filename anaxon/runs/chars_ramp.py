"""A character language model behind ramp ADCs: bits per character against resolution, with and without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anaxon.calibrate import calibrate
from anaxon.data import characters
from anaxon.interpret.plan import Plan
from anaxon.models.train_characters import LOOP
from anaxon.runs import chars_ramp_points as points
from anaxon.runs import chars_ramp_results as found
from anaxon.runs import chars_ramp_settings
from anaxon.runs.chars_ramp_chips import bits_on_chips, on_float, read_rows
from anaxon.runs.chars_ramp_points import Point, Trained
from anaxon.runs.chars_ramp_settings import Settings
from anaxon.runs.folder import REPORT, RunFolder
from anaxon.runs.side_by_side import side_by_side
from anaxon.runs.trainings import Ready

ANY = 50  # symbols: they are not on the array


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    settings = chars_ramp_settings.read(table)
    if settings.data.path is not None:
        characters.load(settings.data)  # complains about a folder before that of the run is made
    for point in settings.all_points:
        points.planned(settings, point, ANY, 1, 1)  # complains about hardware that these gates cannot stand on
    return settings


def planned(settings: Settings) -> Plan:
    """The plan of one character of one text behind the main ramp, from shapes: what `anaxon explain` prints."""
    return points.planned(settings, Point("ramp", settings.points.main_bits), ANY, 1, 1)


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      ValueError: for a damaged checkpoint, or a text that is too short.
      OSError: when something cannot be written; what is there is kept.
    """
    with folder.busy("text", progress):
        text = characters.load(settings.data)
        codes = read_rows(settings, text.test)
        fn, start = points.network(settings, len(text.symbols))
    with folder.phase("training, float"):
        total = _loops(settings.size.steps)
        task = lambda on_loop: points.first_training(settings, text, fn, start, on_loop)  # noqa: E731
        first = side_by_side([task], total, "training, float", progress)[0]
    with folder.busy("calibration", progress):
        measure = calibrate(fn)  # one for all: it keeps what it has compiled
        ready = {p: _calibrated(settings, measure, p, first.params, text) for p in settings.aware_points}
    with folder.phase("training on, float and for chips"):
        more, aware = _further(settings, text, fn, first, ready, progress)
    with folder.busy("float networks", progress):
        floats = {"float": first, "float, trained on": more}
        bits = on_float(settings, fn, [t.params for t in floats.values()], codes)
        digital = dict(zip(floats, bits, strict=True))
        best = found.better(digital)
        plain = {p: _calibrated(settings, measure, p, floats[best].params, text) for p in settings.all_points}
    runs = {p: {"plain": plain[p]} | ({"aware": aware[p][1]} if p in aware else {}) for p in settings.all_points}
    with folder.phase("chips"):
        chips = {p: _on_chips(settings, folder, fn, p, runs[p], codes, progress) for p in runs}
    losses = {name: t.loss for name, t in floats.items()} | {f"aware, {p.name}": t.loss for p, (t, _) in aware.items()}
    measured = found.Measured(text, codes, digital, runs, chips, losses)
    return _written(settings, folder, measured, progress)


def _loops(steps: int) -> int:
    return -(-steps // LOOP)


def _calibrated(settings: Settings, measure: Any, point: Point, params: Any, text: characters.Text) -> Ready:
    size = settings.size
    plan = points.planned(settings, point, len(text.symbols), size.batch, size.length)
    return Ready(params, points.calibrated(settings, measure, plan, params, text.train))


def _further(
    settings: Settings, text: characters.Text, fn: Any, first: Trained, ready: dict[Point, Ready], progress: bool
) -> tuple[Trained, dict[Point, tuple[Trained, Ready]]]:
    """The float network trained on, and one network for every point that is trained for, side by side."""

    def task(point: Point) -> Any:
        return lambda on_loop: points.aware_training(settings, text, fn, ready[point], on_loop)

    tasks: list[Any] = [task(p) for p in ready]
    tasks.append(lambda on_loop: points.more_training(settings, text, fn, first.params, on_loop))
    total = len(tasks) * _loops(settings.size.more_steps)
    *trained, more = side_by_side(tasks, total, "training on, float and for chips", progress)
    return more, dict(zip(ready, trained, strict=True))


def _on_chips(
    settings: Settings, folder: RunFolder, fn: Any, point: Point, ready: dict[str, Ready], codes: Any, progress: bool
) -> Any:
    count = settings.size.main_chips if settings.is_main(point) else settings.size.chips
    return bits_on_chips(settings, fn, list(ready.values()), codes, count, folder.chunks(point.name), progress)


def _written(settings: Settings, folder: RunFolder, measured: found.Measured, progress: bool) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import chars_ramp as report
        from anaxon.report import chars_ramp_figures

        rows = found.rows(measured)
        record = found.collect(settings, measured, planned(settings), folder.seconds)
        figures = chars_ramp_figures.figures(record, rows)
        page = report.page(record, figures)
    return folder.keep(record, rows, page, figures)


def summary(record: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    shown = Table("", "bits", "chips", "bits/char", "95 % interval", "above float", box=None, pad_edge=False)
    for name, m in record["floats"].items():
        best = " (better)" if name == record["better_float"] else ""
        shown.add_row(f"{name}{best}", "", "", f"{m['mean']:.4f}", "{:.4f} to {:.4f}".format(*m["ci95"]), "")
    for p in record["points"]:
        m = p["bits_per_character"]
        shown.add_row(f"{p['converter']}, {p['training']}", str(p["bits"]), str(m["n"]), f"{m['mean']:.4f}",
                      "{:.4f} to {:.4f}".format(*m["ci95"]), f"{p['above_float']['mean']:+.4f}")  # fmt: skip
    console.print(shown)
    for goal in record["goals"]:
        console.print(f"{goal['what']}: {goal['obtained']:+.4f} (asked {goal['asked']}): "
                      f"{'met' if goal['met'] else 'NOT met'}")  # fmt: skip
    console.print(f"Text: {record['data']['name']}; not comparable with other texts, and none of it the paper's.")
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
