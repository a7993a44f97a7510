"""What a comparison of converters found: rows for every chip, and the numbers of `results.json`."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from anaxon import statistics
from anaxon.runs import efficiency, plan_record, record, results
from anaxon.runs.network import Network
from anaxon.runs.ramp_points import Point
from anaxon.runs.trainings import Ready

if TYPE_CHECKING:
    from anaxon.runs.keywords_ramp_settings import Settings

LOSS_ALLOWED = 0.010  # of accuracy, mean of the chips at the main point, trained for them
RECOVERED, RECOVERED_AT = (
    0.5,
    4,
)  # share of plain training's loss that noise-aware training wins back, at this many bits


class Measured(NamedTuple):
    """Answers: `digital` `[n]` by units on everything; `chips` `[chips, trainings, panel]` and `full`
    `[chips, trainings, n]` by point, trainings in the order of `ready`."""

    inputs: results.Inputs
    networks: dict[int, Network]
    ready: dict[Point, dict[str, Ready]]
    digital: dict[int, np.ndarray]
    chips: dict[Point, np.ndarray]
    full: dict[Point, np.ndarray]


def rows(measured: Measured) -> dict[str, np.ndarray]:
    """The arrays of `ensemble.npz`.

    `classes/POINT/TRAINING` `[chips, panel]` and `full_classes/POINT/TRAINING` `[chips, test]`, a row a chip; for the
    clips `panel` (indices into the test split), `labels`, `digital/UNITS` `[test]`.
    """
    labels = measured.inputs.corpus.test.labels
    found = {"panel": measured.inputs.panel, "labels": labels.astype(np.uint8)}
    found |= {f"digital/{h}": x[: len(labels)].astype(np.uint8) for h, x in measured.digital.items()}
    for kind, table in (("classes", measured.chips), ("full_classes", measured.full)):
        for point, classes in table.items():
            for i, training in enumerate(measured.ready[point]):
                part = classes[:, i] if kind == "classes" else classes[:, i, : len(labels)]
                found[f"{kind}/{point.name}/{training}"] = part
    return found


def collect(settings: "Settings", measured: Measured, seconds: dict) -> dict[str, Any]:
    """The content of `results.json`."""
    arrays = rows(measured)
    points = [_point(p, training, arrays) for p, ready in measured.ready.items() for training in ready]
    first = Point(settings.size.hidden[0], "ramp", settings.chips.main_bits)
    plan = measured.ready[first]["plain"].plan
    return {
        **record.head(settings.record),
        "data": results.described(measured.inputs),
        "training": [_training(h, net) for h, net in measured.networks.items()],
        "metrics": _metrics(settings, measured, arrays, points),
        "points": points,
        "goals": _goals(settings, points),
        "layers": plan_record.layers(plan, {}),
        "cost": plan_record.bill(plan, settings.components),
        "efficiency": _efficiency(settings, measured),
        "published": efficiency.published(),
        "nonidealities": plan_record.explained(plan),
        "seconds": seconds,
    }


def _training(hidden: int, net: Network) -> dict[str, Any]:
    return {
        "hidden": hidden,
        "epochs": len(net.history["loss"]),
        "parameters": int(sum(x.size for x in jax.tree.leaves(net.params))),
        "validation_accuracy": float(net.history["accuracy"][-1]),
    }


def _point(point: Point, training: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Accuracy on the panel and its loss against the digital network on the same clips."""
    panel, labels = arrays["panel"], arrays["labels"]
    strata = labels[panel]
    correct = (arrays[f"classes/{point.name}/{training}"] == strata).astype(float)
    digital = (arrays[f"digital/{point.hidden}"] == labels)[panel]
    entry: dict[str, Any] = {"hidden": point.hidden, "kind": point.kind, "bits": point.bits, "training": training}
    entry["accuracy"] = statistics.crossed_proportion(correct, "clips", strata).as_json()
    entry["loss"] = statistics.crossed_mean(digital - correct, "clips", strata).as_json()
    full = arrays.get(f"full_classes/{point.name}/{training}")
    if full is not None:
        hits, exact = (full == labels).astype(float), arrays[f"digital/{point.hidden}"] == labels
        entry["full_test"] = statistics.crossed_proportion(hits, "clips", labels).as_json()
        entry["full_test_loss"] = statistics.crossed_mean(exact - hits, "clips", labels).as_json()
    return entry


