"""From Flax models to functions, and batch norms into the weights before them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import anaxon as ax
from anaxon.flax import fold_batch_norm, functional

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def norm_of(features, **kwargs):
    """A batch norm in evaluation mode, with statistics and affine parameters that are not trivial."""
    norm = nnx.BatchNorm(features, use_running_average=True, rngs=nnx.Rngs(0), **kwargs)
    norm.mean[...], norm.var[...] = normal(features), jnp.abs(normal(features)) + 0.1
    if norm.scale is not None:
        norm.scale[...] = normal(features)
    if norm.bias is not None:
        norm.bias[...] = normal(features)
    return norm


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_dense_layer_is_the_layer_and_its_norm(use_bias, affine):
    norm = norm_of(3, use_scale=affine, use_bias=affine)
    kernel, bias, x = normal(4, 3), normal(3) if use_bias else None, normal(5, 4)
    exact = norm(x @ kernel + (0 if bias is None else bias))
    kernel, bias = fold_batch_norm(kernel, bias, norm)
    np.testing.assert_allclose(x @ kernel + bias, exact, rtol=2e-5, atol=2e-5)


def test_a_folded_convolution():
    conv = nnx.Conv(2, 3, (3,), rngs=nnx.Rngs(0))
    norm, x = norm_of(3), normal(2, 6, 2)
    exact = norm(conv(x))
    kernel, bias = fold_batch_norm(conv.kernel[...], conv.bias[...], norm)
    conv.kernel[...], conv.bias[...] = kernel, bias
    np.testing.assert_allclose(conv(x), exact, rtol=2e-5, atol=2e-5)


def test_columns_along_the_first_axis():
    norm, kernel, x = norm_of(3), normal(3, 4), normal(4)
    folded, bias = fold_batch_norm(kernel, None, norm, column_axis=0)
    np.testing.assert_allclose(folded @ x + bias, norm((kernel @ x)[None])[0], rtol=2e-5, atol=2e-5)


def test_features_must_match():
    with pytest.raises(ValueError, match="the kernel has 4 features, the norm 3"):
        fold_batch_norm(normal(3, 4), None, norm_of(3))


def test_a_functional_model_is_pure_and_analog():
    """The statistics of a training-mode model move in a copy; its weights are the parameters."""
    model = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    fn, params = functional(model)
    x = normal(5, 2)
    assert np.array_equal(fn(params, x), fn(params, x))
    assert np.array_equal(model.layers[1].mean[...], jnp.zeros(3))
    doubled = jax.tree.map(lambda w: 2 * w, params)
    assert not np.array_equal(fn(doubled, x), fn(params, x))
    plan = ax.place(fn, ax.ideal())(params, x)
    assert [s.path for s in plan.sites] == ["layers/0/kernel"]
