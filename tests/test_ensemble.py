"""The same chips and the same noise however they are run: loop, chunks, vmap, two devices, interrupted and resumed."""

import json
import os
import subprocess
import sys
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.program import cells_of

HW = ax.Hardware(
    device=ax.VCM(noise="legacy"), array=ax.Array(rows=16, weight_bits=4), dac=ax.DAC(bits=8), adc=ax.ADC.bits(4, 4)
)
WEIGHT = jax.random.uniform(jax.random.key(0), (40, 12), minval=-1.0)
X = jax.random.normal(jax.random.key(1), (9, 40))
KEYS = jax.random.split(jax.random.key(2), 13)


def fn(w, x):
    return x @ w


PLAN = ax.place(fn, HW)(WEIGHT, X)


def chip_of(key):
    return ax.program(jax.random.split(key)[0], PLAN, WEIGHT)


def outputs(key):
    return ax.analog(fn)(jax.random.split(key)[1], chip_of(key), X)


def cheap(key):
    """What the bookkeeping tests run: the folder does not know what a chip is."""
    return {"a": jax.random.normal(key, (3,)), "b": jax.random.bits(key, ())}


def everything(key):
    return {"cells": cells_of(chip_of(key)), "y": outputs(key)}


LOOP = jax.jit(everything)


@pytest.fixture(scope="module")
def loop():
    """One chip at a time."""
    runs = [LOOP(k) for k in KEYS]
    return jax.tree.map(lambda *x: np.stack(x), *runs)


def assert_same(got, expected):
    """Cells bit for bit; outputs to rounding, but for a rare ADC code that moves by one.

    One code of the least significant slice is worth `step * scale * range`; a moved code of slice i is 2**i of that.
    """
    for a, b in zip(jax.tree.leaves(got["cells"]), jax.tree.leaves(expected["cells"]), strict=True):
        np.testing.assert_array_equal(a, b)
    code = 2.0**-4 * float(np.max(np.abs(WEIGHT)) / 7 * np.max(np.abs(X)))
    off = np.abs(np.asarray(got["y"]) - expected["y"]) / code
    assert np.mean(off < 1e-3) >= 0.999
    assert np.max(off) < 4 + 1e-3


@pytest.mark.parametrize("chunk", [1, 4, 13, None])
def test_chunks_equal_the_loop(loop, chunk):
    assert_same(ax.ensemble(everything, KEYS, chunk=chunk, progress=False), loop)


def test_vmap_equals_the_loop(loop):
    assert_same(jax.jit(jax.vmap(everything))(KEYS), loop)


def test_two_devices_equal_the_loop(loop):
    """Two virtual CPU devices need a process of their own."""
    code = """
import jax, numpy as np, sys
sys.path.insert(0, sys.argv[1])
import anaxon as ax, test_ensemble as t
mesh = jax.make_mesh((2,), ("chips",))
got = ax.ensemble(t.everything, t.KEYS, chunk=4, mesh=mesh, progress=False)
np.savez(sys.argv[2], *jax.tree.leaves(got))
"""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        where = os.path.dirname(__file__)
        done = subprocess.run(
            [sys.executable, "-c", code, where, f"{folder}/y.npz"], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(f"{folder}/y.npz") as data:
            leaves = [data[k] for k in data.files]
    assert_same(jax.tree.structure(loop).unflatten(leaves), loop)


class Interrupt(Exception):
    pass


def interrupted(path, after):
    """Runs an ensemble that dies after some chunks."""
    store = sys.modules["anaxon.ensemble"]._Store
    saves, original = [], store.save

    def save(self, start, leaves):
        if len(saves) == after:
            raise Interrupt
        saves.append(start)
        original(self, start, leaves)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupt):
        patch.setattr(store, "save", save)
        ax.ensemble(cheap, KEYS, chunk=3, progress=False, path=path)
    return saves


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path):
    whole = ax.ensemble(cheap, KEYS, chunk=3, progress=False)
    assert interrupted(tmp_path, after=2) == [0, 3]
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("chunk-*.npz")}
    assert len(kept) == 2
    resumed = ax.ensemble(cheap, KEYS, chunk=3, progress=False, path=tmp_path)
    chex.assert_trees_all_equal(resumed, whole)
    assert {n: (tmp_path / n).stat().st_mtime_ns for n in kept} == kept, "finished chunks are not computed again"


def test_a_damaged_chunk_is_computed_again(tmp_path):
    whole = ax.ensemble(cheap, KEYS, chunk=5, progress=False, path=tmp_path)
    for damage in (b"", b"PK\x03\x04 half a file"):
        (tmp_path / "chunk-000000005.npz").write_bytes(damage)
        chex.assert_trees_all_equal(ax.ensemble(cheap, KEYS, chunk=5, progress=False, path=tmp_path), whole)


def test_a_folder_of_another_ensemble_is_refused(tmp_path):
    ax.ensemble(cheap, KEYS[:3], progress=False, path=tmp_path)
    with pytest.raises(ValueError, match="holds another ensemble: keys"):
        ax.ensemble(cheap, KEYS[1:4], progress=False, path=tmp_path)
    assert json.loads((tmp_path / "ensemble.json").read_text())["count"] == 3


def test_closed_over_arrays_are_arguments_and_compile_once():
    big = jnp.ones((300, 300))
    calls = []

    def one(key):
        calls.append(1)
        return jnp.sum(big * jax.random.normal(key, ()))

    with jax.log_compiles(False):
        ax.ensemble(one, KEYS, chunk=2, progress=False)
    assert len(calls) == 1, "traced once for seven chunks"


@pytest.mark.parametrize(
    ("keys", "kwargs", "error", "says"),
    [
        (jax.random.key(0), {}, TypeError, "array of typed keys"),
        (np.zeros((3, 2), np.uint32), {}, TypeError, "array of typed keys"),
        (KEYS[:0], {}, ValueError, "at least one key"),
        (KEYS, {"chunk": 0}, ValueError, "chunk: expected an integer >= 1; got 0"),
        (jax.random.split(jax.random.key(0, impl="rbg"), 3), {}, ValueError, "rbg"),
    ],
)
def test_bad_input(keys, kwargs, error, says):
    with pytest.raises(error, match=says):
        ax.ensemble(cheap, keys, progress=False, **kwargs)


def test_a_folder_of_another_function_is_refused(tmp_path):
    scale = jnp.float32(1.0)
    ax.ensemble(lambda k: scale * jax.random.normal(k, ()), KEYS, progress=False, path=tmp_path)
    other = jnp.float32(2.0)
    for fn in (lambda k: other * jax.random.normal(k, ()), lambda k: scale + jax.random.normal(k, ())):
        with pytest.raises(ValueError, match="holds another ensemble: function"):
            ax.ensemble(fn, KEYS, progress=False, path=tmp_path)


def test_half_precision_results_come_back_as_such(tmp_path):
    def fn(key):
        return jax.random.normal(key, (2,)).astype(jnp.bfloat16)

    first = ax.ensemble(fn, KEYS, progress=False, path=tmp_path)
    again = ax.ensemble(fn, KEYS, progress=False, path=tmp_path)
    assert again.dtype == first.dtype == jnp.bfloat16
    np.testing.assert_array_equal(again, first)
