"""The page and the figures of a speech recognition run, from a record and rows made by hand."""

import copy
import io
import itertools
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from anaxon import rates, statistics
from anaxon.columns import edges
from anaxon.report import asr, asr_figures, asr_layer_figures
from anaxon.runs.asr_conditions import CONDITIONS

PATHS = [f"blocks/{b}/{kind}/kernel" for b in (0, 1) for kind in ("attention/linear_pos", "ff1/up")]
LEVELS = {"default": 0.30, "pos-1/7": 0.20, "layers": 0.19, "no-linear-pos": 0.25, "digital-encodings": 0.18}
DIGITAL = 0.15
WORDS = np.full(40, 8)


def drawn_errors(rng, level, *shape):
    """Errors of chips and sentences: easy and difficult sentences, otherwise binomial."""
    skill = np.clip(level * rng.uniform(0.5, 1.5, WORDS.size), 0, 1)
    return rng.binomial(WORDS, skill, (*shape, WORDS.size))


def made(levels=LEVELS, bits=(4,), seeds=1, chips=3):
    """A record and its rows, with the entries that a run writes."""
    rng = np.random.default_rng(0)
    rows = {"words": WORDS, "histogram_edges": edges()}
    conditions, layers, networks = [], [], []
    for b in bits:
        table = {kind: drawn_errors(rng, DIGITAL, seeds) for kind in ("", *({"no-linear-pos"} & set(levels)))}
        for kind, errors in table.items():
            rows[f"digital/{b}/{kind}"] = errors
            found = rates.rate(errors, WORDS).as_json()
            losses = [np.linspace(2.0, 0.1, 5) for _ in range(seeds)]
            networks.append({"bits": b, "kind": kind, "seeds": seeds, "words": int(WORDS.sum()), "float": found,
                             "quantised": found, "float_loss": losses, "quantised_loss": losses})  # fmt: skip
        errors = {c: drawn_errors(rng, level, seeds, chips) for c, level in levels.items()}
        for c in levels:
            digital = table[c if c in table else ""]
            conditions.append(made_condition(b, c, errors, digital, table[""]))
            for path in PATHS:
                layers += made_layer(rng, rows, b, c, path)
    return made_record(conditions, layers, networks, bits), rows


def made_condition(bits, name, errors, digital, base):
    about, removed = CONDITIONS[name], None
    if name != "default" and "default" in errors:
        removed = rates.removed_share(errors["default"], errors[name], base, WORDS)
    return {
        "bits": bits,
        "condition": name,
        "what": about.what,
        "automatic": about.automatic,
        "equal_bits": about.equal,
        "wer": rates.rate(errors[name], WORDS).as_json(),
        "digital_wer": rates.rate(digital, WORDS).as_json(),
        "components": rates.rate_components(errors[name], WORDS).as_json(),
        "added": rates.rate_difference(errors[name], digital, WORDS).as_json(),
        "standard_errors": rates.standard_errors(errors[name], digital, WORDS),
        "removed": None if removed is None else removed.as_json(),
        "kl": statistics.mean_over(np.linspace(0.01, 0.02, 6) * LEVELS[name], "chips").as_json(),
        "by_chip": (errors[name].sum(2) / WORDS.sum()).tolist(),
        "adc_energy": 1e-6,
        "adc_energy_share": 1.0,
        "mean_bits": 8.0,
    }


def made_layer(rng, rows, bits, condition, path):
    encodings = "linear_pos" in path
    if encodings and condition in ("digital-encodings", "no-linear-pos"):
        return []
    middle = (edges()[1:] + edges()[:-1]) / 2
    shares = np.exp(-0.5 * (middle / (0.9 if encodings else 0.2)) ** 2)
    by_array = rng.uniform(0, 0.3, (3, 1, 2, 2)) * encodings
    name = f"{bits}/{condition.replace('/', '_')}/{path}"
    rows[f"histogram/{name}"], rows[f"saturation/{name}"] = shares / shares.sum(), by_array
    return [{"bits": bits, "condition": condition, "path": path, "error": 0.2, "saturation": float(by_array.mean()),
             "worst_array": float(by_array.max()), "arrays": 12, "total_bits": 8,
             "full_scale": [16.0, 32.0] if condition == "layers" else [8.0], "encodings": encodings}]  # fmt: skip