def _metrics(
    settings: "Settings", measured: Measured, arrays: dict[str, np.ndarray], points: list[dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    labels, panel = arrays["labels"], arrays["panel"]
    for hidden in measured.networks:
        digital = arrays[f"digital/{hidden}"] == labels
        found[f"{hidden} units, float, test set"] = statistics.proportion(digital, "clips").as_json()
        found[f"{hidden} units, float, panel"] = statistics.proportion(digital[panel], "clips").as_json()
    for p in points:
        name = f"{p['hidden']} units, {p['kind']} {p['bits']} bit, {p['training']}"
        found[f"{name}, panel"] = p["accuracy"]
        found[f"{name}, loss on the panel"] = p["loss"]
        if "full_test" in p:
            found[f"{name}, test set"] = p["full_test"]
            found[f"{name}, loss on the test set"] = p["full_test_loss"]
    return found | _checks(settings, measured)


def _checks(settings: "Settings", measured: Measured) -> dict[str, Any]:
    """Accuracy on recorded voices of the first network, digital and on its chips, trained for them where they were."""
    point = next(p for p in measured.full if p.bits == settings.chips.main_bits)
    digital, chips = measured.digital[point.hidden], measured.full[point][:, -1]
    return results.check_metrics(measured.inputs, digital, chips)


def _goals(settings: "Settings", points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked of every network, with what was obtained."""
    by = {(p["hidden"], p["kind"], p["bits"], p["training"]): p for p in points}
    found: list[dict[str, Any]] = []
    for hidden in settings.size.hidden:
        main = by[hidden, "ramp", settings.chips.main_bits, "aware"]
        what = f"{hidden} units, {main['bits']}-bit ramp, trained for it: points below its own float, the better of two"
        for name, on in (("loss", "the panel"), ("full_test_loss", "the whole test set")):
            lost = main[name]
            found.append(_goal(f"{what}, {lost['n']:,} chips on {on}", 100 * lost["mean"], 100 * LOSS_ALLOWED, -1))
        if RECOVERED_AT in settings.chips.bits:
            plain, aware = (by[hidden, "ramp", RECOVERED_AT, t]["full_test_loss"] for t in ("plain", "aware"))
            what = f"{hidden} units, {RECOVERED_AT}-bit ramp, whole test set: share of plain training's loss won back"
            lost = (
                f"{100 * plain['mean']:.2f} points, 95 % {100 * plain['ci95'][0]:.2f} to {100 * plain['ci95'][1]:.2f}"
            )
            share = 1 - aware["mean"] / plain["mean"] if plain["mean"] > 0 else 1.0  # nothing to win back
            found.append(_goal(f"{what} (of {lost})", share, RECOVERED, 1))
    return found


def _goal(what: str, obtained: float, limit: float, sign: int) -> dict[str, Any]:
    """`sign` 1: at least the limit; -1: at most."""
    asked = f"{'>=' if sign > 0 else '<='} {limit:g}"
    return {"what": what, "asked": asked, "obtained": obtained, "met": bool(sign * (obtained - limit) >= 0)}


def _efficiency(settings: "Settings", measured: Measured) -> list[dict[str, Any]]:
    entries, bits = [], sorted({settings.chips.main_bits, max(settings.chips.bits)})
    for hidden in settings.size.hidden:
        rows = settings.data.features.mels + hidden + settings.use_bias
        entries += efficiency.designs(settings.hardware, rows, 4 * hidden, bits, settings.components)
    return entries
