"""What a speech recognition run found: tables for every chip and utterance, and the numbers of `results.json`."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from anaxon import rates
from anaxon.columns import edges
from anaxon.data.asr import Corpus
from anaxon.data.cache import Content
from anaxon.interpret.plan import Plan
from anaxon.runs import asr_goals, plan_record, record
from anaxon.runs.asr_conditions import CONDITIONS
from anaxon.runs.asr_panel import Panel

if TYPE_CHECKING:
    from anaxon.runs.asr_settings import Settings


class Measured(NamedTuple):
    """Everything: parts `floats` by seed and `quantised` by (seed, bits), whose networks are of `kinds`.

    `real` are word errors on recorded prompts and the words of these, `[2, utterances]`, or None.
    """

    settings: "Settings"
    corpus: Corpus
    panel: Panel
    test: Panel
    kinds: tuple[str, ...]
    floats: dict[int, Content]
    quantised: dict[tuple[int, int], Content]
    real: np.ndarray | None

    def network(self, bits: int, kind: str, name: str) -> np.ndarray:
        """`panel`, `test` or `loss` of the quantised networks of a kind, `[seeds, ...]`; bits 0 for the float ones."""
        parts = self.floats.values() if bits == 0 else [p for (_, b), p in self.quantised.items() if b == bits]
        return np.stack([arrays[f"{self.kinds.index(kind)}/{name}"] for arrays, _ in parts])

    def condition(self, bits: int, condition: str, name: str) -> np.ndarray:
        """`errors` or `kl`, `[seeds, chips, utterances]`, or what was seen of a layer, `[seeds, ...]`."""
        number = self.settings.study.conditions.index(condition)
        return np.stack([arrays[f"{number}/{name}"] for (_, b), (arrays, _) in self.quantised.items() if b == bits])

    def facts(self, bits: int, condition: str) -> list[dict[str, Any]]:
        """Energy and layers, of every seed."""
        return [facts[condition] for (_, b), (_, facts) in self.quantised.items() if b == bits]

    def digital(self, bits: int, condition: str) -> np.ndarray:
        """Errors `[seeds, utterances]` on the panel of the digital networks that a condition puts on chips."""
        return self.network(bits, condition if condition in self.kinds else "", "panel")

    @property
    def pairs(self) -> list[tuple[int, str]]:
        """(bits, condition) of everything on chips."""
        study = self.settings.study
        return [(bits, condition) for bits in study.weight_bits for condition in study.conditions]


def rows(measured: Measured) -> dict[str, np.ndarray]:
    """The arrays of `ensemble.npz`.

    `words` `[utterances]` of the panel; for every network and condition `errors/BITS/CONDITION` and `kl/...`
    `[seeds, chips, utterances]`, `digital/BITS/KIND` `[seeds, utterances]`; the mean over the seeds of
    `histogram/BITS/CONDITION/PATH` and `saturation/...` (by array).
    """
    found = {"words": measured.panel.words, "histogram_edges": edges()}
    for bits, condition in measured.pairs:
        name = f"{bits}/{condition.replace('/', '_')}"
        for table in ("errors", "kl"):
            found[f"{table}/{name}"] = measured.condition(bits, condition, table)
        for layer in measured.facts(bits, condition)[0]["layers"]:
            for kept, seen in (("histogram", "histogram"), ("saturation", "by_array")):
                found[f"{kept}/{name}/{layer['path']}"] = measured.condition(
                    bits, condition, f"{seen}/{layer['path']}"
                ).mean(0)
    for bits in measured.settings.study.weight_bits:
        for kind in measured.kinds:
            found[f"digital/{bits}/{kind}"] = measured.network(bits, kind, "panel")
    return found


def collect(measured: Measured, plan: Plan, seconds: dict) -> dict[str, Any]:
    """The content of `results.json`; `plan` is that of one utterance on the configured hardware."""
    settings = measured.settings
    conditions = [_condition(measured, bits, name) for bits, name in measured.pairs]
    return {
        **record.head(settings.record),
        "data": described(measured),
        "decoding": settings.decoding.told,
        "made_with": _origins(measured),
        "networks": [_network(measured, bits, kind) for bits in settings.study.weight_bits for kind in measured.kinds],
        "conditions": conditions,
        "layers": [x for pair in measured.pairs for x in _layers(measured, *pair)],
        "goals": asr_goals.goals(measured, conditions),
        "cost": plan_record.bill(plan, settings.components),
        "nonidealities": plan_record.explained(plan),
        "seconds": seconds,
    }


def _origins(measured: Measured) -> list[dict[str, Any]]:
    """Versions and devices that made the parts, each once: a run may go on elsewhere."""
    found = [facts for _, facts in (*measured.floats.values(), *measured.quantised.values())]
    both = [{"versions": facts["versions"], "device": facts["device"]} for facts in found]
    return [x for i, x in enumerate(both) if x not in both[:i]]


def described(measured: Measured) -> dict[str, Any]:
    """What the data are, as JSON."""
    corpus = measured.corpus
    splits = {
        name: {"utterances": len(s), "words": s.words, "seconds": corpus.seconds(name)}
        for name, s in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test))
    }
    found: dict[str, Any] = {
        "name": corpus.name,
        "checksum": corpus.checksum,
        "synthetic": corpus.name.startswith("synthetic"),
        "splits": splits,
        "notes": list(corpus.notes),
        "panel_utterances": len(measured.panel.texts),
        "panel_words": int(measured.panel.words.sum()),
    }
    if measured.real is not None:
        errors, words = measured.real
        found["recorded"] = {"name": "Asterisk prompts, one speaker at 8 kHz, the first seed's float network",
                             "words": int(words.sum()), "wer": rates.rate(errors[None], words).as_json()}  # fmt: skip
    return found


def _network(measured: Measured, bits: int, kind: str) -> dict[str, Any]:
    """Word error rates of the digital networks on the whole test set, over seeds and utterances."""
    words, found = measured.test.words, {}
    for name, at in (("float", 0), ("quantised", bits)):
        found[name] = rates.rate(measured.network(at, kind, "test"), words).as_json()
        found[f"{name}_loss"] = list(measured.network(at, kind, "loss"))
    return {"bits": bits, "kind": kind, "seeds": measured.settings.study.seeds, "words": int(words.sum()), **found}


def _condition(measured: Measured, bits: int, condition: str) -> dict[str, Any]:
    words, about = measured.panel.words, CONDITIONS[condition]
    errors, kl = (measured.condition(bits, condition, name) for name in ("errors", "kl"))
    digital = measured.digital(bits, condition)
    energy = np.array([f["adc_energy"] for f in measured.facts(bits, condition)])
    removed, base = None, energy
    if "default" in measured.settings.study.conditions:
        base = np.array([f["adc_energy"] for f in measured.facts(bits, "default")])
        if condition != "default":
            default = measured.condition(bits, "default", "errors")
            removed = rates.removed_share(default, errors, measured.digital(bits, "default"), words)
    return {
        "bits": bits,
        "condition": condition,
        "what": about.what,
        "automatic": about.automatic,
        "equal_bits": about.equal,
        "wer": rates.rate(errors, words).as_json(),
        "digital_wer": rates.rate(digital, words).as_json(),
        "components": rates.rate_components(errors, words).as_json(),
        "added": rates.rate_difference(errors, digital, words).as_json(),
        "standard_errors": rates.standard_errors(errors, digital, words),
        "removed": removed.as_json() if removed is not None else None,
        "kl": rates.rate(kl, np.ones(len(words))).as_json(),
        "by_chip": (errors.sum(2) / words.sum()).tolist(),
        "adc_energy": float(energy.mean()),
        "adc_energy_share": float((energy / base).mean()),
        "mean_bits": float(np.mean([f["mean_bits"] for f in measured.facts(bits, condition)])),
    }


def _layers(measured: Measured, bits: int, condition: str) -> list[dict[str, Any]]:
    """Error, saturation and range of every layer: the mean over the seeds, the ranges of all of them."""
    found = []
    for same in zip(*(f["layers"] for f in measured.facts(bits, condition)), strict=True):
        mean = {name: float(np.mean([x[name] for x in same])) for name in ("error", "saturation", "worst_array")}
        scales = sorted({v for x in same for v in x["full_scale"]})
        found.append({**same[0], **mean, "full_scale": scales, "bits": bits, "condition": condition})
    return found