def made_record(conditions, layers, networks, bits):
    parts = dict.fromkeys(("adc", "dac", "lines", "cells", "digital", "buffers"), 1e-9)
    counts = {"linear_conversions": 1200, "ramp_conversions": 0, "cell_reads": 5}
    site = {"path": PATHS[0], "energy": 6e-9, "latency": 1e-6, "area": 1e-9, "energy_by_part": parts, "counts": counts}
    components = {"name": "cmos32", "description": "d", "sources": {"x": "y"}}
    split = {"utterances": 40, "words": 320, "seconds": 3600.0}
    return {
        "config": {
            "hardware": {"given": {"preset": "vcm-4bit"}, "resolved": {"adc": {"full_scale": 8.0}}},
            "model": {"blocks": 2, "width": 96},
            "training": {"epochs": 5},
            "quantised": {"epochs": 5, "activation_bits": 8, "observer": "min-max", "chips": False},
            "study": {"seeds": 1, "chips": 3, "calibration": 24, "weight_bits": bits},
        },
        "config_hash": "abc123",
        "decoding": "best path, without a language model",
        "versions": {"jax": "1"},
        "seed": 0,
        "device": {"platform": "cpu", "kind": "cpu", "count": 1, "machine": "m", "system": "s"},
        "data": {
            "name": "synthetic (espeak-ng)",
            "checksum": "c0ffee",
            "synthetic": True,
            "splits": {"train": split, "validation": split, "test": split},
            "notes": ["train: 2 of 40 utterances skipped, <empty>"],
            "panel_utterances": 40,
            "panel_words": 320,
        },
        "networks": networks,
        "conditions": conditions,
        "layers": layers,
        "goals": [
            {"what": "one", "obtained": "7.0%", "asked": "5 to 15 %", "met": True},
            {"what": "two", "obtained": "12%", "asked": ">= 50 %", "met": False},
            {"what": "three", "obtained": "gap under 4 standard errors", "asked": ">= 50 %", "met": None},
        ],
        "cost": {**site, "programming": 1e-9, "sites": [site], "components": components},
        "nonidealities": {"sections": [{"title": "Hardware", "rows": [["read noise", "a < b"]]}], "weights": []},
        "seconds": {"training": 1.5},
    }


