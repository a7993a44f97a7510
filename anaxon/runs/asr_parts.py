"""The parts of a speech recognition run: the float networks of a seed; one resolution of them, digital and on chips.

A part is arrays and facts in a file of its own: what is finished is never computed again, and several processes (one
for each GPU) work on one run's folder.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.columns import Columns
from anaxon.data import cache
from anaxon.data.asr import Corpus
from anaxon.data.cache import Content
from anaxon.hardware import Hardware
from anaxon.interpret.components import load_components
from anaxon.interpret.cost import cost
from anaxon.interpret.plan import Plan
from anaxon.runs import asr_chips, asr_networks
from anaxon.runs.asr_conditions import CONDITIONS, NO_LINEAR, Sample, encoding_paths, rules
from anaxon.runs.asr_decoding import Decoder
from anaxon.runs.asr_networks import PLACED, Recogniser
from anaxon.runs.asr_panel import Panel, speech_of
from anaxon.runs.asr_settings import Settings
from anaxon.runs.chips import chip_keys
from anaxon.runs.folder import RunFolder
from anaxon.runs.record import device, versions
from anaxon.types import replace

SHOWN_FRAMES = 400  # of an utterance, for plans and bills: 4 s
STUDIED_CHIPS = 4  # whose columns are looked at


class Job(NamedTuple):
    """What all parts of a run share: `panel` is what chips hear of the `test` set."""

    settings: Settings
    folder: RunFolder
    corpus: Corpus
    panel: Panel
    test: Panel
    decoder: Decoder
    progress: bool

    @property
    def origin(self) -> dict[str, Any]:
        """What a part was made from, and with: parts of other utterances must not stand beside each other."""
        heard = cache.fingerprint(panel=self.panel.texts, test=self.test.texts)
        return {"corpus": self.corpus.checksum, "utterances": heard, "versions": versions(), "device": device()}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Networks that the conditions need, by what was changed before training ("" for nothing)."""
        return ("", NO_LINEAR) if NO_LINEAR in self.settings.study.conditions else ("",)

    def hardware(self, bits: int) -> Hardware:
        """The run's, at a resolution of the weights."""
        return at_bits(self.settings.hardware, bits)

    def perfect(self, bits: int) -> Hardware:
        """Cells and sums without error, behind the quantisers of training."""
        array = self.settings.hardware.array
        return asr_networks.perfect_cells(bits, self.settings.quantised.activation_bits, array)

    def placed(self, net: Recogniser, on: dict[str, Hardware]) -> Plan:
        """The plan of one utterance."""
        return asr_networks.placed(net, on, SHOWN_FRAMES, self.settings.model.mels)

    def float_network(self, kind: str, seed: int) -> Recogniser:
        """Trained, continued, or read from the cache."""
        settings = self.settings
        return asr_networks.trained(settings.sizes(kind), settings.training, self.corpus, self.progress, seed)

    def quantised_network(self, kind: str, seed: int, bits: int) -> Recogniser:
        """The float network fine-tuned at a resolution, likewise."""
        base, settings = self.float_network(kind, seed), self.settings
        tuning, training = settings.quantised, settings.training
        return asr_networks.quantised(
            base, bits, tuning, training, self.hardware(bits), self.corpus, self.progress, seed
        )


def at_bits(hardware: Hardware, bits: int) -> Hardware:
    """The hardware at a resolution of the weights."""
    return replace(hardware, array=replace(hardware.array, weight_bits=bits))


def float_part(job: Job, seed: int) -> Content:
    """The float networks of a seed: `{kind number}/test` word errors `[utterances]` and `/loss` `[epochs]`."""
    arrays = {}
    for i, kind in enumerate(job.kinds):
        with job.folder.phase(f"float training, seed {seed}{kind and ', ' + kind}"):
            net = job.float_network(kind, seed)
        said = asr_chips.digital(net, None, job.test)
        arrays |= {f"{i}/test": asr_chips.digital_errors(job.test, job.decoder, said), f"{i}/loss": net.loss}
    return arrays, job.origin


def quantised_part(job: Job, seed: int, bits: int) -> Content:
    """One resolution of a seed's networks.

    Arrays: `{kind number}/panel`, `/test` word errors `[utterances]` and `/loss` `[epochs]` of every quantised network;
    `{condition number}/errors`, `/kl` `[chips, utterances]` and `/histogram/PATH`, `/by_array/PATH`. Facts: of every
    condition, its energy and layers.
    """
    nets, arrays, reference = {}, {}, {}
    for i, kind in enumerate(job.kinds):
        with job.folder.phase(f"quantised training, seed {seed}, {bits} bits{kind and ', ' + kind}"):
            nets[kind] = job.quantised_network(kind, seed, bits)
        with job.folder.busy(f"digital, seed {seed}, {bits} bits{kind and ', ' + kind}", job.progress):
            own, reference[kind] = _digital(job, nets[kind], bits)
        arrays |= {f"{i}/{name}": value for name, value in own.items()}
    with job.folder.busy(f"choosing ranges, seed {seed}, {bits} bits", job.progress):
        plans = _plans(job, nets, seed, bits)
    facts: dict[str, Any] = {**job.origin}
    for name, found, told in _conditions(job, nets, plans, reference, seed, bits):
        facts[name] = told
        arrays |= {f"{job.settings.study.conditions.index(name)}/{key}": value for key, value in found.items()}
    return arrays, facts


