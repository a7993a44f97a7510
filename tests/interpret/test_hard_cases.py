"""Cases that went wrong once, each through the public functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import anaxon as ax

EXACT = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None))


def run(fn, hardware, params, *inputs):
    plan = ax.place(fn, hardware)(params, *inputs)
    chip = ax.program(jax.random.key(0), plan, params)
    return jax.jit(ax.analog(fn))(jax.random.key(1), chip, *inputs), plan


def test_slices_of_merged_rows_keep_one_scale():
    weight = jax.random.normal(jax.random.key(2), (2, 4, 5)) * jnp.arange(1.0, 9.0).reshape(2, 4, 1)
    x = jax.random.normal(jax.random.key(3), (3, 8))

    def fn(p, x):
        v = p.reshape(8, 5)
        return x[:, :3] @ v[:3] + x[:, 3:] @ v[3:]

    y, _ = run(fn, EXACT, weight, x)
    np.testing.assert_allclose(y, fn(weight, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "choose",
    [
        lambda p, i: lax.dynamic_index_in_dim(p, i, keepdims=False),
        lambda p, i: jnp.where(i > 0, p[0], 0.0),
    ],
    ids=["index", "where"],
)
def test_a_weight_chosen_by_data_is_refused_and_not_run_digitally(choose):
    p, x = jnp.ones((3, 4, 5)), jnp.ones((2, 4))
    with pytest.raises(TypeError, match="by data before dot_general; which crossbar is read must be known"):
        ax.place(lambda p, x, i: x @ choose(p, i), EXACT)(p, x, 1)


def test_a_learned_state_is_an_input_of_another_weight():
    params = {"h": jnp.arange(4.0), "u": jax.random.normal(jax.random.key(4), (4, 3))}

    def fn(p, x):
        return jnp.broadcast_to(p["h"], x.shape) @ p["u"] + x @ p["u"]

    y, plan = run(fn, EXACT, params, jnp.ones((2, 4)))
    assert [s.path for s in plan.sites] == ["u"]
    np.testing.assert_allclose(y, fn(params, jnp.ones((2, 4))), rtol=1e-5)


def test_a_column_has_one_converter_however_the_weight_is_read():
    adc = ax.ADC(full_scale=64.0, step=2**-12, offset_sigma=1.0)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(rows=4, weight_bits=None), adc=adc)
    # the same absmax in both layers: one scale, whether or not the layers are a stack
    p = jax.random.normal(jax.random.key(5), (2, 8, 6)).at[:, 0, 0].set(4.0)
    x = jax.random.normal(jax.random.key(6), (3, 8))

    def stack(p, x):
        return jnp.einsum("bi,lij->lbj", x, p)

    def slices(p, x):
        return jnp.stack([jnp.concatenate([x @ q[:, :2], x @ q[:, 2:]], -1) for q in (p[0], p[1])])

    def scanned(p, x):
        return lax.scan(lambda c, w: (c, x @ w), 0, p)[1]

    outs = [run(fn, hw, p, x)[0] for fn in (stack, slices, scanned)]
    np.testing.assert_allclose(outs[1], outs[0], atol=5e-3)
    np.testing.assert_allclose(outs[2], outs[0], atol=5e-3)
    offsets = np.asarray(outs[0] - stack(p, x)).mean(1)
    assert np.unique(np.round(offsets, 2)).size == 12, "every column of every layer has its own"


@pytest.mark.parametrize("device", [ax.Gaussian(sigma=0.02, read_sigma=0.02), ax.VCM()], ids=["gaussian", "vcm"])
def test_rows_without_input_leave_gradients_finite(device):
    dac = ax.DAC(encoding="pulse-width")
    hw = ax.Hardware(device=device, array=ax.Array(rows=4, weight_bits=4), dac=dac, adc=ax.ADC.bits(4, 4))
    weight, x = jax.random.normal(jax.random.key(7), (4, 3)), jnp.zeros((2, 4)).at[1].set(1.0)
    plan = ax.place(lambda w, x: x @ w, hw)(weight, x)

    def loss(plan, weight):
        chip = ax.program(jax.random.key(0), plan, weight)
        return jnp.sum(ax.analog(lambda w, x: x @ w)(jax.random.key(1), chip, x) ** 2)

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1)))(plan, weight)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: ax.Hardware(dac=8), TypeError, r"Hardware.dac: expected DAC\(...\); got 8"),
        (lambda: ax.Hardware(device=ax.VCM), TypeError, "Hardware.device: expected a device"),
        (lambda: ax.Hardware(array=None), TypeError, r"Hardware.array: expected Array\(...\); got None"),
        (lambda: ax.Array(rows=True), ValueError, "Array.rows: expected an integer"),
        (lambda: ax.Array(clip_sigma="3"), TypeError, "Array.clip_sigma: expected a number > 0, or None; got '3'"),
        (lambda: ax.DAC(v_max=float("inf")), ValueError, "DAC.v_max: expected a voltage > 0 V; got inf"),
        (lambda: ax.ADC(full_scale="a"), TypeError, "ADC.full_scale: expected a value > 0 column units; got 'a'"),
        (lambda: ax.ADC(steps=0), ValueError, "ADC.steps: expected an integer"),
        (
            lambda: ax.Hardware(device=ax.VCM(), dac=ax.DAC(v_max=1.2)),
            ValueError,
            "DAC.v_max: VCM reads between -0.6 V and 1.46 V, at both signs; got 1.2",
        ),
    ],
)
def test_wrong_types_and_values_are_refused_at_construction(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_an_integer_voltage_is_a_float_leaf():
    assert isinstance(ax.DAC(v_max=1).v_max, float)


def test_a_tree_that_is_not_the_plans():
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    plan = ax.place(lambda p, x: x @ p["w"] + p["b"], EXACT)(params, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="params: expected the tree that was placed; 'b' is missing"):
        ax.program(jax.random.key(0), plan, {"w": params["w"]})


def test_arrays_are_those_of_the_weight_however_it_is_read():
    from anaxon.interpret.counts import arrays

    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(rows=128, cols=128, weight_bits=4))
    x = jnp.ones((2, 128))
    three = lambda p, x: jnp.concatenate([x @ p[:, i : i + 64] for i in (0, 64, 128)], -1)  # noqa: E731
    plan = ax.place(three, hw)(jnp.ones((128, 192)), x)
    assert arrays(plan, plan.sites[0]) == 2 * 3 * 1 * 2  # polarities, slices, row tiles, column tiles
    scanned = lambda p, x: lax.scan(lambda c, w: (c @ w, 0), x, p)[0]  # noqa: E731
    plan = ax.place(scanned, hw)(jnp.ones((3, 128, 128)), x)
    assert arrays(plan, plan.sites[0]) == 2 * 3 * 3
    assert "18" in repr(plan)


def test_nan_weights_come_out_as_nan_inside_a_trace():
    weight, x = jnp.ones((4, 3)).at[1, 2].set(jnp.nan), jnp.ones((2, 4))
    hw = ax.Hardware(device=ax.Gaussian(sigma=0.02), array=ax.Array(weight_bits=4), adc=ax.ADC.bits(4, 4))

    def fn(w, x):
        return x @ w

    plan = ax.place(fn, hw)(weight, x)
    y = jax.jit(lambda w: ax.analog(fn)(jax.random.key(0), ax.program(jax.random.key(1), plan, w), x))(weight)
    assert np.all(np.isnan(y))


@pytest.mark.parametrize(("x", "says"), [(jnp.zeros((0, 4)), "got none"), (jnp.full((2, 4), jnp.inf), "not finite")])
def test_calibration_needs_finite_data(x, says):
    plan = ax.place(lambda w, x: x @ w, EXACT)(jnp.ones((4, 3)), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=f"calibrate: expected finite data in input 0.*{says}"):
        ax.calibrate(lambda w, x: x @ w)(jax.random.key(0), plan, jnp.ones((4, 3)), x)


def test_swapped_arguments_are_named():
    with pytest.raises(TypeError, match="plan: expected what `place` returns; got dict"):
        ax.program(jax.random.key(0), {}, {})
