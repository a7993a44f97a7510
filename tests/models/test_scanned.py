"""Blocks as a loop: the same network, placed block by block."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.models.conformer import SMALL, Conformer
from anaxon.models.scanned import Scanned

FEATURES, LENGTHS = jax.random.normal(jax.random.key(0), (2, 24, 80)), jnp.array([24, 15])


def conformers():
    """The same weights twice: a list of blocks, and a loop."""
    models = [Conformer(dataclasses.replace(SMALL, width=16, heads=2, blocks=2), rngs=nnx.Rngs(0)) for _ in range(2)]
    models[1].blocks = nnx.List([Scanned(models[1].blocks)])
    return models


@pytest.mark.slow
def test_a_stack_of_blocks_reads_as_a_list_of_them():
    """Without errors of hardware, what a chip gives does not depend on how the blocks are written."""
    outs = []
    for model in conformers():
        fn, params = functional(model)
        plan = ax.place(fn, {"blocks/.*kernel": ax.preset("ideal")})(params, FEATURES, LENGTHS)
        chip = ax.program(jax.random.key(1), plan, params)
        outs.append(jax.jit(ax.analog(fn))(jax.random.key(2), chip, FEATURES, LENGTHS)[0])
    np.testing.assert_allclose(outs[1], outs[0], atol=1e-5)


def test_a_stack_of_blocks_has_as_many_cells_as_a_list_of_them():
    cells = []
    for model in conformers():
        fn, params = functional(model)
        plan = ax.place(fn, {"blocks/.*kernel": ax.preset("vcm-4bit")})(params, FEATURES, LENGTHS)
        cells.append(sum(s.cells(plan.of(s)) for s in plan.sites))
    assert cells[0] == cells[1] > 1000


def test_every_block_has_its_own_cells_and_noise():
    weights = nnx.List([nnx.Linear(8, 8, use_bias=False, rngs=nnx.Rngs(0)) for _ in range(3)])
    for linear in weights:
        linear.kernel[...] = jnp.eye(8)
    model = Scanned(weights)
    fn, params = functional(model)
    plan = ax.place(fn, {".*kernel": ax.preset("vcm-4bit")})(params, jnp.ones((1, 8)))
    cells = jax.tree.leaves(ax.program(jax.random.key(0), plan, params).tree)
    assert any(c.ndim > 2 and float(jnp.std(c[..., 0, :, :] - c[..., 1, :, :])) > 0 for c in cells)


@pytest.mark.parametrize(
    ("blocks", "told"),
    [([], "at least one"), ([nnx.Linear(2, 2, rngs=nnx.Rngs(0)), nnx.Linear(2, 3, rngs=nnx.Rngs(0))], "number 1")],
)
def test_blocks_that_differ_are_refused(blocks, told):
    with pytest.raises(ValueError, match=told):
        Scanned(blocks)
