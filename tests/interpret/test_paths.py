"""Names of weights: rules and random bits depend on them, so they may not depend on a library's version."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from anaxon.flax import functional
from anaxon.interpret import paths


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.cell = nnx.RNN(nnx.LSTMCell(2, 3, rngs=rngs), rngs=rngs)
        self.value = nnx.Linear(3, 3, use_bias=False, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(3, 3, use_bias=False, rngs=rngs) for _ in range(2)])
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, x):
        return self.first(x)


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3, name="first")(x)
        return nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, None)), name="second")(x)


class EqxBlock(eqx.Module):
    first: eqx.nn.Linear
    value: eqx.nn.Linear
    layers: list
    scale: jax.Array

    def __init__(self, key):
        self.first, self.value = eqx.nn.Linear(2, 3, key=key), eqx.nn.Linear(3, 3, use_bias=False, key=key)
        self.layers = [eqx.nn.Linear(3, 3, use_bias=False, key=key) for _ in range(2)]
        self.scale = jnp.ones(())


def nnx_params():
    return nnx.split(nnx.eval_shape(lambda: NnxBlock(nnx.Rngs(0))), nnx.Param, ...)[1]


def linen_params():
    return jax.eval_shape(LinenBlock().init, jax.random.key(0), jnp.ones((1, 2)))


def equinox_params():
    shapes = eqx.filter_eval_shape(EqxBlock, jax.random.key(0))
    return eqx.filter(shapes, lambda x: isinstance(x, jax.ShapeDtypeStruct))


CELL = [f"cell/cell/{g}/{w}" for g in ("hf", "hg", "hi", "ho") for w in ("bias", "kernel")] + [
    f"cell/cell/{g}/kernel" for g in ("if_", "ig", "ii", "io")
]
GOLDEN = {
    "nnx": (
        nnx_params,
        [*CELL, "first/bias", "first/kernel", "layers/0/kernel", "layers/1/kernel", "scale", "value/kernel"],
    ),
    "linen": (linen_params, ["first/bias", "first/kernel", "second/bias", "second/kernel"]),
    "equinox": (
        equinox_params,
        ["first/bias", "first/weight", "layers/0/weight", "layers/1/weight", "scale", "value/weight"],
    ),
    "jnp": (lambda: {"a": [jnp.ones(1), (jnp.ones(1),)], "params": jnp.ones(1)}, ["a/0", "a/1/0", "params"]),
    "bare": (lambda: jnp.ones(1), ["weight"]),
}


@pytest.mark.parametrize("library", GOLDEN)
def test_names(library):
    make, names = GOLDEN[library]
    assert sorted(paths.flatten(make())[0]) == names


def test_a_functional_model_has_the_same_names():
    _, params = functional(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    assert sorted(paths.flatten(params)[0]) == ["bias", "kernel"]
    assert sorted(paths.flatten(nnx.to_pure_dict(params))[0]) == ["bias", "kernel"]


def test_two_leaves_of_one_name():
    with pytest.raises(ValueError, match="params: two leaves are called 'a/b'; names must differ"):
        paths.flatten({"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}})
