"""Control flow, custom derivatives and transformations around `analog`."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from layer_table import data

import anaxon as ax
from anaxon.types import AnaxonWarning, replace

KEY = jax.random.key(0)
NOISY = ax.Hardware(device=ax.Gaussian(read_sigma=0.1), array=ax.Array(weight_bits=2), dac=ax.DAC())
EXACT = ax.Hardware(
    device=ax.IdealDevice(), array=ax.Array(weight_bits=None), dac=ax.DAC(bits=12), adc=ax.ADC.uniform(bits=16)
)
P = {"w": data(4, 4, seed=1)}
X = data(3, 4)


def chip_of(fn, hw, params=P, *inputs):
    return ax.program(KEY, ax.place(fn, hw)(params, *(inputs or (X,))), params)


def close(fn, params=P, *inputs):
    """On nearly exact hardware the result is the digital one."""
    inputs = inputs or (X,)
    chip = chip_of(fn, EXACT, params, *inputs)
    y = jax.jit(ax.analog(fn))(KEY, chip, *inputs)
    np.testing.assert_allclose(y, fn(params, *inputs), atol=5e-3)
    return chip


def test_eager_is_jit():
    """The same draws; rounding may differ."""
    fn = lambda p, x: lax.cond(x[0, 0] > 9, lambda x: x, lambda x: jnp.tanh(x @ p["w"]), x)  # noqa: E731
    chip = chip_of(fn, NOISY)
    np.testing.assert_allclose(ax.analog(fn)(KEY, chip, X), jax.jit(ax.analog(fn))(KEY, chip, X), atol=1e-5)


def test_scan_draws_fresh_noise_each_step():
    fn = lambda p, x: lax.scan(lambda c, _: (c, x @ p["w"]), 0.0, None, length=4)[1]  # noqa: E731
    y = np.asarray(jax.jit(ax.analog(fn))(KEY, chip_of(fn, NOISY), X))
    errors = y - np.mean(y, axis=0)
    assert np.all(np.any(errors != 0, axis=(1, 2)))
    assert len({e.tobytes() for e in y}) == 4


def test_nested_scans_fold_both_indices():
    def fn(p, x):
        inner = lambda c, _: (c, x @ p["w"])  # noqa: E731
        return lax.scan(lambda c, _: (c, lax.scan(inner, 0.0, None, length=2)[1]), 0.0, None, length=2)[1]

    y = np.asarray(jax.jit(ax.analog(fn))(KEY, chip_of(fn, NOISY), X)).reshape(4, -1)
    assert len({row.tobytes() for row in y}) == 4


def test_a_read_before_and_after_a_loop_differ():
    def fn(p, x):
        first = x @ p["w"]
        middle = lax.scan(lambda c, _: (c + x @ p["w"], None), jnp.zeros((3, 4)), None, length=1)[0]
        return first, middle, x @ p["w"]

    a, b, c = jax.jit(ax.analog(fn))(KEY, chip_of(fn, NOISY), X)
    assert not any(np.array_equal(u, v) for u, v in [(a, b), (b, c), (a, c)])
    uses = ax.place(fn, NOISY)(P, X).sites[0].uses
    assert [u.loops for u in uses] == [(), (1,), ()]


def test_while_reads_in_condition_and_body():
    def fn(p, x):
        return lax.while_loop(
            lambda s: jnp.sum(x @ p["w"]) + s[0] < jnp.sum(x @ p["w"]) + 3,
            lambda s: (s[0] + 1, jnp.tanh(s[1] @ p["w"])),
            (0, x),
        )[1]

    close(fn)
    uses = ax.place(fn, EXACT)(P, X).sites[0].uses
    assert [u.loops for u in uses] == [(None,)] * 3


def test_while_observes_each_turn():
    def fn(p, x, n):
        return lax.fori_loop(0, n, lambda _, x: jnp.tanh(x @ p["w"]), x)

    _, layers = jax.jit(ax.observe(fn))(KEY, chip_of(fn, EXACT, P, X, 5), P, X, 5)
    assert int(layers["w"].conversions) == 5 * X.size
    assert 0 < float(layers["w"].error) < 1e-2


def test_cond_reads_in_both_branches():
    params = P | {"u": data(4, 4, seed=2)}

    def fn(p, x, sign):
        return lax.cond(sign > 0, lambda x: x @ p["w"], lambda x: jnp.tanh(x @ p["u"]) @ p["w"], x)

    for sign, counts in ((1.0, {"w": 12, "u": 0}), (-1.0, {"w": 12, "u": 12})):
        chip = close(fn, params, X, sign)
        _, layers = jax.jit(ax.observe(fn))(KEY, chip, params, X, sign)
        assert {p: int(s.conversions) for p, s in layers.items()} == counts
    stack = jax.jit(jax.vmap(ax.analog(fn), in_axes=(None, None, None, 0)))(KEY, chip, X, jnp.array([1.0, -1.0]))
    np.testing.assert_allclose(stack[1], fn(params, X, -1.0), atol=5e-3)


def test_a_line_is_converted_at_a_boundary():
    def fn(p, x):
        z = x @ p["w"]
        z = lax.cond(z[0, 0] > 10, lambda z: z, lambda z: 2 * z, z)
        return lax.scan(lambda c, _: (c + z, c), z, None, length=2)[0]

    chip = close(fn)
    _, layers = jax.jit(ax.observe(fn))(KEY, chip, P, X)
    assert int(layers["w"].conversions) == X.size


@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint], ids=["plain", "remat"])
def test_gradients_through_scan(wrap):
    def fn(p, x):
        return lax.scan(wrap(lambda x, _: (jnp.tanh(x @ p["w"]), None)), x, None, length=3)[0]

    plan = ax.place(fn, EXACT)(P, X)

    def loss(p, x):
        return jnp.sum(ax.analog(fn)(KEY, ax.program(KEY, plan, p), x) ** 2)

    got = jax.jit(jax.grad(loss, argnums=(0, 1)))(P, X)
    exact = jax.grad(lambda p, x: jnp.sum(fn(p, x) ** 2), argnums=(0, 1))(P, X)
    # The absmax weight and input also move the scales; the rest is the digital gradient.
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
        assert float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) < 0.02


def test_gradients_to_every_number_are_finite():
    def fn(p, x):
        return jnp.tanh(x @ p["w"])

    hw = ax.Hardware(device=ax.VCM(), array=ax.Array(weight_bits=4), dac=ax.DAC(), adc=ax.ADC.bits(1, 4))
    plan = ax.place(fn, hw)(P, X)

    def loss(plan, p, x):
        return jnp.sum(ax.analog(fn)(KEY, ax.program(KEY, plan, p), x) ** 2)

    grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2), allow_int=True))(plan, P, X)
    floats = [g for g in jax.tree.leaves(grads) if jnp.issubdtype(g.dtype, jnp.floating)]
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in floats)
    plan_grad = grads[0].hardware[0]
    assert all(float(g) != 0 for g in (plan_grad.dac.v_max, plan_grad.adc.full_scale, plan_grad.adc.step))
    assert all(bool(jnp.any(g != 0)) for g in jax.tree.leaves(grads[1:]))


def test_vmap_over_read_keys_and_chips_is_the_loop():
    fn = lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"]  # noqa: E731
    plan = ax.place(fn, NOISY)(P, X)
    run = lambda key: ax.analog(fn)(key, ax.program(key, plan, P), X)  # noqa: E731
    keys = jax.random.split(KEY, 3)
    one, batch = jax.jit(run), jax.jit(jax.vmap(run))(keys)
    assert len({np.asarray(y).tobytes() for y in batch}) == 3
    for key, y in zip(keys, batch, strict=True):
        np.testing.assert_allclose(one(key), y, atol=2e-3)


def test_custom_derivatives_are_kept():
    """A rule that lies: 100 times the slope. Without a crossbar inside it must survive."""

    @jax.custom_jvp
    def f(z):
        return jnp.sin(z)

    f.defjvp(lambda p, t: (f(p[0]), 100 * jnp.cos(p[0]) * t[0]))

    @jax.custom_vjp
    def g(z, scale):
        return z * scale

    g.defvjp(lambda z, s: (g(z, s), s), lambda s, d: (7 * d, 0 * s))

    params = P | {"s": jnp.array([2.0])}
    for fn, factor in (
        (lambda p, x: f(x @ p["w"]), 100.0),
        (lambda p, x: g(x @ p["w"], jax.nn.softplus(p["s"])), 7.0 / float(jax.nn.softplus(2.0))),
    ):
        plain = {"f": jnp.sin, "g": lambda z: z * jax.nn.softplus(2.0)}["f" if factor == 100 else "g"]
        chip = chip_of(fn, EXACT, params)
        got = jax.jit(jax.grad(lambda x, fn=fn, chip=chip: jnp.sum(ax.analog(fn)(KEY, chip, x))))(X)
        exact = factor * jax.grad(lambda x, plain=plain: jnp.sum(plain(x @ P["w"])))(X)
        assert float(jnp.linalg.norm(got - exact) / jnp.linalg.norm(exact)) < 0.02


@pytest.mark.parametrize("name", ["relu", "silu", "gelu", "softplus", "logsumexp", "softmax"])
def test_gradients_through_library_rules(name):
    act = jax.nn.logsumexp if name == "logsumexp" else getattr(jax.nn, name)
    fn = lambda p, x: act(x @ p["w"])  # noqa: E731
    chip = chip_of(fn, EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = jax.jit(jax.grad(lambda x: jnp.sum(ax.analog(fn)(KEY, chip, x) ** 2)))(X)
    exact = jax.grad(lambda x: jnp.sum(fn(P, x) ** 2))(X)
    assert float(jnp.linalg.norm(got - exact) / jnp.linalg.norm(exact)) < 0.03


def _custom_product(kind):
    product = {"jvp": jax.custom_jvp, "vjp": jax.custom_vjp}[kind](lambda x, w: jnp.sin(x) @ w)
    if kind == "jvp":
        product.defjvp(lambda p, t: (product(*p), 0 * product(*p)))
    else:
        product.defvjp(lambda x, w: (product(x, w), (x, w)), lambda r, g: (0 * r[0], 0 * r[1]))
    return lambda p, x: product(x, p["w"])


@pytest.mark.parametrize("kind", ["jvp", "vjp"])
def test_a_custom_derivative_around_a_crossbar_is_entered_with_one_warning(kind):
    fn = _custom_product(kind)
    with pytest.warns(AnaxonWarning, match=f"custom_{kind}_call multiplies a placed weight .w.") as caught:
        plan = ax.place(fn, EXACT)(P, X)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chip = ax.program(KEY, plan, P)
        got = jax.jit(jax.grad(lambda x: jnp.sum(ax.analog(fn)(KEY, chip, x))))(X)
        assert not ax.place(fn, ax.ideal())(P, X).sites[0].digital
    exact = jax.grad(lambda x: jnp.sum(jnp.sin(x) @ P["w"]))(X)
    assert float(jnp.linalg.norm(got - exact) / jnp.linalg.norm(exact)) < 0.02


def test_calls_are_crossed():
    """jit, remat, named calls and a vmap inside the function."""

    @jax.jit
    @jax.named_call
    def layer(w, x):
        return jax.checkpoint(lambda w, x: jax.vmap(lambda x: x @ w)(x))(w, jax.named_call(jnp.tanh)(x))

    chip = close(lambda p, x: layer(p["w"], x))
    assert [s.path for s in chip.plan.sites] == ["w"]


def test_random_numbers_and_callbacks_pass():
    def fn(p, x):
        key, use = jax.random.split(jax.random.key(5))
        z = jnp.where(jax.random.bernoulli(use, 0.5, x.shape), x, 0) @ p["w"]
        z = jax.pure_callback(lambda z: np.asarray(z) + 1, jax.ShapeDtypeStruct(z.shape, z.dtype), z)
        return lax.scan(lambda k, z: (jax.random.split(k)[0], z + jax.random.normal(k)), key, z)[1]

    close(fn)


# Gradients inside the function, and a weight with its transpose: the array is driven from both sides.


def _inner_gradient(p, x):
    return jax.grad(lambda x: jnp.sum(jnp.sin(x @ p["w"])))(x)


def _transpose(p, x):
    return jnp.tanh(x @ p["w"]) @ p["w"].T


def _inner_gradient_of_scan(p, x):
    run = lambda x: lax.scan(lambda x, _: (jnp.tanh(x @ p["w"]), None), x, None, length=2)[0]  # noqa: E731
    return jax.grad(lambda x: jnp.sum(run(x)))(x)


@pytest.mark.parametrize("fn", [_inner_gradient, _transpose, _inner_gradient_of_scan])
def test_both_sides_need_a_bidirectional_array(fn):
    with pytest.raises(TypeError, match=r"w: one use drives .* takes Array\(bidirectional=True\)"):
        ax.place(fn, EXACT)(P, X)
    array = replace(EXACT.array, bidirectional=True)
    hw = replace(EXACT, array=array)
    plan = ax.place(fn, hw)(P, X)
    assert {(u.rows, u.cols) for u in plan.sites[0].uses} == {(4, 4)}
    y = jax.jit(ax.analog(fn))(KEY, ax.program(KEY, plan, P), X)
    np.testing.assert_allclose(y, fn(P, X), atol=5e-3)
    ideal = ax.analog(fn)(KEY, ax.program(KEY, ax.place(fn, ax.ideal())(P, X), P), X)
    np.testing.assert_array_equal(ideal, fn(P, X))


def test_one_side_twice_is_one_direction():
    """The same rows in two products, and a transpose that is only a way of writing."""
    fn = lambda p, x: (x @ p["w"], jnp.einsum("oi,bi->bo", p["w"].T, x))  # noqa: E731
    assert len(ax.place(fn, EXACT)(P, X).sites[0].uses) == 2


def test_the_gradient_of_a_convolution_inside():
    def fn(p, x):
        conv = lambda x: lax.conv(x, p["k"], (1,), "SAME")  # noqa: E731
        return jax.grad(lambda x: jnp.sum(jnp.sin(conv(x))))(x)

    with pytest.raises(TypeError, match="k: .*drives the array from its columns"):
        ax.place(fn, EXACT)({"k": data(3, 2, 3)}, data(2, 2, 5))
