"""The speech recognition job: a Conformer on memristor chips, and what positional encodings do to their ADCs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from anaxon.data import asr as speech
from anaxon.data import asterisk
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.runs import asr_chips, asr_networks, asr_results, asr_time
from anaxon.runs.asr_conditions import CONDITIONS, NO_LINEAR, Sample, rules
from anaxon.runs.asr_networks import Recogniser
from anaxon.runs.asr_results import Digital, Heard, Measured
from anaxon.runs.asr_settings import Settings
from anaxon.runs.asr_settings import read as read
from anaxon.runs.folder import CHIPS, REPORT, RunFolder
from anaxon.types import replace

SHOWN_FRAMES = 400  # of an utterance, for plans and bills: 4 s


def planned(settings: Settings) -> Plan:
    """The plan of the untrained network, from shapes: what `anaxon explain` prints."""
    fn, params = asr_networks.untrained(settings.model, settings.seed)
    features = jax.ShapeDtypeStruct((1, SHOWN_FRAMES, settings.model.mels), "float32")
    return place(fn, {asr_networks.PLACED: settings.hardware})(params, features, jax.ShapeDtypeStruct((1,), "int32"))


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      ValueError: for a damaged cache or checkpoint, or data that are not what they should be.
      OSError: when something cannot be written; what is there is kept.
    """
    with folder.phase("corpus"):
        corpus = speech.load(settings.data, progress)
        for note in corpus.notes:
            folder.log(note)
    asr_time.announce(settings, corpus, folder, progress)
    study = settings.study
    panel = asr_chips.panel_of(corpus, corpus.test, study.words, study.frames_per_batch, settings.seed)
    test = asr_chips.panel_of(corpus, corpus.test, 0, study.frames_per_batch)
    heard: dict[tuple[int, str], list[Heard]] = {}
    found: list[Digital] = []
    for seed in settings.seeds:
        with folder.phase(f"training, seed {seed}"):
            floats = _floats(settings, corpus, seed, progress)
        for bits in study.weight_bits:
            with folder.phase(f"quantised training, seed {seed}, {bits} bits"):
                nets = {c: _quantised(settings, floats[c], bits, corpus, seed, progress) for c in floats}
            for kind, net in nets.items():
                with folder.busy(f"digital, seed {seed}, {bits} bits{kind and ', ' + kind}", progress):
                    found.append(_digital(settings, floats[kind], net, kind, bits, seed, panel, test))
            for condition, part in _chips(settings, folder, nets, found, bits, seed, corpus, panel, progress).items():
                heard.setdefault((bits, condition), []).append(part)
    with folder.busy("recorded speech", progress):
        real = _real(settings, corpus, progress)
    measured = Measured(corpus, panel, test, found, heard, real)
    return _written(settings, folder, measured, progress)


def _floats(settings: Settings, corpus: speech.Corpus, seed: int, progress: bool) -> dict[str, Recogniser]:
    """The float networks that the conditions need, by what was changed ("" for nothing)."""
    kinds = ["", *([NO_LINEAR] if NO_LINEAR in settings.study.conditions else [])]
    return {k: asr_networks.trained(settings.sizes(k), settings.training, corpus, progress, seed) for k in kinds}


def _quantised(
    settings: Settings, net: Recogniser, bits: int, corpus: speech.Corpus, seed: int, progress: bool
) -> Recogniser:
    return asr_networks.quantised(
        net, bits, settings.quantised, settings.training, _hardware(settings, bits), corpus, progress, seed
    )


def _hardware(settings: Settings, bits: int) -> Any:
    return replace(settings.hardware, array=replace(settings.hardware.array, weight_bits=bits))


def _perfect(settings: Settings, bits: int) -> Any:
    return asr_networks.perfect_cells(bits, settings.quantised.activation_bits, settings.hardware.array.scale)


def _digital(
    settings: Settings,
    float_: Recogniser,
    net: Recogniser,
    kind: str,
    bits: int,
    seed: int,
    panel: asr_chips.Panel,
    test: asr_chips.Panel,
) -> Digital:
    """The float and the quantised network on the panel, where chips are compared with it, and on the whole test set."""
    plan = _plan(settings, net, {asr_networks.PLACED: _perfect(settings, bits)})
    on_panel, reference = asr_chips.digital(net, plan, panel)
    plain, _ = asr_chips.digital(float_, None, panel)
    whole = {"float": asr_chips.digital(float_, None, test)[0], "quantised": asr_chips.digital(net, plan, test)[0]}
    return Digital(
        kind=kind,
        bits=bits,
        seed=seed,
        quantised=asr_chips.errors_of(panel, on_panel),
        float_=asr_chips.errors_of(panel, plain),
        reference=reference,
        test={name: asr_chips.errors_of(test, texts) for name, texts in whole.items()},
        float_loss=float_.loss,
        quantised_loss=net.loss,
    )


def _plan(settings: Settings, net: Recogniser, rules_: Mapping[str, Any]) -> Plan:
    return asr_networks.placed(net, dict(rules_), SHOWN_FRAMES, settings.model.mels)


