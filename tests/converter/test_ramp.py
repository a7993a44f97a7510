import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.converter import ramp


@pytest.mark.parametrize("bits", [2, 5])
@pytest.mark.parametrize(("name", "fn", "low", "high"), [("tanh", np.tanh, -1, 1), ("logistic", None, 0, 1)])
def test_codes_are_equal_steps_of_the_output(name, fn, low, high, bits):
    z = np.linspace(-5, 5, 4001)
    exact = fn(z) if fn else 1 / (1 + np.exp(-z))
    step = (high - low) / 2**bits
    y = ramp.convert(name, ax.Ramp(bits=bits), jnp.asarray(z, jnp.float32))
    code = np.floor((exact - low) / step)
    away = np.abs((exact - low) / step - np.round((exact - low) / step)) > 1e-4  # float32 cannot tell at an edge
    np.testing.assert_allclose(np.asarray(y)[away], (low + (code + 0.5) * step)[away], rtol=1e-5, atol=1e-6)


def test_gradient_is_that_of_the_activation():
    z = jnp.linspace(-2, 2, 9)
    g = jax.vmap(jax.grad(lambda z: ramp.convert("tanh", ax.Ramp(bits=3), z)))(z)
    np.testing.assert_allclose(g, 1 - jnp.tanh(z) ** 2, rtol=1e-5)


@pytest.mark.parametrize("bits", [1, 9, 4.0])
def test_bad_bits(bits):
    with pytest.raises(ValueError, match="Ramp.bits: expected an integer from 2 to 8; got"):
        ax.Ramp(bits=bits)
