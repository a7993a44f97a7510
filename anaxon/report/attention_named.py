"""The points of a task in the record of an attention job, and what they are called."""

from typing import Any

# Calibrated ones of the dense model, of that trained on, and learned ones.
KINDS = {"free": "calibrated", "after": "trained on, calibrated", "learned": "learned, penalty"}


def points_of(task: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All points of a task, each with what it is called."""
    value = lambda point: f"{point['rate']:.0%}" if "rate" in point else f"{point['penalty']:g}"  # noqa: E731
    return [(f"{told} {value(p)}", p) for kind, told in KINDS.items() for p in task[kind]]
