import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_ramp import codes

import anaxon as ax
from anaxon.converter import ramp

RISING = ["sigmoid", "tanh", "softplus", "softsign", "elu", "selu", "exp", "erf", "log_sigmoid", "leaky_relu"]
RISING += ["linear", "relu", "hard_sigmoid", "hard_tanh"]
TURNING = ["gelu", "gelu_tanh", "silu", "mish", "hard_silu"]


def cube_root_inverse(y):
    """Cardano for z**3 + z = y."""
    root = np.sqrt(y**2 / 4 + 1 / 27)
    return np.cbrt(y / 2 + root) + np.cbrt(y / 2 - root)


# (function, arguments of `activation`, direction)
OWN = {
    "arctan": (lambda z: jnp.arctan(z), {}, 1),
    "steep": (lambda z: jnp.tanh(1000 * z), {}, 1),
    "decreasing": (lambda z: jax.nn.sigmoid(-2 * z) + 3, {}, -1),
    "decreasing inverse": (lambda z: jnp.exp(-z), {"inverse": lambda y: -jnp.log(y), "domain": (-2, 2)}, -1),
    "cubic": (lambda z: z**3 + z, {"inverse": cube_root_inverse, "low": -2.0, "high": 2.0}, 1),
    "unbounded": (lambda z: jnp.log1p(jnp.exp(z)) + 0.1 * z, {"domain": (-3, 5)}, 1),
    "half parabola": (lambda z: z**2, {"domain": (0, 4)}, 1),
    "gelu-like": (lambda z: z * jax.nn.sigmoid(1.702 * z), {"domain": (-4, 4)}, 0),
    "bump": (lambda z: jnp.exp(-(z**2)), {}, 0),
    "wave": (lambda z: jnp.sin(z), {"domain": (-4, 7)}, 0),
    "algebraic": (lambda z: z / jnp.sqrt(1 + z**2), {}, 1),
    "snake": (lambda z: z + jnp.sin(3 * z) ** 2, {"domain": (-2, 2)}, 0),
}


def made(name):
    if name not in OWN:
        return ramp.find(name)
    fn, arguments, _ = OWN[name]
    return ramp.find(ax.activation(fn, **arguments))


def inputs(activation, design):
    """Inputs of the ramp's whole range: all there are on a bounded side, to the domain's end on the other."""
    low, high = activation.domain
    far = (high - low) * np.geomspace(1e-4, 1e4, 4001)
    low = low - far * (activation.limits[0] is not None and design.convention == "edges")
    high = high + far * (activation.limits[1] is not None and design.convention == "edges")
    return np.concatenate([low, np.linspace(*activation.domain, 20_001), high])


@pytest.mark.parametrize(("convention", "bits"), [("edges", 3), ("edges", 8), ("range", 5)])
@pytest.mark.parametrize("name", [*RISING, *TURNING, *OWN])
def test_every_activation_within_half_a_step(name, convention, bits):
    activation = made(name)
    design = ramp.design(activation, bits, convention=convention)
    z = np.sort(inputs(activation, design))
    exact = np.asarray(activation.fn(jnp.asarray(z, jnp.float32)), np.float64)
    if OWN.get(name, (0, {}))[1].get("low"):  # an output range that was said is where the code ends
        inside = np.abs(exact) <= 2
        z, exact = z[inside], exact[inside]
    code = codes(design.thresholds, z, design.signs, design.first_code)
    assert code.min() >= 0 and code.max() <= design.codes - 1
    assert np.abs(design.output(code) - exact).max() <= design.lsb * 0.5 + 3e-6 * np.ptp(exact)
    direction = OWN[name][2] if name in OWN else int(name in RISING)
    if direction:
        assert np.all(direction * np.diff(code) >= 0)
        assert set(code) == set(range(design.codes))


@pytest.mark.parametrize("name", TURNING)
def test_rounds_up_at_the_centres_too(name):
    design = ramp.design(name, 5, convention="centres")
    z = np.linspace(-8, 4, 20_001)
    exact = np.asarray(ramp.find(name).fn(jnp.asarray(z, jnp.float32)))
    code = codes(design.thresholds, z, design.signs, design.first_code)
    assert np.abs(design.output(code) - exact).max() <= design.lsb * 0.5 + 1e-5


@pytest.mark.parametrize(("name", "lowest", "at"), [("gelu", -0.169971, -0.751792), ("silu", -0.278465, -1.278465)])
def test_turning_points(name, lowest, at):
    table = ramp.find(name).table
    i = np.argmin(table.y)
    np.testing.assert_allclose([table.y[i], ramp.find(name).low], lowest, atol=1e-6)
    np.testing.assert_allclose(table.x[i], at, atol=2e-3)  # a minimum is flat: 1e-6 of output is 2e-3 of input
    assert ramp.find(name).high is None


def test_a_falling_branch_counts_down_in_the_same_pass():
    design = ramp.design("silu", 5)
    assert design.signs == (-1, -1) + (1,) * 31 and design.first_code == 2
    assert np.all(np.diff(design.thresholds) > 0)
    np.testing.assert_allclose(design.output(design.first_code), 0.0, atol=1e-9)


def test_bounds():
    bounds = lambda which: (ramp.find(which).low, ramp.find(which).high)  # noqa: E731
    assert bounds("tanh") == (-1.0, 1.0) and bounds("softplus") == (0.0, None) and bounds("linear") == (None, None)
    np.testing.assert_allclose(bounds(made("decreasing").name), (3.0, 4.0), rtol=1e-6)
    np.testing.assert_allclose(bounds(made("bump").name), (0.0, 1.0), atol=1e-6)
    np.testing.assert_allclose(bounds(made("wave").name), (-1.0, 1.0), atol=1e-6)


