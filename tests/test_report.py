import io

import matplotlib.image
import numpy as np
import pytest

from anaxon.report import keywords, keywords_figures
from anaxon.report.html import interval, table
from anaxon.runs import results

CLASSES = ["yes", "no", "<b>"]


def made_rows(chips=30, panel=12, test=30):
    """Rows as a run writes them; class of clip i is i mod 3, digital answers are right but for every tenth clip."""
    rng = np.random.default_rng(0)
    labels = np.arange(test, dtype=np.uint8) % 3
    digital = np.where(np.arange(test) % 10 == 0, (labels + 1) % 3, labels).astype(np.uint8)
    classes = np.where(rng.uniform(size=(chips, panel)) < 0.2, 2, digital[:panel]).astype(np.uint8)
    correct = (classes == labels[:panel]).astype(np.uint8)
    return {
        "correct": correct,
        "classes": classes,
        "accuracy": correct.mean(1),
        "panel": np.arange(panel),
        "labels": labels,
        "digital": digital,
        "quantised": digital,
        "full_classes": np.tile(digital, (2, 1)),
        "error/a/kernel": rng.uniform(0.1, 0.2, chips),
        "saturation/a/kernel": np.zeros(chips),
    }


def made_record(rows, **data):
    site = {
        "path": "a/kernel",
        "energy": 2e-9,
        "latency": 1e-6,
        "area": 1e-9,
        "energy_by_part": {"adc": 1e-9, "cells": 1e-9},
        "counts": {"linear_conversions": 1200, "ramp_conversions": 34, "cell_reads": 5},
    }
    site["energy_by_part"] |= dict.fromkeys(("dac", "lines", "digital", "buffers"), 0.0)
    error = {"mean": 0.15, "std": 0.03, "ci95": [0.1, 0.2], "n": 30, "over": {"chips": 30}}
    return {
        "config": {
            "hardware": {"given": {"preset": "vcm-4bit"}},
            "ensemble": {"calibration": 5, "chips": 30, "full_test_chips": 2},
        },
        "config_hash": "abc123",
        "versions": {"jax": "1"},
        "seed": 0,
        "device": {"platform": "cpu", "kind": "cpu", "count": 1, "machine": "m", "system": "s"},
        "data": {
            "name": "Speech Commands v2",
            "checksum": "c",
            "synthetic": False,
            "test_voices": 3,
            "panel": 12,
            "clips": {"train": 1, "validation": 2, "test": 30},
            "classes": CLASSES,
            "checks": [],
            **data,
        },
        "training": {"epochs": 1, "seed": 0, "parameters": 99, "validation_accuracy": 0.5},
        "metrics": results.accuracies(rows),
        "accuracy_quantiles": {"0.05": 0.5, "0.95": 0.9},
        "variance": {"chip": 0.1, "clip": 0.2, "rest": 0.3},
        "layers": [
            {
                "path": "a/kernel",
                "shape": [3, 4],
                "rows": 3,
                "cols": 4,
                "arrays": 6,
                "cells": 72,
                "error": error,
                "saturation": None,
            }
        ],
        "cost": {
            **site,
            "programming": 1e-9,
            "sites": [site],
            "components": {"name": "cmos32", "description": "d", "sources": {"x": "y"}},
        },
        "nonidealities": {"sections": [{"title": "Hardware", "rows": [["read noise", "a < b"]]}], "weights": []},
        "seconds": {"training": 1.5},
    }


@pytest.fixture
def rows():
    return made_rows()


@pytest.fixture
def record(rows):
    return made_record(rows)


def test_figures_are_pictures(record, rows):
    drawn = keywords_figures.figures(record, rows)
    assert list(drawn) == ["accuracy", "layer_error", "layer_saturation", "classes", "confusion", "energy"]
    for name, image in drawn.items():
        pixels = matplotlib.image.imread(io.BytesIO(image))
        assert pixels.shape[1] > 900 and pixels[..., :3].std() > 0.02, name  # large, and not blank


def test_what_a_hardware_does_not_have_is_left_out(record, rows):
    rows = {k: v for k, v in rows.items() if "/" not in k}
    record["cost"]["energy"] = 0.0
    assert list(keywords_figures.figures(record, rows)) == ["accuracy", "classes", "confusion"]


def test_confusion_change_by_hand():
    rows = {
        "labels": np.array([0, 0, 1]),
        "panel": np.arange(3),
        "digital": np.array([0, 1, 1]),
        "classes": np.array([[0, 0, 1], [2, 1, 1]]),
    }
    # Two clips of class 0: the digital network answers 0 and 1, two chips answer 0, 2 and 0, 1.
    expected = np.array([[0.5 - 0.5, 0.25 - 0.5, 0.25], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(keywords_figures.confusion_change(rows, 3), 100 * expected, atol=1e-12)


def test_a_real_corpus_has_no_warning(record):
    page = keywords.page(record, {})
    assert "This speech is synthetic" not in page and "official split" in page


def test_a_synthetic_corpus_is_named_as_such(rows):
    page = keywords.page(made_record(rows, name="synthetic (espeak-ng)", synthetic=True), {})
    assert "This speech is synthetic" in page and "No recorded voices were found" in page


def test_text_is_escaped_and_counts_are_shown(record):
    page = keywords.page(record, {})
    assert "a &lt; b" in page and "a < b" not in page
    assert "1,234" in page  # conversions of both kinds
    assert "15 ± 3 %" in page and "2 nJ" in page and "1 µs" in page


@pytest.mark.parametrize(("value", "shown"), [({"ci95": [0.5, 0.75]}, "[50.0, 75.0]"), ({"ci95": [None, None]}, "–")])
def test_intervals(value, shown):
    assert interval(value) == shown


def test_numbers_are_aligned():
    assert table(["a", "b"], [["x", "1"]], (1,)) == (
        '<table><thead><tr><th>a</th><th class="num">b</th></tr></thead>'
        '<tbody><tr><td>x</td><td class="num">1</td></tr></tbody></table>'
    )
