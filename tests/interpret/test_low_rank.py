"""`low_rank` against `predict`, whose covariances it sketches, and against the error that it states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.moments import ledger, low_rank, register, sketch
from anaxon.interpret.moments.low_rank_ledger import LowRankLedger
from anaxon.interpret.moments.rules import RULES
from anaxon.normal import function_moments

NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolved(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS)


def skipping(params, x):
    """A convolution, and a residual block whose skip is most of its result."""
    h = jax.nn.relu(convolved(x, params["a"]))
    h = h + 0.3 * jax.nn.gelu(convolved(h, params["b"]))
    return h.mean((1, 2)) @ params["c"]


def drawn(shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    scaled = lambda k, s: jax.random.normal(k, s) / np.prod(s[:-1]) ** 0.5  # noqa: E731
    return {n: scaled(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}


PARAMS = drawn({"a": (3, 3, 1, 4), "b": (3, 3, 4, 4), "c": (4, 3)})
X = jax.random.normal(jax.random.key(9), (2, 6, 6, 1))


def placed(fn=skipping, params=PARAMS, x=X, sigma=0.03, **kwargs):
    return ax.place(fn, ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None), **kwargs))(
        params, x
    )


def variances(covariance):
    return np.diagonal(np.asarray(covariance), axis1=1, axis2=2)


@pytest.fixture(scope="module")
def sketches():
    """Many sketches of a low rank, and the full moments."""
    return low_rank(skipping, 16, 32)(jax.random.key(1), placed(), PARAMS, X), ax.predict(skipping)(placed(), PARAMS, X)


@pytest.mark.slow
def test_sketches_are_right_on_average(sketches):
    found, (mean, covariance) = sketches
    error = np.maximum(np.asarray(found.error), 1e-4 * variances(covariance))
    assert np.max(np.abs(found.variance - variances(covariance)) / error) < 4
    np.testing.assert_allclose(found.mean, mean, atol=0.02 * float(np.sqrt(variances(covariance).max())))
    each = np.einsum("kbrn,kbrm->kbnm", found.factors, found.factors)
    away = np.abs(each.mean(0) - covariance) / (each.std(0, ddof=1) / 32**0.5)
    assert np.max(np.where(np.eye(3), 0, away)) < 4


@pytest.mark.slow
def test_the_stated_error_covers(sketches):
    """Groups of four sketches: their deviations are as large as they state, for the mean over results."""
    found, (_, covariance) = sketches
    total = np.asarray(found.variances).mean(2).reshape(8, 4, -1)  # [groups, of four, batch]
    away = total.mean(1) - variances(covariance).mean(1)
    stated = total.std(1, ddof=1) / 2
    ratio = (away**2).sum() / (stated**2).sum()  # 16 deviations over 48 degrees of freedom
    assert 0.3 < ratio < 2.6
    assert np.mean(np.abs(away) < 3.18 * stated) > 0.8  # 95 % of the t distribution


def test_a_rank_that_holds_everything_is_exact():
    """Dense layers of few cells: every source has its own row. A skip knows what it skips."""
    params = drawn({"a": (5, 4), "b": (4, 4)})
    fn = lambda p, x: (lambda h: h + h @ p["b"])(x @ p["a"])  # noqa: E731
    x = X[:, :5, 0, 0]
    plan = placed(fn, params, x)
    found, (mean, covariance) = low_rank(fn, 16, 2)(jax.random.key(1), plan, params, x), ax.predict(fn)(plan, params, x)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.covariance(), covariance, rtol=1e-4, atol=1e-7)
    assert np.max(found.error / found.variance) < 1e-5


@pytest.mark.slow
def test_converters_and_noise_of_reads():
    hw = ax.Hardware(
        device=ax.Gaussian(sigma=0.03, read_sigma=0.02),
        array=ax.Array(rows=20, weight_bits=4, cell_bits=2),
        dac=ax.DAC(bits=6),
        adc=ax.ADC(full_scale=1.5, step=0.05, steps=30),
    )
    fn = lambda p, x: convolved(jax.nn.relu(convolved(x, p["a"])), p["b"])[:, 2:4, 2:4].mean((1, 2))  # noqa: E731
    x = X[:, :4, :4]
    plan = ax.calibrate(fn)(jax.random.key(3), ax.place(fn, hw)(PARAMS, x), PARAMS, x)
    found = low_rank(fn, 32, 16)(jax.random.key(1), plan, PARAMS, x)
    full = variances(ax.predict(fn)(plan, PARAMS, x)[1])
    assert np.max(np.abs(found.variance - full) / np.maximum(found.error, 1e-3 * full)) < 4.5
    assert np.max(found.error / full) < 0.1


def a_base(rank=2048):
    """A value of known covariance in a ledger of low rank."""
    root = jax.random.normal(jax.random.key(0), (3, 4)) / 2
    book = LowRankLedger(jax.random.key(2), rank)
    mean = jnp.asarray([0.2, -0.3, 0.5, 0.0])
    return book, book.hold(mean, book.joined(jnp.zeros((0, 4)), root), (root**2).sum(0)), root.T @ root


def test_functions_of_one_base_depend_on_each_other_as_they_should():
    """Exact at one variable; to second order between variables, of many random products."""
    f, g = lambda x: jnp.sin(4 * x), lambda x: jnp.sin(4 * x) + jax.nn.relu(x)  # mostly of high orders

    @jax.jit
    def both():
        book, base, gamma = a_base()
        moments = lambda *fns: function_moments(  # noqa: E731
            lambda x: tuple(f(x) for f in fns), base.mean, book.variance(base)
        )
        one, two = (book.apply(base, h, moments(h), "here") for h in (f, g))
        return book.covariance(one, two), book.covariance(one), moments(f, g), gamma

    cross, own, exact, gamma = both()
    d = exact.slopes
    expected = d[0, 0][:, None] * d[0, 1] * gamma + d[1, 0][:, None] * d[1, 1] * gamma**2 / 2
    expected = np.where(np.eye(4), np.diag(exact.covariance[0, 1]), expected)
    np.testing.assert_allclose(cross, expected, atol=0.05 * np.abs(expected).max())
    np.testing.assert_allclose(np.diag(own), exact.covariance[0, 0], rtol=1e-5)


def test_products_of_values():
    """Isserlis, with many random pairs."""
    book, base, gamma = a_base()
    m, g = np.asarray(base.mean), np.asarray(gamma)
    moved = book.derive(base.mean[::-1], [base], [lambda v: v[::-1]], "here")
    found = book.multiply(base, moved, "here")
    n, xy, yy = m[::-1], g[:, ::-1], g[::-1, ::-1]
    outer = lambda a, b: a[:, None] * b[None]  # noqa: E731
    exact = outer(m, m) * yy + outer(n, n) * g + outer(m, n) * xy.T + outer(n, m) * xy + g * yy + xy * xy.T
    np.testing.assert_allclose(found.mean, m * n + np.diag(xy), rtol=1e-5)
    np.testing.assert_allclose(book.variance(found), np.diag(exact), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(book.covariance(found), exact, atol=0.1 * np.abs(exact).max())


def test_mixing_keeps_products_on_average_and_strong_directions_always():
    z = np.asarray(jax.random.normal(jax.random.key(0), (40, 30))) * 0.95 ** np.arange(40)[:, None]
    gram = jnp.asarray(z @ z.T)
    once = lambda seed: sketch.mixed(sketch.mixing(seed, gram, 20), jnp.asarray(z))  # noqa: E731
    rows = np.asarray(jax.jit(jax.vmap(once))(jnp.stack(sketch.seeds(jax.random.key(1), 1000))))
    found = np.einsum("krn,krm->knm", rows, rows)
    exact = z.T @ z
    assert np.max(np.abs(found.mean(0) - exact) / np.maximum(found.std(0) / 1000**0.5, 1e-5 * exact.max())) < 5
    assert np.linalg.norm(found[0] - exact) < 0.2 * np.linalg.norm(exact)


def test_signs_are_uncorrelated():
    """From place to place, from seed to seed, and in blocks as long as rows of an image."""
    drawn = np.stack([sketch.signs(s, (4096,), jnp.float32) for s in sketch.seeds(jax.random.key(0), 64)])
    worst = lambda products: np.max(np.abs(products.mean(-1)) * products.shape[-1] ** 0.5)  # noqa: E731
    assert worst(drawn) < 4.5 and worst(drawn[:-1] * drawn[1:]) < 4.5
    assert all(worst(drawn[:, lag:] * drawn[:, :-lag]) < 4.5 for lag in (1, 2, 28, 64, 784))
    assert worst(drawn[:, :-29] * drawn[:, 1:-28] * drawn[:, 28:-1] * drawn[:, 29:]) < 4.5


def test_what_only_moves_is_told_from_what_adds():
    told = lambda fn: sketch.moves(fn, (2, 3), jnp.float32)  # noqa: E731
    by = jnp.arange(3.0)
    assert all(map(told, (lambda v: v.T, lambda v: -2 * v[None], lambda v: v * by, lambda v: jnp.pad(v, 1)[1:])))
    adds = (lambda v: v + v[::-1], lambda v: v.sum(0), lambda v: jnp.broadcast_to(v, (4, 2, 3)),
            lambda v: jnp.concatenate([v, v]), lambda v: v[:1] * jnp.ones((2, 3)))  # fmt: skip
    assert not any(map(told, adds))


def largest(jaxpr):
    """The most elements of any intermediate."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    sizes = [0]
    for eqn in jaxpr.eqns:
        sizes += [int(np.prod(v.aval.shape)) for v in eqn.outvars if hasattr(v.aval, "shape")]
        for value in eqn.params.values():
            inner = value if isinstance(value, tuple | list) else (value,)
            sizes += [largest(p) for p in inner if hasattr(p, "eqns") or hasattr(p, "jaxpr")]
    return max(sizes)


