"""Which weights are placed, by which rule, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from layer_table import data

import anaxon as ax

A = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=4))
B = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=8))
KEY = jax.random.key(0)
P = {"enc": {"w": data(4, 4, seed=1), "b": data(4, seed=2)}, "dec": {"w": data(4, 3, seed=3)}, "n": jnp.arange(3)}
X = data(2, 4)


def net(p, x):
    return jnp.tanh(x @ p["enc"]["w"] + p["enc"]["b"]) @ p["dec"]["w"]


def placed(plan):
    return {s.path: plan.of(s).array.weight_bits for s in plan.sites}


@pytest.mark.parametrize(
    ("rules", "bits"),
    [
        (A, {"dec/w": 4, "enc/w": 4}),
        ({".*w": A}, {"dec/w": 4, "enc/w": 4}),
        ({"enc/.*": B, ".*w": A}, {"dec/w": 4, "enc/w": 8}),
        ({"enc/w": B}, {"enc/w": 8}),
        ({"dec/w": A, ".*": B}, {"dec/w": 4, "enc/w": 8}),
    ],
)
def test_the_first_full_match_wins(rules, bits):
    assert placed(ax.place(net, rules)(P, X)) == bits


def test_shapes_are_enough():
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (P, X))
    assert ax.place(net, A)(*shapes).sites == ax.place(net, A)(P, X).sites


@pytest.mark.parametrize("pattern", ["w", "enc", "encoder/w", "n"])
def test_a_pattern_that_matches_nothing(pattern):
    """A part of a path is no match, and integers are no weights."""
    with pytest.raises(ValueError, match=f"the pattern '{pattern}' matches no weight first; there are .*'enc/w'"):
        ax.place(net, {pattern: A})(P, X)


def test_a_pattern_in_the_shadow_of_another():
    with pytest.raises(ValueError, match="'enc/w' matches no weight first"):
        ax.place(net, {".*w": A, "enc/w": B})(P, X)


@pytest.mark.parametrize(
    ("rules", "error", "sentence"),
    [
        ({"(": A}, ValueError, "not a regular expression"),
        ({"a": 4}, TypeError, r"rules\['a'\]: expected a Hardware; got int"),
        ({}, TypeError, "expected a Hardware or a mapping"),
        (4, TypeError, "expected a Hardware or a mapping"),
    ],
)
def test_bad_rules(rules, error, sentence):
    with pytest.raises(error, match=sentence):
        ax.place(net, rules)(P, X)


@pytest.mark.parametrize(
    ("rules", "fn", "sentence"),
    [
        ({"enc/b": A}, net, r"enc/b is not the weight of a product \(it is used by add\)"),
        ({"dec/w": A}, lambda p, x: p["dec"]["w"][jnp.array([1, 0])], r"dec/w is not .* \(it is used by gather\)"),
        ({"dec/w": A}, lambda p, x: x, r"dec/w is not .* \(it is not used\)"),
        ({".*/b": A}, net, "enc/b is not the weight of a product"),
    ],
    ids=["added", "gathered", "unused", "wildcard"],
)
def test_a_named_weight_that_is_not_multiplied(rules, fn, sentence):
    with pytest.raises(TypeError, match=sentence):
        ax.place(fn, rules)(P, X)


def _normed(p):
    """Weight normalisation: its first step is the square."""
    w = p["enc"]["w"]
    return w / jnp.linalg.norm(w, axis=0)


CHANGES = {
    "weight norm": (lambda p, x: x @ _normed(p), "div|mul|square|integer_pow"),
    "mask": (lambda p, x: x @ jnp.where(jnp.eye(4) > 0, p["enc"]["w"], 0.0), "select_n|jit"),
    "after a product": (lambda p, x: net(p, x) @ (2 * p["dec"]["w"]).T, "mul"),
    "inside jit": (lambda p, x: jnp.einsum("bi,io->bo", x, 2 * p["enc"]["w"]), "mul"),
    "inside scan": (
        lambda p, x: lax.scan(lambda x, _: (x @ _normed(p), None), x, None, length=2)[0],
        "div|mul|square|integer_pow",
    ),
    "inside cond": (
        lambda p, x: lax.cond(x[0, 0] > 0, lambda x: x @ _normed(p), lambda x: x, x),
        "div|mul|square|integer_pow",
    ),
    "into scan": (lambda p, x: lax.scan(lambda x, w: (x @ w, None), x, jnp.stack([2 * p["enc"]["w"]] * 2))[0], "mul"),
    "repeated": (lambda p, x: jnp.einsum("ab,abc->ac", x, jnp.broadcast_to(p["enc"]["w"], (2, 4, 4))), "broadcast"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("rules", [A, {"enc/w": A, "dec/w": A}], ids=["bare", "named"])
def test_a_weight_whose_values_change(name, rules):
    fn, primitive = CHANGES[name]
    with pytest.raises(TypeError, match=f"(enc|dec)/w: its values pass ({primitive}).* apply it before `program`"):
        ax.place(fn, rules)(P, X)


def test_a_changed_weight_may_be_left_out():
    fn = lambda p, x: (x @ _normed(p)) @ p["dec"]["w"]  # noqa: E731
    plan = ax.place(fn, {"dec/w": B})(P, X)
    y = ax.analog(fn)(KEY, ax.program(KEY, plan, P), X)
    np.testing.assert_allclose(y, fn(P, X), atol=0.02)


def test_low_rank_updates_are_merged_before():
    params = P["enc"] | {"a": data(4, 1), "c": data(1, 4)}
    with pytest.raises(TypeError, match="multiplies a by c, both weights .* before `program`"):
        ax.place(lambda p, x: x @ (p["w"] + p["a"] @ p["c"]), A)(params, X)
    unmerged = ax.place(lambda p, x: x @ p["w"] + (x @ p["a"]) @ p["c"], A)(params, X)
    assert {s.path for s in unmerged.sites} == {"w", "a", "c"}


def test_a_tied_embedding_is_gathered_digitally():
    params = {"embed": data(7, 4, seed=4)}
    tokens = jnp.array([[0, 3], [6, 1]])
    fn = lambda p, tokens: p["embed"][tokens] @ p["embed"].T  # noqa: E731
    plan = ax.place(fn, {"embed": B})(params, tokens)
    assert plan.sites[0].digital
    chip = ax.program(KEY, plan, params)
    y = ax.analog(fn)(KEY, chip, tokens)
    np.testing.assert_allclose(y, fn(params, tokens), atol=0.05)
    np.testing.assert_array_equal(chip.tree["embed"].digital, params["embed"])


def test_only_what_is_also_used_as_numbers_keeps_them():
    assert not any(s.digital for s in ax.place(net, A)(P, X).sites)
    both = ax.place(lambda p, x: (net(p, x), jnp.sum(p["dec"]["w"] ** 2)), A)(P, X)
    assert {s.path: s.digital for s in both.sites} == {"dec/w": True, "enc/w": False}


def test_zero_rows():
    with pytest.raises(ValueError, match="w: expected at least one row and one column; got 0 rows, 3 columns"):
        ax.place(lambda p, x: x @ p["w"], A)({"w": jnp.ones((0, 3))}, jnp.ones((2, 0)))


def test_an_empty_batch_runs():
    fn = lambda p, x: x @ p["w"]  # noqa: E731
    p = {"w": data(4, 3)}
    x = jnp.ones((0, 4))
    assert ax.analog(fn)(KEY, ax.program(KEY, ax.place(fn, A)(p, x), p), x).shape == (0, 3)


def test_weights_stacked_inside_and_scanned():
    def fn(p, x):
        return lax.scan(lambda x, w: (x @ w, None), x, jnp.stack([p["a"], p["b"]]))[0]

    with pytest.raises(TypeError, match=r"a\+b: weights are stacked inside the function .* before `program`"):
        ax.place(fn, A)({"a": data(4, 4), "b": data(4, 4)}, X)


def test_a_convolved_weight():
    with pytest.raises(TypeError, match="a placed weight must be the kernel; here it is the input"):
        ax.place(lambda p, x: lax.conv(p["w"], x, (1,), "SAME"), A)({"w": data(1, 2, 5)}, data(3, 2, 3))


def test_column_scales_need_whole_rows():
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(scale="column"))
    with pytest.raises(ValueError, match="w: Array.scale='column' needs whole axes as rows"):
        ax.place(lambda p, x: x @ p["w"].reshape(4, 3), hw)({"w": data(3, 4)}, X)


def test_the_table():
    lines = repr(ax.place(net, {"enc/w": A, "dec/w": B})(P, X)).splitlines()
    assert lines[0] == "Plan: 2 weights on 2 kind(s) of hardware"
    assert lines[1].split() == ["weight", "shape", "stack", "rows", "cols", "arrays", "cells", "reads", "ends", "in"]
    assert lines[3].split() == ["enc/w", "4x4", "1", "4", "4", "6", "96", "2", "linear"]
