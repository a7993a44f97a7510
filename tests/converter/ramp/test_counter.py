"""The counter is `sum_k [z >= V_k]`, whatever way it counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.converter.ramp.counter import COMPARED, guide_of, passed, passed_by_row

RNG = np.random.default_rng(0)


def definition(thresholds, z):
    """`sum_k [z >= V_k]`, one comparison at a time (XLA's own: it takes denormal numbers for zero)."""
    return np.sum(jnp.asarray(z)[..., None] >= thresholds, axis=-1)


def ideal(bits):
    k = np.arange(1, 2**bits) / 2**bits
    return np.log(k / (1 - k)).astype(np.float32)


def walk(bits, dead=0.0):
    """A programmed ramp: steps with errors, some of them stuck at off and so of no height."""
    steps = np.diff(ideal(bits)) * np.maximum(0, 1 + 0.4 * RNG.standard_normal(2**bits - 2))
    steps[RNG.random(steps.size) < dead] = 0
    return np.concatenate([[-5.0], -5.0 + np.cumsum(steps)]).astype(np.float32)


def values(thresholds):
    """Values everywhere, and on and beside every threshold."""
    beside = [np.nextafter(thresholds, s * np.float32(np.inf)) for s in (-1, 1)]
    ends = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0, 1e30, -1e30], np.float32)
    spread = RNG.uniform(-12, 12, 5000).astype(np.float32)
    return np.concatenate([thresholds, *beside, ends, spread])


CASES = {
    **{f"ideal {b} bit": ideal(b) for b in (1, 2, 3, 4, 5, 6, 8)},
    "8 bit with errors": walk(8),
    "8 bit with dead steps": walk(8, dead=0.3),
    "5 bit with dead steps": walk(5, dead=0.3),
    "all equal": np.full(255, 0.25, np.float32),
    "all but one equal": np.append(np.full(254, 0.25), 7.0).astype(np.float32),
    "crowded at one end": np.append(np.geomspace(1e-6, 1e-3, 200), 1e3).astype(np.float32),
    "a hair apart": np.nextafter(np.float32(1), np.float32(2)) + np.zeros(64, np.float32),
    "not sorted": RNG.standard_normal(255).astype(np.float32),
    "of any size": (RNG.standard_normal(100) * 10.0 ** RNG.uniform(-30, 30, 100)).astype(np.float32),
}


@pytest.mark.parametrize("name", CASES)
def test_counts_as_defined(name):
    v = CASES[name]
    z = values(v)
    count = jax.jit(lambda v, z: passed(v, guide_of(v), z))(v, z)
    assert count.dtype == jnp.int32
    np.testing.assert_array_equal(count, definition(v, z))


@pytest.mark.slow
def test_both_ways_are_covered():
    guided = [guide_of(jnp.asarray(v)) is not None for v in CASES.values()]
    assert any(guided)
    assert not all(guided)
    assert guide_of(jnp.zeros(COMPARED)) is None


def test_ramps_that_differ_under_vmap():
    v = np.stack([walk(8, dead) for dead in (0.0, 0.2, 0.9)])
    z = np.stack([values(row)[:2000] for row in v])
    count = jax.jit(jax.vmap(lambda v, z: passed(v, guide_of(v), z)))(v, z)
    np.testing.assert_array_equal(count, [definition(a, b) for a, b in zip(v, z, strict=True)])
    guides = guide_of(jnp.asarray(v))  # made for all of them, then one taken
    one = passed(v[1], jax.tree.map(lambda x: x[1], guides), z[1])
    np.testing.assert_array_equal(one, definition(v[1], z[1]))


def test_thresholds_that_are_not_finite_are_passed_by_nothing():
    v = np.full(100, np.nan, np.float32)
    np.testing.assert_array_equal(passed(v, guide_of(v), values(v)), 0)


def test_row_by_row_with_signs():
    v = np.stack([walk(4) for _ in range(5)])
    signs = RNG.choice([-1, 1], v.shape[1]).astype(np.int32)
    row = RNG.integers(0, 5, (40, 7))
    z = RNG.uniform(-6, 6, (40, 7)).astype(np.float32)
    count, total = jax.jit(passed_by_row)(v, row, signs, z)
    hit = z[..., None] >= v[row]
    np.testing.assert_array_equal(count, hit.sum(-1))
    np.testing.assert_array_equal(total, (hit * signs).sum(-1))
