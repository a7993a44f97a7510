"""What a keyword run found: rows for every chip, and the numbers of `results.json`."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from anaxon import statistics
from anaxon.data import keywords, real_speech
from anaxon.data.features import log_mel_batches
from anaxon.interpret.plan import Plan
from anaxon.runs import plan_record, record
from anaxon.runs.chips import Panel
from anaxon.runs.network import Network

if TYPE_CHECKING:
    from anaxon.runs.keywords import Settings


class Inputs(NamedTuple):
    """The corpus with what the chips hear: the panel (indices into the test split) and the check sets."""

    corpus: keywords.Corpus
    panel: np.ndarray
    checks: list[real_speech.CheckSet]
    check_features: list[np.ndarray]

    @property
    def everything(self) -> np.ndarray:
        """The test split, then the check sets, `[n, frames, mels]`."""
        return np.concatenate([self.corpus.test.features, *self.check_features])

    @property
    def labels(self) -> np.ndarray:
        """Of everything, `[n]`."""
        return np.concatenate([self.corpus.test.labels, *(c.labels for c in self.checks)])


def load_inputs(data: keywords.KeywordData, panel: int, seed: int, progress: bool) -> Inputs:
    """The corpus, made or from the cache, a panel of its test split, and what is installed of recorded voices."""
    corpus = keywords.load(data, progress)
    checks = real_speech.real_speech_check(progress)
    features = [corpus.normalise(log_mel_batches(c.clips, data.features)) for c in checks]
    return Inputs(corpus, keywords.stratified_panel(corpus.test.labels, panel, seed), checks, features)


class Measured(NamedTuple):
    """Answers: `digital` and `quantised` `[n]` and `full` `[chips, n]` on everything, `panel` on the panel."""

    inputs: Inputs
    digital: np.ndarray
    quantised: np.ndarray
    panel: Panel
    full: np.ndarray


def rows(measured: Measured) -> dict[str, np.ndarray]:
    """The arrays of `ensemble.npz`.

    A row a chip: `correct`, `classes` `[chips, panel]`, `accuracy` `[chips]`, `error/PATH`, `saturation/PATH`
    `[chips]`, `full_classes` `[full_test_chips, test]`. Beside them, for the clips: `panel` (indices into the test
    split), `labels`, `digital`, `quantised` `[test]`.
    """
    inputs, test = measured.inputs, len(measured.inputs.corpus.test.labels)
    labels = inputs.corpus.test.labels
    correct = measured.panel.classes == labels[inputs.panel]
    layers = {f"error/{k}": v for k, v in measured.panel.error.items()}
    layers |= {f"saturation/{k}": v for k, v in measured.panel.saturation.items()}
    return {
        "correct": correct.astype(np.uint8),
        "classes": measured.panel.classes,
        "accuracy": correct.mean(1, dtype=np.float32),
        **layers,
        "full_classes": measured.full[:, :test],
        "panel": inputs.panel,
        "labels": labels.astype(np.uint8),
        "digital": measured.digital[:test].astype(np.uint8),
        "quantised": measured.quantised[:test].astype(np.uint8),
    }


def collect(settings: "Settings", net: Network, plan: Plan, measured: Measured, seconds: dict) -> dict[str, Any]:
    """The content of `results.json`."""
    arrays = rows(measured)
    return {
        **record.head(settings.record),
        "data": described(measured.inputs),
        "training": {
            "epochs": settings.training.epochs,
            "seed": settings.training.seed,
            "parameters": int(sum(x.size for x in jax.tree.leaves(net.params))),
            "validation_accuracy": float(net.history["accuracy"][-1]),
            "loss": float(net.history["loss"][-1]),
        },
        "metrics": {**accuracies(arrays), **check_metrics(measured.inputs, measured.digital, measured.full)},
        "accuracy_quantiles": statistics.quantiles(arrays["accuracy"]),
        "variance": _variance(arrays),
        "layers": plan_record.layers(plan, arrays),
        "cost": plan_record.bill(plan, settings.components),
        "nonidealities": plan_record.explained(plan),
        "seconds": seconds,
    }


def accuracies(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Accuracy of the digital network, of perfect cells and of the chips, each with its interval."""
    labels, panel = arrays["labels"], arrays["panel"]
    strata, digital = labels[panel], arrays["digital"] == labels
    correct = arrays["correct"].astype(float)
    loss = digital[panel] - correct
    found = {
        "float_accuracy": statistics.proportion(digital, "clips"),
        "quantised_accuracy": statistics.proportion(arrays["quantised"] == labels, "clips"),
        "float_accuracy_panel": statistics.proportion(digital[panel], "clips"),
        "chip_accuracy": statistics.crossed_proportion(correct, "clips", strata),
        "chip_accuracy_this_panel": statistics.mean_over(correct.mean(1), "chips"),
        "accuracy_loss": statistics.crossed_mean(loss, "clips", strata),
        "chip_accuracy_full_test": statistics.crossed_proportion(arrays["full_classes"] == labels, "clips", labels),
        "panel_minus_rest": panel_check(arrays),
    }
    return {name: estimate.as_json() for name, estimate in found.items()}


def panel_check(arrays: dict[str, np.ndarray]) -> statistics.Estimate:
    """Accuracy on the panel less that on the other test clips, the same chips on both; interval over clips (Welch).

    The panel is a fair sample of the test set when this interval holds 0.
    """
    hits = (arrays["full_classes"] == arrays["labels"]).mean(0)
    inside = np.isin(np.arange(hits.size), arrays["panel"])
    if inside.all():
        return statistics.Estimate(0.0, 0.0, (0.0, 0.0), hits.size, {"clips": hits.size})
    return statistics.difference(hits[inside], hits[~inside], "clips")


def _variance(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Where the chance in a chip's answer comes from, as standard deviations."""
    parts = statistics.components(arrays["correct"], arrays["labels"][arrays["panel"]])
    return {"chip": parts.chip**0.5, "clip": parts.item**0.5, "rest": parts.rest**0.5}


def check_metrics(inputs: Inputs, digital: np.ndarray, chips: np.ndarray) -> dict[str, Any]:
    """Accuracy on voices that the corpus never heard, where their sounds are installed.

    `digital` `[n]` and `chips` `[chips, n]` are answers on everything.
    """
    found, start = {}, len(inputs.corpus.test.labels)
    for check in inputs.checks:
        part = slice(start, start := start + len(check.labels))
        found[f"{check.name}: float"] = statistics.proportion(digital[part] == check.labels, "clips").as_json()
        found[f"{check.name}: chips"] = statistics.crossed_proportion(chips[:, part] == check.labels, "clips").as_json()
    return found


def described(inputs: Inputs) -> dict[str, Any]:
    """What the data are, as JSON."""
    corpus = inputs.corpus
    splits = {name: len(getattr(corpus, name).labels) for name in ("train", "validation", "test")}
    return {
        "name": corpus.name,
        "checksum": corpus.checksum,
        "synthetic": corpus.name.startswith("synthetic"),
        "clips": splits,
        "test_voices": int(len(np.unique(corpus.test.speakers[corpus.test.speakers >= 0]))),
        "panel": len(inputs.panel),
        "classes": list(corpus.classes),
        "checks": [{"name": c.name, "clips": len(c.labels)} for c in inputs.checks],
    }