def test_what_is_too_large_for_full_covariances_is_followed(monkeypatch):
    """Nothing as large as a covariance is built, and the refusal says where to go."""
    fn = lambda p, x: convolved(jax.nn.relu(convolved(x, p["a"])), p["b"]).mean((1, 2))  # noqa: E731
    x = jnp.ones((1, 24, 24, 1))
    plan, n = placed(fn, PARAMS, x), 24 * 24 * 4
    monkeypatch.setattr(ledger, "LIMIT", 4 * 1000**2)
    with pytest.raises(ValueError, match="values have a covariance of .*moments.low_rank"):
        ax.predict(fn)(plan, PARAMS, x)
    traced = jax.make_jaxpr(low_rank(fn, 16, 2))(jax.random.key(0), plan, PARAMS, x)
    quadrature = 257 * n
    assert largest(traced) <= max(quadrature, 16 * 9 * n) < n**2 / 4


@pytest.mark.slow
def test_gradient_to_the_device():
    """Small variances go with the square of sigma, whatever was mixed."""
    params = drawn({"a": (3, 3, 1, 3), "b": (108, 2)})
    fn = lambda p, x: convolved(x, p["a"]).reshape(x.shape[0], -1) @ p["b"]  # noqa: E731
    run = low_rank(fn, 8, 2)
    total = lambda s: run(jax.random.key(1), placed(fn, params, X, s), params, X).variance.sum()  # noqa: E731
    value, slope = jax.value_and_grad(total)(1e-3)
    assert float(slope) == pytest.approx(2 * float(value) / 1e-3, rel=1e-3)


def test_bad_input_says_so():
    run = lambda rank, repeats: low_rank(skipping, rank, repeats)  # noqa: E731
    with pytest.raises(ValueError, match="rank: expected"):
        run(4, 2)
    with pytest.raises(ValueError, match="repeats: expected"):
        run(16, 1)
    with pytest.raises(TypeError, match="key: expected a typed key"):
        run(16, 2)(0, placed(), PARAMS, X)
    fn = lambda p, x: jnp.sort(x @ p["w"])  # noqa: E731
    params = {"w": jnp.eye(3)}
    register("sort", lambda ledger, eqn, operands, where: [ledger.add(operands[0].mean, None, {}, where)])
    try:
        with pytest.raises(TypeError, match="not held at low rank"):
            low_rank(fn, 8, 2)(jax.random.key(0), placed(fn, params, jnp.ones((1, 3))), params, jnp.ones((1, 3)))
    finally:
        RULES.pop("sort")