def _chips(
    settings: Settings,
    folder: RunFolder,
    nets: dict[str, Recogniser],
    found: list[Digital],
    bits: int,
    seed: int,
    corpus: speech.Corpus,
    panel: asr_chips.Panel,
    progress: bool,
) -> dict[str, Heard]:
    """Every condition on the same chips."""
    with folder.busy(f"choosing ranges, seed {seed}, {bits} bits", progress):
        plans = _plans(settings, nets, bits, seed, corpus)
    chip_seed = settings.seed + 1000 * seed + bits  # other chips for every network
    measured = {}
    for programs in asr_chips.programs_of(nets, plans):
        first = next(iter(programs.ranges))
        kind = first if first in nets else ""
        reference = next(d.reference for d in found if (d.kind, d.bits, d.seed) == (kind, bits, seed))
        name = f"seed {seed}, {bits} bits, {', '.join(programs.ranges)}"
        with folder.phase(f"chips, {name}"):
            path = folder.chunks(f"{seed}-{bits}-{first.replace('/', '_')}")
            tables = asr_chips.on_chips(programs, panel, reference, chip_seed, settings.study.chips, path, progress)
        with folder.busy(f"columns, {name}", progress):
            columns = asr_chips.studied(programs, panel, chip_seed)
        measured |= {c: Heard(plans[c], *tables[c], columns[c]) for c in programs.ranges}
    return {c: measured[c] for c in plans}


def _plans(
    settings: Settings, nets: dict[str, Recogniser], bits: int, seed: int, corpus: speech.Corpus
) -> dict[str, Plan]:
    hardware, perfect = _hardware(settings, bits), _perfect(settings, bits)
    part = asr_chips.taken(corpus.train, _spread(len(corpus.train), settings.study.calibration))
    batch = asr_chips.panel_of(corpus, part, 0, 10**9, shapes=1).stacks[0]  # all in one batch
    inputs = (jax.numpy.asarray(batch.features[0]), jax.numpy.asarray(batch.lengths[0]))
    plans: dict[str, Plan] = {}
    sweeps: dict[str, dict] = {}  # of every network
    for condition in settings.study.conditions:
        kind = condition if condition in nets else ""
        net = nets[kind]
        base = _plan(settings, net, rules(hardware, perfect, condition))
        sample = Sample(net.fn, net.params, jax.random.key(seed), inputs, sweeps.setdefault(kind, {}))
        plans[condition] = CONDITIONS[condition].plan(base, sample)
    return plans


def _spread(count: int, wanted: int) -> np.ndarray:
    """Indices of so many of `count` things, evenly."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))


def _real(settings: Settings, corpus: speech.Corpus, progress: bool) -> Any:
    """Word errors of the first float network on recorded prompts, where they are installed."""
    prompts = asterisk.prompts(settings.data)
    if prompts is None:
        return None
    net = _floats(settings, corpus, settings.seed, progress)[""]
    panel = asr_chips.panel_of(corpus, prompts, 0, settings.study.frames_per_batch)
    return asr_chips.errors_of(panel, asr_chips.digital(net, None, panel)[0])


def _written(settings: Settings, folder: RunFolder, measured: Measured, progress: bool) -> dict[str, Any]:
    with folder.busy("report", progress):
        from anaxon.report import asr as report
        from anaxon.report import asr_figures

        rows = asr_results.rows(measured)
        folder.write_arrays(CHIPS, rows)
        record = asr_results.collect(settings, measured, folder.seconds)
        figures = asr_figures.figures(record, rows)
        folder.write_report(report.page(record, figures), figures)
    record["seconds"] = folder.seconds
    folder.finish(record)
    return record


def summary(record: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    shown = Table("weights", "condition", "WER", "95 % interval", "over digital", "removed", "KL", "ADC energy",
                  box=None, pad_edge=False)  # fmt: skip
    for row in record["conditions"]:
        wer, added, removed = row["wer"], row["added"], row["removed"]
        lo, hi = wer["ci95"]
        share = f"{removed['mean']:.0%}" if removed else "-"
        shown.add_row(f"{row['bits']} bits", row["condition"], f"{wer['mean']:.1%}", f"{lo:.1%} to {hi:.1%}",
                      f"{100 * added['mean']:+.2f} points", share, f"{row['kl']['mean']:.4f}",
                      f"{row['adc_energy_share']:.2f}")  # fmt: skip
    console.print(shown)
    for d in record["networks"]:
        console.print(
            f"digital, {d['bits']} bits{d['kind'] and ', ' + d['kind']}: WER {d['quantised']['mean']:.1%} quantised, "
            f"{d['float']['mean']:.1%} float, over {d['words']:,} words"
        )
    for goal in record["goals"]:
        mark = {True: "met", False: "NOT met", None: "not resolved"}[goal["met"]]
        console.print(f"{goal['what']}: {goal['obtained']} (asked {goal['asked']}): {mark}")
    if record["data"]["synthetic"]:
        console.print("The speech is synthetic: this says little about real speech (see the report).")
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
