"""Memory networks that prune: accuracy, and the share of memories that hops drop, beside the largest possible one."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from anaxon import statistics
from anaxon.attention import pruned_softmax
from anaxon.data import cache, story_questions
from anaxon.data.stories import TASKS, Story, stories
from anaxon.data.story_questions import Questions
from anaxon.flax import functional
from anaxon.models import train_memory
from anaxon.models.memory_network import MemoryNetwork, dense
from anaxon.models.train_memory import Network, Params
from anaxon.runs import memn2n_settings, record
from anaxon.runs.folder import REPORT, RunFolder
from anaxon.runs.memn2n_hardware import hardware
from anaxon.runs.memn2n_settings import SPLITS, Settings

GOAL = 0.9  # of the ceiling
CURVE = ("difference", "unresolved", "rate", "of_ceiling")
MEANS = ("mean_cycles", "mean_bits", "speed_up", "speed_up_pruning", "energy_ratio", "energy_ratio_pruning",
         "energy_ratio_termination")  # fmt: skip
read = memn2n_settings.read


def explained(settings: Settings) -> str:
    """What is trained: it stands on no arrays."""
    size, study = settings.model, settings.study
    return (
        f"{len(study.tasks)} memory networks of width {size.width}, {size.hops} hops over {size.memories} memories, "
        f"{len(study.penalties)} penalties each; digital, no crossbars"
    )


class Splits(NamedTuple):
    """Questions of a task."""

    train: Questions
    validation: Questions
    test: Questions


def run(settings: Settings, folder: RunFolder, progress: bool = True) -> dict[str, Any]:
    """Runs, or continues, the job in its folder and writes everything that belongs there.

    Raises:
      OSError: when something cannot be written; what is there is kept.
    """
    with folder.busy("stories", progress):
        known, data = _data(settings)
        fn, start = network(settings, len(known))
    found, rows = {}, {}
    every = settings.training
    later = every.pruning + every.settling
    total = every.linear + every.dense + (1 + len(settings.study.penalties)) * later
    with Progress(disable=not progress) as bar:
        shown = bar.add_task("training", total=total * len(data))
        for i, (task, splits) in enumerate(data.items()):
            bar.update(shown, description=f"training, {TASKS[task].name}", completed=i * total)
            with folder.phase(task):
                first, points = _trained(settings, fn, start, task, splits, lambda _: bar.advance(shown))
            found[task], rows_of, chosen = _compared(settings, fn, first, points, splits)
            found[task]["hardware"] = _hardware(settings, len(known), chosen, splits)
            rows |= {f"{task}/{name}": values for name, values in rows_of.items()}
        bar.update(shown, completed=total * len(data))
    whole = pooled(rows, list(found), settings) | {"hardware": _means([x["hardware"] for x in found.values()])}
    return _written(settings, folder, {"tasks": found, "pooled": whole}, rows)


def _hardware(settings: Settings, words: int, params: Params, splits: Splits) -> dict[str, Any]:
    """On the first test questions; the first training questions decide the steps of the integers."""
    some = story_questions.first
    model = MemoryNetwork(words, settings.model, rngs=nnx.Rngs(0))
    known, asked = some(splits.train, train_memory.AT_ONCE), some(splits.test, settings.study.traced)
    return hardware(model, params, known, asked, settings.accelerator)


def _means(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the tasks' rows of all hops, and the sums of their audits."""
    rows = [x["rows"][-1] for x in found]
    means = {name: float(np.mean([r[name] for r in rows])) for name in MEANS}
    return means | {name: sum(x["audit"][name] for x in found) for name in ("pairs", "wrong", "wrong_scores")}


def network(settings: Settings, words: int) -> tuple[Network, Params]:
    """The function that all tasks share, compiled once, and its weights at the start."""
    fn, start = functional(MemoryNetwork(words, settings.model, rngs=nnx.Rngs(settings.seed)))
    return fn, nnx.to_pure_dict(start)


