"""What a character run found: rows for every chip, and the numbers of `results.json`."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from anaxon import statistics
from anaxon.data import characters
from anaxon.interpret.plan import Plan
from anaxon.runs import efficiency, plan_record, record
from anaxon.runs.chars_ramp_points import Point
from anaxon.runs.trainings import Ready

if TYPE_CHECKING:
    from anaxon.runs.chars_ramp_settings import Settings

ALLOWED = 0.03  # bits per character above the float network: the ramp of the main resolution, trained for its chips
CONVERTERS = {"ramp": "ramp ADC", "linear": "linear ADC"}
TRAININGS = {"plain": "float weights", "aware": "trained for the chips"}


class Measured(NamedTuple):
    """Bits per character: `digital` `[rows]` by network, `chips` `[chips, trainings, rows]` by point, trainings in the
    order of `ready`; `losses` `[steps]` by training."""

    text: characters.Text
    codes: np.ndarray
    digital: dict[str, np.ndarray]
    ready: dict[Point, dict[str, Ready]]
    chips: dict[Point, np.ndarray]
    losses: dict[str, np.ndarray]


def better(digital: dict[str, np.ndarray]) -> str:
    """The name of the float network with fewer bits per character: what chips are compared with."""
    return min(digital, key=lambda name: digital[name].mean())


def rows(measured: Measured) -> dict[str, np.ndarray]:
    """The arrays of `ensemble.npz`.

    `bits/POINT/TRAINING` `[chips, rows]`, a row a chip, `float/NETWORK` `[rows]`: bits per character of each row of
    text; `text` `[rows, n]`: its codes; `loss/TRAINING` `[steps]`.
    """
    found = {f"float/{name}": bits for name, bits in measured.digital.items()}
    for point, bits in measured.chips.items():
        for i, training in enumerate(measured.ready[point]):
            found[f"bits/{point.name}/{training}"] = bits[:, i]
    found |= {f"loss/{name}": loss for name, loss in measured.losses.items()}
    return found | {"text": measured.codes}


def collect(settings: "Settings", measured: Measured, plan: Plan, seconds: dict) -> dict[str, Any]:
    """The content of `results.json`."""
    arrays = rows(measured)
    best = better(measured.digital)
    entries = [
        _point(p, training, arrays, arrays[f"float/{best}"]) for p, r in measured.ready.items() for training in r
    ]
    entries.sort(key=lambda e: (e["kind"] == "linear", e["training"], e["bits"]))
    floats = {name: statistics.mean_over(bits, "rows of text").as_json() for name, bits in measured.digital.items()}
    return {
        **record.head(settings.record),
        "data": _data(measured),
        "network": _network(settings, measured),
        "floats": floats,
        "better_float": best,
        "metrics": _metrics(floats, entries),
        "points": entries,
        "goals": _goals(settings, entries, best),
        "layers": plan_record.layers(plan, {}),
        "cost": {**plan_record.bill(plan, settings.components), "of": "one character (one step of one text)"},
        "efficiency": efficiency.designs(settings.hardware, settings.size.rows, settings.size.columns,
                                         sorted({settings.points.main_bits, 8}), settings.components),
        "published": efficiency.published(),
        "nonidealities": plan_record.explained(plan),
        "seconds": seconds,
    }  # fmt: skip


def _point(point: Point, training: str, arrays: dict[str, np.ndarray], digital: np.ndarray) -> dict[str, Any]:
    bits = arrays[f"bits/{point.name}/{training}"]
    return {
        "kind": point.kind,
        "converter": CONVERTERS[point.kind],
        "bits": point.bits,
        "training": TRAININGS[training],
        "aware": training == "aware",
        "bits_per_character": statistics.crossed_mean(bits, "rows of text").as_json(),
        "above_float": statistics.crossed_mean(bits - digital, "rows of text").as_json(),
    }


def _metrics(floats: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    found = dict(floats)
    for e in entries:
        name = f"{e['converter']}, {e['bits']} bit, {e['training']}"
        found[name] = e["bits_per_character"]
        found[f"{name}: above float"] = e["above_float"]
    return found


def _goals(settings: "Settings", entries: list[dict[str, Any]], best: str) -> list[dict[str, Any]]:
    bits = settings.points.main_bits
    main = next((e for e in entries if e["kind"] == "ramp" and e["aware"] and e["bits"] == bits), None)
    if main is None:
        return []
    obtained = main["above_float"]["mean"]
    what = f"bits per character of the {bits}-bit ramp, trained for the chips, above its own float network ({best})"
    return [
        {"what": what, "asked": f"<= {ALLOWED:g}", "limit": ALLOWED, "obtained": obtained, "met": obtained <= ALLOWED}
    ]


def _network(settings: "Settings", measured: Measured) -> dict[str, Any]:
    ready = next(iter(measured.ready.values()))["plain"]
    return {
        "parameters": int(sum(np.size(x) for x in jax.tree.leaves(ready.params))),
        "array": [settings.size.rows, settings.size.columns],
        "characters_trained": settings.size.batch * settings.size.length * settings.size.steps,
        "characters_more": settings.size.batch * settings.size.length * settings.size.more_steps,
    }


def _data(measured: Measured) -> dict[str, Any]:
    text = measured.text
    counts = {split: len(getattr(text, split)) for split in characters.SPLITS}
    counted = (measured.codes.shape[1] - 1) * measured.codes.shape[0]
    return {
        "name": text.name,
        "checksum": text.checksum,
        "symbols": len(text.symbols),
        "parts": text.parts,
        "characters": counts,
        "read": counted,
        "unknown": float((measured.codes == 0).mean()),
        "sample": text.decode(measured.codes[0][:200]),
    }
