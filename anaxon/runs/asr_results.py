"""What a speech recognition run found: tables for every chip and utterance, and the numbers of `results.json`."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from anaxon import rates, statistics
from anaxon.columns import Columns, edges
from anaxon.data.asr import Corpus
from anaxon.decoding.word_errors import WordErrors
from anaxon.interpret.components import load_components
from anaxon.interpret.cost import cost
from anaxon.interpret.plan import Plan
from anaxon.runs import plan_record, record
from anaxon.runs.asr_chips import Panel
from anaxon.runs.asr_conditions import CONDITIONS, DIGITAL, NO_LINEAR, encoding_paths

if TYPE_CHECKING:
    from anaxon.runs.asr_settings import Settings

REFERENCES = ("default", DIGITAL)  # what cures are measured by
AUTOMATIC = "layers"  # the automatic choice that the goal is about, named before it is measured
MARGIN = 0.005  # a difference of word error rates that counts as none; a goal is met where the whole interval meets it


class Digital(NamedTuple):
    """One network without chips: word errors on the panel (quantised and float) and on the whole test set.

    `kind` says what was changed before training ("": nothing), `reference` are the quantised network's log
    probabilities of every stack of the panel, the losses are of every epoch.
    """

    kind: str
    bits: int
    seed: int
    quantised: WordErrors
    float_: WordErrors
    reference: list[np.ndarray]
    test: dict[str, WordErrors]
    float_loss: np.ndarray
    quantised_loss: np.ndarray


class Heard(NamedTuple):
    """The chips of one network in one condition: `errors` and `kl` `[chips, utterances]`."""

    plan: Plan
    errors: np.ndarray
    kl: np.ndarray
    columns: dict[str, Columns]


class Measured(NamedTuple):
    """Everything; `heard` by (bits, condition), one for each seed; `real` are word errors on recorded prompts."""

    corpus: Corpus
    panel: Panel
    test: Panel
    digital: list[Digital]
    heard: dict[tuple[int, str], list[Heard]]
    real: WordErrors | None


def rows(measured: Measured) -> dict[str, np.ndarray]:
    """The arrays of `ensemble.npz`.

    `words` `[utterances]` of the panel; for every network and condition `errors/BITS/CONDITION` and `kl/...`
    `[seeds, chips, utterances]`, `digital/BITS/KIND` `[seeds, utterances]`; the first seed's
    `histogram/BITS/CONDITION/PATH` and `saturation/...` (by array).
    """
    found = {"words": measured.digital[0].quantised.words, "histogram_edges": edges()}
    for (bits, condition), parts in measured.heard.items():
        name = f"{bits}/{condition.replace('/', '_')}"
        found[f"errors/{name}"] = np.stack([p.errors for p in parts]).astype(np.int16)
        found[f"kl/{name}"] = np.stack([p.kl for p in parts]).astype(np.float32)
        for path, columns in parts[0].columns.items():
            found[f"histogram/{name}/{path}"] = np.asarray(columns.histogram)
            found[f"saturation/{name}/{path}"] = np.asarray(columns.by_array)
    for bits, kind in _networks(measured):
        found[f"digital/{bits}/{kind}"] = np.stack([d.quantised.errors for d in _of(measured, bits, kind)])
    return found


def _networks(measured: Measured) -> list[tuple[int, str]]:
    """(bits, kind) of all networks, each once."""
    return list({(d.bits, d.kind): None for d in measured.digital})


def _of(measured: Measured, bits: int, kind: str) -> list[Digital]:
    return [d for d in measured.digital if (d.bits, d.kind) == (bits, kind)]


def collect(settings: "Settings", measured: Measured, seconds: dict) -> dict[str, Any]:
    """The content of `results.json`."""
    conditions = [_condition(settings, measured, bits, name) for bits, name in measured.heard]
    plan = next(iter(measured.heard.values()))[0].plan
    return {
        **record.head(settings.record),
        "data": described(measured),
        "networks": [_network(measured, bits, kind) for bits, kind in _networks(measured)],
        "conditions": conditions,
        "layers": [x for key in measured.heard for x in _layers(measured, *key)],
        "goals": goals(settings, measured, conditions),
        "cost": plan_record.bill(plan, settings.components),
        "nonidealities": plan_record.explained(plan),
        "seconds": seconds,
    }  # fmt: skip


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
        "panel_words": int(measured.digital[0].quantised.words.sum()),
    }
    if measured.real is not None:
        table, words = measured.real.errors[None], measured.real.words
        found["recorded"] = {"name": "Asterisk prompts, one speaker at 8 kHz, the first seed's float network",
                             "words": int(words.sum()), "wer": rates.rate(table, words).as_json()}  # fmt: skip
    return found


def _network(measured: Measured, bits: int, kind: str) -> dict[str, Any]:
    """Word error rates of the digital networks on the whole test set, over seeds and utterances."""
    parts = _of(measured, bits, kind)
    words = parts[0].test["float"].words
    found = {
        n: rates.rate(np.stack([d.test[n].errors for d in parts]), words).as_json() for n in ("float", "quantised")
    }
    losses = {"float_loss": [d.float_loss for d in parts], "quantised_loss": [d.quantised_loss for d in parts]}
    return {"bits": bits, "kind": kind, "seeds": len(parts), "words": int(words.sum()), **found, **losses}


def _tables(measured: Measured, bits: int, condition: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors `[seeds, chips, utterances]` of a condition, those of the digital network it starts from, and words."""
    parts = measured.heard[bits, condition]
    kinds = {d.kind for d in measured.digital}
    digital = _of(measured, bits, condition if condition in kinds else "")
    errors = np.stack([p.errors for p in parts])
    return errors, np.stack([d.quantised.errors for d in digital]), digital[0].quantised.words