def _data(settings: Settings) -> tuple[tuple[str, ...], dict[str, Splits]]:
    """The vocabulary of all tasks, and the questions of each; no split shares its seed with another."""
    data = settings.data
    told: dict[str, list[list[Story]]] = {
        task: [stories(task, getattr(data, s), data.questions, 3 * settings.seed + i) for i, s in enumerate(SPLITS)]
        for task in settings.study.tasks
    }
    known = story_questions.vocabulary([story for parts in told.values() for part in parts for story in part])
    arrays = lambda part: story_questions.questions(part, known, settings.model.memories)  # noqa: E731
    return known, {task: Splits(*story_questions.trimmed([arrays(p) for p in parts])) for task, parts in told.items()}


class Point(NamedTuple):
    """A pruned network, and how its thresholds and what they keep became so."""

    penalty: float
    params: Params
    history: train_memory.History


def _trained(
    settings: Settings, fn: Network, start: Params, task: str, splits: Splits, on_epoch: Any
) -> tuple[Params, list[Point]]:
    """The dense network, trained as long as the others, and the pruned ones; each trained or read from the cache."""
    config = dataclasses.replace(settings.training, seed=settings.seed)
    crc = cache.crc(
        *(getattr(splits.train, f.name) for f in dataclasses.fields(Questions)), *map(np.asarray, start.values())
    )
    named = {"data": crc, "training": dataclasses.asdict(config)}
    file = lambda kind, **facts: cache.folder() / "models" / f"memory-{task}-{kind}-{cache.fingerprint(**facts)}.npz"  # noqa: E731
    plain = lambda params: {name: np.asarray(x) for name, x in params.items()}  # noqa: E731
    make = lambda: (plain(train_memory.fit_dense(fn, start, splits.train, config, on_epoch)), {})  # noqa: E731
    first = _on_device(cache.made(file("dense", **named), make)[0])
    longer = lambda: (plain(train_memory.fit_longer(fn, first, splits.train, config, on_epoch)), {})  # noqa: E731
    compared = _on_device(cache.made(file("longer", **named), longer)[0])
    points = []
    for penalty in settings.study.penalties:

        def learn(penalty: float = penalty) -> cache.Content:
            params, history = train_memory.fit_pruned(fn, first, splits.train, config, penalty, on_epoch)
            return {**plain(params), **{f"history/{name}": x for name, x in history._asdict().items()}}, {}

        kept = cache.made(file("pruned", penalty=penalty, **named), learn)[0]
        history = train_memory.History(*(kept.pop(f"history/{name}") for name in train_memory.History._fields))
        points.append(Point(penalty, _on_device(kept), history))
    return compared, points


def _on_device(arrays: dict[str, np.ndarray]) -> Params:
    return {name: jnp.asarray(x) for name, x in arrays.items()}


def _compared(
    settings: Settings, fn: Network, first: Params, points: list[Point], splits: Splits
) -> tuple[dict[str, Any], dict[str, np.ndarray], Params]:
    """Chosen on the validation stories, told on the test stories; the chosen network."""
    hops, each = settings.model.hops, settings.data.questions
    limit = train_memory.answered(fn, first, splits.validation, dense)[0].mean() - settings.study.allowed
    tried = []
    for point in points:
        hits, kept = train_memory.answered(fn, point.params, splits.validation, pruned_softmax)
        tried.append({"penalty": point.penalty, "accuracy": float(hits.mean()),
                      "pruned": pruning_rate(kept, splits.validation.valid)})  # fmt: skip
    within = [t["accuracy"] >= limit for t in tried]
    best = max(range(len(points)), key=lambda i: (within[i], tried[i]["pruned"] if within[i] else tried[i]["accuracy"]))
    test = splits.test
    rows = {"dense": train_memory.answered(fn, first, test, dense)[0], "valid": test.valid, "supports": test.supports,
            **{f"history/{name}": x for name, x in points[best].history._asdict().items()}}  # fmt: skip
    for point in points:
        after, kept = train_memory.answered(fn, point.params, test, pruned_softmax)
        rows |= {f"{point.penalty:g}/pruned": after, f"{point.penalty:g}/kept": kept}
    rows |= {name: rows[f"{points[best].penalty:g}/{name}"] for name in ("pruned", "kept")}
    facts = {"tried": tried, "penalty": points[best].penalty, "thresholds": points[best].params["threshold"]}
    return told(rows, hops, each) | facts, rows, points[best].params


