"""Every layer that `analog` must run, as `(fn, params, inputs)`: one table for all tests."""

from functools import partial

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from anaxon.flax import functional

BATCH, IN = 2, 6


def data(*shape, seed=0):
    """Inputs in (-1, 1)."""
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


def filled(shapes, low=-0.7):
    """Numbers for shapes: initialisers would be compiled one by one, which costs more than all the rest."""
    rng = np.random.default_rng(1)

    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return jnp.asarray(rng.uniform(low, 0.7, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes)


def rngs():
    return nnx.Rngs(0)


def model_of(make):
    """An NNX model with positive statistics."""
    graphdef, params, rest = nnx.split(nnx.eval_shape(make), nnx.Param, ...)
    return nnx.merge(graphdef, filled(params), filled(rest, low=0.1))


def _nnx(make, *shape):
    def build():
        model = model_of(make)
        model.eval()
        fn, params = functional(model)
        return fn, params, (data(*shape),)

    return build


def _attention():
    attention = partial(nnx.MultiHeadAttention, num_heads=2, in_features=4, qkv_features=4, decode=False)
    model = model_of(lambda: attention(rngs=rngs()))
    fn, params = functional(model)
    return lambda p, x: fn(p, x, x, x), params, (data(BATCH, 3, 4),)


class _Normed(nnx.Module):
    """BatchNorm, LayerNorm and Dropout around two products."""

    def __init__(self):
        self.first, self.second = nnx.Linear(IN, 4, rngs=rngs()), nnx.Linear(4, 3, rngs=rngs())
        self.batch, self.layer = nnx.BatchNorm(4, rngs=rngs()), nnx.LayerNorm(4, rngs=rngs())
        self.drop = nnx.Dropout(0.5, rngs=rngs())

    def __call__(self, x):
        return self.second(self.layer(self.drop(jax.nn.relu(self.batch(self.first(x))))))


def _training():
    """Dropout draws and batch statistics move; the new state is part of the result."""
    model = model_of(_Normed)
    model.train()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def fn(params, x):
        model = nnx.merge(graphdef, params, rest, copy=True)
        return model(x), nnx.state(model, nnx.BatchStat)

    return fn, params, (data(BATCH, IN),)


def _nnx_scan(remat=False):
    make = nnx.vmap(lambda key: nnx.Linear(4, 4, rngs=nnx.Rngs(key)), in_axes=0, out_axes=0)
    model = nnx.eval_shape(lambda: make(jax.random.split(jax.random.key(0), 3)))
    graphdef, shapes = nnx.split(model)
    params = filled(shapes)

    def fn(params, x):
        def layer(x, linear):
            return jnp.tanh(linear(x)), None

        body = nnx.remat(layer) if remat else layer
        return nnx.scan(body, in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))(x, nnx.merge(graphdef, params))[0]

    return fn, params, (data(BATCH, 4),)


def _stacked_params():
    return {"w": data(3, 4, 4, seed=3), "b": 0.3 * data(3, 4, seed=4)}


def _lax_scan(wrap=lambda f: f):
    def fn(p, x):
        step = wrap(lambda x, p: (jnp.tanh(x @ p["w"] + p["b"]), None))
        return lax.scan(step, x, p)[0]

    return fn, _stacked_params(), (data(BATCH, 4),)


def _batched():
    return lambda p, x: jax.vmap(lambda w, b, x: x @ w + b)(p["w"], p["b"], x), _stacked_params(), (data(3, BATCH, 4),)


def _linen(module, *shape):
    def build():
        x = data(*shape)
        params = filled(jax.eval_shape(module.init, jax.random.key(0), x))
        return lambda p, x: module.apply(p, x), params, (x,)

    return build


def _equinox(make, *shape):
    def build():
        shapes, static = eqx.partition(
            eqx.filter_eval_shape(make, jax.random.key(0)), lambda x: isinstance(x, jax.ShapeDtypeStruct)
        )
        params = filled(shapes)
        return lambda p, x: eqx.combine(p, static)(x), params, (data(*shape),)

    return build


def _equinox_lstm():
    shapes = eqx.filter_eval_shape(lambda key: eqx.nn.LSTMCell(3, 4, key=key), jax.random.key(0))
    shapes, static = eqx.partition(shapes, lambda x: isinstance(x, jax.ShapeDtypeStruct))
    params = filled(shapes)

    def fn(p, xs):
        cell = eqx.combine(p, static)
        zeros = jnp.zeros(4)
        return lax.scan(lambda s, x: (cell(x, s), None), (zeros, zeros), xs)[0]

    return fn, params, (data(5, 3),)


def _jnp(fn, w, *shape):
    return lambda: (lambda p, x: fn(p["w"], x), {"w": data(*w, seed=1)}, (data(*shape),))


