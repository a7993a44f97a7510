"""Networks whose columns end in ramp ADCs: whose ramp it is, what its errors are common to, what converts where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layer_table import data

import anaxon as ax
from anaxon.flax import functional
from anaxon.interpret.ramps import ramps
from anaxon.types import replace

KEY = jax.random.key(0)
PAIRS = ax.Array(rows=256, weight_bits=None)


def hardware(device=None, dac=None, array=PAIRS, **ramp):
    """Perfect cells and exact inputs unless said: what is left is the ramp."""
    return ax.Hardware(device=device or ax.IdealDevice(), array=array, dac=dac, activation=ax.Ramp(**ramp))


def run(fn, hw, params, x, chip_key=KEY, read_key=KEY):
    plan = ax.place(fn, hw)(params, x)
    return jax.jit(lambda p, x: ax.analog(fn)(read_key, ax.program(chip_key, plan, p), x))(params, x)


def quantised(g, low, high, bits):
    """The middle of g(z)'s code, float64."""
    lsb = (high - low) / 2**bits
    return lambda z: low + lsb * (np.clip(np.floor((g(z) - low) / lsb), 0, 2**bits - 1) + 0.5)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def lstm(params, xs, gate, act, digital):
    """Hochreiter's cell in float64, gate order i, f, g, o; `digital` does tanh(c)."""
    w, u = (np.asarray(params["cell"][name]["kernel"], np.float64) for name in ("dense_i", "dense_h"))
    b = np.asarray(params["cell"]["dense_h"]["bias"], np.float64)
    c = h = np.zeros((xs.shape[0], u.shape[0]))
    states = []
    for t in range(xs.shape[1]):
        i, f, g, o = np.split(xs[:, t] @ w + h @ u + b, 4, axis=-1)
        c = gate(f) * c + gate(i) * act(g)
        h = gate(o) * digital(c)
        states.append(h)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("second", ["float", "ramp"])
def test_a_plain_flax_lstm_has_its_gates_in_the_converter(second):
    """One array `[x, h]` and a bias row; float32 may decide a rare code otherwise than float64."""
    model = nnx.RNN(nnx.OptimizedLSTMCell(5, 6, bias_init=nnx.initializers.normal(0.5), rngs=nnx.Rngs(0)))
    fn, params = functional(model)
    x, weights = data(4, 9, 5, seed=3), jax.device_get(nnx.to_pure_dict(params))
    hw = hardware(bits=5, digital=second)
    plan = ax.place(fn, hw)(params, x)
    assert len({s.group for s in plan.sites}) == 1
    assert {s.path: s.bias for s in plan.sites}["cell/dense_h/bias"]
    table = {kind: n for s in plan.sites if s.path.endswith("dense_h/kernel") for kind, n in s.uses[0].conversions}
    assert table == {"logistic": 18, "tanh": 6}
    gate, act = quantised(sigmoid, 0, 1, 5), quantised(np.tanh, -1, 1, 5)
    expected = lstm(weights, np.asarray(x, np.float64), gate, act, act if second == "ramp" else np.tanh)
    off = np.abs(run(fn, hw, params, x) - expected)
    assert np.mean(off < 1e-5) > 0.97
    exact = lstm(weights, np.asarray(x, np.float64), sigmoid, np.tanh, np.tanh)
    assert np.mean(np.abs(expected - exact) > 1e-3) > 0.8


@pytest.mark.parametrize("cell", [pytest.param(nnx.LSTMCell, marks=pytest.mark.slow), nnx.GRUCell, nnx.SimpleCell])
def test_other_plain_cells(cell):
    fn, params = functional(nnx.RNN(cell(5, 6, rngs=nnx.Rngs(0))))
    x = data(4, 7, 5, seed=3)
    plan = ax.place(fn, hardware(bits=8))(params, x)
    assert {kind for s in plan.sites for u in s.uses for kind, _ in u.conversions} & {"logistic", "tanh"}
    np.testing.assert_allclose(run(fn, hardware(bits=8), params, x), jax.jit(fn)(params, x), atol=0.02)