def _digital(job: Job, net: Recogniser, bits: int) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Word errors of the quantised network on perfect cells, and its log probabilities of the panel's stacks."""
    plan = job.placed(net, {PLACED: job.perfect(bits)})
    said = asr_chips.digital(net, plan, job.panel)
    panel = asr_chips.digital_errors(job.panel, job.decoder, said)
    whole = job.test is not job.panel
    test = asr_chips.digital_errors(job.test, job.decoder, asr_chips.digital(net, plan, job.test)) if whole else panel
    return {"panel": panel, "test": test, "loss": net.loss}, [p for p, _ in said]


def _plans(job: Job, nets: dict[str, Recogniser], seed: int, bits: int) -> dict[str, Plan]:
    """The plan of every condition: automatic ones choose on training speech."""
    features, lengths = speech_of(job.corpus, job.corpus.train, job.settings.study.calibration)
    inputs = jnp.asarray(features), jnp.asarray(lengths)
    plans: dict[str, Plan] = {}
    sweeps: dict[str, dict] = {}  # of every network
    for condition in job.settings.study.conditions:
        kind = condition if condition in nets else ""
        net = nets[kind]
        base = job.placed(net, rules(job.hardware(bits), job.perfect(bits), condition))
        sample = Sample(net.fn, net.params, jax.random.key(seed), inputs, sweeps.setdefault(kind, {}))
        plans[condition] = CONDITIONS[condition].plan(base, sample)
    return plans


def _conditions(
    job: Job, nets: dict[str, Recogniser], plans: dict[str, Plan], reference: dict[str, Any], seed: int, bits: int
) -> Iterator[tuple[str, dict[str, np.ndarray], dict[str, Any]]]:
    """Name, arrays and facts of every condition, on the same chips."""
    keys = chip_keys(job.settings.seed + 1000 * seed + bits, job.settings.study.chips)  # others for every network
    speech = speech_of(job.corpus, job.corpus.test, job.settings.study.calibration)
    for programs in asr_chips.programs_of(nets, plans):
        first, name = next(iter(programs.ranges)), f"seed {seed}, {bits} bits, {', '.join(programs.ranges)}"
        ears = asr_chips.Ears(job.panel, job.decoder, reference[first if first in nets else ""])
        with job.folder.phase(f"chips, {name}"):
            path = job.folder.chunks(f"{seed}-{bits}-{first.replace('/', '_')}")
            tables = asr_chips.on_chips(programs, ears, keys, path, job.progress)
        with job.folder.busy(f"columns, {name}", job.progress):
            columns = asr_chips.studied(programs, speech, keys[:STUDIED_CHIPS])
        for condition, (errors, kl) in tables.items():
            seen = columns[condition]
            arrays = {"errors": errors.astype(np.int16), "kl": kl.astype(np.float32)}
            arrays |= {f"histogram/{path}": np.asarray(c.histogram) for path, c in seen.items()}
            arrays |= {f"by_array/{path}": np.asarray(c.by_array) for path, c in seen.items()}
            yield condition, arrays, _facts(job, plans[condition], seen)


def _facts(job: Job, plan: Plan, columns: dict[str, Columns]) -> dict[str, Any]:
    """What the conversions of one utterance cost, and what every layer does."""
    bill = cost(plan, load_components(job.settings.components))
    counts = [s.counts.linear_conversions for s in bill.sites]
    bits = [plan.of(s).adc.total_bits if plan.of(s).adc else 0 for s in plan.sites]  # type: ignore[union-attr]
    converted = sum(n for n, b in zip(counts, bits, strict=True) if b)
    return {
        "adc_energy": float(bill.parts.adc),
        "mean_bits": float(np.dot(counts, bits) / max(1, converted)),
        "layers": [_layer(plan, path, c) for path, c in columns.items()],
    }


def _layer(plan: Plan, path: str, columns: Columns) -> dict[str, Any]:
    i = plan.index(path)
    adc, limit = plan.of(plan.sites[i]).adc, plan.ranges[i].column
    limit = adc.full_scale if limit is None else limit  # type: ignore[union-attr]
    by_array = np.asarray(columns.by_array)
    return {
        "path": path,
        "error": float(columns.error),
        "saturation": float(columns.saturation),
        "worst_array": float(by_array.max()),
        "arrays": int(by_array.size),
        "total_bits": adc.total_bits,  # type: ignore[union-attr]
        "full_scale": [float(x) for x in np.unique(np.asarray(jax.device_get(limit)))],
        "encodings": path in encoding_paths(plan),
    }