CONVS = {
    "1d": (lambda: nnx.Conv(2, 3, (3,), rngs=rngs()), (BATCH, 6, 2)),
    "2d": (lambda: nnx.Conv(2, 3, (3, 2), strides=(2, 1), padding="VALID", rngs=rngs()), (BATCH, 6, 5, 2)),
    "3d": (lambda: nnx.Conv(2, 3, (2, 2, 2), rngs=rngs()), (1, 3, 3, 4, 2)),
    "dilated": (lambda: nnx.Conv(2, 3, (3,), kernel_dilation=2, rngs=rngs()), (BATCH, 6, 2)),
    "padded": (lambda: nnx.Conv(2, 3, (3,), padding=((2, 1),), use_bias=False, rngs=rngs()), (BATCH, 6, 2)),
    "causal": (lambda: nnx.Conv(2, 3, (3,), padding="CAUSAL", rngs=rngs()), (BATCH, 6, 2)),
    "groups": (lambda: nnx.Conv(4, 6, (3,), feature_group_count=2, rngs=rngs()), (BATCH, 6, 4)),
    "depthwise": (lambda: nnx.Conv(4, 8, (3, 3), feature_group_count=4, rngs=rngs()), (BATCH, 4, 4, 4)),
    "transposed": (lambda: nnx.ConvTranspose(2, 3, (3,), strides=2, rngs=rngs()), (BATCH, 4, 2)),
}
CELLS = {c.__name__: c for c in (nnx.SimpleCell, nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell)}

LAYERS = {
    "nnx Linear": _nnx(lambda: nnx.Linear(IN, 4, rngs=rngs()), BATCH, IN),
    "nnx Linear bfloat16": _nnx(lambda: nnx.Linear(IN, 4, dtype=jnp.bfloat16, rngs=rngs()), BATCH, IN),
    "nnx LinearGeneral": _nnx(lambda: nnx.LinearGeneral((2, 3), (2, 2), axis=(-2, -1), rngs=rngs()), BATCH, 2, 3),
    "nnx LinearGeneral batch": _nnx(lambda: nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=rngs()), 2, BATCH, 3),
    "nnx Einsum": _nnx(lambda: nnx.Einsum("bti,hik->bthk", (2, IN, 3), (2, 3), rngs=rngs()), BATCH, 3, IN),
    **{f"nnx Conv {name}": _nnx(make, *shape) for name, (make, shape) in CONVS.items()},
    "nnx MultiHeadAttention": _attention,
    **{f"nnx {n}": _nnx(lambda c=c: nnx.RNN(c(3, 4, rngs=rngs()), rngs=rngs()), BATCH, 4, 3) for n, c in CELLS.items()},
    "nnx norms": _nnx(_Normed, BATCH, IN),
    "nnx norms training": _training,
    "nnx scan": _nnx_scan,
    "nnx scan remat": lambda: _nnx_scan(remat=True),
    "lax scan": _lax_scan,
    "lax scan remat": lambda: _lax_scan(jax.checkpoint),
    "vmap over stack": _batched,
    "linen Dense": _linen(nn.Dense(4), BATCH, IN),
    "linen Conv": _linen(nn.Conv(3, (3,)), BATCH, 6, 2),
    "linen OptimizedLSTM": _linen(nn.RNN(nn.OptimizedLSTMCell(4)), BATCH, 4, 3),
    "equinox W @ x": _equinox(lambda k: eqx.nn.Linear(IN, 4, key=k), IN),
    "equinox MLP": _equinox(lambda k: eqx.nn.MLP(IN, 3, 5, 2, activation=jnp.tanh, key=k), IN),
    "equinox Conv": _equinox(lambda k: eqx.nn.Conv2d(2, 3, 3, key=k), 2, 5, 5),
    "equinox LSTMCell": _equinox_lstm,
    "jnp x @ W": _jnp(lambda w, x: x @ w, (IN, 4), BATCH, IN),
    "jnp W @ x": _jnp(lambda w, x: w @ x, (4, IN), IN, BATCH),
    "jnp x @ w": _jnp(lambda w, x: x @ w, (IN,), BATCH, IN),
    "jnp W.T": _jnp(lambda w, x: x @ w.T, (4, IN), BATCH, IN),
    "jnp einsum": _jnp(lambda w, x: jnp.einsum("oi,bti->tob", w, x), (4, IN), BATCH, 3, IN),
    "jnp two contracted": _jnp(lambda w, x: jnp.einsum("ijk,bij->bk", w, x), (2, 3, 4), BATCH, 2, 3),
    "jnp batch dims": _jnp(lambda w, x: jnp.einsum("hio,bhi->hbo", w, x), (2, 3, 4), BATCH, 2, 3),
    "jnp weight left": _jnp(lambda w, x: jnp.einsum("ghoi,gbi->gbho", w, x), (2, 2, 4, 3), 2, BATCH, 3),
    "jnp reshaped": _jnp(lambda w, x: x @ w.reshape(IN, 4), (2, 3, 4), BATCH, IN),
    "jnp sliced": _jnp(lambda w, x: x @ w[:, 1:4], (IN, 5), BATCH, IN),
}
