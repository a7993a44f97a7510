"""Convolutions as products of windows with an unrolled kernel: every way that a window moves."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import anaxon as ax
from anaxon.interpret.product import product_of

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
EXACT = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(rows=5, weight_bits=None))
LINE, PLANE = ("NWC", "WIO", "NWC"), ("NHWC", "HWIO", "NHWC")
CASES = {  # shape of the input, of the kernel, and how it is convolved
    "line": ((2, 11, 3), (4, 3, 5), {"strides": (1,), "padding": [(2, 1)], "layout": LINE}),
    "strides": ((2, 11, 3), (4, 3, 5), {"strides": (3,), "padding": [(0, 2)], "layout": LINE}),
    "dilated": ((2, 11, 3), (3, 3, 5), {"strides": (2,), "padding": [(2, 3)], "rhs_dilation": (2,), "layout": LINE}),
    "transposed": ((2, 5, 3), (4, 3, 5), {"strides": (1,), "padding": [(3, 2)], "lhs_dilation": (3,), "layout": LINE}),
    "cut": ((2, 9, 3), (3, 3, 5), {"strides": (1,), "padding": [(-2, -1)], "lhs_dilation": (2,), "layout": LINE}),
    "groups": ((2, 11, 6), (3, 2, 9), {"strides": (2,), "padding": [(1, 1)], "groups": 3, "layout": LINE}),
    "depthwise": ((2, 11, 6), (3, 1, 6), {"strides": (1,), "padding": [(1, 1)], "groups": 6, "layout": LINE}),
    "plane": (
        (2, 7, 8, 3),
        (3, 2, 3, 5),
        {"strides": (2, 1), "padding": [(1, 1), (0, 1)], "rhs_dilation": (1, 3), "layout": PLANE},
    ),
    "plane, all at once": (
        (2, 4, 5, 4),
        (2, 3, 2, 6),
        {
            "strides": (2, 3),
            "padding": [(1, 2), (3, -1)],
            "lhs_dilation": (2, 3),
            "rhs_dilation": (3, 1),
            "groups": 2,
            "layout": PLANE,
        },
    ),
    "channels first": (
        (2, 3, 7, 8),
        (5, 3, 2, 3),
        {"strides": (1, 2), "padding": "SAME", "layout": ("NCHW", "OIHW", "NHWC")},
    ),
    "space": (
        (1, 3, 4, 3, 2),
        (2, 2, 2, 2, 3),
        {"strides": (1, 2, 1), "padding": "VALID", "layout": ("NDHWC", "DHWIO", "NDHWC")},
    ),
}


def data(*shape):
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


def convolution(strides, padding, layout, lhs_dilation=None, rhs_dilation=None, groups=1):
    def conv(w, x):
        return lax.conv_general_dilated(
            x,
            w,
            strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers=layout,
            feature_group_count=groups,
            precision="highest",
        )

    return conv


def reference(product, x, w, out_shape):
    """A loop over outputs and taps in float64, channels last."""
    p, spec = product.params, product.params["dimension_numbers"]
    x = np.transpose(np.asarray(x, np.float64), spec.lhs_spec)
    w = np.transpose(np.asarray(w, np.float64), spec.rhs_spec)
    outs, ins, *window = w.shape
    batch, _, *positions = (out_shape[a] for a in spec.out_spec)
    y, per_group = np.zeros((batch, outs, *positions)), outs // p["feature_group_count"]
    for at in np.ndindex(*positions):
        for tap in np.ndindex(*window):
            source = []
            for d, (i, k) in enumerate(zip(at, tap, strict=True)):
                place = i * p["window_strides"][d] + k * p["rhs_dilation"][d] - p["padding"][d][0]
                inside = place % p["lhs_dilation"][d] == 0 and 0 <= place // p["lhs_dilation"][d] < x.shape[2 + d]
                source.append(place // p["lhs_dilation"][d] if inside else None)
            if None in source:
                continue
            for o in range(outs):
                first = o // per_group * ins
                y[(slice(None), o, *at)] += (
                    x[(slice(None), slice(first, first + ins), *source)] @ w[(o, slice(None), *tap)]
                )
    return np.transpose(y, np.argsort(spec.out_spec))


@pytest.mark.parametrize("name", CASES)
def test_windows_times_the_kernel_are_the_convolution(name):
    x_shape, w_shape, how = CASES[name]
    x, w, fn = data(*x_shape), data(*w_shape), convolution(**how)
    chip = ax.program(KEY, ax.place(fn, EXACT)(w, x), w)
    y, digital = jax.jit(ax.analog(fn))(KEY, chip, x), jax.jit(fn)(w, x)
    product = product_of(jax.make_jaxpr(lambda x, w: fn(w, x))(x, w).eqns[-1], 1)
    assert y.shape == digital.shape and prod(y.shape) > 0
    np.testing.assert_allclose(y, reference(product, x, w, y.shape), atol=1e-5)
    np.testing.assert_allclose(y, digital, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_windows_hold_the_inputs_bit_for_bit(name):
    """They are gathered: `conv_general_dilated_patches` multiplies by an identity, exact in full precision only."""
    x_shape, w_shape, how = CASES[name]
    x, w, fn = data(*x_shape), data(*w_shape), convolution(**how)
    product = product_of(jax.make_jaxpr(lambda x, w: fn(w, x))(x, w).eqns[-1], 1)
    p, spec = product.params, product.params["dimension_numbers"]
    window = [w_shape[a] for a in spec.rhs_spec[2:]]
    patches = lax.conv_general_dilated_patches(
        jnp.transpose(x, spec.lhs_spec), window, p["window_strides"], p["padding"], p["lhs_dilation"],
        p["rhs_dilation"], precision=lax.Precision.HIGHEST)  # fmt: skip
    found = jax.jit(product.operand)(x)
    groups, vectors, rows, _ = product.sizes
    assert found.shape == (groups, vectors, rows)
    split = patches.reshape(patches.shape[0], groups, rows, -1)  # [batch, group, row, position]
    np.testing.assert_array_equal(found, jnp.transpose(split, (1, 0, 3, 2)).reshape(found.shape))


@pytest.mark.parametrize("name", CASES)
def test_inputs_are_encoded_as_their_windows_would_be(name):
    """By the largest value that any window holds: what strides or edges leave out sets no range."""
    x_shape, w_shape, how = CASES[name]
    x, w, fn = data(*x_shape), data(*w_shape), convolution(**how)
    product = product_of(jax.make_jaxpr(lambda x, w: fn(w, x))(x, w).eqns[-1], 1)
    used = jax.grad(lambda x: product.operand(x).sum())(x) != 0
    x = jnp.where(used, x, 40.0)
    dac = ax.DAC(bits=4)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(rows=5, weight_bits=None), dac=dac)
    found = jax.jit(ax.analog(fn))(KEY, ax.program(KEY, ax.place(fn, hw)(w, x), w), x)
    scale = jnp.abs(product.operand(x)).max()
    assert float(scale) <= 1.0
    np.testing.assert_allclose(found, fn(w, scale * dac.encode(x, scale)), atol=1e-5)


@pytest.mark.slow
def test_some_case_leaves_inputs_out():
    left_out = []
    for name, (x_shape, w_shape, how) in CASES.items():
        x, w, fn = data(*x_shape), data(*w_shape), convolution(**how)
        product = product_of(jax.make_jaxpr(lambda x, w, fn=fn: fn(w, x))(x, w).eqns[-1], 1)
        left_out += [name] * bool(jnp.any(jax.grad(lambda x, p=product: p.operand(x).sum())(x) == 0))
    assert len(left_out) >= 2, left_out