def test_known_functions_and_aliases():
    same = [("sigmoid", "logistic"), (jax.nn.sigmoid, "logistic"), (jnp.tanh, "tanh"), (jax.nn.gelu, "gelu_tanh")]
    same += [(jax.nn.silu, "silu"), ("swish", "silu"), (jax.nn.relu, "relu"), (jax.lax.logistic, "logistic")]
    assert [ramp.find(which).name for which, _ in same] == [name for _, name in same]
    assert ramp.find(ramp.find("elu")) is ramp.find("elu")
    assert ramp.is_known("sigmoid") and ramp.is_known("tanh") and not ramp.is_known("tanhh")


def test_two_functions_of_one_name_are_two_activations():
    first, second = ax.activation(lambda z: jnp.tanh(z)), ax.activation(lambda z: jnp.tanh(2 * z))
    names = [ramp.marked_name(f.__name__) for f in (first, second)]
    assert len(set(names)) == 2 and all(name.startswith("lambda") for name in names)
    thresholds = [ramp.thresholds(f, 4) for f in (first, second)]
    np.testing.assert_allclose(thresholds[0], 2 * thresholds[1], rtol=1e-4, atol=1e-5)
    assert ramp.marked_name(ax.activation(jnp.tanh, name="tanh").__name__) != "tanh"
    fn = lambda z: jnp.tanh(3 * z)  # noqa: E731
    assert ramp.find(fn) is ramp.find(fn)


def test_a_marked_function_is_itself():
    fn = ax.activation(lambda z: z * jax.nn.sigmoid(z), domain=(-4, 4), name="mine")
    z = jnp.linspace(-3, 3, 7)
    np.testing.assert_array_equal(fn(z), z * jax.nn.sigmoid(z))
    np.testing.assert_allclose(
        jax.grad(lambda z: fn(z).sum())(z), jax.grad(lambda z: jax.nn.silu(z).sum())(z), rtol=1e-5
    )


def test_a_callable_is_tabulated_in_a_trace_too():
    fn = lambda z: jnp.tanh(0.7 * z)  # noqa: E731
    v = jax.jit(lambda x: x + jnp.asarray(ramp.thresholds(fn, 3)))(0.0)
    np.testing.assert_allclose(v, ramp.thresholds("tanh", 3) / 0.7, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("own", [{}, {"inverse": lambda y: jnp.arctanh(y - 1.0)}])
def test_a_range_of_a_callable_is_differentiable(own):
    fn = ax.activation(lambda z: jnp.tanh(z) + 1.0, **own)
    slope = lambda which: jax.jacfwd(lambda s: ramp.design(which, 4, span=s).thresholds)  # noqa: E731
    own_slope, exact = jax.jit(lambda s: (slope(fn)(s), slope("tanh")(s)))(1.5)
    np.testing.assert_allclose(own_slope, exact, atol=5e-3)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: ramp.find("sigmod"), ValueError, "expected one of .*got 'sigmod'; did you mean 'sigmoid'?"),
        (lambda: ramp.find(3), TypeError, "expected a name, an elementwise function or an Activation; got 3"),
        (
            lambda: ramp.find(lambda z: z**2),
            ValueError,
            r"'lambda[0-9a-f]{8}': no finite limit at -inf; expected domain=.*got None",
        ),
        (lambda: ramp.find(lambda z: 0 * z + 2), ValueError, "expected a function that varies; got the constant 2"),
        (lambda: ramp.find(jnp.sum), TypeError, r"expected an elementwise function; got shape \(\) from"),
        (
            lambda: ax.activation(jnp.log, domain=(-1, 2)),
            ValueError,
            r"'log': expected finite outputs on its domain \(-1, 2\); got fn\(-1\) = nan",
        ),
        (
            lambda: ax.activation(jnp.tanh, domain=(2, -2), name="t"),
            ValueError,
            r"'t': domain: expected finite \(z_min, z_max\), z_min < z_max; got \(2, -2\)",
        ),
        (lambda: ax.activation(jnp.tanh, domain=(0, np.inf), name="t"), ValueError, "domain: expected finite"),
        (
            lambda: ax.activation(jnp.sin, inverse=jnp.arcsin, domain=(-4, 4), name="t"),
            ValueError,
            "'t': expected a monotone function with an inverse; got turns on",
        ),
        (
            lambda: ax.activation(jnp.tanh, inverse=jnp.arcsinh, name="t"),
            ValueError,
            r"'t': inverse: expected fn\(inverse\(y\)\) = y; got inverse",
        ),
        (
            lambda: ax.activation(lambda z: z, inverse=lambda y: y, name="t"),
            ValueError,
            r"'t': expected domain=\(z_min, z_max\), or low and high with low < high",
        ),
        (
            lambda: ramp.design(ax.activation(jnp.tanh, inverse=jnp.arctanh, domain=(-2, 2), low=-2.0, name="t"), 5),
            ValueError,
            "the inverse is infinite at 10 of 31 levels, first at output -1.90625; expected a range",
        ),
        (
            lambda: ramp.design(ax.activation(lambda z: z**2, domain=(0, 4), name="t"), 5, span=2.0),
            ValueError,
            r"expected a range inside 0 to 1e\+06, where it is known; got -2 to 2",
        ),
    ],
)
def test_bad_activations(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
