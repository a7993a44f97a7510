"""The speech recognition job: a Conformer on memristor chips, and what positional encodings do to their ADCs."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from anaxon.data import asr as speech
from anaxon.data import asterisk
from anaxon.data.cache import Content
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.runs import asr_chips, asr_networks, asr_results, asr_time
from anaxon.runs.asr_decoding import decoder_of
from anaxon.runs.asr_panel import panel_of
from anaxon.runs.asr_parts import SHOWN_FRAMES, Job, at_bits, float_part, quantised_part
from anaxon.runs.asr_settings import Settings
from anaxon.runs.asr_settings import read as read
from anaxon.runs.folder import REPORT, RunFolder


def planned(settings: Settings) -> Plan:
    """The plan of the untrained network at the first resolution, from shapes: what `anaxon explain` prints."""
    hardware = at_bits(settings.hardware, settings.study.weight_bits[0])
    fn, params = asr_networks.untrained(settings.model, settings.seed)
    features = jax.ShapeDtypeStruct((1, SHOWN_FRAMES, settings.model.mels), "float32")
    return place(fn, {asr_networks.PLACED: hardware})(params, features, jax.ShapeDtypeStruct((1,), "int32"))


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
    test = panel_of(corpus, corpus.test, 0, study.frames_per_batch, shapes=study.shapes)
    panel = panel_of(corpus, corpus.test, study.words, study.frames_per_batch, settings.seed, study.shapes)
    panel = panel if study.words else test
    job = Job(settings, folder, corpus, panel, test, decoder_of(settings.decoding, corpus), progress)
    pairs = [(seed, bits) for seed in settings.seeds for bits in study.weight_bits]
    makers = {f"float-{seed}": partial(float_part, job, seed) for seed in settings.seeds}
    makers |= {f"{seed}-{bits}": partial(quantised_part, job, seed, bits) for seed, bits in pairs}
    found = folder.parts(makers)
    _check(found, job, folder)
    measured = asr_results.Measured(
        settings=settings,
        corpus=corpus,
        panel=panel,
        test=test,
        kinds=job.kinds,
        floats={seed: found[f"float-{seed}"] for seed in settings.seeds},
        quantised={(seed, bits): found[f"{seed}-{bits}"] for seed, bits in pairs},
        real=_real(job),
    )
    return _written(measured, folder, progress)


def _check(parts: dict[str, Content], job: Job, folder: RunFolder) -> None:
    """Raises a `ValueError` for a part that heard other utterances; says which were made by other versions."""
    for name, (_, facts) in parts.items():
        for what in ("corpus", "utterances"):
            if facts[what] != job.origin[what]:
                raise ValueError(
                    f"{folder.path}: part {name} was made from another corpus ({what} {facts[what]}, here "
                    f"{job.origin[what]}); delete it from the folder's parts, or start anew with --out"
                )
        other = {k: facts[k] for k in ("versions", "device") if facts[k] != job.origin[k]}
        if other:
            folder.log(f"part {name} was made with {other}")


def _real(job: Job) -> np.ndarray | None:
    """Word errors of the first float network on recorded prompts, where they are installed, and their words."""
    prompts = asterisk.prompts(job.settings.data)
    if prompts is None:
        return None
    with job.folder.busy("recorded speech", job.progress):
        panel = panel_of(job.corpus, prompts, 0, job.settings.study.frames_per_batch)
        said = asr_chips.digital(job.float_network("", job.settings.seed), None, panel)
        return np.stack([asr_chips.digital_errors(panel, job.decoder, said), panel.words])


def _written(measured: asr_results.Measured, folder: RunFolder, progress: bool) -> dict[str, Any]:
    from anaxon.report import asr as report
    from anaxon.report import asr_figures

    with folder.busy("report", progress):
        rows = asr_results.rows(measured)
        record = asr_results.collect(measured, planned(measured.settings), folder.seconds)
        figures = asr_figures.figures(record, rows)
        page = report.page(record, figures)
    return folder.keep(record, rows, page, figures)


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