def _condition(settings: "Settings", measured: Measured, bits: int, condition: str) -> dict[str, Any]:
    errors, digital, words = _tables(measured, bits, condition)
    parts, about = measured.heard[bits, condition], CONDITIONS[condition]
    kl = np.stack([p.kl for p in parts])
    removed = None
    if condition != "default" and (bits, "default") in measured.heard:
        default, base, _ = _tables(measured, bits, "default")
        removed = rates.removed_share(default, errors, base, words)
    return {
        "bits": bits,
        "condition": condition,
        "what": about.what,
        "automatic": about.automatic,
        "equal_bits": about.equal,
        "wer": rates.rate(errors, words).as_json(),
        "components": rates.rate_components(errors, words).as_json(),
        "added": rates.rate_difference(errors, digital, words).as_json(),
        "standard_errors": rates.standard_errors(errors, digital, words),
        "removed": removed.as_json() if removed is not None else None,
        "kl": statistics.mean_over(kl.mean(2).reshape(-1), "chips").as_json(),
        "by_chip": rates_by_chip(errors, words).tolist(),
        **_adc(settings, measured, bits, condition),
    }


def rates_by_chip(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Word error rate of every chip, `[seeds, chips]`."""
    return errors.sum(2) / words.sum()


def _adc(settings: "Settings", measured: Measured, bits: int, condition: str) -> dict[str, Any]:
    """Energy and mean bits of the conversions of one utterance, and their share of the default's energy."""
    bill, mean_bits = _spent(settings, measured.heard[bits, condition][0].plan)
    known = measured.heard.get((bits, "default"))
    default = _spent(settings, known[0].plan)[0] if known else bill
    return {"adc_energy": bill, "adc_energy_share": bill / default, "mean_bits": mean_bits}


def _spent(settings: "Settings", plan: Plan) -> tuple[float, float]:
    found = cost(plan, load_components(settings.components))
    counts = [s.counts.linear_conversions for s in found.sites]
    bits = [plan.of(s).adc.total_bits if plan.of(s).adc else 0 for s in plan.sites]  # type: ignore[union-attr]
    converted = sum(n for n, b in zip(counts, bits, strict=True) if b)
    return float(found.parts.adc), float(np.dot(counts, bits) / max(1, converted))


def _layers(measured: Measured, bits: int, condition: str) -> list[dict[str, Any]]:
    """Error, saturation and range of every layer, of the first chip of the first seed."""
    heard = measured.heard[bits, condition][0]
    found = []
    for path, columns in heard.columns.items():
        i = heard.plan.index(path)
        adc, limit = heard.plan.of(heard.plan.sites[i]).adc, heard.plan.ranges[i].column
        limit = adc.full_scale if limit is None else limit  # type: ignore[union-attr]
        by_array = np.asarray(columns.by_array)
        found.append({
            "bits": bits, "condition": condition, "path": path, "error": float(columns.error),
            "saturation": float(columns.saturation), "worst_array": float(by_array.max()),
            "arrays": int(by_array.size), "total_bits": adc.total_bits,  # type: ignore[union-attr]
            "full_scale": [float(x) for x in np.unique(np.asarray(jax.device_get(limit)))],
            "encodings": path in encoding_paths(heard.plan),
        })  # fmt: skip
    return found


def goals(settings: "Settings", measured: Measured, conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The float network's rate, and what the cures remove of (default - digital), for every resolution."""
    found = []
    if measured.corpus.name.startswith("synthetic"):
        table = np.stack([d.test["float"].errors for d in _of(measured, settings.study.weight_bits[0], "")])
        wer = rates.rate(table, measured.digital[0].test["float"].words).mean
        found.append(_goal("float network, WER on the test set", f"{wer:.1%}", "5 to 15 %", 0.05 <= wer <= 0.15))
    for bits in settings.study.weight_bits:
        found += _cures(measured, [c for c in conditions if c["bits"] == bits], bits)
    return found


def _goal(what: str, obtained: str, asked: str, met: bool | None) -> dict[str, Any]:
    return {"what": what, "obtained": obtained, "asked": asked, "met": met}


def _cures(measured: Measured, conditions: list[dict[str, Any]], bits: int) -> list[dict[str, Any]]:
    """What cures at equal bits and energy remove, and the automatic one, named beforehand, against the best by hand."""
    equal = {
        c["condition"]: c for c in conditions if c["equal_bits"] and c["condition"] not in (*REFERENCES, NO_LINEAR)
    }
    found = []
    if equal:
        found.append(_removed(list(equal.values()), bits))
    hand = [c for c in equal.values() if not c["automatic"]]
    if hand and AUTOMATIC in equal:
        best = min(hand, key=lambda c: c["wer"]["mean"])["condition"]
        (ours, _, words), (theirs, _, _) = (_tables(measured, bits, c) for c in (AUTOMATIC, best))
        gap = rates.rate_difference(ours, theirs, words)
        lo, hi = gap.ci95
        obtained = f"{100 * gap.mean:+.2f} points [{100 * lo:+.2f}, {100 * hi:+.2f}] to {best}"
        met = True if hi <= MARGIN else False if lo > MARGIN else None
        asked = f"within {100 * MARGIN:g} points"
        found.append(_goal(f"{bits} bits: {AUTOMATIC!r} at least as good as the best by hand", obtained, asked, met))
    return found


def _removed(cures: list[dict[str, Any]], bits: int) -> dict[str, Any]:
    what = f"{bits} bits: share of (default - digital) that the best cure removes"
    shares = [c for c in cures if c["removed"]]
    if not shares:
        return _goal(what, "not quoted: the gap is under 4 standard errors", ">= 50 %", None)
    best = max(shares, key=lambda c: c["removed"]["mean"])
    share, (lo, hi) = best["removed"]["mean"], best["removed"]["ci95"]
    obtained = f"{share:.0%} [{lo:.0%}, {hi:.0%}] ({best['condition']}, best of {len(shares)})"
    return _goal(what, obtained, ">= 50 %", True if lo >= 0.5 else False if hi < 0.5 else None)
