"""The delta method against many chips: shared weights, loops, attention, converters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.linearise import sensitivities, tap

ANALOG = ax.Array(weight_bits=None)
SHAPES = {"a": (6, 8), "c": (8, 8), "e": (8, 8), "d": (8, 3)}


def made_params():
    keys = jax.random.split(jax.random.key(0), len(SHAPES))
    return {n: jax.random.normal(k, s) / s[0] ** 0.5 for k, (n, s) in zip(keys, SHAPES.items(), strict=True)}


def recurrent(params, x):
    """The same two crossbars at every step."""
    steps = jnp.stack([x, 0.5 * x, -x])
    step = lambda h, u: (jnp.tanh(u @ params["a"] + h @ params["c"]), None)  # noqa: E731
    return jax.lax.scan(step, jnp.zeros((x.shape[0], 8)), steps)[0] @ params["d"]


def attentive(params, x):
    """Softmax, normalisation, and one crossbar for all positions."""
    h = jnp.stack([x, jnp.roll(x, 1, 1), x**2], 1) @ params["a"]
    h = (h - h.mean(-1, keepdims=True)) / h.std(-1, keepdims=True)
    q = h @ params["c"]
    weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, h))
    return jnp.einsum("bqk,bkd->bqd", weights, h).mean(1) @ params["d"]


def sampled(fn, plan, params, x, chips=4_000):
    def one(key):
        programming, *reading = jax.random.split(key, 1 + x.shape[0])
        chip = ax.program(programming, plan, params)
        read = lambda k, row: ax.analog(fn)(k, chip, row[None])[0]  # noqa: E731
        return jax.vmap(read)(jnp.stack(reading), x)

    keys = jax.random.split(jax.random.key(3), chips)
    return np.asarray(jax.jit(lambda k: jax.lax.map(one, k, batch_size=200))(keys), np.float64)


HARDWARE = {
    "programming": ax.Hardware(device=ax.Gaussian(sigma=0.005), array=ANALOG),
    "reading": ax.Hardware(device=ax.Gaussian(read_sigma=0.01), array=ANALOG),
}


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (recurrent, "programming"),
        pytest.param(recurrent, "reading", marks=pytest.mark.slow),
        pytest.param(attentive, "programming", marks=pytest.mark.slow),
        (attentive, "reading"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_variance_of_many_chips(fn, name):
    params, x = made_params(), jax.random.normal(jax.random.key(7), (16, 6))
    plan = ax.place(fn, HARDWARE[name])(params, x)
    spread = ax.linearised(fn)(plan, params, x)
    found = sampled(fn, plan, params, x).var(0)
    assert abs(float(spread.variance.mean()) / found.mean() - 1) < 0.1
    np.testing.assert_allclose(spread.mean, fn(params, x), rtol=1e-5, atol=1e-5)
    quiet = spread.reads if name == "programming" else spread.cells
    assert all(float(jnp.abs(v).max()) == 0 for v in quiet.values())


@pytest.mark.slow
def test_slopes_are_finite_however_the_program_is_compiled():
    """Without its optimisations XLA rounds an operand one way for its range and another for the range's gradient."""
    params, x = made_params(), jax.random.normal(jax.random.key(7), (16, 6))
    plan = ax.place(attentive, HARDWARE["programming"])(params, x)
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        assert bool(jnp.isfinite(ax.linearised(attentive)(plan, params, x).variance).all())
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def test_converters_are_accounted_for():
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.005), array=ax.Array(rows=4, weight_bits=4), dac=ax.DAC(bits=8),
                     adc=ax.ADC.uniform(bits=6, noise=0.02))  # fmt: skip
    params, x = made_params(), jax.random.normal(jax.random.key(7), (16, 6))
    plan = ax.calibrate(recurrent)(jax.random.key(1), ax.place(recurrent, hw)(params, x), params, x)
    spread = ax.linearised(recurrent)(plan, params, x)
    exact = np.asarray(spread.mean, np.float64)
    found = sampled(recurrent, plan, params, x)
    assert all(float(v.mean()) > 0 for v in (*spread.cells.values(), *spread.reads.values()))
    error = ((found - np.asarray(recurrent(params, x), np.float64)) ** 2).mean()  # with what the mean is off
    bias = ((exact - np.asarray(recurrent(params, x), np.float64)) ** 2).mean()
    assert abs((float(spread.variance.mean()) + bias) / error - 1) < 0.15


