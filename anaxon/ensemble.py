"""`ensemble`: thousands of chips in flat memory, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from anaxon.interpret import jaxpr as jx
from anaxon.types import Array, PyTree

CPU_CHUNK, ACCELERATOR_CHUNK = 16, 256


class OtherEnsembleError(ValueError):
    """A folder of chunks holds another function's, another number's or other keys' results."""


def ensemble(
    fn_of_key: Callable[[Array], PyTree],
    keys: Array,
    *,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
    path: str | Path | None = None,
) -> PyTree:
    """Evaluates a function of a key for many keys: the same numbers as a loop, whatever the chunks.

    Arrays that `fn_of_key` closes over become arguments of the compiled program, which is compiled once. Results leave
    the device after every chunk, so memory does not grow with the number of keys.

    Args:
      fn_of_key: one realisation, for example: program a chip with the key and measure its accuracy.
      keys: `[n]` typed keys.
      chunk: keys per compiled call; on a CPU they run one after another inside it (random draws dominate, and a batch
        of them falls out of the cache), on an accelerator as one batch.
      mesh: devices to spread each chunk over; its size is rounded up to a multiple of theirs.
      progress: whether to show a bar.
      path: a folder for finished chunks: an interrupted call continues from there, and a continued run is bit for bit
        an uninterrupted one.

    Returns:
      The results, stacked `[n, ...]`, as NumPy arrays.

    Raises:
      TypeError: for keys that are not an array of typed keys.
      ValueError: for no keys, a chunk below 1, or a folder that holds another ensemble.
    """
    _check(keys, chunk)
    size = _chunk(len(keys), chunk, mesh)
    program = _compiled(fn_of_key, keys[:1], size, mesh)
    store = _Store(Path(path), keys, size, program) if path is not None else None
    parts = []
    with _bar(len(keys), progress) as advance:
        for start in range(0, len(keys), size):
            batch = keys[start : start + size]
            done = store.load(start) if store else None
            if done is None:
                done = [np.asarray(x)[: len(batch)] for x in program.call(_padded(batch, size))]
                if store:
                    store.save(start, done)
            parts.append(done)
            advance(len(batch))
    columns = [np.concatenate([p[i] for p in parts]) for i in range(len(parts[0]))]
    return program.out_tree.unflatten(columns)


class _Program(NamedTuple):
    """A compiled chunk: what to call with its keys, the result's structure and types, and what it is, as a hash."""

    call: Callable[[Array], list[Array]]
    out_tree: Any
    dtypes: tuple[Any, ...]
    fingerprint: str


def _check(keys: Array, chunk: int | None) -> None:
    if not (hasattr(keys, "dtype") and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)) or keys.ndim != 1:
        raise TypeError(f"keys: expected an array of typed keys, jax.random.split(key, n); got {_what(keys)}")
    if "rbg" in str(jax.random.key_impl(keys)):
        raise ValueError("keys: the rbg generator draws the same bits for every lane of a vmap; use threefry2x32")
    if len(keys) == 0:
        raise ValueError("keys: expected at least one key; got none")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: expected an integer >= 1; got {chunk}")


def _what(x: object) -> str:
    return f"{type(x).__name__} of shape {getattr(x, 'shape', '?')}"