def test_a_gate_that_adds_digitally_goes_through_the_second_pass():
    """GRU: tanh(x + r * h) acts on a digital value; with the option it takes the ramp's codes."""
    fn, params = functional(nnx.RNN(nnx.GRUCell(5, 6, rngs=nnx.Rngs(0))))
    x = data(4, 1, 5, seed=3)
    plans = {d: ax.place(fn, hardware(bits=3, digital=d))(params, x) for d in ("float", "ramp")}
    assert [f.name for f in plans["float"].functions] == ["tanh"]
    assert plans["ramp"].functions == ()
    (done,) = (f for s in plans["ramp"].sites for f in s.passes)
    assert (done.name, done.values, done.loops) == ("tanh", 24, (1,))
    # from h = 0, the state after one step is (1 - z) n with z on the sigmoid's grid and n on that of tanh
    h = np.asarray(run(fn, hardware(bits=3, digital="ramp"), params, x), np.float64)[:, 0]
    grid = np.outer((np.arange(8) + 0.5) / 8, 2 * (np.arange(8) + 0.5) / 8 - 1).ravel()
    assert np.max(np.min(np.abs(h[..., None] - grid), -1)) < 1e-6
    bill = {d: ax.cost(p).counts for d, p in plans.items()}
    assert (bill["float"].functions, bill["ramp"].functions) == (24, 0)
    assert bill["ramp"].ramp_conversions - bill["float"].ramp_conversions == 24


def test_a_digital_value_without_an_array_before_it_stays_digital():
    fn = lambda p, x: jnp.tanh(jnp.tanh(x) @ p["w"])  # noqa: E731
    plan = ax.place(fn, hardware(digital="ramp"))({"w": data(4, 6)}, data(3, 4))
    assert [f.name for f in plan.functions] == ["tanh"]
    assert all(s.passes == () for s in plan.sites)


@pytest.mark.parametrize("digital", ["float", "ramp"])
def test_a_sigmoid_of_digital_values_is_found_inside_its_call(digital):
    fn = lambda p, x: jax.nn.sigmoid(3 * jnp.tanh(x @ p["w"]))  # noqa: E731
    plan = ax.place(fn, hardware(digital=digital))({"w": data(4, 6)}, data(3, 4))
    done = plan.functions if digital == "float" else plan.sites[0].passes
    assert [(f.name, f.values) for f in done] == [("logistic", 18)]
    assert ax.cost(plan).counts.ramp_conversions == (18 if digital == "float" else 36)


def test_errors_are_of_the_ramp_and_common_to_its_neurons():
    """Columns with the same weights give the same codes, on every chip; chips differ, reads of one do not."""
    w = jnp.tile(data(4, 1, seed=1), (1, 5))
    x = data(40, 4, seed=2)
    hw = hardware(bits=5, sigma=0.1)
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    first = run(fn, hw, {"w": w}, x)
    np.testing.assert_array_equal(first, jnp.tile(first[:, :1], (1, 5)))
    np.testing.assert_array_equal(run(fn, hw, {"w": w}, x, read_key=jax.random.key(9)), first)
    assert not np.array_equal(run(fn, hw, {"w": w}, x, chip_key=jax.random.key(9)), first)


def test_a_chip_tells_its_ramps_and_its_codes_follow_them():
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    hw, params, x = hardware(bits=4, sigma=0.1), {"w": jnp.ones((1, 1))}, jnp.linspace(-3, 3, 601)[:, None]
    chip = ax.program(KEY, ax.place(fn, hw)(params, x), params)
    ((group, kind),) = ramps(chip)
    levels = np.asarray(ramps(chip)[group, kind].thresholds[0])
    ideal = np.arctanh(2 * np.arange(1, 16) / 16 - 1)
    assert np.max(np.abs(levels - ideal)) > 0.05
    codes = (np.asarray(jax.jit(ax.analog(fn))(KEY, chip, x))[:, 0] + 1) * 8 - 0.5
    away = np.min(np.abs(np.asarray(x) - levels), -1) > 1e-5
    np.testing.assert_allclose(codes[away], np.sum(np.asarray(x) >= levels, -1)[away], atol=1e-4)


def test_activations_and_arrays_have_their_own_ramps():
    params = {"a": data(4, 3, seed=1), "b": data(4, 3, seed=2)}
    fn = lambda p, x: (jnp.tanh(x @ p["a"]), jax.nn.sigmoid(x @ p["a"]), jnp.tanh(x @ p["b"]))  # noqa: E731
    hw = hardware(bits=4, sigma=0.05)
    found = ramps(ax.program(KEY, ax.place(fn, hw)(params, data(2, 4)), params))
    assert len(found) == 3
    relative = [np.asarray(c.thresholds[0]) - np.asarray(c.design.thresholds) for c in found.values()]
    relative = [
        r * (0.5 if c.design.activation == "logistic" else 1) for r, c in zip(relative, found.values(), strict=True)
    ]
    assert all(not np.allclose(a, b, atol=1e-3) for i, a in enumerate(relative) for b in relative[:i])


