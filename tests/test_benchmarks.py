"""The benchmark script runs at its smallest setting and writes what it says; no test asserts a time."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "experiments" / "benchmarks" / "run.py"


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    file = tmp_path_factory.mktemp("benchmarks") / "result.json"
    command = [sys.executable, SCRIPT, "--quick", "--only", "gaussian", "--only", "compile", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()) | {"printed": done.stdout}


@pytest.mark.slow
def test_says_where_and_with_what_it_was_measured(record):
    assert {"backend", "device", "cpu", "cores", "clock", "versions", "started", "load_before"} <= record.keys()
    assert {"python", "jax", "numpy", "anaxon"} <= record["versions"].keys()
    assert record["quick"] is True


@pytest.mark.slow
def test_every_row_is_a_median_with_its_spread_beside_an_alternative(record):
    rows = [row for row in record["rows"] if "skipped" not in row]
    assert {row["group"] for row in rows} == {"gaussian", "compile"}
    assert all(row["alternative"] for row in rows if row["unit"] in ("ms", "s"))
    for row in rows:
        for figure in filter(None, (row["ours"], row["alternative"], row["ratio"])):
            assert figure["min"] <= figure["median"] <= figure["max"]
            assert figure["what"]


@pytest.mark.slow
def test_alternatives_simulate_the_same(record):
    errors = next(row for row in record["rows"] if row["group"] == "gaussian")["settings"]["relative_error"]
    assert len(errors) >= 3
    assert min(errors.values()) > 0.05
    assert max(errors.values()) < 1.3 * min(errors.values())


@pytest.mark.slow
def test_an_ensemble_compiles_one_program(record):
    assert [row["ours"]["median"] for row in record["rows"] if row.get("unit") == "programs"] == [1]


@pytest.mark.slow
def test_the_table_shows_every_row(record):
    printed = " ".join(record["printed"].split())
    assert all(row["title"].split(",")[0] in printed for row in record["rows"])


def test_a_group_that_fails_is_a_row_that_says_why():
    spec = importlib.util.spec_from_file_location("benchmarks", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.GROUPS["nothing"] = "a group without a module"
    (row,) = script.measured("nothing", True, "cpu")
    assert "No module named 'rows.nothing'" in row["failed"]
    assert script.shown([row])[0].row_count == 1