def _chunk(count: int, chunk: int | None, mesh: Mesh | None) -> int:
    default = CPU_CHUNK if jax.default_backend() == "cpu" else ACCELERATOR_CHUNK
    size = min(chunk or default, count)
    devices = mesh.size if mesh is not None else 1
    return -(-size // devices) * devices


def _padded(keys: Array, size: int) -> Array:
    """The last chunk repeats its last key: every call has the same shape, and one compilation serves all."""
    return jnp.concatenate([keys, jnp.repeat(keys[-1:], size - len(keys))]) if len(keys) < size else keys


def _compiled(fn: Callable[[Array], PyTree], one_key: Array, size: int, mesh: Mesh | None) -> _Program:
    """Compiles a chunk of keys once; closed-over arrays are hoisted into its arguments."""
    jaxpr, out_tree = jx.trace(fn, one_key[0])
    inner, consts = jx.opened(jaxpr)
    consts = [jnp.asarray(c) for c in consts]

    def one(consts: list[Array], key: Array) -> list[Array]:
        return jax.core.eval_jaxpr(inner, consts, key)

    def local(consts: list[Array], keys: Array) -> list[Array]:
        if jax.default_backend() == "cpu":
            return lax.map(lambda key: one(consts, key), keys)
        return jax.vmap(lambda key: one(consts, key))(keys)

    place, mapped = _identity, local
    if mesh is not None:
        axes = P(mesh.axis_names)
        place = lambda keys: jax.device_put(keys, NamedSharding(mesh, axes))  # noqa: E731
        mapped = jax.shard_map(local, mesh=mesh, in_specs=(P(), axes), out_specs=axes, check_vma=False)
        consts = jax.device_put(consts, NamedSharding(mesh, P()))
    # The text of a lowered program depends on what was compiled before it, that of a jaxpr only on addresses.
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(inner)).encode())
    for const in jx.live(inner, consts):
        digest.update(np.asarray(jax.random.key_data(const) if _is_key(const) else const).tobytes())
    run = jax.jit(mapped).lower(consts, place(_padded(one_key, size))).compile()
    dtypes = tuple(v.aval.dtype for v in inner.outvars)
    return _Program(lambda keys: run(consts, place(keys)), out_tree, dtypes, digest.hexdigest())


def _identity(keys: Array) -> Array:
    return keys


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


class _Store:
    """Finished chunks in a folder, one file each, written whole or not at all."""

    def __init__(self, folder: Path, keys: Array, size: int, program: _Program) -> None:
        self.folder, self.dtypes = folder, program.dtypes
        folder.mkdir(parents=True, exist_ok=True)
        data = np.asarray(jax.random.key_data(keys))
        mine = {"keys": hashlib.sha256(data.tobytes()).hexdigest(), "count": len(keys), "chunk": size}
        mine["function"] = program.fingerprint
        header = folder / "ensemble.json"
        if header.exists():
            found = json.loads(header.read_text())
            wrong = [k for k in mine if found.get(k) != mine[k]]
            if wrong:
                k = wrong[0]
                raise OtherEnsembleError(
                    f"path: {folder} holds another ensemble: {k} is {found.get(k)}, here {mine[k]}"
                )
        _write(header, json.dumps(mine).encode())

    def _file(self, start: int) -> Path:
        return self.folder / f"chunk-{start:09d}.npz"

    def load(self, start: int) -> list[np.ndarray] | None:
        """A finished chunk; a damaged file counts as missing and is computed again."""
        try:
            with np.load(self._file(start)) as data:
                # NumPy files know no bfloat16: such arrays come back as raw bytes of the right size.
                return [data[f"leaf{i}"].view(t) for i, t in enumerate(self.dtypes)]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def save(self, start: int, leaves: list[np.ndarray]) -> None:
        """Writes beside, then renames: an interrupt leaves the chunk absent, never half."""
        file = self._file(start)
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            with part.open("wb") as f:
                np.savez(f, allow_pickle=False, **{f"leaf{i}": x for i, x in enumerate(leaves)})
            os.replace(part, file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(error.errno, f"{error.strerror} while keeping finished chips", str(file)) from None


def _write(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    os.replace(part, file)


class _bar:
    """A progress bar that appears only where someone asked for it."""

    def __init__(self, total: int, shown: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("chips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, disable=not shown, transient=True)
        self.task = self.bar.add_task("chips", total=total)

    def __enter__(self) -> Callable[[int], None]:
        self.bar.__enter__()
        return lambda n: self.bar.advance(self.task, n)

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
