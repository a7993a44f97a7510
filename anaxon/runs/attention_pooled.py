"""Points of several tasks and seeds together, and whether they reach the averages that the paper states."""

from typing import Any

import numpy as np

from anaxon.data.cache import Content
from anaxon.runs.attention_paired import paired
from anaxon.runs.attention_settings import Settings

SPEED_UP, ENERGY, LOSS = 1.9, 3.9, 0.2  # averages that the paper states for its 43 tasks
SHARED = ("mean_cycles", "speed_up", "energy_ratio", "speed_up_pruning", "energy_ratio_pruning")


def pooled(
    settings: Settings, parts: dict[str, Content], found: list[dict[str, Any]], kind: str = "learned"
) -> list[dict[str, Any]]:
    """For each penalty (or rate, of `kind` "after") means over `found`: differences of quality, pruning, hardware.

    To the dense model trained on for as long. `difference` is of integer decisions, which are those that speed-up and
    energy are of; `floats` of float ones.
    """
    rows = []
    for i, point in enumerate(found[0][kind]):
        points = [t[kind][i] for t in found]
        whole = [next(r for r in p["rows"] if r["layer"] == "all") for p in points]
        mean = lambda values: float(np.mean(values))  # noqa: E731
        by_task = _gains(parts, found, kind, point, "integers")
        row = {
            **{name: point[name] for name in ("penalty", "rate") if name in point},
            "difference": paired(by_task, settings.study.resamples),
            "floats": paired(_gains(parts, found, kind, point, "quality"), settings.study.resamples),
            "by_seed": np.mean([table.mean(1) for table in by_task], 0).tolist(),
            "pruning_rate": mean([p["pruning_rate"] for p in points]),
            **{k: mean([r[k] for r in whole]) for k in SHARED},
        }
        rows.append(row | {"goal": goal(row, found[0]["unit"][1])})
    return rows


def every_pool(
    settings: Settings, parts: dict[str, Content], found: list[dict[str, Any]]
) -> list[dict[str, Any]]:  # fmt: skip
    """Of each task alone, and of all together: points calibrated after as much training, and learned ones."""
    names = list(dict.fromkeys(t["name"] for t in found))
    groups = {name: [t for t in found if t["name"] == name] for name in names}
    groups |= {"all tasks": found} if len(names) > 1 else {}
    return [
        {"tasks": told, "kind": kind, "rows": pooled(settings, parts, group, kind)}
        for told, group in groups.items()
        for kind in ("after", "learned")
    ]


def _gains(
    parts: dict[str, Content], found: list[dict[str, Any]], kind: str, point: dict[str, Any], decisions: str
) -> list[np.ndarray]:
    """Of each task, quality of points less that of the dense model trained as long, `[seeds, items]`."""

    def gain(name: str, seed: int) -> np.ndarray:
        longer = parts[f"{name}-{seed}-longer"][0]
        if kind == "after":
            return longer[f"{point['rate']:g}/{decisions}"] - longer[decisions]
        return parts[f"{name}-{seed}-learned-{point['penalty']:g}"][0][decisions] - longer[decisions]

    names = dict.fromkeys(t["name"] for t in found)
    return [np.stack([gain(t["name"], t["seed"]) for t in found if t["name"] == name]) for name in names]


def goal(row: dict[str, Any], factor: float) -> str:
    """Whether a point has the paper's averages, 1.9 x speed-up and 3.9 x less energy at a loss of 0.2 point at most.

    By the interval of integer decisions, in units of 1 / `factor`.
    """
    low, high = (factor * x for x in row["difference"]["ci95"])
    if row["speed_up"] < SPEED_UP or row["energy_ratio"] < ENERGY:
        return "not met"
    if low >= -LOSS:
        return "met"
    return "not met" if high < -LOSS else f"not resolved, ±{(high - low) / 2:.2f}"