@pytest.mark.parametrize(
    "how", [pytest.param("scanned", marks=pytest.mark.slow), "batched", pytest.param("indexed", marks=pytest.mark.slow)]
)
def test_every_array_of_a_stack_has_its_own_ramp(how):
    w, x = jnp.tile(data(1, 4, 5, seed=1), (3, 1, 1)), data(7, 4, seed=2)

    def fn(p, x):
        if how == "scanned":
            return jax.lax.scan(lambda c, w: (c, jnp.tanh(x @ w)), 0.0, p["w"])[1]
        if how == "batched":
            z = jnp.einsum("lij,ljk->lik", jnp.stack([x] * 3), p["w"])
            return jnp.tanh(z.reshape(21, 5)).reshape(3, 7, 5)
        return jnp.stack([jnp.tanh(x @ p["w"][i]) for i in range(3)])

    hw = hardware(bits=5, sigma=0.1)
    y = np.asarray(run(fn, hw, {"w": w}, x))
    plan = ax.place(fn, hw)({"w": w}, x)
    (found,) = ramps(ax.program(KEY, plan, {"w": w})).values()
    assert found.thresholds.shape == (3, 31)
    z = np.asarray(x @ w[0])
    for layer, levels in zip(y, np.asarray(found.thresholds), strict=True):
        code = np.sum(z[..., None] >= levels, -1)
        away = np.min(np.abs(z[..., None] - levels), -1) > 1e-5
        np.testing.assert_allclose(layer[away], (2 * (code + 0.5) / 32 - 1)[away], atol=1e-6)


def test_read_noise_of_the_ramp_is_anew_for_every_pass_and_common_to_its_columns():
    w = jnp.tile(data(4, 1, seed=1), (1, 3))
    x = jnp.tile(data(1, 4, seed=2), (400, 1))
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    y = np.asarray(run(fn, hardware(bits=5, read_sigma=0.2), {"w": w}, x))
    np.testing.assert_array_equal(y, np.tile(y[:, :1], (1, 3)))
    assert len(np.unique(y)) > 3
    again = run(fn, hardware(bits=5, read_sigma=0.2), {"w": w}, x, read_key=jax.random.key(5))
    assert not np.array_equal(again, y)


def test_rows_of_one_array_have_ranges_of_their_own():
    """Inputs 100 times as large as the state beside them: both keep all the codes of their drivers."""
    params = {"w": 0.01 * data(4, 6, seed=1), "u": data(6, 6, seed=2), "b": 0.1 * data(6, seed=3)}
    fn = lambda p, x, h: jnp.tanh(x @ p["w"] + h @ p["u"] + p["b"])  # noqa: E731
    x, h = 100 * data(50, 4, seed=4), data(50, 6, seed=5)
    hw = hardware(dac=ax.DAC(bits=5, encoding="pulse-width"), bits=8)
    open_plan = ax.place(fn, hw)(params, x, h)
    plan = ax.calibrate(fn)(KEY, open_plan, params, x, h)

    @jax.jit
    def error_of(plan):
        return jnp.sqrt(jnp.mean((ax.analog(fn)(KEY, ax.program(KEY, plan, params), x, h) - fn(params, x, h)) ** 2))

    error = {name: float(error_of(p)) for name, p in {"own": plan, "common": open_plan}.items()}
    assert error["own"] < 0.03
    assert error["common"] > 5 * error["own"]


def test_gates_of_a_half_precision_model_stay_on_the_line():
    params = {"w": data(4, 6, seed=1).astype(jnp.bfloat16)}
    fn = lambda p, x: jnp.tanh((x @ p["w"]).astype(jnp.float32))  # noqa: E731
    plan = ax.place(fn, hardware(bits=5))(params, data(3, 4).astype(jnp.bfloat16))
    assert dict(plan.sites[0].uses[0].conversions) == {"tanh": 6}


def test_a_marked_function_of_ones_own_ends_in_the_ramp():
    squash = ax.activation(lambda z: z / jnp.sqrt(1 + z * z), name="isru")
    params, x = {"w": data(4, 6, seed=1)}, data(30, 4, seed=2)
    fn = lambda p, x: squash(x @ p["w"])  # noqa: E731
    y = run(fn, hardware(bits=6), params, x)
    lsb = 2 / 64
    assert float(jnp.max(jnp.abs(y - fn(params, x)))) <= lsb / 2 + 1e-5
    assert len(np.unique(np.round(np.asarray(y) / lsb - 0.5))) > 20


