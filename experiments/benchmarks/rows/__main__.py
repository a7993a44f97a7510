"""One group in a process of its own: `python -m rows GROUP FILE [--quick]` writes its rows."""

import importlib
import json
import os
import sys
from pathlib import Path


def pin() -> None:
    """One core, where the system allows it: the last one, since the first serves most interrupts."""
    if hasattr(os, "sched_setaffinity") and "OMP_NUM_THREADS" in os.environ:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    group, target = sys.argv[1:3]
    pin()  # before jax starts its threads
    quick = "--quick" in sys.argv
    rows = importlib.import_module(f"rows.{group}").rows(quick)
    if quick:  # a goal holds for the stated sizes only
        rows = [row | {"goal": None, "met": None} for row in rows]
    Path(target).write_text(json.dumps([{"group": group} | row for row in rows]))
