"""Bit lines: what converts when, counted in the plan and in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layer_table import data, model_of

import anaxon as ax
from anaxon.flax import functional

KEY = jax.random.key(0)
LINEAR = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), adc=ax.ADC.uniform(bits=16))
RAMP = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), activation=ax.Ramp(bits=8))
NOISY = ax.Hardware(device=ax.VCM(noise="physical"), array=ax.Array(weight_bits=2), adc=ax.ADC.bits(8, 8))
X = data(3, 4)
P = {"w": data(4, 6, seed=1), "u": data(4, 6, seed=2), "b": 0.3 * data(6, seed=3)}


def counted(fn, hw, params=P, x=X):
    """`{path: {converter: conversions per call}}` as the plan has it, checked against a run."""
    plan = ax.place(fn, hw)(params, x)
    planned = {s.path: _conversions(s) for s in plan.sites if s.uses}
    assert _ran(fn, plan, params, x) == {p: sum(c.values()) for p, c in planned.items() if c}
    return planned


def _ran(fn, plan, params, x):
    def counts(params):  # all but the counts is dropped before it is compiled
        _, layers = ax.observe(fn)(KEY, ax.program(KEY, plan, params), params, x)
        return {path: stats.conversions for path, stats in layers.items()}

    return {path: int(n) for path, n in jax.jit(counts)(params).items()}


def run(fn, rules, params=P, x=X):
    """`fn` on one chip, programmed and read in one compiled program."""
    plan = ax.place(fn, rules)(params, x)
    return jax.jit(lambda p, x: ax.analog(fn)(KEY, ax.program(KEY, plan, p), x))(params, x)


def _conversions(site):
    found = {}
    for use in site.uses:
        for kind, columns in use.conversions:
            found[kind] = found.get(kind, 0) + columns * use.vectors * use.executions
    return found


def test_a_line_used_twice_converts_once():
    def fn(p, x):
        z = x @ p["w"]
        return jnp.exp(z) + z * 2 + jnp.sum(z)

    assert counted(fn, LINEAR) == {"w": {"linear": 18}}


def test_a_line_used_twice_has_one_sample():
    def fn(p, x):
        z = x @ p["w"]
        return jnp.exp(z) - jnp.exp(z), z[:, :3] - (z + 0.0)[:, :3]

    assert all(np.array_equal(d, 0 * d) for d in run(fn, NOISY))


def test_two_products_of_one_weight_are_two_reads():
    fn = lambda p, x: x @ p["w"] - x @ p["w"]  # noqa: E731
    assert counted(fn, LINEAR) == {"w": {"linear": 36}}
    y = run(fn, NOISY)
    assert float(jnp.max(jnp.abs(y))) > 0  # each with its own noise


def test_only_the_columns_that_are_used_convert():
    assert counted(lambda p, x: (x @ p["w"])[:, 1:3] * 2, LINEAR) == {"w": {"linear": 6}}


def test_overlapping_windows_convert_their_union():
    def fn(p, x):
        z = x @ p["w"]
        return z[:, :4] * 2, z[:, 2:5] * 3

    assert counted(fn, LINEAR) == {"w": {"linear": 15}}


def test_split_keeps_the_parts_apart():
    """Two of three gates end in a ramp, the third converts linearly."""

    def fn(p, x):
        a, b, c = jnp.split(x @ p["w"], 3, axis=-1)
        return jnp.tanh(a) * jax.nn.sigmoid(b) + c

    assert counted(fn, RAMP) == {"w": {"linear": 6, "logistic": 6, "tanh": 6}}
    assert counted(fn, LINEAR) == {"w": {"linear": 18}}


def test_one_column_in_two_converters():
    """silu(z) = z * logistic(z): once through the ramp and once through the linear ADC."""
    assert counted(lambda p, x: jax.nn.silu(x @ p["w"]), RAMP) == {"w": {"linear": 18, "logistic": 18}}


def test_two_activations_of_one_line_are_two_ramps_and_one_is_one():
    def fn(p, x):
        z = x @ p["w"]
        return jnp.tanh(z) + jnp.tanh(z) * jax.nn.sigmoid(z)

    assert counted(fn, RAMP) == {"w": {"logistic": 18, "tanh": 18}}


def test_reshape_and_transpose_apply_to_the_line():
    def fn(p, x):
        return jnp.tanh((x @ p["w"]).reshape(3, 2, 3).transpose(1, 0, 2))

    assert counted(fn, RAMP) == {"w": {"tanh": 18}}
    y = run(fn, RAMP)
    np.testing.assert_allclose(y, fn(P, X), atol=2 / 2**8)


def test_merged_before_a_ramp_only():
    fn = lambda p, x: jnp.tanh(x @ p["w"] + jnp.sin(x) @ p["u"])  # noqa: E731
    plan = ax.place(fn, RAMP)(P, X)
    assert len({s.group for s in plan.sites}) == 1
    assert plan.sites[0].group is not None
    assert counted(fn, RAMP) == {"w": {"tanh": 18}, "u": {"tanh": 18}}
    assert counted(fn, LINEAR) == {"w": {"linear": 18}, "u": {"linear": 18}}
    assert all(s.group is None for s in ax.place(fn, LINEAR)(P, X).sites)


def test_added_to_a_residual_is_digital():
    params = {"w": data(4, 4, seed=1)}
    assert counted(lambda p, x: jnp.tanh(x + x @ p["w"]), RAMP, params) == {"w": {"linear": 12}}


def test_two_biases_on_one_product_are_two_conversions():
    params = P | {"c": jnp.ones(6)}
    fn = lambda p, x: (lambda z: (jnp.tanh(z + p["b"]), jnp.tanh(z + p["c"])))(x @ p["w"])  # noqa: E731
    plan = ax.place(fn, RAMP)(params, X)
    for a, b in zip(run(fn, RAMP, params), fn(params, X), strict=True):
        np.testing.assert_allclose(a, b, atol=2 / 2**8)
    assert {s.path: s.bias for s in plan.sites} == {"w": False, "b": True, "c": True}


def test_a_bias_row_is_noisy_once_for_each_vector():
    """The row of one bias read by 2000 vectors: independent samples, and not the same one broadcast."""
    device = ax.VCM(programming="ideal", noise="legacy")
    hw = ax.Hardware(device=device, array=ax.Array(weight_bits=2), activation=ax.Ramp(bits=8))
    params = {"w": jnp.zeros((1, 1)), "b": 0.5 * jnp.ones(1)}
    fn = lambda p, x: jnp.tanh(x @ p["w"] + p["b"])  # noqa: E731
    x = jnp.ones((2000, 1))
    y = np.asarray(run(fn, hw, params, x))[:, 0]
    assert abs(np.median(y) - np.tanh(0.5)) < 2 / 2**7
    assert len(np.unique(y)) > 2


def test_concatenated_weights_are_side_by_side():
    fn = lambda p, x: jnp.split(x @ jnp.concatenate([p["w"], p["u"]], axis=1), 4, axis=1)[1] * 2  # noqa: E731
    assert counted(fn, LINEAR) == {"w": {"linear": 9}, "u": {}}
    plan = ax.place(fn, LINEAR)(P, X)
    chip = ax.program(KEY, plan, P)
    assert chip.tree["w"].scale != chip.tree["u"].scale


def test_concatenated_along_rows_adds_up():
    fn = lambda p, x: jnp.concatenate([x, 2 * x], 1) @ jnp.concatenate([p["w"], p["u"]], axis=0)  # noqa: E731
    y = run(fn, LINEAR)
    np.testing.assert_allclose(y, fn(P, X), atol=1e-3)
    assert counted(fn, LINEAR) == {"w": {"linear": 18}, "u": {"linear": 18}}


def test_split_weights_are_crossbars():
    """A fused projection whose weight is split first, and one that is iterated over."""

    def fn(p, x):
        a, b, c = jnp.split(p["w"], 3, axis=1)
        return x @ a + x @ b + x @ c, [x[:, :1] @ row[None] for row in p["u"]]

    assert counted(fn, LINEAR) == {"w": {"linear": 18}, "u": {"linear": 4 * 18}}


def test_an_activation_of_ones_own_ends_in_the_ramp():
    cube = ax.activation(lambda z: z**3 + z, inverse=_inverse_cubic, low=-2.0, high=2.0, name="cubic")
    fn = lambda p, x: cube(0.3 * x @ p["w"])  # noqa: E731
    assert counted(fn, RAMP) == {"w": {"cubic": 18}}
    assert counted(fn, LINEAR) == {"w": {"linear": 18}}
    y = run(fn, RAMP)
    exact = fn(P, X)
    assert float(jnp.max(jnp.abs(exact))) < 2
    np.testing.assert_allclose(y, exact, atol=4 / 2**8)
    np.testing.assert_allclose(cube(X), X**3 + X, rtol=1e-6)


def _inverse_cubic(y):
    """Cardano for z**3 + z = y."""
    root = jnp.sqrt(y**2 / 4 + 1 / 27)
    return jnp.cbrt(y / 2 + root) + jnp.cbrt(y / 2 - root)


def lstm(cell=nnx.LSTMCell, features=4):
    model = model_of(lambda: nnx.RNN(cell(3, features, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0)))
    return functional(model)


@pytest.mark.parametrize("cell", [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.SimpleCell, nnx.GRUCell])
def test_a_plain_flax_cell_becomes_an_in_memory_one_by_its_hardware(cell):
    """The 5-bit ramp's output lies within half a step of the activation; gates multiply and add over 6 steps."""
    fn, params = lstm(cell)
    x = data(2, 6, 3)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), activation=ax.Ramp(bits=5))
    plan = ax.place(fn, {".*kernel": hw})(params, x)
    chip = ax.program(KEY, plan, params)
    y, layers = jax.jit(ax.observe(fn))(KEY, chip, params, x)
    exact = jax.jit(fn)(params, x)
    assert 1e-3 < float(jnp.max(jnp.abs(y - exact))) < 3 / 2**5
    assert set(layers) == {s.path for s in plan.sites if not s.bias}


