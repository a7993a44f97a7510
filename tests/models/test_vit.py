import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anaxon.flax import functional
from anaxon.interpret import paths
from anaxon.models.vit import PictureSizes, PictureTransformer

SIZES = PictureSizes(width=6, heads=2, blocks=2, feed_forward=5, patch=14)


@pytest.fixture(scope="module")
def network():
    """Numbers drawn here: the initialisers would be compiled one by one."""
    rng = np.random.default_rng(0)
    model = nnx.eval_shape(lambda: PictureTransformer(SIZES, 3, rngs=nnx.Rngs(0)))
    graphdef, shapes = nnx.split(model)
    drawn = jax.tree.map(lambda w: jnp.asarray(rng.normal(0, 0.4, w.shape), w.dtype), shapes)
    return functional(nnx.merge(graphdef, drawn))


def norm(x, p):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def by_hand(p, picture):
    """The equations in float64, one picture."""
    half = SIZES.patch
    corners = [(i, j) for i in (0, half) for j in (0, half)]
    patches = np.stack([picture[i : i + half, j : j + half].reshape(-1) for i, j in corners])
    x = patches @ p["embed"]["kernel"].reshape(half * half, -1) + p["embed"]["bias"] + p["positions"]
    for b in p["blocks"].values():
        a, y = b["attention"], norm(x, b["attention_norm"])
        heads = []
        for h in range(SIZES.heads):
            q, k, v = (y @ a[n]["kernel"][:, h] + a[n]["bias"][h] for n in ("query", "key", "value"))
            scores = np.exp(q @ k.T / np.sqrt(q.shape[1]))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v @ a["out"]["kernel"][h])
        x = x + sum(heads) + a["out"]["bias"]
        y = dense(norm(x, b["norm"]), b["up"])
        x = x + dense(0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))), b["down"])
    return dense(norm(x, p["norm"]).mean(0), p["dense"])


def test_equals_its_equations_in_float64(network):
    fn, params = network
    pictures = np.random.default_rng(1).uniform(size=(2, 28, 28))
    exact = jax.tree.map(lambda a: np.asarray(a, np.float64), nnx.to_pure_dict(params))
    found = jax.jit(fn)(params, jnp.asarray(pictures, jnp.float32))
    np.testing.assert_allclose(found, [by_hand(exact, x) for x in pictures], atol=2e-5)


def test_attention_functions_are_one_a_block_and_part_of_the_model():
    class Scaled(nnx.Module):
        def __init__(self):
            self.threshold = nnx.Param(jnp.zeros(()))

        def __call__(self, query, key, value, **options):
            return self.threshold[...] * nnx.dot_product_attention(query, key, value, **options)

    model = nnx.eval_shape(lambda: PictureTransformer(SIZES, attention_fns=lambda _: Scaled(), rngs=nnx.Rngs(0)))
    names, _, _ = paths.flatten(nnx.state(model, nnx.Param))
    assert [n for n in names if n.endswith("threshold")] == [
        f"blocks/{i}/attention/attention_fn/threshold" for i in range(2)
    ]


@pytest.mark.parametrize(
    ("values", "says"),
    [({"patch": 5}, "model.patch: expected a divisor of 28"), ({"heads": 3}, "model.heads"), ({"width": 0}, "width")],
)
def test_wrong_sizes_are_named(values, says):
    with pytest.raises(ValueError, match=says):
        PictureSizes(**values)
