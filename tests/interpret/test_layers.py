"""Every layer of Flax NNX, Linen, Equinox and plain jnp: ideal hardware changes nothing, quantised hardware little."""

import jax
import jax.numpy as jnp
import pytest
from layer_table import LAYERS

import anaxon as ax

ROWS, SLICES = 4, 7  # small arrays, so that every layer takes several tiles; 8-bit weights on binary cells
QUANTISED = ax.Hardware(
    device=ax.IdealDevice(), array=ax.Array(rows=ROWS, weight_bits=8), dac=ax.DAC(bits=8), adc=ax.ADC.uniform(bits=16)
)
# Sites of layers whose weights are easily overlooked; the others have one `kernel`, `w` or `weight`.
SITES = {
    "nnx MultiHeadAttention": {f"{n}/kernel" for n in ("query", "key", "value", "out")},
    "nnx norms": {"first/kernel", "second/kernel"},
    "nnx GRUCell": {"cell/dense_i/kernel", "cell/dense_h/kernel"},
    "linen OptimizedLSTM": {f"cell/{a}{b}/kernel" for a in "ih" for b in "ifgo"},
    "equinox MLP": {f"layers/{i}/weight" for i in range(3)},
    "equinox LSTMCell": {"weight_ih", "weight_hh"},
}


def programmed(fn, hw, params, inputs):
    plan = ax.place(fn, hw)(params, *inputs)
    return plan, ax.program(jax.random.key(0), plan, params)


def relative(result, exact):
    """Largest relative error in the 2-norm over the leaves of a result."""

    def leaf(a, b):
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
        return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))

    return max(jax.tree.leaves(jax.tree.map(leaf, result, exact)))


@pytest.mark.parametrize("name", LAYERS)
def test_ideal_hardware_is_bit_identical_and_8_bits_are_close(name):
    fn, params, inputs = LAYERS[name]()
    exact = jax.jit(fn)(params, *inputs)

    plan, chip = programmed(fn, ax.ideal(), params, inputs)
    y = jax.jit(ax.analog(fn))(jax.random.key(1), chip, *inputs)
    assert jax.tree.structure(y) == jax.tree.structure(exact)
    for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(exact), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert jnp.array_equal(a, b)
    paths = {site.path for site in plan.sites}
    assert paths == SITES[name] if name in SITES else paths

    plan, chip = programmed(fn, QUANTISED, params, inputs)
    assert {site.path for site in plan.sites} == paths
    y, layers = jax.jit(ax.observe(fn))(jax.random.key(1), chip, params, *inputs)
    # Rounding of 8-bit weights, inputs and, in one layer, bfloat16: each below 0.4 % of the largest value.
    assert 2e-4 < relative(y, exact) < 0.012
    assert all(2e-4 < stats.error < 0.012 for stats in layers.values())
    assert {p: int(s.conversions) for p, s in layers.items()} == {s.path: conversions(s) for s in plan.sites}


def conversions(site):
    """What the plan says: columns x vectors x executions, for every tile and slice."""
    return sum(
        dict(u.conversions)["linear"] * u.vectors * u.executions * -(-u.rows // ROWS) * SLICES for u in site.uses
    )
