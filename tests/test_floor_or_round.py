"""The floor quantiser of MemSE's software, on the golden values of its definition."""

import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

FILE = Path(__file__).parent.parent / "experiments" / "floor_or_round.py"
WEIGHT = [[0.3, -0.7, 1.0], [-0.05, 0.51, -0.99]]


@pytest.fixture(scope="module")
def on_levels():
    spec = importlib.util.spec_from_file_location("floor_or_round", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.on_levels


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("floor", [[0.25, -0.75, 1.0], [-0.25, 0.5, -1.0]]),  # MemSE at N = 4, W_max = 1
        ("nearest", [[0.25, -0.75, 1.0], [0.0, 0.5, -1.0]]),
    ],
)
def test_four_levels(on_levels, rounding, expected):
    np.testing.assert_array_equal(on_levels(jnp.asarray(WEIGHT), 4, rounding), expected)


def test_a_floor_is_half_a_level_low_and_leaves_levels_where_they_are(on_levels):
    weight = jnp.linspace(-0.7, 0.7, 20_001)
    away = {how: np.asarray(on_levels(weight, 16, how) - weight) * 16 / 0.7 for how in ("floor", "nearest")}
    assert away["floor"].mean() == pytest.approx(-0.5, abs=2e-3)
    assert abs(away["nearest"].mean()) < 2e-3
    levels = jnp.arange(-127, 128) / 127 * 0.37
    for how in ("floor", "nearest"):
        np.testing.assert_allclose(on_levels(levels, 127, how), levels, atol=1e-7)