class Tags(HTMLParser):
    """Checks that elements nest, and collects what they refer to."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self):
        super().__init__()
        self.open, self.references, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(page):
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == [] and page.startswith("<!doctype html>")
    return tags


@pytest.fixture(scope="module")
def run():
    return made()


@pytest.fixture
def record(run):
    return copy.deepcopy(run[0])


def test_figures_are_pictures(run):
    drawn = asr_figures.figures(*run)
    assert list(drawn) == ["wer", "columns_4", "saturation_4", "arrays_4", "error_4", "kl", "losses"]
    for name, image in drawn.items():
        pixels = matplotlib.image.imread(io.BytesIO(image))
        assert pixels.shape[1] > 900 and pixels[..., :3].std() > 0.02, name  # large, and not blank


def test_page_is_whole_and_self_contained(run, record):
    tags = read(asr.page(record, asr_figures.figures(*run)))
    assert len(tags.references) == 7 and all(r.startswith("data:image/png;base64,") for r in tags.references)
    assert "http" not in tags.text
    for condition in LEVELS:
        assert condition in tags.text
    for path in PATHS:
        assert path in tags.text


def test_synthetic_speech_skipped_files_and_goals_are_said(record):
    text = read(asr.page(record, {})).text
    assert "This speech is synthetic" in text and "2 of 40 utterances skipped, <empty>" in text
    assert "No recorded prompts were found" in text
    for mark in ("5 to 15 %7.0%met", ">= 50 %12%NOT met", ">= 50 %gap under 4 standard errorsnot resolved"):
        assert mark in text


def test_recorded_prompts_stand_beside(record):
    errors = np.full((1, 40), 4)
    record["data"]["recorded"] = {"name": "prompts", "words": 320, "wer": rates.rate(errors, WORDS).as_json()}
    text = read(asr.page(record, {})).text
    assert "On recorded speech (prompts; 320 words) its WER is 50.0 %" in text


def test_a_real_corpus_has_no_warning(record):
    record["data"] |= {"synthetic": False, "name": "LibriSpeech"}
    text = read(asr.page(record, {})).text
    assert "Data: LibriSpeech" in text and "synthetic" not in text


def cells(page, condition):
    """The row of the conditions table that begins with a condition, as text."""
    row = re.search(rf"<tr><td><b>{re.escape(condition)}</b>.*?</tr>", page)[0]
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]


def test_a_condition_is_told_with_its_intervals(record):
    c = next(c for c in record["conditions"] if c["condition"] == "layers")
    c |= {"wer": {"mean": 0.1234, "std": 0.01, "ci95": [0.11, 0.14], "n": 3, "over": {"chips": 3, "utterances": 40}},
          "digital_wer": {**c["digital_wer"], "mean": 0.1562},
          "added": {**c["added"], "mean": -0.005, "ci95": [-0.01, 0.0025]},
          "removed": {**c["removed"], "mean": 0.57, "ci95": [0.4, float("inf")]},
          "kl": {**c["kl"], "mean": 0.0021, "ci95": [0.002, 0.0022]},
          "standard_errors": 5.04, "mean_bits": 8.0, "adc_energy_share": 0.9876}  # fmt: skip
    page = asr.page(record, {})
    told = [
        "15.62",
        "12.34 [11.00, 14.00]",
        "-0.50 [-1.00, +0.25]",
        "+5.0",
        "57 % [40, ∞]",
        "2.1 [2, 2.2]",
        "8",
        "0.988 ×",
    ]
    assert cells(page, "layers")[1:9] == told
    assert "3 chips, 40 utterances" in page and "(automatic)" in cells(page, "layers")[0]


def test_a_share_that_is_not_resolved_is_not_quoted(record):
    for c in record["conditions"]:
        c["removed"] = None
    page = asr.page(record, {})
    assert cells(page, "layers")[5] == "not quoted: gap under 4 standard errors"
    assert cells(page, "default")[5] == "–"


def test_without_the_default_the_share_has_nothing_to_refer_to():
    record, rows = made({"layers": 0.2, "pos-1/7": 0.2})
    assert asr_figures.wer(record, rows) and asr_layer_figures.columns(record, rows, 4)
    assert cells(asr.page(record, {}), "layers")[5] == "no default condition"


def test_several_resolutions_and_seeds():
    record, rows = made({"default": 0.3, "layers": 0.2}, bits=(3, 4), seeds=2, chips=2)
    text = read(asr.page(record, {"wer": asr_figures.wer(record, rows), "kl": asr_figures.kl(record)})).text
    assert "Weights of 3 bits." in text and "Weights of 4 bits." in text and "2 seeds, 4 chips, 40 utterances" in text


def unknown(value, to):
    """The same with every float replaced by the next of `to`."""
    if isinstance(value, dict):
        return {k: unknown(v, to) for k, v in value.items()}
    if isinstance(value, list):
        return [unknown(v, to) for v in value]
    return next(to) if isinstance(value, float) else value


@pytest.mark.parametrize("to", [(None,), (float("nan"),), (float("inf"),), (0.5, None, float("inf"), float("nan"))])
def test_unknown_numbers_do_not_stop_the_page(record, to):
    source = itertools.cycle(to)
    for part in ("conditions", "layers", "networks"):
        record[part] = unknown(record[part], source)
    shown = read(asr.page(record, {})).text.split("Configuration, resolved")[0]
    assert not re.search(r"\b(nan|inf|None)\b", shown) and "default" in shown


def test_unknown_numbers_do_not_stop_the_figures(run, record):
    source = itertools.cycle((0.5, None, float("inf"), float("nan")))
    for part in ("conditions", "layers", "networks"):
        record[part] = unknown(record[part], source)
    assert {"wer", "columns_4", "saturation_4", "error_4"} <= set(asr_figures.figures(record, run[1]))


def test_nothing_on_chips_leaves_a_page(run, record):
    record |= {"conditions": [], "layers": [], "networks": [], "goals": []}
    rows = {k: v for k, v in run[1].items() if k in ("words", "histogram_edges")}
    assert asr_figures.figures(record, rows) == {}
    assert "No layer converts with linear ADCs" in read(asr.page(record, {})).text
