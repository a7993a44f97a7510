"""The points of a task in the record of an attention job, and what they are called."""

from typing import Any

# Calibrated ones of the dense model, of that trained on, and learned ones.
KINDS = {"free": "calibrated", "after": "trained on, calibrated", "learned": "learned, penalty"}


def called(kind: str, point: dict[str, Any]) -> str:
    """A point of a kind, or the mean of several."""
    return f"{KINDS[kind]} " + (f"{point['rate']:.0%}" if "rate" in point else f"{point['penalty']:g}")


def points_of(task: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All points of a task, each with what it is called."""
    return [(called(kind, p), p) for kind in KINDS for p in task[kind]]