def test_one_layer_is_exact():
    params, x = {"w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]])}, jnp.asarray([[1.0, 2.0], [0.0, 1.0]])
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    spread = ax.linearised(fn)(
        ax.place(fn, ax.Hardware(device=ax.Gaussian(sigma=0.05), array=ANALOG))(params, x), params, x
    )
    np.testing.assert_allclose(spread.variance, [[0.025, 0.025], [0.005, 0.005]], rtol=1e-5)


def test_sensitivities_of_columns_sum_to_the_variance():
    params, x = made_params(), jax.random.normal(jax.random.key(7), (4, 6))
    plan = ax.place(recurrent, HARDWARE["programming"])(params, x)
    by_column, spread = sensitivities(recurrent)(plan, params, x), ax.linearised(recurrent)(plan, params, x)
    for path, found in by_column.items():
        assert found.shape == (1, SHAPES[path][1])
        assert float(found.sum()) == pytest.approx(float(spread.cells[path].mean()), rel=1e-4)


def test_a_tap_accounts_for_the_square_of_what_comes_back():
    z, variance = jnp.asarray([1.0, 2.0]), jnp.asarray([0.1, 0.3])
    slope = jax.grad(lambda account: jnp.sum(jnp.asarray([2.0, -3.0]) * tap(z, variance, account)))(jnp.zeros(()))
    assert float(slope) == pytest.approx(0.1 * 4 + 0.3 * 9)


def test_what_is_not_followed_says_so():
    params, x = made_params(), jnp.ones((1, 6))
    offsets = ax.Hardware(device=ax.Gaussian(), array=ANALOG, adc=ax.ADC.uniform(8, full_scale=2.0, offset_sigma=0.1))
    with pytest.raises(ValueError, match="offset and gain errors"):
        ax.linearised(recurrent)(ax.place(recurrent, offsets)(params, x), params, x)
    with pytest.raises(ValueError, match="`calibrate` the plan first"):
        plan = ax.place(recurrent, ax.preset("gaussian-8bit"))(params, x)
        ax.linearised(recurrent)(plan, params, x)
    fn = lambda p, x: (recurrent(p, x), x)  # noqa: E731
    with pytest.raises(ValueError, match="expected one result of floats"):
        ax.linearised(fn)(ax.place(fn, HARDWARE["programming"])(params, x), params, x)


def test_ramps_are_refused():
    params, x = made_params(), jnp.ones((1, 6))
    fn = lambda p, x: jnp.tanh(x @ p["a"])  # noqa: E731
    plan = ax.place(fn, ax.preset("ramp-5bit"))(params, x)
    with pytest.raises(ValueError, match="ramp"):
        ax.linearised(fn)(plan, params, x)


@pytest.mark.parametrize("probes", [0, pytest.param(4, marks=pytest.mark.slow)])
def test_backward_passes_side_by_side_are_those_one_by_one(probes):
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.005, read_sigma=0.01), array=ANALOG)
    params, x = made_params(), jax.random.normal(jax.random.key(1), (5, 6))
    fn = lambda p, v: jax.nn.relu(recurrent(p, v))  # noqa: E731
    plan = ax.place(fn, hw)(params, x)
    one, some = (ax.linearised(fn, probes, at_once=n)(plan, params, x) for n in (1, 7))
    assert np.max(one.variance) > 1e-4  # results are about 1: their sums round to 1e-7, whatever is left of a tail
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), some, one)
