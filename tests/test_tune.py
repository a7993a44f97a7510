"""Windows: the optimum of the geometric program, its budgets, and what chips make of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

import anaxon as ax
from anaxon import tune
from anaxon.interpret.power import power

SHAPES = {"a": (6, 10), "c": (10, 10), "d": (10, 3)}


@pytest.fixture(scope="module")
def setting():
    keys = jax.random.split(jax.random.key(0), len(SHAPES))
    params = {n: jax.random.normal(k, s) / s[0] ** 0.5 for k, (n, s) in zip(keys, SHAPES.items(), strict=True)}
    params["a"] = params["a"].at[0, 0].set(3.0)  # an outlier, which makes the first layer the noisy one
    fn = lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["c"]) @ p["d"]  # noqa: E731
    x = jax.random.normal(jax.random.key(5), (20, 6))
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.01), array=ax.Array(weight_bits=None))
    return fn, calibrated(fn, hw, params, x), params, x


def calibrated(fn, hw, params, x):
    return ax.calibrate(fn)(jax.random.key(4), ax.place(fn, hw)(params, x), params, x)


def test_power_golden():
    """Spec V1: 11 in the cells and 27.2 in the amplifiers, at G_max = 2, W_max = 1, x = (1, 2), sigma = 0.1."""
    params, x = {"w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]])}, jnp.asarray([[1.0, 2.0]])
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.05), array=ax.Array(weight_bits=None))
    found = power(fn)(calibrated(fn, hw, params, x), params, x)["w"]
    g, x_max = 2.0, 2.0  # in the golden figure's units; ours are relative to full scale
    assert float(found.cells.sum()) * g * x_max**2 == pytest.approx(11.0, rel=1e-6)
    amplifiers = float(found.amplifiers.sum()) + 0.05**2 * float(found.spread.sum())
    assert amplifiers * g**2 * x_max**2 == pytest.approx(27.2, rel=1e-6)


def test_power_of_windows(setting):
    fn, plan, params, x = setting
    given = tune.trade(fn)(plan, params, x)
    half = {p: jnp.full((1, 1), 0.5) for p in SHAPES}
    found = power(fn)(tune.with_windows(plan, half), params, x)
    assert sum(float(p.total) for p in found.values()) == pytest.approx(float(given.power_at(half)), rel=1e-3)


@pytest.mark.parametrize("per", ["site", "column"])
def test_the_optimum_is_the_optimum(setting, per):
    """Against a general solver, on the logarithms of the windows."""
    fn, plan, params, x = setting
    given = jax.tree.map(lambda v: np.asarray(v, np.float64), tune.trade(fn, per)(plan, params, x))
    budget = 0.3 * float(given.power_at(dict.fromkeys(SHAPES, 1.0)))
    ours = tune.least_error(given, budget)
    assert float(given.power_at(ours)) == pytest.approx(budget, rel=1e-3)
    a, cells, amplifiers = (
        np.concatenate([np.ravel(t[p]) for p in SHAPES]) for t in (given.error, given.cells, given.amplifiers)
    )
    spend = lambda v: budget - given.spread - np.sum(cells * np.exp(v) + amplifiers * np.exp(2 * v))  # noqa: E731
    found = minimize(lambda v: np.log(np.sum(a * np.exp(-2 * v))), np.full(a.size, -1.5), bounds=[(-6.9, 0)] * a.size,
                     constraints={"type": "ineq", "fun": spend}, options={"maxiter": 2000, "ftol": 1e-12})  # fmt: skip
    assert float(given.error_at(ours) - given.bias) <= np.exp(found.fun) * 1.002
    assert max(float(w.max()) for w in ours.values()) <= 1.0


def test_the_dual_comes_back(setting):
    fn, plan, params, x = setting
    given = tune.trade(fn, "column")(plan, params, x)
    budget = 0.3 * float(given.power_at(dict.fromkeys(SHAPES, 1.0)))
    error = float(given.error_at(tune.least_error(given, budget)))
    assert float(given.power_at(tune.least_power(given, error))) == pytest.approx(budget, rel=5e-3)


@pytest.mark.slow
def test_chips_agree(setting):
    """At equal power: the error of many chips falls as predicted, by layers and further by columns."""
    fn, plan, params, x = setting
    trades = {per: tune.trade(fn, per)(plan, params, x) for per in ("site", "column")}
    budget = 0.2 * float(trades["site"].power_at(dict.fromkeys(SHAPES, 1.0)))
    windows = {"uniform": tune.uniform(trades["site"], budget)} | {
        k: tune.least_error(t, budget) for k, t in trades.items()
    }
    found = {}
    for name, w in windows.items():
        given = trades["column" if name == "column" else "site"]
        found[name] = sampled_error(fn, tune.with_windows(plan, w), params, x)
        assert found[name] == pytest.approx(float(given.error_at(w)), rel=0.1)
    assert found["column"] < found["site"] < 0.9 * found["uniform"]


def sampled_error(fn, plan, params, x, chips=2000):
    one = lambda k: jnp.mean((ax.analog(fn)(k, ax.program(k, plan, params), x) - fn(params, x)) ** 2)  # noqa: E731
    return float(
        jax.jit(lambda k: jax.lax.map(one, k, batch_size=100))(jax.random.split(jax.random.key(1), chips)).mean()
    )


def test_without_the_box_full_scale_costs_nothing(setting):
    """Where windows of 1 bind, wider ones would err less at the same power."""
    fn, plan, params, x = setting
    given = tune.trade(fn)(plan, params, x)
    budget = 0.8 * float(given.power_at(dict.fromkeys(SHAPES, 1.0)))
    box, free = tune.least_error(given, budget), tune.least_error(given, budget, highest=100.0)
    assert max(float(w.max()) for w in box.values()) == 1.0 < max(float(w.max()) for w in free.values())
    assert float(given.power_at(free)) == pytest.approx(float(given.power_at(box)), rel=1e-3)
    assert float(given.error_at(free)) < float(given.error_at(box))


def test_infeasible_budgets_say_what_is_feasible(setting):
    fn, plan, params, x = setting
    given = tune.trade(fn)(plan, params, x)
    with pytest.raises(ValueError, match="power_budget: the least feasible is"):
        tune.least_error(given, 1e-9)
    with pytest.raises(ValueError, match="error_budget: the least feasible is"):
        tune.least_power(given, 1e-12)
    with pytest.raises(ValueError, match="full windows draw"):
        tune.uniform(given, 1e9)
    for highest in (0.0, float("nan")):
        with pytest.raises(ValueError, match="highest: expected a number above 0"):
            tune.least_error(given, 1e9, highest=highest)
    full = tune.least_error(given, 1e9)
    assert all(float(w.min()) == 1.0 for w in full.values())


@pytest.mark.parametrize(
    ("hardware", "says"),
    [
        ({"array": ax.Array(weight_bits=4)}, "expected one pair for a weight"),
        ({"device": ax.Gaussian(sigma=0.01, g_min=1e-6)}, "g_min = 0"),
        ({"dac": ax.DAC(encoding="pulse-width")}, "power is that of amplitudes"),
        ({}, "`calibrate` the plan first"),
    ],
)
def test_power_says_what_it_is_not_of(setting, hardware, says):
    fn, _, params, x = setting
    hw = ax.Hardware(**{"device": ax.Gaussian(sigma=0.01), "array": ax.Array(weight_bits=None), **hardware})
    with pytest.raises(ValueError, match=says):
        power(fn)(ax.place(fn, hw)(params, x), params, x)


@pytest.mark.parametrize("window", [0.0, 1.5, -1.0, [[1.0], [0.5]], np.full((6, 1), 0.5)])
def test_wrong_windows_are_named(setting, window):
    _, plan, params, _ = setting
    with pytest.raises(ValueError, match=r"ranges.window"):
        ax.program(jax.random.key(0), tune.with_windows(plan, {"a": jnp.asarray(window)}), params)


@pytest.mark.parametrize("window", [0.0, -1.0, float("nan")])
def test_windows_that_are_no_share_are_named(setting, window):
    with pytest.raises(ValueError, match=r"windows\['a'\]: expected a share of full scale above 0"):
        tune.with_windows(setting[1], {"a": window})


@pytest.mark.slow
def test_gradients_find_the_window():
    """Any objective of a plan: predicted variance with a price on power; its optimum solves the geometric program."""
    params, x = {"w": jnp.asarray([[0.5, 1.0], [-0.25, 0.75]])}, jnp.asarray([[1.0, 2.0], [0.5, -1.0]])
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.05), array=ax.Array(weight_bits=None))
    plan = calibrated(fn, hw, params, x)
    given = tune.trade(fn)(plan, params, x)
    price = 0.1

    def objective(plan):
        draws = sum(p.total for p in power(fn)(plan, params, x).values())
        return jnp.diagonal(ax.predict(fn)(plan, params, x)[1], axis1=1, axis2=2).mean() + price * draws

    start = tune.with_windows(plan, {"w": 0.8})
    best, seen = tune.minimise(objective, start, {"ranges/*/window": (0.02, 1.0)}, optax.adam(0.1), 100)
    w = float(best.ranges[0].window)
    a, cells, amplifiers = (float(jnp.sum(t["w"])) for t in (given.error, given.cells, given.amplifiers))
    assert seen.shape == (101,) and seen.min() < 0.9 * seen[0]
    assert w**3 * (cells + 2 * amplifiers * w) == pytest.approx(2 * a / price, rel=0.02)


def test_wrong_leaves_are_named(setting):
    _, plan, _, _ = setting
    with pytest.raises(ValueError, match=r"'nothing' matches no number of the plan"):
        tune.minimise(lambda p: 0.0, plan, {"nothing": (0, 1)}, optax.sgd(1), 1)
    with pytest.raises(ValueError, match=r"hardware/0/device/sigma starts at 0.01"):
        tune.minimise(lambda p: 0.0, plan, {"hardware/0/device/sigma": (0.5, 1)}, optax.sgd(1), 1)


def test_leaves_that_do_not_move_stay_what_they_are(setting):
    _, plan, _, _ = setting
    counted = (plan, jnp.arange(3))

    def objective(found):
        moved, whole = found
        assert whole.dtype == jnp.int32
        return (moved.hardware[0].device.sigma - 0.02) ** 2

    (best, whole), _ = tune.minimise(objective, counted, {"0/hardware/0/device/sigma": (0, 1)}, optax.sgd(1.0), 2)
    assert float(best.hardware[0].device.sigma) > 0.01 and whole.dtype == jnp.int32
    with pytest.raises(TypeError, match="free: 1 is int32; expected a floating-point number"):
        tune.minimise(objective, counted, {"1": (-1, 3)}, optax.sgd(1.0), 2)


@pytest.mark.parametrize("noise", [{"sigma_rel": 0.05}, {"bandwidth": 1e11}])
def test_noise_that_goes_otherwise_is_refused(setting, noise):
    fn, _, params, x = setting
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.01, **noise), array=ax.Array(weight_bits=None))
    with pytest.raises(ValueError, match=f"{next(iter(noise))} = .*use `minimise`"):
        tune.trade(fn)(calibrated(fn, hw, params, x), params, x)


def test_the_trade_knows_what_windows_do_not_change(setting):
    """Rounded inputs err, and deviating cells draw power, whatever the windows: against sampled chips and `power`."""
    fn, _, params, x = setting
    device = ax.Gaussian(sigma=0.001)
    hw = ax.Hardware(device=device, array=ax.Array(weight_bits=None), dac=ax.DAC(bits=8))
    plan = calibrated(fn, hw, params, x)
    given, ours = tune.trade(fn)(plan, params, x), dict.fromkeys(SHAPES, 0.5)
    narrow = tune.with_windows(plan, ours)

    def error(key):
        return jnp.mean((ax.analog(fn)(key, ax.program(key, narrow, params), x) - fn(params, x)) ** 2)

    chips = jax.jit(lambda keys: jax.lax.map(error, keys))(jax.random.split(jax.random.key(8), 1000))
    assert float(given.error_at(ours)) == pytest.approx(float(chips.mean()), rel=0.05)
    assert float(given.bias) > 0.2 * float(chips.mean())
    draws = power(fn)(narrow, params, x).values()
    exact = sum(float(p.total + device.sigma**2 * p.spread.sum()) for p in draws)
    assert float(given.power_at(ours)) == pytest.approx(exact, rel=1e-3)
    assert repr(given).splitlines()[1] == (
        f"  a: error {float(given.error['a'].sum()):.4g}, cells {float(given.cells['a'].sum()):.4g}, "
        f"amplifiers {float(given.amplifiers['a'].sum()):.4g}"
    )
    assert "unknown" in repr(jax.eval_shape(lambda: given))