def test_gradients_through_a_chip_reach_weights_inputs_and_the_ramps_numbers():
    """The gain's gradient is that of tanh(z / gain), dithered: within the spread of the codes."""
    params, x = {"w": data(4, 6, seed=1)}, data(300, 4, seed=2)
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    plan = ax.place(fn, hardware(bits=6, gain=1.0, sigma=1e-3))(params, x)
    weigh = data(300, 6, seed=7)

    def loss(plan, params, x):
        return jnp.mean(weigh * ax.analog(fn)(KEY, ax.program(KEY, plan, params), x))

    by_plan, by_params, by_x = jax.jit(jax.grad(loss, (0, 1, 2), allow_int=True))(plan, params, x)
    exact = jax.grad(lambda p, x: jnp.mean(weigh * fn(p, x)), (0, 1))(params, x)
    np.testing.assert_allclose(by_params["w"], exact[0]["w"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_x, exact[1], rtol=1e-4, atol=1e-6)
    gain = jax.grad(lambda k: jnp.mean(weigh * jnp.tanh((x @ params["w"]) / k)))(1.0)
    got = by_plan.hardware[0].activation.gain
    assert abs(float(got - gain)) < 0.1 * abs(float(gain))
    assert np.isfinite(by_plan.hardware[0].activation.sigma)


def test_a_sum_that_is_not_finite_does_not_become_a_code():
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    y = run(fn, hardware(bits=5), {"w": jnp.ones((1, 2))}, jnp.array([[jnp.nan], [1.0]]))
    assert np.isnan(np.asarray(y)).any()


@pytest.mark.parametrize(("rows", "needed"), [(15, "16 rows"), (10, "16 rows")])
def test_a_layer_taller_than_its_array_is_refused(rows, needed):
    fn, params = functional(nnx.RNN(nnx.OptimizedLSTMCell(8, 7, rngs=nnx.Rngs(0))))
    with pytest.raises(ValueError, match=f"needed: {needed}, bias included, there: {rows}"):
        ax.place(fn, hardware(array=ax.Array(rows=rows, weight_bits=None)))(params, data(2, 3, 8))


def test_programming_follows_the_ranges_of_the_plan():
    """Scale times input range is one unit for all members of an array."""
    params = {"w": data(4, 6, seed=1), "u": data(6, 6, seed=2)}
    fn = lambda p, x, h: jnp.tanh(x @ p["w"] + h @ p["u"])  # noqa: E731
    plan = ax.calibrate(fn)(KEY, ax.place(fn, hardware())(params, data(9, 4), 3 * data(9, 6)), params,
                            data(9, 4), 3 * data(9, 6))  # fmt: skip
    chip = ax.program(KEY, plan, params)
    ranges = {s.path: float(r.input) for s, r in zip(plan.sites, plan.ranges, strict=True)}
    units = {name: float(chip.tree[name].scale) * ranges[name] for name in params}
    assert units["w"] == pytest.approx(units["u"], rel=1e-6)
    assert units["w"] == pytest.approx(max(float(jnp.abs(params[n]).max()) * ranges[n] for n in params), rel=1e-6)
    other = replace(plan, ranges=tuple(replace(r, input=2 * r.input) for r in plan.ranges))
    assert float(ax.program(KEY, other, params).tree["w"].scale) == pytest.approx(float(chip.tree["w"].scale), rel=1e-6)


@pytest.mark.parametrize("bits", [3, 5])
def test_the_second_pass_behind_a_driver_reaches_both_ends_and_is_symmetric(bits):
    """tanh(c) for c = -6 ... 6: every driver code within half a step, no mean error, the first and the last code."""

    def fn(p, x):  # a digital value after the array's own activation
        return jnp.tanh(x[:, :1] + 0.0 * jnp.tanh(x @ p["w"]))

    c = np.linspace(-6, 6, 2001, dtype=np.float32)[:, None]
    hw = hardware(dac=ax.DAC(bits=bits, encoding="pulse-width"), bits=bits, digital="ramp", sigma=0.05)
    y = np.asarray(run(fn, hw, {"w": jnp.ones((1, 1))}, jnp.asarray(c)))[:, 0]
    ideal = hardware(dac=ax.DAC(bits=bits, encoding="pulse-width"), bits=bits, digital="ramp")
    exact = np.asarray(run(fn, ideal, {"w": jnp.ones((1, 1))}, jnp.asarray(c)))[:, 0]
    lsb = 2 / 2**bits
    assert exact.min() == pytest.approx(-1 + lsb / 2)
    assert exact.max() == pytest.approx(1 - lsb / 2)
    # a driver code on a threshold (0) belongs to the code above it
    np.testing.assert_allclose(exact[np.abs(c[:, 0]) > 1], -exact[::-1][np.abs(c[:, 0]) > 1], atol=1e-6)
    assert not np.array_equal(y, exact)


def test_the_second_pass_has_the_read_noise_of_its_passes():
    fn = lambda p, x: jnp.tanh(x + 0.0 * jnp.tanh(x @ p["w"]))  # noqa: E731
    y = np.asarray(
        run(fn, hardware(bits=5, digital="ramp", read_sigma=0.2), {"w": jnp.eye(3)}, jnp.full((500, 3), 0.4))
    )
    assert len(np.unique(y)) > 3
    np.testing.assert_array_equal(y, np.tile(y[:, :1], (1, 3)))  # one pass for each vector


def test_columns_of_two_activations_have_read_noise_of_their_own():
    fn = lambda p, x: (jnp.tanh(x @ p["w"]), jax.nn.sigmoid(x @ p["w"]))  # noqa: E731
    a, b = run(fn, hardware(bits=6, read_sigma=0.1), {"w": jnp.ones((1, 1))}, jnp.full((2000, 1), 0.3))
    assert abs(np.corrcoef(np.asarray(a)[:, 0], np.asarray(b)[:, 0])[0, 1]) < 0.1


def test_second_passes_beside_a_batch_of_arrays_are_refused():
    fn = lambda p, x: jnp.tanh(1.0 + jnp.tanh(jnp.einsum("lij,ljk->lik", x, p["w"])))  # noqa: E731
    with pytest.raises(ValueError, match="Ramp.digital: 'ramp' converts.*3 arrays side by side"):
        ax.place(fn, hardware(digital="ramp"))({"w": data(3, 4, 5)}, data(3, 2, 4))


@pytest.mark.parametrize("fn", [jax.nn.silu, pytest.param(jax.nn.gelu, marks=pytest.mark.slow)], ids=["silu", "gelu"])
def test_a_function_that_turns_counts_up_and_down_in_a_network(fn):
    """Against the definition on the chip's own thresholds: first_code + sum of signs passed."""
    marked = ax.activation(fn, domain=(-4, 4), name=f"{fn.__name__}_marked")
    net = lambda p, x: marked(x @ p["w"])  # noqa: E731
    x, params = jnp.linspace(-4, 4, 801)[:, None], {"w": jnp.ones((1, 1))}
    chip = ax.program(KEY, ax.place(net, hardware(bits=5, sigma=0.02))(params, x), params)
    (found,) = ramps(chip).values()
    made, levels = found.design, np.asarray(found.thresholds[0])
    passed = np.asarray(x) >= levels
    code = np.clip(made.first_code + passed @ np.asarray(made.signs), 0, made.codes - 1)
    away = np.min(np.abs(np.asarray(x) - levels), -1) > 1e-5
    y = np.asarray(jax.jit(ax.analog(net))(KEY, chip, x))[:, 0]
    np.testing.assert_allclose(y[away], np.asarray(made.output(code))[away], atol=1e-6)
    assert {-1, 1} <= set(made.signs)


@pytest.mark.parametrize("convention", ["edges", "centres", "range"])
def test_beyond_its_span_a_ramp_has_no_slope_but_that_of_its_ends(convention):
    """Gradient to the span against differences of the dithered output, inside and outside."""
    z = jnp.linspace(1.0, 4.0, 4001)[:, None]
    fn = lambda p, x: jax.nn.sigmoid(x @ p["w"])  # noqa: E731
    params = {"w": jnp.ones((1, 1))}

    def mean(span):
        hw = hardware(bits=5, span=span, convention=convention)
        plan = ax.place(fn, hardware(bits=5, span=2.0, convention=convention))(params, z)
        plan = replace(plan, hardware=(hw,))
        return jnp.mean(ax.analog(fn)(KEY, ax.program(KEY, plan, params), z))

    got = float(jax.jit(jax.grad(mean))(2.0))
    difference = float((jax.jit(mean)(2.1) - jax.jit(mean)(1.9)) / 0.2)
    assert got == pytest.approx(difference, rel=0.1)
