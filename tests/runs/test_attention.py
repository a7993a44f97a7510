"""The attention job on a model of one block: what it writes, what it refuses, that it continues."""

import json

import numpy as np
import pytest

from anaxon.cli import main
from anaxon.runs import attention_settings
from anaxon.runs.attention_paired import paired
from anaxon.runs.attention_pooled import every_pool, goal, pooled

TINY = """
job = "attention"
kind = "pictures"
[data]
source = "digits"
train = 100
test = 20
[model]
width = 8
heads = 2
blocks = 1
feed_forward = 8
patch = 7
[training]
dense_epochs = 1
epochs = 1
batch = 20
[study]
rates = [0.5]
traced = 4
resamples = 100
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("attention") / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="module")
def folder(config):
    pytest.importorskip("mlxtend")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANAXON_CACHE", str(config.parent / "cache"))
        assert main(["run", str(config), "--out", str(config.parent / "run")]) == 0
        yield config.parent / "run"


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_no_decision_is_wrong(results):
    assert results["audit"]["wrong"] == results["audit"]["wrong_scores"] == 0
    # 16 tokens, 2 heads, one block, at least 4 examples, two points
    assert results["audit"]["pairs"] >= 2 * 4 * 2 * 16**2


@pytest.mark.slow
def test_points_say_what_was_pruned_and_what_it_saved(results):
    (task,) = results["tasks"]
    free, learned = task["free"][0], task["learned"][0]
    assert free["pruning_rate"] == pytest.approx(0.5, abs=0.15)  # calibrated on the training split
    for point in (free, learned):
        assert point["layers"]["pairs"] == [20 * 2 * 16**2]
        whole = next(r for r in point["rows"] if r["layer"] == "all")
        pruned, kept = (np.array(point["histogram"][k]) for k in ("pruned", "kept"))
        assert pruned.sum() + kept.sum() == whole["pairs"] == point["audit"]["pairs"]
        assert kept[:12].sum() == 0  # survivors take all bits
        assert whole["energy_ratio"] == pytest.approx(whole["energy_ratio_pruning"] * whole["energy_ratio_termination"])
        assert point["mapping"] == "heads of 4 elements on 64 lanes, in the baseline likewise; 60 lanes idle"
        assert {r["head"] for r in point["rows"] if r["layer"] == "all"} == {None}
        assert point["integers"]["quality"] == pytest.approx(point["quality"], abs=0.051)  # an example more or less
        assert point["integers"]["difference"]["n"] == 20
    assert {r["pairs"] for r in learned["sweep"]} == {learned["audit"]["pairs"]}  # all traced batches
    assert [sum(parts.values()) > 0 for parts in results["area"].values()] == [True] * 3
    assert task["dense_integers"]["quality"] == pytest.approx(task["dense"], abs=0.051)
    assert free["rivals"] == []
    rates = {r["mode"]: r["pruning_rate"] for r in learned["rivals"]}
    assert set(rates) == {"learned", "top_k", "predicted", "adaptive"}
    assert all(0 < r["dropped"] < r["pruning_rate"] + 0.2 for r in learned["rivals"])
    assert max(rates.values()) - min(rates.values()) < 0.15  # compared at about the same share
    assert len(task["history"]["0.1"]["thresholds"]) == 5


@pytest.mark.slow
def test_the_report_is_one_page_with_all_figures(folder):
    page = (folder / "report.html").read_text()
    assert page.count("<img") == 6
    words = " ".join(page.split())
    for told in ("not the paper's tables", "Area of the tile", "NAND2", "By length", "weight dropped", "60 lanes idle",
                 "on floats, 95 %", "over 20 examples; 1 task and 1 seed fixed"):  # fmt: skip
        assert told in words, told


@pytest.mark.slow
def test_an_interrupted_run_continues_to_the_same_numbers(config, folder, results, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(config.parent / "other"))
    again = config.parent / "again"

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anaxon.runs.attention.learned", interrupt)
        assert main(["run", str(config), "--out", str(again)]) == 130
    assert (again / "parts" / "pictures-0-free.npz").exists()
    assert main(["run", str(config), "--out", str(again), "--resume"]) == 0
    assert json.loads((again / "results.json").read_text())["tasks"] == results["tasks"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "bert"}, "kind: expected one of"),
        ({"data": {"sources": ["mnli"]}}, "data.sources: expected one of"),
        ({"study": {"rates": [1.0]}}, r"study.rates: expected a share of pairs in \[0, 1\); got 1.0"),
        ({"study": {"penalties": [-1.0]}}, "study.penalties: expected numbers >= 0; got -1.0"),
        ({"accelerator": {"kind": "gpu"}}, "accelerator.kind: expected one of"),
        ({"accelerator": {"costs": "tsmc3"}}, "leopard65"),
        (
            {"kind": "gpt", "model": {"context": 1024}},
            "accelerator.keys: the buffers hold 512 keys of heads of 32 elem"
            ".*got up to 1024; give accelerator.keys = 1024",
        ),
        ({"kind": "gpt", "model": {"width": 256, "heads": 2, "context": 512}}, "256 keys of .*: 2 passes.*keys = 1024"),
        (
            {"kind": "pictures", "model": {"width": 600, "heads": 2}, "accelerator": {"bits": 16}},
            "accelerator.bits: products of 16 bits are exact for heads of at most 256 elements; got heads of 300",
        ),
        ({"trainig": {}}, "^unknown key 'trainig'; did you mean 'training'"),
    ],
)
def test_wrong_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        attention_settings.read({"job": "attention"} | changed)


@pytest.mark.parametrize(
    ("speed_up", "energy", "low", "high", "told"),
    [(2.0, 4.0, -0.001, 0.01, "met"), (2.0, 4.0, -0.01, 0.01, "not resolved, ±1.00"),
     (2.0, 4.0, -0.02, -0.01, "not met"), (1.8, 4.0, 0.0, 0.01, "not met"), (2.0, 3.0, 0.0, 0.01, "not met")],
)  # fmt: skip
def test_the_goal_is_met_only_where_the_interval_says_so(speed_up, energy, low, high, told):
    row = {"speed_up": speed_up, "energy_ratio": energy, "difference": {"ci95": [low, high]}}
    assert goal(row, 100.0) == told


def test_paired_intervals_hold_the_mean_and_shrink_with_examples():
    rng = np.random.default_rng(0)
    few, many = (paired([rng.normal(0.1, 1, n)], 500) for n in (100, 10_000))
    for found, n in ((few, 100), (many, 10_000)):
        low, high = found["ci95"]
        assert low < found["mean"] < high
        assert high - low == pytest.approx(2 * 1.96 / np.sqrt(n), rel=0.25)


def test_a_pooled_interval_holds_over_seeds_and_says_so():
    """Three seeds that differ by far more than their examples do: without them the interval would be 0.02 wide."""
    table = np.array([[-1.0], [0.0], [1.0]]) + np.random.default_rng(0).normal(0, 0.1, 400)
    found = paired([table], 1000)
    low, high = found["ci95"]
    assert low < -0.9 and high > 0.9
    assert found["over"] == {"examples": 400, "seeds": 3} and found["fixed"] == {"tasks": 1}
    one = paired([table[0], table[1]], 100)
    assert one["over"] == {"examples": 800} and one["fixed"] == {"tasks": 2, "seeds": 1}
    assert one["mean"] == pytest.approx(table[:2].mean())


def test_the_goal_is_judged_on_the_decisions_that_speed_and_energy_are_of():
    """Integers that lose half a point where floats lose nothing."""
    settings = attention_settings.read({"job": "attention", "kind": "pictures", "study": {"penalties": [0.1]}})
    flat = lambda x: np.full(50, x)  # noqa: E731
    parts = {"pictures-0-longer": ({"quality": flat(0.9), "integers": flat(0.9)}, {}),
             "pictures-0-learned-0.1": ({"quality": flat(0.9), "integers": flat(0.895)}, {})}  # fmt: skip
    hardware = dict.fromkeys(("mean_cycles", "speed_up_pruning", "energy_ratio_pruning"), 1.0)
    point = {"pruning_rate": 0.9, "rows": [{"layer": "all", "speed_up": 2.0, "energy_ratio": 4.0} | hardware]}
    found = [{"name": "pictures", "seed": 0, "learned": [{"penalty": 0.1} | point], "unit": ("points", 100.0)}]
    (row,) = pooled(settings, parts, found)
    assert row["difference"]["mean"] == pytest.approx(-0.005) and row["floats"]["mean"] == 0
    assert row["goal"] == "not met"


def test_pools_are_of_each_task_and_of_all():
    """Two tasks of two seeds: means over seeds, then tasks; calibrated points are of the model trained as long."""
    settings = attention_settings.read({"job": "attention", "kind": "minilm", "study": {"penalties": [1.0]}})
    hardware = dict.fromkeys(("mean_cycles", "speed_up", "energy_ratio", "speed_up_pruning", "energy_ratio_pruning"), 1)
    parts, found = {}, []
    for name, lost in (("r8", 0.1), ("r52", 0.3)):
        for seed in (0, 1):
            rows = {"pruning_rate": lost, "rows": [{"layer": "all"} | hardware]}
            found.append({"name": name, "seed": seed, "unit": ("points", 100.0),
                          "learned": [{"penalty": 1.0} | rows], "after": [{"rate": 0.5} | rows]})  # fmt: skip
            of = lambda x: {"quality": np.full(20, x), "integers": np.full(20, x)}  # noqa: E731
            after = {f"0.5/{k}": v for k, v in of(0.9 - lost / 2).items()}
            parts[f"{name}-{seed}-longer"] = (of(0.9) | after, {})
            parts[f"{name}-{seed}-learned-1"] = (of(0.9 - lost - seed / 10), {})
    pools = {(x["tasks"], x["kind"]): x["rows"][0] for x in every_pool(settings, parts, found)}
    assert len(pools) == 6
    lost = {key: -row["difference"]["mean"] for key, row in pools.items()}
    assert lost["r8", "learned"] == pytest.approx(0.15) and lost["r52", "learned"] == pytest.approx(0.35)
    assert lost["all tasks", "learned"] == pytest.approx(0.25) and lost["all tasks", "after"] == pytest.approx(0.1)
    assert pools["all tasks", "learned"]["by_seed"] == pytest.approx([-0.2, -0.3])
    assert pools["r8", "learned"]["difference"]["over"] == {"examples": 20, "seeds": 2}
