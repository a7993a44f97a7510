"""`predict` where two values that vary meet: contractions, quotients, scatters, two slices of one weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax

KEYS = jax.random.split(jax.random.key(0), 3)
PARAMS = {"w": 0.5 * jax.random.normal(KEYS[0], (5, 12)), "v": 0.5 * jax.random.normal(KEYS[1], (5, 6))}
X = jax.random.normal(KEYS[2], (2, 5))


def placed(fn, sigma=0.1):
    hardware = ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None))
    return ax.place(fn, hardware)(PARAMS, X)


def of_one_layer(after, sigma=0.1, chips=20_000):
    """Predicted and sampled mean and covariance of `after(x @ w, x @ v)`, and the standard errors of the sampled ones.

    One layer's results are normal, of known covariance: they are drawn in float64.
    """
    fn = lambda p, x: after(x @ p["w"], x @ p["v"])  # noqa: E731
    mean, cov = ax.predict(fn)(placed(fn, sigma), PARAMS, X[:1])
    x, draw = np.asarray(X[0], np.float64), np.random.default_rng(0).normal
    spread = [2**0.5 * sigma * np.abs(np.asarray(p)).max() * np.linalg.norm(x) for p in PARAMS.values()]
    both = [
        x @ np.asarray(p) + s * draw(size=(chips, p.shape[1])) for p, s in zip(PARAMS.values(), spread, strict=True)
    ]
    found = np.asarray(jax.jit(after)(*map(jnp.float32, both)), np.float64).reshape(chips, -1)
    away = found - found.mean(0)
    sampled = np.cov(found.T)
    error = np.sqrt(np.einsum("ca,cb->ab", away**2, away**2) / chips - sampled**2) / chips**0.5
    apart = [np.asarray(mean[0]).ravel() - found.mean(0), np.asarray(cov[0]) - sampled]
    return apart, [np.sqrt(np.diag(sampled) / chips), error]


CONTRACTIONS = {
    "gram": lambda h, g: (lambda t: jnp.einsum("bik,bjk->bij", t, t))(h.reshape(-1, 4, 3)),
    "bilinear": lambda h, g: jnp.einsum("bik,bjk->bji", h.reshape(-1, 4, 3), g.reshape(-1, 2, 3)),
    "in batches": lambda h, g: jnp.einsum("bkji,bkj->bki", h.reshape(-1, 2, 3, 2), g.reshape(-1, 2, 3)),
    "linear attention": lambda h, g: jnp.einsum("bqd,bkd,bke->bqe", h[:, :4].reshape(-1, 2, 2),
                                                h[:, 4:8].reshape(-1, 2, 2), jnp.ones((1, 2, 2))),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["gram", *(pytest.param(n, marks=pytest.mark.slow) for n in CONTRACTIONS if n != "gram")]
)
def test_contractions_of_two_values_are_exact(name):
    for apart, error in zip(*of_one_layer(CONTRACTIONS[name]), strict=True):
        assert np.all(np.abs(apart) < 4.5 * error + 1e-6)


def test_a_quotient_of_two_values():
    for apart, error in zip(*of_one_layer(lambda h, g: h[:, :4] / (8 + g[:, :4]), 0.05), strict=True):
        assert np.all(np.abs(apart) < 4.5 * error + 1e-6)


@pytest.mark.parametrize("product_first", [True, False])
def test_a_product_is_still_a_function_of_its_factors(product_first):
    """Behind an axis that was moved, at the kinks of both functions, where only second orders tell."""
    centre = X[0] @ PARAMS["w"][:, :4]

    def meeting(h, g):
        a, b = h[:, :4] - centre, g[:, :4] + 4
        other = None if product_first else jnp.abs(a) * 1.0
        u = (jax.nn.relu(a) * b).reshape(-1, 2, 2).reshape(-1, 4)
        return u + (jnp.abs(a) if other is None else other.reshape(-1, 2, 2).reshape(-1, 4))

    (_, away), (_, error) = of_one_layer(meeting)
    sampled = error[np.diag_indices(4)] * (20_000 / 2) ** 0.5  # of a normal value; these have heavier tails
    assert np.all(np.abs(np.diag(away)) < 0.12 * sampled)


def test_a_denominator_near_zero_says_so():
    fn = lambda p, x: (x @ p["w"])[:, :4] / (0.5 + x @ p["v"])[:, :4]  # noqa: E731
    with pytest.raises(ValueError, match="div: its denominator varies.*comes to -.* of its value at the mean"):
        ax.predict(fn)(placed(fn), PARAMS, X)
    mean, cov = jax.jit(ax.predict(fn))(placed(fn), PARAMS, X)
    assert np.isnan(mean).any()  # nothing can be raised there
    assert np.isnan(np.diagonal(cov, axis1=1, axis2=2)[np.isnan(mean)]).all()
    for pole in (lambda p, x: 1 / (x @ p["w"]), lambda p, x: (x @ p["w"]) ** -3):
        with pytest.raises(ValueError, match="div: its denominator varies"):
            ax.predict(pole)(placed(pole), PARAMS, X)


def moved(h, g):
    """Scatters, slices and updates whose places are digital: linear in both values."""
    table = jnp.zeros((h.shape[0], 8)).at[:, jnp.array([1, 1, 5, 2, 0, 7])].add(g)
    table = jax.lax.dynamic_update_slice(table, h[:, :3], (0, jnp.int32(2)))
    table = table.at[:, 7].set(2 * h[:, 4]).at[:, jnp.array([0, 3])].add(-h[:, 5:7])
    return jax.lax.dynamic_slice(table, (0, jnp.int32(1)), (h.shape[0], 7))


def test_scatters_and_updates_are_linear():
    fn = lambda p, x: moved(x @ p["w"], x @ p["v"])  # noqa: E731
    plain = lambda p, x: jnp.concatenate([x @ p["w"], x @ p["v"]], 1)  # noqa: E731
    mean, cov = ax.predict(fn)(placed(fn), PARAMS, X)
    inner = ax.predict(plain)(placed(plain), PARAMS, X)
    matrix = jax.jacobian(lambda y: moved(y[None, :12], y[None, 12:])[0])(inner[0][0])
    np.testing.assert_allclose(mean, inner[0] @ matrix.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cov, matrix @ inner[1] @ matrix.T, rtol=1e-4, atol=1e-6)


def test_two_slices_of_a_weight_are_different_cells():
    whole = lambda p, x: (lambda h: h[:, :5].sum(1) * h[:, 5:].sum(1))(x @ p["w"])  # noqa: E731
    apart = lambda p, x: (x @ p["w"][:, :5]).sum(1) * (x @ p["w"].T[5:].T).sum(1)  # noqa: E731
    for ours, other in zip(*(ax.predict(f)(placed(f), PARAMS, X) for f in (whole, apart)), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-6)
    overlapping = lambda p, x: (x @ p["w"][:, :6]).sum(1) * (x @ p["w"].T[5:].T).sum(1)  # noqa: E731
    with pytest.raises(TypeError, match="w: read a second time"):
        ax.predict(overlapping)(placed(overlapping), PARAMS, X)


def plain(params, x):
    return x @ params["w"]


@pytest.mark.parametrize("transform", [ax.predict, ax.linearised])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p, x: (p, jnp.float32(1.0)), r"inputs\[0\]: expected a leading axis of examples; got a single number"),
        (lambda p, x: (p, x, {"t": x[:1]}), r"inputs\[1\]\['t'\]: expected 2 examples as in inputs\[0\]"),
        (lambda p, x: (p,), "inputs: expected at least one array"),
        (lambda p, x: (p, x.at[0, 0].set(jnp.nan)), r"inputs\[0\]: expected finite numbers"),
        (lambda p, x: (dict(p, b=jnp.full(3, jnp.inf)), x), "b: expected finite numbers"),
    ],
)
def test_arguments_that_cannot_be_followed(transform, change, says):
    fn = lambda p, x, extra=None: x @ p["w"] + jnp.sum(p.get("b", jnp.zeros(1)))  # noqa: E731
    params, *inputs = change(PARAMS, X)
    hardware = ax.Hardware(device=ax.Gaussian(), array=ax.Array(weight_bits=None))
    plan = ax.place(fn, {"w": hardware})(params, X)
    with pytest.raises(ValueError, match=says):
        transform(fn)(plan, params, *inputs)
