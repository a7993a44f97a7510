"""Integers of early termination: thresholds against float64 scores (V6 of the specification), and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.attention.bitserial import terminate
from anaxon.attention.integers import Wide, integer_threshold, quantised, step_of


@pytest.mark.parametrize("bits", [4, 12, 16])
def test_survivors_are_those_of_dequantised_scores(bits):
    """V6: with thresholds at ties and a rounding beside them."""
    rng = np.random.default_rng(bits)
    q, k = rng.standard_normal((16, 32)), rng.standard_normal((16, 32))
    s_q, s_k = (float(step_of(np.abs(x).max(), bits)) for x in (q, k))
    q_int, k_int = (np.asarray(quantised(x, s, bits)) for x, s in ((q, s_q), (k, s_k)))
    scores = (q_int.astype(np.int64) @ k_int.T) * (s_q * s_k / np.sqrt(32))
    ties = scores.ravel()[::7]
    levels = np.concatenate([ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])
    integers = integer_threshold(levels, s_q, s_k, 32, bits)
    integers = jax.tree.map(lambda t: t[:, None, None], integers)
    found = terminate(q_int, k_int, integers, bits=bits)
    np.testing.assert_array_equal(found.kept, scores >= levels[:, None, None])


def test_integer_threshold_is_the_ceiling_saturated():
    assert integer_threshold(1.0, 0.01, 0.02, 64, 12) == np.ceil(8 / 0.0002)
    assert integer_threshold(-1.0, 0.01, 0.03, 64, 12) == -26666
    assert integer_threshold(1e9, 1e-3, 1e-3, 64, 12) == 64 * 2048**2 + 1
    assert integer_threshold([-np.inf, -1e30], 1e-3, 1e-3, 64, 12).tolist() == [-64 * 2048**2] * 2
    wide = integer_threshold([[1e6], [-1e6]], 1e-2, 1e-2, 128, 16)
    assert wide.to_int64().ravel().tolist() == [113137084990, -113137084989]  # ceil(+-1e10 sqrt(128))
    assert integer_threshold(np.inf, 1e-2, 1e-2, 128, 16).to_int64() == 128 * 2**30 + 1


def test_quantised_integers_are_symmetric():
    x = jnp.asarray([-2.0, -1.0, -0.1, 0.0, 0.49, 1.0, 3.0, jnp.nan])
    assert quantised(x, step_of(1.0, 4), 4).tolist() == [-7, -7, -1, 0, 3, 7, 7, 0]
    assert float(step_of(0.0, 12)) == pytest.approx(1 / 2047) == float(step_of(jnp.zeros(()), 12))


ONES = np.ones((2, 4), np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 3}, "bits: expected an integer from 4 to 16; got 3"),
        ({"bits": 17}, "bits: expected an integer from 4 to 16; got 17"),
        ({"per_cycle": 13}, "per_cycle: expected an integer from 1 to 12; got 13"),
        ({"form": "ones"}, "form: expected one of"),
        ({"margin": "loose"}, "margin: expected one of"),
        ({"query": np.ones((2, 300), int), "key": np.ones((2, 300), int), "bits": 16}, "head_dim: expected 1 to 256"),
        ({"key": np.ones((2, 5), int)}, "key: expected head_dim 4"),
        ({"query": ONES * 2048}, "query: expected 12-bit integers from -2047 to 2047; got 2048 to 2048"),
        ({"key": ONES * -2048}, "key: expected 12-bit integers from -2047 to 2047; got -2048 to -2048"),
        ({"query": np.ones(4, int)}, "query: expected"),
        ({"threshold": np.zeros((3, 1, 5), int)}, "broadcast"),
        ({"threshold": Wide(np.int32(0), np.int32(0))}, "threshold: expected int32"),
        ({"where": np.ones((3, 2), bool)}, "broadcast"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_bad_values(change, message):
    with pytest.raises(ValueError, match=message):
        terminate(**({"query": ONES, "key": ONES, "threshold": 0} | change))


@pytest.mark.parametrize("name", ["query", "key", "threshold"])
def test_what_is_no_integer_is_refused(name):
    given_ = {"query": ONES, "key": ONES, "threshold": 0}
    with pytest.raises(TypeError, match=f"{name}: expected integers"):
        terminate(**(given_ | {name: np.asarray(given_[name], float)}))


def test_thresholds_are_made_on_the_host():
    with pytest.raises(ValueError, match="threshold: expected numbers"):
        integer_threshold([0.0, np.nan], 0.1, 0.1, 64, 12)
    for step in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="step_k: expected finite steps above 0"):
            integer_threshold(0.0, 0.1, step, 64, 12)
    for absmax in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="step_of: absmax: expected numbers >= 0"):
            step_of(absmax, 12)
    with pytest.raises(TypeError, match="step_q: expected a concrete number"):
        jax.jit(lambda s: integer_threshold(0.0, s, 0.1, 64, 12))(0.1)
    with pytest.raises(ValueError, match="head_dim: expected an integer from 1 to 256; got 512"):
        integer_threshold(0.0, 0.1, 0.1, 512, 16)
