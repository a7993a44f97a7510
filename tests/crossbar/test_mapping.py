"""Weights to cells to products, against the slow float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax

import anaxon as ax
from anaxon.types import replace

RNG = np.random.default_rng(7)
X = RNG.normal(size=(3, 19)).astype(np.float32)  # 19 rows: no multiple of any tile
W = RNG.normal(size=(19, 5)).astype(np.float32)


def product(w, x):
    return x @ w


def run(fn, w, x, array, dac=None, adc=None):
    """`fn` on ideal cells. At 0.5 V a code is exactly a voltage; at 0.6 V sums that lie between two codes may round
    either way."""
    dac = replace(dac or ax.DAC(bits=8), v_max=0.5)
    hw = ax.Hardware(device=ax.IdealDevice(), array=array, dac=dac, adc=adc or ax.ADC.uniform(bits=8))
    plan = ax.place(fn, hw)(w, x)
    both = jax.jit(lambda w, x: ax.analog(fn)(jax.random.key(1), ax.program(jax.random.key(0), plan, w), x))
    return np.asarray(both(w, x), np.float64)


def assert_same_codes(y, exact):
    """Equal but for float32 rounding of the digital sums: one code more or less would be a thousand times that."""
    decided = ~np.isnan(exact)
    assert np.mean(decided) > 0.5
    np.testing.assert_allclose(np.asarray(y)[decided], exact[decided], rtol=0, atol=4e-6 * np.abs(exact[decided]).max())


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, None])
def test_weight_bits(bits):
    y = run(product, W, X, ax.Array(rows=8, weight_bits=bits))
    assert_same_codes(y, reference.matmul(X, W, reference.uniform_adc(8), bits=bits, rows=8))


@pytest.mark.parametrize("cell_bits", [1, 2, 3])
@pytest.mark.parametrize("bits", [5, 8])
def test_cell_bits(bits, cell_bits):
    """7 magnitude bits in cells of 2 or 3: the last slice is not full."""
    y = run(product, W, X, ax.Array(rows=8, weight_bits=bits, cell_bits=cell_bits))
    assert_same_codes(y, reference.matmul(X, W, reference.uniform_adc(8), bits=bits, cell_bits=cell_bits, rows=8))


@pytest.mark.parametrize("rows", [1, 7, 19, 128])
def test_rows_of_a_tile(rows):
    y = run(product, W, X, ax.Array(rows=rows))
    assert_same_codes(y, reference.matmul(X, W, reference.uniform_adc(8), rows=rows))


@pytest.mark.parametrize(("scale", "axes"), [("tensor", None), ("column", (0,))], ids=["tensor", "column"])
@pytest.mark.parametrize("clip_sigma", [None, 1.5])
def test_scale_and_clipping(scale, axes, clip_sigma):
    w = W * np.array([1, 3, 0.1, 0, 2], np.float32)  # columns of different size, one of zeros
    y = run(product, w, X, ax.Array(rows=8, scale=scale, clip_sigma=clip_sigma))
    assert_same_codes(
        y, reference.matmul(X, w, reference.uniform_adc(8), rows=8, scale_axes=axes, clip_sigma=clip_sigma)
    )


def test_a_stack_has_one_scale_for_each_index():
    w = np.stack([W, 0.01 * W, 100 * W])
    x = np.stack([X] * 3)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(), dac=ax.DAC(), adc=None)
    fns = {
        "batch": lambda w, x: jnp.einsum("lnc,lmn->lmc", w, x),
        "index": lambda w, x: jnp.stack([x[i] @ w[i] for i in range(3)]),
        "scan": lambda w, x: lax.scan(lambda _, wx: (None, wx[1] @ wx[0]), None, (w, x))[1],
    }
    for fn in fns.values():
        chip = ax.program(jax.random.key(0), ax.place(fn, hw)(w, x), w)
        assert chip.tree.scale.shape == (3, 1, 1)
        y = jax.jit(ax.analog(fn))(jax.random.key(1), chip, x)
        for i in range(3):
            assert_same_codes(y[i], reference.matmul(X, w[i]))


@pytest.mark.parametrize("encoding", ["amplitude", "pulse-width", "bit-serial"])
@pytest.mark.parametrize("dac_bits", [2, 8])
def test_dac_encodings(encoding, dac_bits):
    y = run(product, W, X, ax.Array(rows=8), ax.DAC(bits=dac_bits, encoding=encoding), ax.ADC.bits(4, 1))
    ranges = reference.fixed_adc(8.0, 0.5)
    assert_same_codes(y, reference.matmul(X, W, ranges, rows=8, dac_bits=dac_bits, encoding=encoding))


@pytest.mark.parametrize(("range_bits", "precision_bits"), [(4, 4), (2, 6), (1, 3)])
def test_fixed_adc(range_bits, precision_bits):
    """Saturates at the smaller ranges."""
    y = run(product, W, X, ax.Array(rows=8), adc=ax.ADC.bits(range_bits, precision_bits))
    ranges = reference.fixed_adc(2.0 ** (range_bits - 1), 2.0**-precision_bits)
    assert_same_codes(y, reference.matmul(X, W, ranges, rows=8))


@pytest.mark.parametrize(("stride", "dilation", "pad"), [(1, 1, (1, 1)), (2, 1, (0, 0)), (1, 2, (2, 1))])
def test_convolution(stride, dilation, pad):
    kernel = RNG.normal(size=(3, 4, 5)).astype(np.float32)  # [window, in, out]
    x = RNG.normal(size=(2, 9, 4)).astype(np.float32)

    def conv(w, x):
        return lax.conv_general_dilated(
            x, w, (stride,), (pad,), rhs_dilation=(dilation,), dimension_numbers=("NTC", "TIO", "NTC")
        )

    y = run(conv, kernel, x, ax.Array(rows=8))
    patches, positions = reference.conv1d_patches(x, 3, stride, dilation, pad)
    rows = kernel.transpose(1, 0, 2).reshape(12, 5)
    exact = reference.matmul(patches, rows, reference.uniform_adc(8), rows=8)
    assert_same_codes(y, exact.reshape(2, positions, 5))


def test_grouped_convolution_is_a_product_for_each_group():
    kernel = RNG.normal(size=(3, 2, 6)).astype(np.float32)  # two groups of 2 channels in, 3 out
    x = RNG.normal(size=(2, 9, 4)).astype(np.float32)

    def conv(w, x):
        return lax.conv_general_dilated(
            x, w, (1,), "VALID", dimension_numbers=("NTC", "TIO", "NTC"), feature_group_count=2
        )

    y = run(conv, kernel, x, ax.Array(), adc=ax.ADC.bits(8, 7))
    level, scale = reference.levels(kernel, 4, None)
    code, full_scale = reference.dac(x, 8)
    for g in range(2):
        patches, positions = reference.conv1d_patches(code[..., 2 * g : 2 * g + 2], 3, 1, 1, (0, 0))
        rows = level[..., 3 * g : 3 * g + 3].transpose(1, 0, 2).reshape(6, 3)
        sums = sum(worth * reference.adc(patches @ d, 128, 2**-7) for worth, d in reference.pairs(rows, 4, 1))
        exact = (sums * scale.item() * full_scale).reshape(2, positions, 3)
        assert_same_codes(y[..., 3 * g : 3 * g + 3], exact)


@pytest.mark.parametrize("bits", [4, None])
def test_all_zero_weights_and_inputs_give_zero(bits):
    for w, x in ((0 * W, X), (W, 0 * X)):
        assert np.array_equal(run(product, w, x, ax.Array(weight_bits=bits)), np.zeros((3, 5)))


def test_cells_hold_the_slices():
    """Weight 5 of 7 levels is 101 in binary: slices 1, 0, 1 on the positive cell."""
    w = jnp.array([[5.0], [-3.0], [7.0]])
    hw = ax.Hardware(device=ax.VCM(programming="ideal"), array=ax.Array(weight_bits=4))
    chip = ax.program(jax.random.key(0), ax.place(product, hw)(w, jnp.ones((1, 3))), w)
    on = 1 - chip.tree.cells[..., 0]  # r is 1 in the high-resistance state
    np.testing.assert_array_equal(on[0], [[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    np.testing.assert_array_equal(on[1], [[0, 1, 0], [0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"rows": 0}, "Array.rows"),
        ({"cols": 1.5}, "Array.cols"),
        ({"weight_bits": 1}, "Array.weight_bits"),
        ({"weight_bits": 17}, "Array.weight_bits"),
        ({"cell_bits": 0}, "Array.cell_bits"),
        ({"scale": "row"}, "Array.scale"),
        ({"clip_sigma": 0.0}, "Array.clip_sigma"),
    ],
)
def test_bad_sizes(kwargs, field):
    with pytest.raises(ValueError, match=f"{field}: expected .*; got"):
        ax.Array(**kwargs)
