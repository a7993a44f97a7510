"""Save and load plans and chips: arrays by orbax, everything static as JSON (nothing is unpickled).

A folder holds `anaxon.json` (what it is, the sites, the kinds of hardware) and `arrays/` (an orbax checkpoint).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from anaxon.interpret import paths
from anaxon.interpret.plan import Chip, Crossbar, Plan
from anaxon.interpret.program import is_crossbar
from anaxon.types import PyTree

SCHEMA = 1


def save(path: str | Path, item: Plan | Chip, *, dtype: Any = None) -> None:
    """Writes a plan or a chip to a folder, replacing what is there.

    Args:
      path: the folder.
      item: a plan, or a chip (with its plan).
      dtype: a compact type for the cells (`jnp.bfloat16`, `jnp.float16`); None keeps them exact. They load as float32.

    Raises:
      TypeError: for anything else.
      OSError: if the folder cannot be written, or holds something else; what was there before stays.
    """
    if not isinstance(item, Plan | Chip):
        raise TypeError(f"save: expected a Plan or a Chip; got {type(item).__name__}")
    path = Path(path).absolute()
    if path.exists() and not (path / "anaxon.json").exists():
        raise FileExistsError(f"save: {path} is there and no anaxon folder; it is left as it is")
    part, old = path.with_name(path.name + ".part"), path.with_name(path.name + ".old")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    arrays: dict[str, Any] = {}
    head = {"schema": SCHEMA, "kind": type(item).__name__, "plan": _encode(_plan(item), arrays)}
    if isinstance(item, Chip):
        head["chip"] = _encode_chip(item, arrays, dtype)
    (part / "anaxon.json").write_text(json.dumps(head, indent=1))
    if arrays:
        ocp.save(str(part / "arrays"), cast(Any, arrays))
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(part, path)
    shutil.rmtree(old, ignore_errors=True)


def load(path: str | Path, params: PyTree | None = None, *, dtype: Any = jnp.float32) -> Plan | Chip:
    """Reads what `save` wrote.

    Args:
      path: the folder.
      params: for a chip, the parameter tree it was programmed from (arrays or shapes): its structure is used.
      dtype: of the cells; a 16-bit type makes a compact chip (see `compact`) without a copy in float32.

    Raises:
      FileNotFoundError: if there is no such folder.
      ValueError: if the folder is damaged, or `params` is missing or has other names.
    """
    path = Path(path).absolute()
    head, arrays = _read(path)
    plan = _decode(head["plan"], arrays)
    if head["kind"] == "Plan":
        return plan
    if params is None:
        raise ValueError(f"load: {path} holds a chip; give the parameter tree it was programmed from as `params`")
    return _decode_chip(head["chip"], arrays, plan, params, path, dtype)


def _plan(item: Plan | Chip) -> Plan:
    return item if isinstance(item, Plan) else item.plan


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    if not path.exists():
        raise FileNotFoundError(f"load: there is no {path}")
    try:
        head = json.loads((path / "anaxon.json").read_text())
        arrays = ocp.load(str(path / "arrays")) if (path / "arrays").exists() else {}
    except Exception as error:  # orbax raises many kinds; all mean the same to the reader
        raise ValueError(f"load: {path} is damaged or no anaxon folder ({type(error).__name__}: {error})") from None
    if head.get("schema") != SCHEMA:
        raise ValueError(f"load: {path} has schema {head.get('schema')!r}; this version reads {SCHEMA}")
    return head, arrays


def _put(arrays: dict[str, Any], value: Any) -> dict[str, str]:
    name = f"a{len(arrays):06d}"
    arrays[name] = jnp.asarray(value)
    return {"array": name}


def _encode(value: Any, arrays: dict[str, Any]) -> Any:
    """Dataclasses by class and fields, tuples and dicts as such, arrays by reference, numbers as they are."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value):
        kind = type(value)
        fields = {f.name: _encode(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"class": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
    if isinstance(value, dict):
        return {"dict": {name: _encode(v, arrays) for name, v in value.items()}}
    if isinstance(value, tuple | list):
        return {"tuple": [_encode(v, arrays) for v in value]}
    return _put(arrays, value)


def _decode(value: Any, arrays: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return jnp.asarray(jax.device_get(arrays[value["array"]]))  # bound to no device, as before it was saved
    if "dict" in value:
        return {name: _decode(v, arrays) for name, v in value["dict"].items()}
    if "tuple" in value:
        return tuple(_decode(v, arrays) for v in value["tuple"])
    fields = {k: _decode(v, arrays) for k, v in value["fields"].items()}
    return _class(value["class"])(**fields)


def _class(name: str) -> type:
    """Only anaxon's own classes, or ones the caller has already imported, are ever built."""
    module, _, qualname = name.partition(":")
    if module.split(".")[0] == "anaxon":
        importlib.import_module(module)
    if module not in sys.modules:
        raise ValueError(f"load: import {module} first; the folder holds its {qualname}")
    kind = getattr(sys.modules[module], qualname)
    if not dataclasses.is_dataclass(kind):
        raise ValueError(f"load: {name} is not a dataclass")
    return kind


def _encode_chip(chip: Chip, arrays: dict[str, Any], dtype: Any) -> dict[str, Any]:
    names, leaves, _ = paths.flatten(chip.tree, is_crossbar)
    entries: dict[str, Any] = {}
    for name, leaf in zip(names, leaves, strict=True):
        if is_crossbar(leaf):
            cells = jax.tree.leaves(leaf.cells)
            kept = [_put(arrays, c if dtype is None else c.astype(dtype)) for c in cells]
            rest = {"scale": _put(arrays, leaf.scale)}
            rest |= {name: _encode(getattr(leaf, name), arrays) for name in ("digital", "compensation")}
            entries[name] = {"cells": kept, **rest}
        else:
            entries[name] = _put(arrays, leaf)
    key = {"data": np.asarray(jax.random.key_data(chip.key)).tolist(), "impl": str(jax.random.key_impl(chip.key))}
    return {"leaves": entries, "key": key}


def _decode_chip(chip: dict, arrays: dict[str, Any], plan: Plan, params: PyTree, path: Path, dtype: Any) -> Chip:
    names, _, treedef = paths.flatten(params)
    if set(names) != set(chip["leaves"]):
        odd = sorted(set(names) ^ set(chip["leaves"]))
        raise ValueError(f"load: {path} was programmed from other parameters; {odd[0]!r} is in one of them only")
    leaves = [_leaf(name, chip["leaves"][name], arrays, plan, dtype) for name in names]
    key = jax.random.wrap_key_data(jnp.asarray(chip["key"]["data"], jnp.uint32), impl=_impl(chip["key"]["impl"]))
    return Chip(tree=treedef.unflatten(leaves), plan=plan, key=key)


def _impl(name: str) -> str:
    return name.removeprefix("PRNGImpl(").split(",")[0] if "(" in name else name


def _leaf(name: str, entry: dict, arrays: dict[str, Any], plan: Plan, dtype: Any) -> Any:
    if "array" in entry:
        return _decode(entry, arrays)
    site = plan.sites[plan.index(name)]
    cells = [jnp.asarray(jax.device_get(arrays[c["array"]]), dtype) for c in entry["cells"]]
    hardware = plan.of(site)
    targets = jax.ShapeDtypeStruct((2, hardware.array.slices, *site.shape), jnp.float32)
    structure = jax.eval_shape(hardware.cells.program, jax.random.key(0), targets)
    return Crossbar(
        cells=jax.tree.structure(structure).unflatten(cells),
        scale=_decode(entry["scale"], arrays),
        digital=_decode(entry["digital"], arrays),
        compensation=_decode(entry.get("compensation"), arrays),
        path=name,
        shape=site.shape,
        dtype=site.dtype,
    )
