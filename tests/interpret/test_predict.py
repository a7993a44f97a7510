"""`predict` against golden figures, against many chips, and against what covariances must be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import anaxon as ax
from anaxon.adc_ranges import with_full_scales
from anaxon.interpret.moments import register
from anaxon.interpret.moments.expected import expected
from anaxon.interpret.moments.ledger import Ledger
from anaxon.interpret.moments.predict import Propagation
from anaxon.interpret.moments.rules import RULES

ANALOG = ax.Array(weight_bits=None)


def hardware(sigma=0.02, **kwargs):
    return ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ANALOG, **kwargs)


def sampled(fn, plan, params, x, chips, seed=0):
    """Results of many chips, `[chips, batch, n]` in float64."""

    def one(key):
        programming, reading = jax.random.split(key)
        return ax.analog(fn)(reading, ax.program(programming, plan, params), x)

    keys = jax.random.split(jax.random.key(seed), chips)
    found = jax.jit(lambda k: jax.lax.map(one, k, batch_size=200))(keys)
    return np.asarray(found, np.float64).reshape(chips, x.shape[0], -1)


def four_errors(fn, plan, params, x, chips=20_000, most=4.0):
    """Mean and every covariance entry within four standard errors of the sampled ones."""
    mean, cov = ax.predict(fn)(plan, params, x)
    mean = np.asarray(mean, np.float64).reshape(x.shape[0], -1)
    for i, y in enumerate(np.moveaxis(sampled(fn, plan, params, x, chips), 1, 0)):
        c = np.cov(y.T).reshape(mean.shape[1], -1)
        error = np.sqrt(np.diag(c) / chips)
        assert np.max(np.abs(y.mean(0) - mean[i]) / error) < most
        centred = y - y.mean(0)
        spread = np.sqrt(np.einsum("ca,cb->ab", centred**2, centred**2) / chips - c**2) / np.sqrt(chips)
        assert np.max(np.abs(c - np.asarray(cov[i], np.float64)) / spread) < most


def test_dense_layer_golden():
    """Spec V1 without an input covariance: W_max = 1, G_max = 2 and sigma = 0.1 are sigma = 0.05 of full scale."""
    params = {"w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]])}
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    x = jnp.asarray([[1.0, 2.0]])
    plan = ax.place(fn, hardware(0.05))(params, x)
    mean, cov = ax.predict(fn)(plan, params, x)
    np.testing.assert_allclose(mean, [[0.0, 2.5]], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(cov, [0.025 * np.eye(2)], rtol=1e-6, atol=1e-9)


def test_dense_layer_with_an_input_covariance_golden():
    """Spec V1: an operand of covariance [[.04, .01], [.01, .09]], made by a first layer."""
    gamma = np.array([[0.04, 0.01], [0.01, 0.09]])
    ours = reads_of(gamma, 0.05)
    np.testing.assert_allclose(ours, [[0.038775, 0.004375], [0.004375, 0.131275]], rtol=2e-6)


def reads_of(gamma, sigma, clipped=False, x64=False):
    """Covariance behind the golden layer, of an operand with mean (1, 2) and covariance `gamma`."""
    dtype = jnp.float64 if x64 else jnp.float32
    params = {"w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]], dtype)}
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    device = ax.Gaussian(sigma=sigma, clipped=clipped)
    plan = ax.place(fn, ax.Hardware(device=device, array=ANALOG))(params, jnp.ones((1, 2), dtype))

    @jax.jit
    def covariance(mean, gamma):
        walk = Propagation()
        value = walk.ledger.add(mean, gamma.reshape(1, 2, 1, 2), {}, "x")
        (y,), _ = walk.through(fn, expected(plan, params), value)
        return walk.ledger.covariance(y).reshape(2, 2)

    return np.asarray(covariance(jnp.asarray([[1.0, 2.0]], dtype), jnp.asarray(gamma, dtype)))


def test_dense_layer_golden_in_float64():
    with jax.enable_x64(True):
        ours = reads_of(np.array([[0.04, 0.01], [0.01, 0.09]]), 0.05, x64=True)
    np.testing.assert_allclose(ours, [[0.038775, 0.004375], [0.004375, 0.131275]], rtol=1e-12)


CONV = ("NHWC", "HWIO", "NHWC")


def convolved(x, kernel, stride=1, **kwargs):
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=CONV, **kwargs)


def test_single_dense_layer_of_many_chips():
    params = {"w": jax.random.normal(jax.random.key(0), (6, 3))}
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    x = jax.random.normal(jax.random.key(1), (2, 6))
    four_errors(fn, ax.place(fn, hardware(0.1))(params, x), params, x, 100_000)


def test_single_convolution_of_many_chips():
    """One kernel for all positions: their errors depend on each other."""
    params = {"k": jax.random.normal(jax.random.key(0), (3, 3, 2, 2))}
    fn = lambda p, x: convolved(x, p["k"], 2)  # noqa: E731
    x = jax.random.normal(jax.random.key(1), (1, 5, 4, 2))
    plan = ax.place(fn, hardware(0.1))(params, x)
    _, cov = ax.predict(fn)(plan, params, x)
    table = np.asarray(cov[0]).reshape(3, 2, 2, 3, 2, 2)
    assert np.abs(table[0, 0, 0, 2, 1, 0]) > 0 and np.all(table[0, 0, 0, :, :, 1] == 0)
    four_errors(fn, plan, params, x, 100_000)


DEVICES = {
    "clipped": ax.Gaussian(sigma=0.08, clipped=True, g_min=5e-6),
    "relative": ax.Gaussian(sigma=0.02, sigma_rel=0.1),
    "read noise": ax.Gaussian(sigma=0.02, read_sigma=0.05),
}


@pytest.mark.parametrize(
    "name", ["clipped", *(pytest.param(n, marks=pytest.mark.slow) for n in ("relative", "read noise"))]
)
def test_devices(name):
    params = {"w": jax.random.normal(jax.random.key(0), (5, 3)), "v": jax.random.normal(jax.random.key(2), (3, 2))}
    fn = lambda p, x: (x @ p["w"]) @ p["v"]  # noqa: E731
    x = jax.random.normal(jax.random.key(1), (2, 5))
    plan = ax.place(fn, ax.Hardware(device=DEVICES[name], array=ANALOG))(params, x)
    four_errors(fn, plan, params, x, most=4.5)


def residual(params, x):
    h = x @ params["a"] + params["b"]
    h = h + jax.nn.gelu(h @ params["c"])
    h = h + jax.nn.silu(h @ params["d"]) * 0.5
    return jax.nn.relu(h @ params["e"]) @ params["f"]


def residual_params():
    shapes = {"a": (8, 12), "b": (12,), "c": (12, 12), "d": (12, 12), "e": (12, 12), "f": (12, 3)}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {n: jax.random.normal(k, s) / s[0] ** 0.5 for k, (n, s) in zip(keys, shapes.items(), strict=True)}


def squared_errors(fn, plan, params, x, chips):
    """Mean squared error to the digital results: predicted, sampled, and the sampled one's standard error."""
    mean, cov = ax.predict(fn)(plan, params, x)
    exact = np.asarray(fn(params, x), np.float64).reshape(x.shape[0], -1)
    bias = np.asarray(mean, np.float64).reshape(exact.shape) - exact
    predicted = np.mean(np.diagonal(np.asarray(cov, np.float64), axis1=1, axis2=2) + bias**2)
    each = ((sampled(fn, plan, params, x, chips) - exact) ** 2).mean((1, 2))
    return predicted, each.mean(), each.std() / chips**0.5


