"""Training checkpoints with orbax: one folder for each, complete or not there."""

import logging
import re
import shutil
import zlib
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.types import PyTree

S = TypeVar("S", bound=tuple)  # a NamedTuple with a field `fingerprint`

_NAME = re.compile(r"epoch_(\d{5})")


def epochs(folder: Path) -> list[int]:
    """The epochs with a complete checkpoint in `folder`, ascending."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())  # orbax renames a folder when it is complete
    return sorted(int(match[1]) for match in found if match)


def save(folder: Path, epoch: int, state: PyTree) -> None:
    """Writes `state` as this epoch's checkpoint, then removes all earlier ones but the last.

    Raises:
      OSError: when it cannot be written (full disk); earlier checkpoints are kept.
    """
    ocp = _orbax()
    path = _path(folder, epoch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, state, force=True)
    except Exception as error:  # tensorstore reports a full disk in types of its own
        raise OSError(f"{path}: cannot write the checkpoint (earlier ones are kept): {_line(error)}") from error
    for old in epochs(folder)[:-2]:
        shutil.rmtree(_path(folder, old), ignore_errors=True)


def restore(folder: Path, epoch: int, like: PyTree) -> PyTree:
    """The state of an epoch's checkpoint, with the structure, shapes and dtypes of `like`.

    It is on the default device and not bound to it: what goes on from it may run beside others, on another device.

    Raises:
      ValueError: when it is damaged or of another structure; the sentence names the path.
    """
    ocp = _orbax()
    path = _path(folder, epoch)
    shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            state = checkpointer.restore(path, shapes)
    except Exception as error:
        raise ValueError(f"{path}: this checkpoint cannot be read (damaged, or of another model); delete it to go on "
                         f"from the one before: {_line(error)}") from error  # fmt: skip
    return jax.tree.map(jnp.asarray, jax.device_get(state))


def fingerprint(*what: Any) -> int:
    """One number for what decides a training: settings by their text, trees by their leaves."""
    mark = 0
    for part in what:
        leaves = jax.tree.leaves(part)
        arrays = all(isinstance(x, np.ndarray | jax.Array) for x in leaves)
        for data in [np.ascontiguousarray(x).tobytes() for x in leaves] if arrays else [repr(part).encode()]:
            mark = zlib.crc32(data, mark)
    return mark


def outline(tree: PyTree) -> str:
    """Of every leaf its shape, and spread and largest magnitude to three digits: the same on whatever device."""
    told = [(np.shape(x), f"{np.std(x):.2e}", f"{np.max(np.abs(x), initial=0):.2e}") for x in jax.tree.leaves(tree)]
    return repr(told)


def newest(folder: Path | str | None, state: S) -> tuple[S, int]:
    """The state of the newest checkpoint and its epoch; `state` and 0 where there is none, or no folder.

    Raises:
      ValueError: for a damaged checkpoint, or one of another training.
    """
    done = epochs(Path(folder)) if folder is not None else []
    if not done:
        return state, 0
    fields = state._asdict()  # type: ignore[attr-defined]
    restored = restore(Path(str(folder)), done[-1], fields)
    if int(restored["fingerprint"]) != int(fields["fingerprint"]):
        raise ValueError(f"{folder}: these checkpoints are of another training run (its settings, data or first "
                         "weights differ); delete the folder or choose another")  # fmt: skip
    return type(state)(**restored), done[-1]


def _path(folder: Path, epoch: int) -> Path:
    return folder.absolute() / f"epoch_{epoch:05d}"


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:80]


def _orbax():  # noqa: ANN202 - the module, imported late: it takes a second
    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # it prints every thread's traceback before the one error
    return ocp
