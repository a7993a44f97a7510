"""Chips: what a cell and a read's noise are functions of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_table import data

import anaxon as ax
from anaxon.interpret.program import cells_of, mapped

KEY, OTHER = jax.random.split(jax.random.key(0))
P = {"a": data(4, 4, seed=1), "b": data(4, 3, seed=2), "bias": data(3, seed=3)}
X = data(2, 4)
NOISY_CELLS = ax.Hardware(device=ax.Gaussian(sigma=0.05), array=ax.Array(weight_bits=4), dac=ax.DAC())
NOISY = ax.Hardware(  # one normal for each conversion, from the read's key
    device=ax.IdealDevice(), array=ax.Array(weight_bits=2), adc=ax.ADC(full_scale=64.0, step=1e-5, noise=0.1)
)


def net(p, x):
    return jnp.tanh(x @ p["a"]) @ p["b"] + p["bias"]


def cells(key=KEY, rules=NOISY_CELLS, fn=net, params=P):
    """Every crossbar's state, by path."""
    return {p: np.asarray(c) for p, c in cells_of(ax.program(key, ax.place(fn, rules)(params, X), params)).items()}


def same(a, b):
    return all(np.array_equal(a[path], b[path]) for path in a.keys() & b.keys())


def test_the_same_key_programs_the_same_cells():
    assert same(cells(), cells())
    assert not any(np.array_equal(cells()[p], cells(OTHER)[p]) for p in ("a", "b"))


def test_eager_and_jit_program_the_same_cells():
    jitted = jax.jit(lambda key: cells_of(ax.program(key, ax.place(net, NOISY_CELLS)(P, X), P)))(KEY)
    assert same(cells(), {path: np.asarray(c) for path, c in jitted.items()})


def test_equal_weights_of_two_paths_have_different_cells():
    both = cells(params=P | {"b": P["a"][:, :3]})
    assert not np.array_equal(both["a"][..., :3], both["b"])


def test_programming_under_vmap_is_the_loop():
    plan, keys = ax.place(net, NOISY_CELLS)(P, X), jax.random.split(KEY, 3)
    one = jax.jit(lambda key: cells_of(ax.program(key, plan, P)))
    batch = jax.jit(jax.vmap(one))(keys)
    for i, key in enumerate(keys):
        for path, state in one(key).items():
            assert np.array_equal(batch[path][i], state)


def test_a_cell_does_not_depend_on_its_neighbours():
    alone = cells(rules={"b": NOISY_CELLS})
    assert alone.keys() == {"b"}
    assert same(cells(), alone)
    assert same(cells(), cells(rules={"b": NOISY_CELLS, "a": NOISY_CELLS}))
    more = P | {"0": data(4, 4, seed=9)}
    assert same(cells(), cells(params=more, fn=lambda p, x: net(p, x @ p["0"])))
    assert same(cells(), cells(params=dict(reversed(P.items()))))


def read(key=KEY, fn=net, params=P, rules=NOISY):
    chip = ax.program(KEY, ax.place(fn, rules)(params, X), params)
    return jax.tree.map(np.asarray, jax.jit(ax.analog(fn))(key, chip, X))


def test_read_noise_belongs_to_the_read_key():
    assert np.array_equal(read(), read())
    assert not np.any(read() == read(OTHER))


def test_read_noise_belongs_to_path_and_use():
    """Each product of zero weights is its noise alone."""
    zero = {"a": jnp.zeros((4, 4)), "b": jnp.zeros((4, 4))}

    def fn(p, x):
        return x @ p["a"], x @ p["a"], x @ p["b"]

    first, second, other = read(fn=fn, params=zero)
    assert not np.any(first == second)
    assert not np.any(first == other)
    swapped = read(fn=lambda p, x: fn(p, x)[::-1][::-1], params=zero)
    assert np.array_equal(first, swapped[0])
    without = read(fn=lambda p, x: (x @ p["b"], x @ p["a"]), params=zero)
    assert np.array_equal(without[0], other)  # the k-th read of a path, whatever is read between
    assert np.array_equal(without[1], first)