def test_a_gate_is_one_tall_array_with_one_scale():
    fn, params = lstm()
    x = data(2, 6, 3)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), activation=ax.Ramp(bits=5))
    plan = ax.place(fn, {".*kernel": hw})(params, x)
    chip = ax.program(KEY, plan, params)
    groups = {}
    for site in plan.sites:
        groups.setdefault(site.group, set()).add(site.path)
    flax_i = "if_"  # Flax NNX's name of the input kernel of the forget gate
    gates = [("ii", "hi"), (flax_i, "hf"), ("ig", "hg"), ("io", "ho")]
    assert sorted(map(sorted, groups.values())) == sorted(
        sorted([f"cell/{i}/kernel", f"cell/{h}/kernel", f"cell/{h}/bias"]) for i, h in gates
    )
    nodes = jax.tree.leaves(chip.tree, is_leaf=lambda n: hasattr(n, "cells"))
    crossbars = {c.path: c for c in nodes if hasattr(c, "cells")}
    for members in groups.values():
        scales = {float(crossbars[m].scale) for m in members}
        largest = max(float(jnp.max(jnp.abs(crossbars[m].cells[0] * crossbars[m].scale))) for m in members)
        assert len(scales) == 1
        np.testing.assert_allclose(scales.pop(), largest, rtol=1e-6)


