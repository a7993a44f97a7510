"""The GPU kernel of early termination, interpreted, beside the program of a CPU: bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.attention import bitserial
from anaxon.attention.bitserial import fused, terminate

FORMS = ("sign-magnitude", "two's complement")
CASES = [  # bits, bits a cycle, form, margin; heads, queries, keys, lanes; axes of the threshold and of the mask
    (12, 2, FORMS[0], "exact", (2, 64, 64, 32), "h", ""),
    (12, 1, FORMS[0], "shifted", (2, 9, 70, 33), "hq", "hk"),
    (12, 5, FORMS[1], "exact", (1, 520, 20, 17), "k", "hq"),
    (8, 3, FORMS[0], "exact", (1, 3, 5, 1), "qk", "qk"),
    (13, 4, FORMS[0], "exact", (1, 8, 17, 127), "qk", ""),
    pytest.param((14, 3, FORMS[1], "shifted", (1, 8, 4, 31), "qk", "q"), marks=pytest.mark.slow),
]


def shape(sizes, axes):
    """Of what differs along these axes."""
    return tuple(n if axis in axes else 1 for axis, n in zip("hqk", sizes, strict=False))


def problem(case):
    """Operands and thresholds, extremes among both."""
    bits, per_cycle, form, margin, (heads, q_len, k_len, head_dim), axes, masked = case
    rng = np.random.default_rng(bits)
    top = 2 ** (bits - 1) - 1
    least = -top - (form == FORMS[1])
    shapes = (heads, q_len, head_dim), (heads, k_len, head_dim)
    query, key = (
        np.where(rng.random(s) < 0.3, rng.choice([least, 0, top], s), rng.integers(least, top + 1, s)) for s in shapes
    )
    scores = query @ np.swapaxes(key, 1, 2)
    levels = rng.choice(scores.ravel(), shape(case[4], axes))  # ties
    if "qk" in axes:
        levels[:, :2, 0] = [-(2**31), 2**31 - 1]
    where = rng.random(shape(case[4], masked)) < 0.8 if masked else np.ones(shape(case[4], ""), bool)
    settings = {"bits": bits, "per_cycle": per_cycle, "form": form, "margin": margin}
    narrow = (jnp.asarray(x.astype(np.int32)) for x in (query, key, levels))
    return (*narrow, jnp.asarray(where)), settings


def same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, expected)
    assert 0 < np.mean(found.kept) < 1 and len(np.unique(found.cycles)) > 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_equals_the_program_of_a_cpu(case):
    (query, key, level, where), settings = problem(case)
    with jax.default_device(jax.devices("cpu")[0]):
        expected = terminate(query, key, level, where=where, **settings)
    heads = query.shape[0]
    pairwise = (jnp.broadcast_to(x, (heads, *x.shape[1:])) for x in (level, where))
    same(fused(query, key, *pairwise, **settings, interpret=True), expected)


def test_terminate_hands_any_axes_to_the_kernel(monkeypatch):
    """Traced, as where there is a GPU: the branches of all processors have the same shapes."""
    monkeypatch.setattr(bitserial, "_has_kernel", lambda *_: True)
    query, key = jnp.zeros((2, 3, 7, 24), jnp.int32), jnp.zeros((3, 6, 24), jnp.int32)
    for lead, operands in {(2, 3): (query, key, 5), (): (query[0, 0], key[0], np.ones((7, 1), int))}.items():
        found = jax.eval_shape(terminate, *operands)
        assert [x.shape for x in jax.tree.leaves(found)] == [(*lead, 7, 6)] * 3
    mapped = jax.vmap(terminate, in_axes=(0, None, 0))
    assert jax.eval_shape(mapped, query, key, jnp.zeros((2, 3, 1, 1), jnp.int32)).kept.shape == (2, 3, 7, 6)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="compiles for a GPU")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_this_gpu_computes_what_a_cpu_does(case):
    operands, settings = problem(case)

    def run(device):
        query, key, level, where = (jax.device_put(x, device) for x in operands)
        return terminate(query, key, level, where=where, **settings)

    same(run(jax.devices()[0]), run(jax.devices("cpu")[0]))