def test_read_noise_belongs_to_the_loop_index():
    """Each step of a loop is its own read; a longer loop starts with the same ones."""
    zero = {"a": jnp.zeros((4, 4))}

    def fn(length):
        return lambda p, x: jax.lax.scan(lambda c, _: (c, x @ p["a"]), 0.0, None, length=length)[1]

    three, five = read(fn=fn(3), params=zero), read(fn=fn(5), params=zero)
    assert len(np.unique(five)) == five.size
    assert np.array_equal(three, five[:3])


def test_what_is_not_placed_stays():
    chip = ax.program(KEY, ax.place(net, {"a": NOISY_CELLS})(P, X), P)
    assert np.array_equal(chip.tree["b"], P["b"])
    assert np.array_equal(chip.tree["bias"], P["bias"])
    assert repr(chip.tree["a"]) == "Crossbar(a, 4x4)"


PLAN = ax.place(net, NOISY)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"a": P["a"], "bias": P["bias"]}, "the plan places 'b', which is not there; there are .*'a', 'bias'"),
        (P | {"a": P["a"].T[:3]}, r"a was placed with shape \(4, 4\); got \(3, 4\)"),
        (P | {"b": P["b"].at[0, 0].set(jnp.nan)}, r"b holds 1 value\(s\) that are not finite"),
        (P | {"b": P["b"].at[0].set(jnp.inf)}, r"b holds 3 value\(s\) that are not finite"),
    ],
    ids=["tree", "shape", "nan", "inf"],
)
def test_bad_parameters(params, sentence):
    with pytest.raises(ValueError, match=sentence):
        ax.program(KEY, PLAN(P, X), params)


def test_nan_inside_a_trace_is_counted_not_raised():
    bad = P | {"b": P["b"].at[0, 0].set(jnp.nan)}
    chip = jax.jit(ax.program)(KEY, PLAN(P, X), bad)
    assert np.isnan(np.asarray(jax.jit(ax.analog(net))(KEY, chip, X))).any()


@pytest.mark.parametrize(
    ("key", "error"),
    [(0, TypeError), (jax.random.PRNGKey(0), TypeError), (jax.random.split(KEY), TypeError)],
    ids=["number", "raw", "several"],
)
def test_bad_keys(key, error):
    chip = ax.program(KEY, PLAN(P, X), P)
    with pytest.raises(error, match="key: expected"):
        ax.program(key, PLAN(P, X), P)
    with pytest.raises(error, match="read_key: expected"):
        ax.analog(net)(key, chip, X)


def test_the_rbg_generator_is_refused():
    with pytest.raises(ValueError, match="key: the rbg generator .* use threefry2x32"):
        ax.program(jax.random.key(0, impl="rbg"), PLAN(P, X), P)


def test_a_tree_is_no_chip():
    with pytest.raises(TypeError, match="chip: expected what `program` returns; got dict"):
        ax.analog(net)(KEY, P, X)


def test_another_function_on_the_chip():
    """It needs the numbers of a weight that the chip holds as cells only."""
    chip = ax.program(KEY, PLAN(P, X), P)
    with pytest.raises(TypeError, match="a: a crossbar holds this weight; exp needs its numbers"):
        ax.analog(lambda p, x: x @ jnp.exp(p["a"]))(KEY, chip, X)


def test_mapped_weights_are_what_perfect_cells_hold():
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=4, clip_sigma=1.5))
    plan = ax.place(net, {"a": hw})(P, X)
    found = mapped(plan, P)
    limit = 1.5 * np.std(P["a"])
    step = np.abs(np.clip(P["a"], -limit, limit)).max() / 7
    np.testing.assert_allclose(found["a"], step * np.round(np.clip(P["a"], -limit, limit) / step), rtol=1e-6, atol=1e-7)
    assert found["b"] is P["b"] and found["bias"] is P["bias"]
    one = ax.analog(net)(KEY, ax.program(KEY, plan, P), X)
    np.testing.assert_allclose(one, net(found, X), rtol=1e-5, atol=1e-6)
