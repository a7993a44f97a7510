import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon.interpret.program import cells_of
from anaxon.types import replace

PARAMS = {
    "dense": {"kernel": jax.random.normal(jax.random.key(0), (8, 5)), "bias": jnp.ones(5)},
    "embed": jax.random.normal(jax.random.key(3), (7, 8)),
}
X = jnp.arange(3)


def fn(p, ids):
    h = p["embed"][ids]
    return (h @ p["dense"]["kernel"] + p["dense"]["bias"])[:, :1] * (h @ p["embed"].T)


HARDWARE = {
    "vcm": ax.preset("vcm-4bit"),
    "gaussian": ax.Hardware(device=ax.Gaussian(sigma=jnp.float32(0.02)), array=ax.Array(bidirectional=True)),
    "table": ax.preset("pcm"),
    "ideal": ax.ideal(),
}


def planned(hardware):
    plan = ax.place(fn, {"dense/kernel": hardware})(PARAMS, X)
    return replace(plan, ranges=(replace(plan.ranges[0], input=jnp.float32(3.0)),))


@jax.jit
def programmed(plan):
    return ax.program(jax.random.key(2), plan, PARAMS)


@pytest.mark.parametrize("name", HARDWARE)
def test_a_plan_and_a_chip_come_back_as_they_were(name, tmp_path):
    plan = planned(HARDWARE[name])
    chip = programmed(plan)
    ax.save(tmp_path / "plan", plan)
    ax.save(tmp_path / "chip", chip)
    chex.assert_trees_all_equal(ax.load(tmp_path / "plan"), plan)
    back = ax.load(tmp_path / "chip", PARAMS)
    assert jax.tree.structure(back) == jax.tree.structure(chip)
    run = jax.jit(ax.analog(fn))
    np.testing.assert_array_equal(run(jax.random.key(4), back, X), run(jax.random.key(4), chip, X))


def test_cells_in_a_compact_type(tmp_path):
    chip = programmed(planned(HARDWARE["vcm"]))
    ax.save(tmp_path / "chip", chip, dtype=jnp.bfloat16)
    back = cells_of(ax.load(tmp_path / "chip", PARAMS))["dense/kernel"]
    cells = cells_of(chip)["dense/kernel"]
    assert back.dtype == jnp.float32
    assert 0 < float(jnp.max(jnp.abs(back - cells))) < 2**-8


def test_saving_again_replaces(tmp_path):
    plan = planned(HARDWARE["vcm"])
    ax.save(tmp_path / "p", planned(HARDWARE["gaussian"]))
    ax.save(tmp_path / "p", plan)
    chex.assert_trees_all_equal(ax.load(tmp_path / "p"), plan)


def test_bad_input(tmp_path):
    with pytest.raises(TypeError, match="expected a Plan or a Chip; got dict"):
        ax.save(tmp_path / "x", PARAMS)
    with pytest.raises(FileNotFoundError, match="there is no"):
        ax.load(tmp_path / "nothing")
    chip = programmed(planned(HARDWARE["vcm"]))
    ax.save(tmp_path / "chip", chip)
    with pytest.raises(ValueError, match="give the parameter tree"):
        ax.load(tmp_path / "chip")
    with pytest.raises(ValueError, match="programmed from other parameters; 'dense/bias' is in one of them only"):
        ax.load(tmp_path / "chip", {"dense": {"kernel": PARAMS["dense"]["kernel"]}, "embed": PARAMS["embed"]})


@pytest.mark.parametrize("damage", ["cut", "schema", "arrays"])
def test_a_damaged_folder_is_one_sentence(damage, tmp_path):
    ax.save(tmp_path / "p", planned(ax.Hardware(device=ax.Gaussian(sigma=jnp.float32(0.1)), dac=ax.DAC())))
    head = tmp_path / "p" / "anaxon.json"
    if damage == "cut":
        head.write_text(head.read_text()[:100])
    elif damage == "schema":
        head.write_text(json.dumps({**json.loads(head.read_text()), "schema": 99}))
    else:
        for file in (tmp_path / "p" / "arrays").rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"load: .*p (is damaged|has schema 99)"):
        ax.load(tmp_path / "p")


def test_only_known_classes_are_built(tmp_path):
    ax.save(tmp_path / "p", planned(HARDWARE["vcm"]))
    head = tmp_path / "p" / "anaxon.json"
    head.write_text(head.read_text().replace("anaxon.converter.dac:DAC", "antigravity:DAC"))
    with pytest.raises(ValueError, match="import antigravity first"):
        ax.load(tmp_path / "p")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(FileExistsError, match="is there and no anaxon folder"):
        ax.save(tmp_path, planned(HARDWARE["vcm"]))
    assert (tmp_path / "thesis.txt").read_text() == "three years"


def test_a_ramp_measured_on_a_real_chip_is_kept(tmp_path):
    fn = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
    steps = np.linspace(0.2, 1.0, 6)
    hw = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None),
                     activation=ax.Ramp(bits=3, measured={"tanh": steps}))  # fmt: skip
    params, x = {"w": jnp.ones((2, 3))}, jnp.ones((4, 2))
    plan = ax.place(fn, hw)(params, x)
    ax.save(tmp_path / "plan", plan)
    found = ax.load(tmp_path / "plan")
    assert found.sites == plan.sites
    np.testing.assert_allclose(found.hardware[0].activation.measured["tanh"], steps, rtol=1e-6)
    run = jax.jit(lambda plan: ax.analog(fn)(jax.random.key(0), ax.program(jax.random.key(1), plan, params), x))
    np.testing.assert_array_equal(run(plan), run(found))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_compact_chip_comes_back_bit_for_bit(dtype, tmp_path):
    chip = ax.compact(programmed(planned(HARDWARE["gaussian"])), dtype)
    ax.save(tmp_path / "as it is", chip)
    ax.save(tmp_path / "made small", programmed(planned(HARDWARE["gaussian"])), dtype=dtype)
    run = jax.jit(ax.analog(fn))
    for name in ("as it is", "made small"):
        back = ax.load(tmp_path / name, PARAMS, dtype=dtype)
        one, other = (jax.tree.leaves(cells_of(c)["dense/kernel"]) for c in (chip, back))
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(run(jax.random.key(4), back, X), run(jax.random.key(4), chip, X))
        wide = jax.tree.leaves(cells_of(ax.load(tmp_path / name, PARAMS))["dense/kernel"])
        assert all(w.dtype == jnp.float32 and np.array_equal(w, a) for w, a in zip(wide, one, strict=True))
