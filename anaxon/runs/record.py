"""What `results.json` holds whatever the job: which configuration, versions and machine made it."""

import importlib.metadata
import platform
from typing import Any

import jax

from anaxon.settings import config_hash

SCHEMA = 1
PACKAGES = ("anaxon", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def head(config: dict[str, Any]) -> dict[str, Any]:
    """The first entries of a record; `config` is the resolved configuration, with its job and its seed."""
    return {
        "schema": SCHEMA,
        "job": config["job"],
        "config": config,
        "config_hash": config_hash(config),
        "versions": versions(),
        "device": device(),
        "seed": config["seed"],
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that decide results."""
    return {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}}


def device() -> dict[str, Any]:
    """What the run computes on."""
    first = jax.local_devices()[0]
    return {"platform": first.platform, "kind": first.device_kind, "count": jax.local_device_count(),
            "machine": platform.machine(), "system": platform.system()}  # fmt: skip


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"
