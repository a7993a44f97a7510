"""A plan in `results.json`: its layers, its bill and what is active where."""

import dataclasses
from typing import Any

import numpy as np

from anaxon import statistics
from anaxon.interpret import counts
from anaxon.interpret.components import load_components
from anaxon.interpret.cost import cost
from anaxon.interpret.explain import explain
from anaxon.interpret.plan import Plan


def layers(plan: Plan, arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One entry for each placed weight; error and saturation are over chips, None where nothing converts linearly."""
    found = []
    for site in plan.sites:
        hardware, (_, rows, cols) = plan.of(site), counts.extent(site)
        entry: dict[str, Any] = {"path": site.path, "shape": list(site.shape), "rows": rows, "cols": cols}
        entry |= {} if hardware.is_ideal else {"arrays": counts.arrays(plan, site), "cells": site.cells(hardware)}
        for name in ("error", "saturation"):
            values = arrays.get(f"{name}/{site.path}")
            entry[name] = None if values is None else statistics.mean_over(values, "chips").as_json()
        found.append(entry)
    return found


def bill(plan: Plan, components: str) -> dict[str, Any]:
    """The cost of one inference as JSON: SI units, in total, by part and by site; where every price is from."""
    table = load_components(components)
    total = cost(plan, table)
    return {
        "of": "one inference (one clip)",
        "energy": float(total.energy),
        "latency": float(total.latency),
        "area": float(total.area),
        "programming": float(total.programming),
        "energy_by_part": _numbers(total.parts),
        "counts": dataclasses.asdict(total.counts),
        "sites": [
            {
                "path": s.path,
                "energy": float(s.energy.total),
                "latency": float(s.latency),
                "area": float(s.area),
                "energy_by_part": _numbers(s.energy),
                "counts": dataclasses.asdict(s.counts),
            }
            for s in total.lines
        ],
        "components": {"name": table.name, "description": table.description,
                       "sources": {name: entry.source for name, entry in table.entries.items()}},
    }  # fmt: skip


def _numbers(parts: Any) -> dict[str, float]:
    return {f.name: float(getattr(parts, f.name)) for f in dataclasses.fields(parts)}


def explained(plan: Plan) -> dict[str, Any]:
    """Which non-ideality is active where, as `explain` has it."""
    found = explain(plan)
    sections = [{"title": title, "rows": [list(row) for row in rows]} for title, rows in found.sections]
    return {"sections": sections, "weights": [list(row) for row in found.sites]}