@pytest.mark.slow
def test_residual_network():
    """Values that meet again know of each other: without the cross block the error is tens of percent."""
    params = residual_params()
    x = jax.random.normal(jax.random.key(9), (4, 8))
    predicted, mean, error = squared_errors(residual, ax.place(residual, hardware(0.01))(params, x), params, x, 20_000)
    assert abs(predicted / mean - 1) < 0.01 + 3 * error / mean


def small_net(params, x):
    h = jax.nn.relu(convolved(x, params["k1"]) + params["b1"])
    h = jax.lax.reduce_window(h, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    h = jax.nn.relu(convolved(h, params["k2"]))
    return h.reshape(h.shape[0], -1) @ params["w"]


def small_params():
    shapes = {"k1": (3, 3, 1, 3), "b1": (3,), "k2": (3, 3, 3, 4), "w": (64, 3)}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {n: jax.random.normal(k, s) / np.prod(s[:-1]) ** 0.5 for k, (n, s) in zip(keys, shapes.items(), strict=True)}


def test_convolutions_with_pooling_and_relu():
    params, x = small_params(), jax.random.normal(jax.random.key(9), (2, 8, 8, 1))
    predicted, mean, error = squared_errors(
        small_net, ax.place(small_net, hardware(0.01))(params, x), params, x, 20_000
    )
    assert abs(predicted / mean - 1) < 0.01 + 3 * error / mean


@pytest.mark.slow
def test_converters():
    """Rounding as noise, saturation as clipping: several slices and tiles, an ADC range that cuts columns off."""
    hw = ax.Hardware(
        device=ax.Gaussian(sigma=0.03, read_sigma=0.02),
        array=ax.Array(rows=5, weight_bits=4, cell_bits=2),
        dac=ax.DAC(bits=6),
        adc=ax.ADC(full_scale=1.2, step=0.05, steps=24),
    )
    params = residual_params()
    fn = lambda p, x: jax.nn.relu(x @ p["a"] + p["b"]) @ p["e"]  # noqa: E731
    x = jax.random.normal(jax.random.key(9), (6, 8))
    plan = ax.calibrate(fn)(jax.random.key(3), ax.place(fn, hw)(params, x), params, x)
    plan = with_full_scales(plan, {"a": 1.2, "e": 1.2})
    predicted, mean, error = squared_errors(fn, plan, params, x, 5_000)
    assert abs(predicted / mean - 1) < 0.05 + 3 * error / mean


TWISTS = {
    "outer product": lambda y: (y[:, :, None] * y[:, None, :]).reshape(y.shape[0], -1),
    "one column": lambda y: y * y[:, :1],
    "settled once": lambda y: (lambda r: r[:, ::-1][:, ::-1] + 2 * r)(jax.nn.relu(y)),
    "both sides": lambda y: jnp.concatenate([jax.nn.relu(y), jax.nn.relu(-y), y**2], 1).reshape(-1, 3, 4).sum(1),
    "moved, then added": lambda y: jax.nn.relu(y).reshape(-1, 2, 2) + jax.nn.relu(-y).reshape(-1, 2, 2),
    "bounds of a channel": lambda y: jnp.maximum(y, jnp.asarray([[0.0, 0.1, -jnp.inf, 0.2]])),
}


@pytest.mark.parametrize("name", TWISTS)
def test_values_that_meet_again(name):
    """Close to exact behind one layer: mean and variance of every result, of sampled chips."""
    params, x = {"w": 0.3 * jax.random.normal(jax.random.key(0), (5, 4))}, jax.random.normal(jax.random.key(3), (2, 5))
    fn = lambda p, x: TWISTS[name](x @ p["w"])  # noqa: E731
    plan = ax.place(fn, hardware(0.1))(params, x)
    mean, cov = ax.predict(fn)(plan, params, x)
    chips = 20_000
    found = sampled(fn, plan, params, x, chips)
    variance = found.var(0)
    away = found - found.mean(0)
    error = np.sqrt(((away**4).mean(0) - variance**2) / chips)  # of the sampled variances
    five = lambda e: 5 * e + 1e-6  # noqa: E731
    assert np.all(np.abs(np.asarray(mean).reshape(2, -1) - found.mean(0)) < five(np.sqrt(variance / chips)))
    assert np.all(np.abs(np.diagonal(cov, axis1=1, axis2=2) - variance) < five(error) + 0.01 * variance)


def test_how_often():
    """A truth value's mean is a chance; quadrature of a jump is off by its step."""
    params, x = {"w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]])}, jnp.asarray([[1.0, 0.5]])
    fn = lambda p, x: (x @ p["w"]) > 1.3  # noqa: E731
    mean, cov = ax.predict(fn)(ax.place(fn, hardware(0.1))(params, x), params, x)
    spread = 0.1 * 2**0.5 * 1.25**0.5
    chance = norm.sf((1.3 - np.array([0.375, 1.375])) / spread)
    np.testing.assert_allclose(mean[0], chance, atol=0.013)
    np.testing.assert_allclose(np.diag(cov[0]), chance * (1 - chance), atol=0.013)


@pytest.mark.slow
def test_rounding_of_what_is_zero():
    """Inactive units are encoded without any error."""
    hw = ax.Hardware(device=ax.Gaussian(sigma=5e-4), array=ANALOG, dac=ax.DAC(bits=5))
    params = {"a": jax.random.normal(jax.random.key(0), (4, 24)), "b": jax.random.normal(jax.random.key(1), (24, 3))}
    fn = lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"]  # noqa: E731
    x = jax.random.normal(jax.random.key(9), (64, 4))
    plan = ax.calibrate(fn)(jax.random.key(3), ax.place(fn, hw)(params, x), params, x)
    predicted, mean, error = squared_errors(fn, plan, params, x, 500)
    assert abs(predicted / mean - 1) < 0.15 + 3 * error / mean


def test_whole_numbers_and_half_precision_say_so():
    params, x = residual_params(), jnp.ones((1, 8))
    fn = lambda p, x: ((x @ p["a"]) > 0).sum(-1)  # noqa: E731
    with pytest.raises(TypeError, match="values that vary have no moments"):
        ax.predict(fn)(placed(fn, params, x), params, x)
    fn = lambda p, x: x.astype(jnp.bfloat16) @ p["a"].astype(jnp.bfloat16)  # noqa: E731
    with pytest.raises(TypeError, match="moments of bfloat16 are not followed"):
        ax.predict(fn)(placed(fn, params, x), params, x)


@pytest.mark.slow
def test_vcm_cells():
    params = residual_params()
    fn = lambda p, x: jax.nn.relu(x @ p["a"] + p["b"]) @ p["e"]  # noqa: E731
    x = jax.random.normal(jax.random.key(9), (6, 8))
    plan = ax.place(fn, ax.preset("vcm-4bit"))(params, x)
    plan = ax.calibrate(fn)(jax.random.key(3), plan, params, x)
    predicted, mean, error = squared_errors(fn, plan, params, x, 5_000)
    assert abs(predicted / mean - 1) < 0.1 + 3 * error / mean


@pytest.mark.slow
def test_covariances_are_positive_and_batches_do_not_matter():
    params, x = small_params(), jax.random.normal(jax.random.key(9), (3, 8, 8, 1))
    plan = ax.place(small_net, hardware(0.05))(params, x)
    mean, cov = ax.predict(small_net)(plan, params, x)
    np.testing.assert_allclose(cov, np.swapaxes(cov, 1, 2), rtol=1e-6)
    assert np.linalg.eigvalsh(np.asarray(cov, np.float64)).min() > 0
    alone = ax.predict(small_net)(plan, params, x[1:2])
    np.testing.assert_allclose(alone[0][0], mean[1], rtol=1e-5)
    np.testing.assert_allclose(alone[1][0], cov[1], rtol=1e-4, atol=1e-8)
    together = ax.predict(small_net, at_once=3)(plan, params, x)
    np.testing.assert_allclose(together[1], cov, rtol=1e-4, atol=1e-7)


def test_no_noise_no_error():
    params, x = small_params(), jax.random.normal(jax.random.key(9), (2, 8, 8, 1))
    mean, cov = ax.predict(small_net)(ax.place(small_net, hardware(0.0))(params, x), params, x)
    np.testing.assert_allclose(mean, small_net(params, x), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cov, 0)


def test_gradient_to_the_device():
    """Variance of one layer goes with the square of sigma."""
    params, x = {"w": jnp.asarray([[0.5], [1.0]])}, jnp.asarray([[1.0, 2.0]])
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    plan = ax.place(fn, hardware(0.05))(params, x)
    slope = jax.grad(lambda p: ax.predict(fn)(p, params, x)[1].sum())(plan)
    assert float(slope.hardware[0].device.sigma) == pytest.approx(2 * 2 * 0.05 * 5.0, rel=1e-5)


def placed(fn, params, x):
    return ax.place(fn, hardware())(params, x)


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda p, x: jax.nn.softmax(x @ p["a"]), "has no rule.*; use `linearised`"),
        (lambda p, x: jax.lax.scan(lambda h, _: (h @ p["c"], None), x @ p["a"], None, 2)[0], "c: scan .*linearised"),
        (lambda p, x: (x @ p["a"]) @ p["c"] @ p["c"], "c: read a second time"),
        (lambda p, x: jnp.sort(x @ p["a"]), "sort of values that vary has no rule"),
        (lambda p, x: jax.vmap(lambda r: jnp.sort(r @ p["a"]))(x), "^the function, behind a: sort of values"),
    ],
)
def test_what_is_not_followed_says_so(fn, says):
    params, x = residual_params(), jnp.ones((1, 8))
    with pytest.raises(TypeError, match=says):
        ax.predict(fn)(placed(fn, params, x), params, x)