def test_rows_stacked_over_layers_have_a_scale_for_each():
    """A scan over layers under a ramp: weight and bias of a layer share a scale, layers do not."""
    params = {"w": data(3, 4, 4, seed=1) * jnp.array([1, 0.1, 10.0]).reshape(3, 1, 1), "b": data(3, 4, seed=2)}

    def fn(p, x):
        return jax.lax.scan(lambda x, p: (jnp.tanh(x @ p["w"] + p["b"]), None), x, p)[0]

    for rules in (RAMP, {"w": RAMP}):
        chip = ax.program(KEY, ax.place(fn, rules)(params, X), params)
        expected = np.maximum(np.abs(params["w"]).max((1, 2)), np.abs(params["b"]).max(1))
        np.testing.assert_allclose(chip.tree["w"].scale.reshape(-1), expected, rtol=1e-6)
        np.testing.assert_allclose(chip.tree["b"].scale.reshape(-1), expected, rtol=1e-6)
        np.testing.assert_allclose(run(fn, rules, params), fn(params, X), atol=0.1)


def ramp_hardware(**array):
    array = ax.Array(**{"weight_bits": None, **array})
    return ax.Hardware(device=ax.IdealDevice(), array=array, activation=ax.Ramp())


@pytest.mark.parametrize(
    ("hw", "sentence"),
    [
        (ramp_hardware(rows=4), r"b\+w: a ramp .* needed: 5 rows, bias included, there: 4"),
        (ramp_hardware(weight_bits=4), r"b\+w: .* needed: 1 slice per weight, there: 3 \(weight_bits=4"),
    ],
    ids=["rows", "slices"],
)
def test_a_ramp_that_does_not_fit(hw, sentence):
    with pytest.raises(ValueError, match=sentence):
        ax.place(lambda p, x: jnp.tanh(x @ p["w"] + p["b"]), hw)(P, X)


def test_a_ramp_has_one_cycle():
    with pytest.raises(ValueError, match="DAC.encoding: a ramp converts one current per output; got 'bit-serial'"):
        ax.Hardware(device=ax.IdealDevice(), dac=ax.DAC(encoding="bit-serial"), activation=ax.Ramp())


def test_a_ramp_that_just_fits():
    fn = lambda p, x: jnp.tanh(x @ p["w"] + p["b"])  # noqa: E731
    plan = ax.place(fn, ramp_hardware(rows=5, weight_bits=2))(P, X)
    assert [s.bias for s in plan.sites] == [True, False]


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (3, 6)], ids=["number", "one", "by vector", "by both"])
def test_what_is_no_bias_row_is_added_digitally(shape):
    """A row holds one number for each column, the same for every input vector."""
    params = P | {"s": data(*shape, seed=5)}
    fn = lambda p, x: jnp.tanh(x @ p["w"] + p["s"])  # noqa: E731
    assert counted(fn, {"w": RAMP}, params) == {"w": {"linear": 18}}


def test_a_changed_bias_is_refused():
    with pytest.raises(TypeError, match="b: a bias row must hold a parameter as it is; this one passed mul"):
        ax.place(lambda p, x: jnp.tanh(x @ p["w"] + 2 * p["b"]), {"w": RAMP})(P, X)
