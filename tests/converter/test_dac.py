import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.converter.dac import bit_planes, plane_weights


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_codes_are_symmetric_levels(bits):
    """2**bits + 1 levels, +-1 included."""
    codes = np.unique(ax.DAC(bits=bits).encode(jnp.linspace(-1.3, 1.3, 5001), jnp.float32(1.0)))
    np.testing.assert_array_equal(codes, np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1) + 1) / 2 ** (bits - 1))


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_bit_planes_sum_to_the_code(bits):
    code = ax.DAC(bits=bits).encode(jnp.linspace(-1, 1, 777), jnp.float32(1.0))
    planes, weights = bit_planes(code, bits), plane_weights(bits)
    assert set(np.unique(planes)) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(jnp.tensordot(weights, planes, 1), code)


def test_bit_planes_pass_the_gradient_of_the_code():
    def total(code):
        planes, weights = bit_planes(code, 4), plane_weights(4)
        return jnp.sum(jnp.tensordot(weights, planes, 1) ** 2)

    code = jnp.array([0.5, -0.25, 0.0])
    np.testing.assert_allclose(jax.grad(total)(code), 2 * code, rtol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"bits": 1}, "bits"),
        ({"bits": 17}, "bits"),
        ({"v_max": 0.0}, "v_max"),
        ({"encoding": "pcm"}, "encoding"),
        ({"predistortion": "cubic"}, "predistortion"),
        ({"predistortion": "inverse", "encoding": "pulse-width"}, "predistortion"),
    ],
)
def test_bad_fields(kwargs, field):
    with pytest.raises(ValueError, match=f"DAC.{field}: .*; got"):
        ax.DAC(**kwargs)