def test_a_covariance_that_is_too_large_says_how_large():
    params, x = {"k": jnp.ones((3, 3, 1, 8))}, jnp.ones((1, 100, 100, 1))
    fn = lambda p, x: convolved(x, p["k"])  # noqa: E731
    with pytest.raises(ValueError, match="80,000 values have a covariance of 23.8 GiB"):
        ax.predict(fn)(placed(fn, params, x), params, x)


@pytest.mark.parametrize("transform", [ax.predict, ax.linearised])
@pytest.mark.parametrize(
    "hw",
    [hardware(adc=ax.ADC.uniform(6, full_scale=1.5)), ax.Hardware(device=ax.Gaussian(bandwidth=1e12), array=ANALOG)],
    ids=["ADC", "Johnson noise"],
)
def test_what_an_input_range_decides_wants_it_calibrated(transform, hw):
    """The range of a batch is not that of one example: an ADC's steps and Johnson noise are relative to it."""
    params, x = {"w": jnp.eye(3)}, jnp.asarray([[1.0, 2.0, 3.0], [0.1, 0.0, 0.2]])
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    with pytest.raises(ValueError, match="w: its input range follows the data; `calibrate`"):
        transform(fn)(ax.place(fn, hw)(params, x), params, x)


def test_rows_take_no_more_room_than_the_covariance():
    """One channel has as many results as positions: its rows are not taken sixteen at a time."""
    params, x = {"w": jnp.ones((3, 3, 1, 1))}, jnp.ones((1, 16, 16, 1))
    fn = lambda p, x: jax.lax.conv_general_dilated(jax.nn.relu(jax.lax.conv_general_dilated(  # noqa: E731
        x, p["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))), p["v"], (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
    params["v"] = params["w"]
    plan = ax.place(fn, hardware(0.01))(params, x)
    used = jax.jit(ax.predict(fn)).lower(plan, params, x).compile().memory_analysis().temp_size_in_bytes
    assert used < 12 * 4 * 256**2  # of a covariance of 256 positions; sixteen rows alone would be more


def test_values_are_freed_at_their_last_use(monkeypatch):
    """The ledger of a deep network holds no more than that of a shallow one."""
    held = []
    monkeypatch.setattr(Ledger, "add", lambda self, *a, add=Ledger.add: (held.append(len(self.live)), add(self, *a))[1])

    def deep(params, x):
        for i in range(8):
            x = jnp.tanh(x @ params[f"w{i}"])
        return x

    params, x = {f"w{i}": jnp.eye(3) / 2 for i in range(8)}, jnp.ones((1, 3))
    ax.predict(deep)(ax.place(deep, hardware(0.01))(params, x), params, x)
    assert max(held) <= 5


def test_ranges_that_follow_data_are_refused():
    params, x = residual_params(), jnp.ones((1, 8))
    plan = ax.place(residual, hardware(dac=ax.DAC(bits=8)))(params, x)
    with pytest.raises(ValueError, match="its input range follows the data; `calibrate`"):
        ax.predict(residual)(plan, params, x)


def test_an_operation_can_be_taught():
    """Sorting of well separated numbers is a permutation."""
    params, x = {"w": jnp.asarray([[3.0, 1.0, 2.0]])}, jnp.ones((1, 1))
    fn = lambda p, x: jnp.sort(x @ p["w"])  # noqa: E731

    def rule(ledger, eqn, operands, where):
        (value,) = operands
        order = jnp.argsort(value.mean)
        move = lambda v: jnp.take_along_axis(v, order, 1)  # noqa: E731
        return [ledger.derive(move(value.mean), [value], [move], where)]

    register("sort", rule)
    try:
        mean, cov = ax.predict(fn)(placed(fn, params, x), params, x)
    finally:
        RULES.pop("sort")
    np.testing.assert_allclose(mean, [[1, 2, 3]])
    assert np.diag(cov[0]) == pytest.approx([0.0072] * 3, rel=1e-5)