def pruning_rate(kept: np.ndarray, valid: np.ndarray) -> float:
    """The share of valid memories that hops drop, `kept` `[hops, n]` and `valid` `[n]`: padding counts nowhere."""
    return float(1 - kept.sum() / (len(kept) * valid.sum()))


def told(rows: Mapping[str, np.ndarray], hops: int, each: int) -> dict[str, Any]:
    """A task's numbers from its rows; `each` questions belong to one story, and stories are what intervals are over."""
    by_story = lambda x: np.asarray(x, np.float64).reshape(-1, each).mean(1)  # noqa: E731
    before, after = by_story(rows["dense"]), by_story(rows["pruned"])
    rate = pruning_rate(rows["kept"], rows["valid"])
    top = story_questions.ceiling(rows["supports"], rows["valid"], hops)
    change = statistics.mean_over(after - before, "stories").as_json()
    return {
        "questions": len(rows["dense"]),
        "dense": statistics.mean_over(before, "stories").as_json(),
        "pruned": statistics.mean_over(after, "stories").as_json(),
        "difference": change,
        "unresolved": bool(change["ci95"][1] >= 0),
        "lost": int(np.sum(rows["dense"] & ~rows["pruned"])),
        "won": int(np.sum(rows["pruned"] & ~rows["dense"])),
        "rate": rate,
        "ceiling": top,
        "of_ceiling": rate / top,
        "emptied": np.mean(rows["kept"] == 0, axis=1),
        "kept": np.mean(rows["kept"], axis=1),
        "valid": float(rows["valid"].mean()),
        "supports": float(rows["supports"].mean()),
    }


def pooled(rows: Mapping[str, np.ndarray], tasks: list[str], settings: Settings) -> dict[str, Any]:
    """Over the stories of all tasks together; the curve has one penalty for all tasks, whether it was chosen or not."""
    whole = lambda name: np.concatenate([rows[f"{t}/{name}"] for t in tasks], axis=-1)  # noqa: E731
    same = {name: whole(name) for name in ("dense", "valid", "supports")}

    def of(part: str) -> dict[str, Any]:
        own = {name: whole(part + name) for name in ("pruned", "kept")}
        return told(same | own, settings.model.hops, settings.data.questions)

    found = of("")
    curve = [{"penalty": penalty} | {k: v for k, v in of(f"{penalty:g}/").items() if k in CURVE}
             for penalty in settings.study.penalties]  # fmt: skip
    return found | {"goal": GOAL, "met": bool(found["of_ceiling"] >= GOAL and found["unresolved"]), "curve": curve}


def _written(
    settings: Settings, folder: RunFolder, found: dict[str, Any], rows: dict[str, np.ndarray]
) -> dict[str, Any]:
    from anaxon.report import attention_memn2n as report

    written = {**record.head(settings.record), **found, "seconds": folder.seconds}
    figures = report.figures(written, rows)
    return folder.keep(written, rows, report.page(written, figures), figures)


def summary(written: dict[str, Any], path: Path, console: Console) -> None:
    """Prints the few numbers that matter, and where the rest is."""
    shown = Table("task", "dense", "pruned", "difference, 95 %", "rate", "ceiling", "of it", "emptied", "speed-up",
                  "energy", box=None, pad_edge=False)  # fmt: skip
    for name, line in (*written["tasks"].items(), ("all", written["pooled"])):
        low, high = line["difference"]["ci95"]
        saved = line["hardware"]["rows"][-1] if name in written["tasks"] else line["hardware"]
        shown.add_row(name, f"{line['dense']['mean']:.1%}", f"{line['pruned']['mean']:.1%}",
                      f"{100 * line['difference']['mean']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
                      f"{line['rate']:.1%}", f"{line['ceiling']:.1%}", f"{line['of_ceiling']:.1%}",
                      f"{np.mean(line['emptied']):.1%}", f"{saved['speed_up']:.2f} x", f"{saved['energy_ratio']:.2f} x",
                      )  # fmt: skip
    console.print(shown)
    console.print(f"Report: {path / REPORT}", soft_wrap=True, highlight=False)
