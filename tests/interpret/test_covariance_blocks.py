"""Channels that know nothing of each other are followed apart: the same covariances as in one block."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.moments import low_rank
from anaxon.interpret.moments.covariance import Covariance

SIGMA = 0.03
LAYOUTS = {"channels last": ("NHWC", "HWIO", "NHWC"), "channels first": ("NCHW", "OIHW", "NCHW")}
CONVERTERS = {
    "none": {},
    "both": {"dac": ax.DAC(bits=4), "adc": ax.ADC(full_scale=1.2, step=0.05, steps=24)},
}


HARDWARE = ax.Hardware(device=ax.Gaussian(sigma=SIGMA), array=ax.Array(weight_bits=None))


def conv(x, w, layout, groups=1):
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=LAYOUTS[layout], feature_group_count=groups
    )


def pooled(x, layout):
    window = (1, 2, 2, 1) if layout == "channels last" else (1, 1, 2, 2)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4


def network(params, x, *, layout, groups, mixed):
    """`mixed` turns the channels over twice: nobody knows any more that they are apart."""
    turned = functools.partial(jnp.flip, axis=-1 if layout == "channels last" else 1)
    both = (lambda v: turned(turned(v))) if mixed else lambda v: v
    x = both(conv(x, params["first"], layout, groups))
    x = pooled(jax.nn.gelu(x) - 0.1, layout)
    x = conv(jnp.maximum(-2 * x, 0.05), params["second"], layout)
    if layout == "channels first":
        x = jnp.transpose(x, (0, 2, 3, 1))
    return jax.nn.relu(x).sum((1, 2)) @ params["dense"]


def problem(layout, groups):
    keys = jax.random.split(jax.random.key(4), 4)
    shapes = {"first": (3, 3, 2 // groups, 4), "second": (3, 3, 4, 3)}
    order = (0, 1, 2, 3) if layout == "channels last" else (3, 2, 0, 1)
    params = {n: jax.random.normal(k, s).transpose(order) for k, (n, s) in zip(keys, shapes.items(), strict=False)}
    params["dense"] = jax.random.normal(keys[2], (3, 2))
    x = jax.random.uniform(keys[3], (2, 6, 6, 2))
    return params, x if layout == "channels last" else x.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("layout", "groups", "converters"),
    [
        ("channels last", 2, "none"),
        pytest.param("channels last", 1, "both", marks=pytest.mark.slow),
        pytest.param("channels first", 1, "both", marks=pytest.mark.slow),
    ],
)
def test_blocks_are_those_of_the_whole(layout, groups, converters):
    params, x = problem(layout, groups)
    hardware = ax.Hardware(
        device=ax.Gaussian(sigma=SIGMA, read_sigma=0.01), array=ax.Array(weight_bits=None), **CONVERTERS[converters]
    )
    found = []
    for mixed in (False, True):
        fn = functools.partial(network, layout=layout, groups=groups, mixed=mixed)
        plan = ax.place(fn, hardware)(params, x)
        plan = ax.calibrate(fn)(jax.random.key(5), plan, params, x) if converters == "both" else plan
        found.append(ax.predict(fn)(plan, params, x))
    (mean, covariance), (mean_whole, whole) = found
    np.testing.assert_allclose(mean, mean_whole, rtol=1e-5, atol=1e-5)
    assert np.linalg.eigvalsh(np.asarray(whole, np.float64)).min() > 0
    np.testing.assert_allclose(covariance, whole, rtol=2e-4, atol=2e-5 * np.abs(whole).max())


def test_a_first_layers_channels_are_blocks():
    """So that what is tested above is not one block twice."""
    params, x = problem("channels last", 1)
    fn = lambda p, v: pooled(jax.nn.relu(conv(v, p["first"], "channels last")), "channels last")  # noqa: E731
    plan = ax.place(fn, HARDWARE)(params, x)
    covariance = ax.predict(fn)(plan, params, x)[1].reshape(2, 9, 4, 9, 4)
    apart = covariance * (1 - jnp.eye(4)[None, None, :, None, :])
    assert float(jnp.abs(covariance).max()) > 0
    np.testing.assert_array_equal(apart, 0)


def test_slices_and_back():
    """Blocks `[K, n, n]` of a value `[2, 3, 4]` along its axis 1, beside sums over its elements."""
    blocks = jax.random.normal(jax.random.key(0), (3, 8, 8))
    blocks = blocks @ jnp.swapaxes(blocks, 1, 2)
    value = Covariance(blocks, (2, 3, 4), 1)
    dense = np.zeros((2, 3, 4, 2, 3, 4))
    for k in range(3):
        dense[:, k, :, :, k, :] = np.asarray(blocks[k]).reshape(2, 4, 2, 4)
    np.testing.assert_array_equal(value.dense(), dense.astype(np.float32))
    np.testing.assert_array_equal(value.variance(), np.diagonal(dense.reshape(24, 24)).reshape(2, 3, 4).astype("f4"))
    summed = value.moved(lambda v: v.sum(0), (3, 4), 0)
    np.testing.assert_allclose(summed.dense(), dense.sum((0, 3)), rtol=1e-5)


def test_two_functions_of_one_convolution():
    """Branches that meet again: their covariance is not that of independent values."""
    params, x = problem("channels last", 1)
    plan_of = lambda fn: ax.place(fn, HARDWARE)(params, x)  # noqa: E731

    def branches(p, v, mixed=False):
        h = conv(v, p["first"], "channels last")
        h = jnp.flip(jnp.flip(h, -1), -1) if mixed else h
        return jnp.concatenate([(jax.nn.relu(h) + jnp.tanh(h)).sum((1, 2)), jnp.maximum(h, 0.1).mean((1, 2))], -1)

    fns = branches, functools.partial(branches, mixed=True)
    apart, whole = (ax.predict(fn)(plan_of(fn), params, x)[1] for fn in fns)
    np.testing.assert_allclose(apart, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())
    one = lambda key: ax.analog(branches)(key, ax.program(key, plan_of(branches), params), x)  # noqa: E731
    chips = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(jax.random.split(jax.random.key(2), 4000))
    sampled = np.var(np.asarray(chips, np.float64), 0, ddof=1)
    ours = np.diagonal(apart, axis1=1, axis2=2)
    np.testing.assert_allclose(ours, sampled, rtol=5 * (2 / 4000) ** 0.5)


def test_float64():
    """One layer's covariances to 1e-12: `sigma^2` of a pair times a product of patches."""
    with jax.enable_x64(True):
        key = jax.random.key(7)
        kernel, x = (
            jax.random.normal(key, (3, 3, 2, 2), jnp.float64),
            jax.random.uniform(key, (1, 5, 5, 2), jnp.float64),
        )
        fn = lambda p, v: conv(v, p, "channels last")  # noqa: E731
        ours = ax.predict(fn)(ax.place(fn, HARDWARE)(kernel, x), kernel, x)[1].reshape(25, 2, 25, 2)
        patches = jax.lax.conv_general_dilated_patches(
            x, (3, 3), (1, 1), "SAME", dimension_numbers=LAYOUTS["channels last"]
        )
        products = np.einsum("pn,qn->pq", *[np.asarray(patches).reshape(25, 18)] * 2)
        ratio = np.asarray(ours[:, 0, :, 0]) / products
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-12)
    np.testing.assert_allclose(ratio[0, 0], 2 * (SIGMA * np.abs(np.asarray(kernel)).max()) ** 2, rtol=1e-6)


@pytest.mark.parametrize("transform", [ax.predict, ax.linearised, low_rank])
def test_no_examples_side_by_side_are_refused(transform):
    with pytest.raises(ValueError, match="at_once: expected"):
        transform(lambda params, x: x @ params, at_once=0)
