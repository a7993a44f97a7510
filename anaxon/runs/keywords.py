"""The main job: a keyword spotter trained in Flax, programmed onto a thousand memristor chips."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anaxon.data import keywords, speech_commands
from anaxon.hardware import Hardware
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.interpret.text import quantity
from anaxon.models.train import Training
from anaxon.runs import chips, network, results
from anaxon.runs.chips import Ensemble
from anaxon.runs.config import components_of, described, from_table, hardware_of, seed_of
from anaxon.runs.folder import REPORT, RunFolder
from anaxon.runs.network import Model, Network
from anaxon.settings import check_keys

SECTIONS = {"data": keywords.KeywordData, "model": Model, "training": Training, "ensemble": Ensemble}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A resolved configuration: every default filled in."""

    seed: int
    data: keywords.KeywordData
    model: Model
    training: Training
    ensemble: Ensemble
    hardware: Hardware
    hardware_table: Mapping[str, Any]
    components: str

    @property
    def record(self) -> dict[str, Any]:
        """The configuration as JSON: what decides the results, and nothing else."""
        sections = {name: _without_workers(dataclasses.asdict(getattr(self, name))) for name in SECTIONS}
        hardware = {"given": self.hardware_table, "resolved": described(self.hardware)}
        return {"job": "keywords", "seed": self.seed, **sections, "hardware": hardware,
                "cost": {"components": self.components}}  # fmt: skip


def _without_workers(table: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in table.items() if k != "workers"}


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, ("job", "seed", *SECTIONS, "hardware", "cost"), "configuration")
    seed = seed_of(table)
    sections: dict[str, Any] = {name: from_table(kind, table.get(name, {}), name) for name, kind in SECTIONS.items()}
    if sections["data"].path is not None:
        speech_commands.folder_of(sections["data"])  # before a run's folder is made
    return Settings(
        seed=seed,
        hardware=hardware_of(table, "vcm-4bit"),
        hardware_table=table["hardware"],
        components=components_of(table),
        **sections,
    )


def planned(settings: Settings) -> Plan:
    """The plan of the untrained network, from shapes: what `anaxon explain` prints."""
    fn, params, clip = network.shapes(settings.model, settings.data)
    return place(fn, settings.hardware)(params, clip)


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      ValueError: for a damaged cache or checkpoint, or data that are not what they should be.
      OSError: when something cannot be written; what is there is kept.
    """
    with folder.phase("corpus"):
        inputs = results.load_inputs(settings.data, settings.ensemble.panel, settings.seed, progress)
    with folder.phase("training"):
        net = _network(settings, folder, inputs.corpus, progress)
    with folder.busy("calibration", progress):
        some = inputs.corpus.train.features[: settings.ensemble.calibration]
        plan = chips.placed(net, settings.hardware, some)
        plan = chips.calibrated(settings.seed, plan, net, some)
    with folder.busy("digital", progress):
        digital = network.logits(net, inputs.everything).argmax(-1)
        quantised = chips.quantised_classes(settings.seed, plan, net, some, inputs.everything)
    with folder.phase("chips on the panel"):
        heard = inputs.corpus.test.features[inputs.panel]
        panel = chips.on_panel(settings.seed, settings.ensemble, plan, net, heard, folder.chunks("panel"), progress)
    with folder.phase("chips on the full test set"):
        full = chips.on_everything(
            settings.seed, settings.ensemble, plan, net, inputs.everything, folder.chunks("everything"), progress
        )
    measured = results.Measured(inputs, digital, quantised, panel, full)
    return _written(settings, folder, net, plan, measured, progress)


def _network(settings: Settings, folder: RunFolder, corpus: keywords.Corpus, progress: bool) -> Network:
    """The run's own copy if it has one: a continued run must go on with the very same network."""
    path = folder.path / network.FILE
    try:
        return network.load(path, settings.model, settings.data)
    except FileNotFoundError:
        net = network.trained(settings.model, settings.data, settings.training, corpus, progress)
        network.save(path, net)
        return net


def _written(
    settings: Settings, folder: RunFolder, net: Network, plan: Plan, measured: results.Measured, progress: bool
) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import keywords as report
        from anaxon.report import keywords_figures

        rows = results.rows(measured)
        record = results.collect(settings, net, plan, measured, folder.seconds)
        figures = keywords_figures.figures(record, rows)
        page = report.page(record, figures)
    return folder.keep(record, rows, page, figures)


def summary(record: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    m, q = record["metrics"], record["accuracy_quantiles"]
    shown = Table("", "accuracy", "95 % interval", "over", box=None, pad_edge=False)
    lines = (
        ("digital, float32, test set", "float_accuracy"),
        ("perfect cells, same converters, test set", "quantised_accuracy"),
        ("digital, float32, panel", "float_accuracy_panel"),
        ("chips, panel", "chip_accuracy"),
        ("chips, test set", "chip_accuracy_full_test"),
    )
    for words, name in lines:
        lo, hi = m[name]["ci95"]
        over = " and ".join(f"{n:,} {what}" for what, n in m[name]["over"].items())
        shown.add_row(words, f"{m[name]['mean']:.1%}", f"{lo:.1%} to {hi:.1%}", over)
    console.print(shown)
    console.print(
        f"Chips spread by {100 * m['chip_accuracy']['std']:.1f} points (std); 5 % are below {q['0.05']:.1%}. "
        f"One inference: {quantity(record['cost']['energy'], 'J')}, {quantity(record['cost']['latency'], 's')}."
    )
    if record["data"]["synthetic"]:
        console.print("The speech is synthetic: this says little about real speech (see the report).")
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
