import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_conformer as reference
from flax import nnx

import anaxon as ax
from anaxon.flax import fold_batch_norms, functional
from anaxon.models.conformer import PAPER_384, PAPER_512, SMALL, Conformer, ConformerSizes, out_frames
from anaxon.types import replace

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
TINY = ConformerSizes(
    mels=6, vocabulary=5, width=8, heads=2, feed_forward=12, blocks=1, kernel=3, front_end=(2, 3), dropout=0.5
)
VARIANTS = {
    "as TINY": {},
    "paper 2's": {
        "modules": ("ff", "conv", "mhsa", "ff"),
        "front_end": (2, 3, 3, 2),
        "subsampling": "pool",
        "blocks": 2,
    },
    "encodings as they are": {"position": "no-linear", "modules": ("ff", "mhsa", "conv")},
    "no positions": {"position": "none", "modules": ("mhsa", "conv", "ff")},
    "sums of shifted frames": {"depthwise": "sums", "kernel": 5},
}
VALUES = np.random.default_rng(1).normal(0, 1, (3, 22, 6)).astype(np.float32)
LENGTHS = np.array([22, 13, 3])
BLOCKS = "blocks/.*kernel"


@cache
def network(**changes):
    """Numbers drawn here: the initialisers would be compiled one by one."""
    rng = np.random.default_rng(0)
    sizes = dataclasses.replace(TINY, **changes)
    model = nnx.eval_shape(lambda: Conformer(sizes, rngs=nnx.Rngs(0)))
    graphdef, shapes = nnx.split(model)
    drawn = jax.tree.map(lambda w: jnp.asarray(rng.uniform(0.1, 0.9, w.shape) - 0.3, w.dtype), shapes)
    fn, params = functional(nnx.merge(graphdef, drawn))
    return sizes, jax.jit(fn), params


def float64(params):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), nnx.to_pure_dict(params))


def padded(lengths, frames, fill):
    """Utterances of `VALUES`, filled up behind their ends."""
    x = np.full((len(lengths), frames, 6), fill, np.float32)
    for row, value, n in zip(x, VALUES, lengths, strict=True):
        row[:n] = value[:n]
    return jnp.asarray(x), jnp.asarray(lengths, jnp.int32)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_padded_batch_gives_what_the_equations_give_for_each_utterance(changes):
    sizes, fn, params = network(**changes)
    log_probs, lengths = fn(params, *padded(LENGTHS, 25, fill=np.nan))
    assert log_probs.shape == (3, 7, 5) and log_probs.dtype == jnp.float32 and lengths.dtype == jnp.int32
    p = float64(params)
    for got, n, value, frames in zip(log_probs, lengths, VALUES, LENGTHS, strict=True):
        wanted = reference.conformer(p, value[:frames].astype(np.float64), sizes)
        assert n == len(wanted) == out_frames(int(frames))
        np.testing.assert_allclose(got[:n], wanted, atol=1e-5)
    assert np.isfinite(log_probs).all()


def test_padding_and_company_change_nothing():
    _, fn, params = network(norm="batch", score_bits=3)
    together, lengths = fn(params, *padded(LENGTHS, 25, fill=7.0))
    alone, _ = fn(params, VALUES[1:2, :13], jnp.asarray([13]))
    np.testing.assert_allclose(together[1, : lengths[1]], alone[0], atol=1e-5)


def test_queries_and_keys_on_a_coarse_grid_are_another_network():
    exact, coarse = (network(score_bits=bits)[1](network()[2], *padded(LENGTHS, 25, fill=0.0))[0] for bits in (None, 2))
    assert np.abs(exact - coarse).max() > 1e-3


def test_gradients_are_slopes_and_nothing_comes_from_padding_or_empty_rows():
    _, fn, params = network()
    lengths = jnp.asarray([22, 13, 0], jnp.int32)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(3, 6, 5)), jnp.float32)

    @jax.jit
    def loss(params, x):
        log_probs, n = fn(params, x, lengths)
        return jnp.sum(jnp.where((jnp.arange(6) < n[:, None])[..., None], log_probs * weights, 0.0))

    x, _ = padded([22, 13, 0], 24, fill=np.nan)
    of_params, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    for row, n in zip(of_x, (22, 13, 0), strict=True):
        assert np.all(row[n:] == 0) and np.isfinite(row).all()
    rng = np.random.default_rng(2)
    along = jax.tree.map(lambda w: rng.normal(size=w.shape).astype(np.float32), (params, x))
    each = jax.tree.map(lambda g, d: np.sum(np.asarray(g, np.float64) * d), (of_params, of_x), along)
    moved = lambda h: loss(*jax.tree.map(lambda w, d: w + h * d, (params, x), along))  # noqa: E731
    assert sum(jax.tree.leaves(each)) == pytest.approx(float(moved(1e-3) - moved(-1e-3)) / 2e-3, rel=1e-2)


def test_a_key_is_dropout_and_none_is_evaluation():
    _, fn, params = network()
    x, lengths = padded(LENGTHS, 25, fill=0.0)
    exact, first, again, second = (fn(params, x, lengths, k)[0] for k in (None, KEY, KEY, jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3 and np.abs(first - exact).max() > 1e-3


def test_networks_under_vmap():
    _, fn, params = network()
    pair = jax.tree.map(lambda w: jnp.stack([w, 0.5 * w]), params)
    x, lengths = padded(LENGTHS, 25, fill=0.0)
    both, _ = jax.vmap(fn, in_axes=(0, None, None))(pair, x, lengths)
    np.testing.assert_allclose(both[0], fn(params, x, lengths)[0], atol=1e-5)
    np.testing.assert_allclose(both[1], fn(jax.tree.map(lambda w: 0.5 * w, params), x, lengths)[0], atol=1e-5)


def test_a_batch_norm_learns_from_valid_frames_and_folds_into_its_convolution():
    sizes = dataclasses.replace(TINY, norm="batch", dropout=0.0, modules=("conv",))

    @jax.jit
    def trained(x, lengths):
        model = Conformer(sizes, rngs=nnx.Rngs(0))
        model(x, lengths, KEY)
        return nnx.state(model)

    once, other = trained(*padded(LENGTHS, 25, fill=7.0)), trained(*padded(LENGTHS, 32, fill=-3.0))
    mean = once["blocks"][0]["convolution"]["channel_norm"]["mean"]
    assert np.abs(mean[...]).max() > 0
    np.testing.assert_allclose(other["blocks"][0]["convolution"]["channel_norm"]["mean"][...], mean[...], atol=1e-6)
    model = nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: Conformer(sizes, rngs=nnx.Rngs(0)))), once)
    folded = fold_batch_norms(model, {"blocks/0/convolution/depthwise": "blocks/0/convolution/channel_norm"})
    x = padded(LENGTHS, 25, fill=0.0)
    run = jax.jit(lambda model, *x: model(*x)[0])
    np.testing.assert_allclose(run(folded, *x), run(model, *x), atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "cells"),
    [(PAPER_512, {8: 1_059_631_104, 4: 454_127_616}), (PAPER_384, {3: 163_362_816})],
    ids=["12 x 512", "12 x 384"],
)
def test_active_cells_of_the_papers_networks(sizes, cells):
    """Counted by hand from arXiv:2606.13379 and arXiv:2505.24721's sizes: 2 (bits - 1) cells for each mapped weight."""
    fn, params = functional(nnx.eval_shape(lambda: Conformer(sizes, rngs=nnx.Rngs(0))))
    hw = ax.preset("vcm-4bit")
    inputs = jax.ShapeDtypeStruct((1, 40, 80), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    plan = ax.place(fn, {BLOCKS: hw})(params, *inputs)
    hardware = {bits: replace(hw, array=replace(hw.array, weight_bits=bits)) for bits in cells}
    assert {bits: sum(site.cells(h) for site in plan.sites) for bits, h in hardware.items()} == cells


@cache
def plan(name):
    _, fn, params = network(blocks=2)
    hw = ax.ideal() if name == "ideal" else ax.preset(name)
    return ax.place(fn, {BLOCKS: hw})(params, *padded(LENGTHS, 25, fill=0.0))


def test_the_plan_names_every_linear_operation_of_the_blocks():
    inside = "attention/linear_pos attention/out attention/qkv convolution/depthwise convolution/pointwise_in "
    inside += "convolution/pointwise_out ff1/down ff1/up ff2/down ff2/up"
    wanted = {f"blocks/{i}/{name}/kernel" for i in (0, 1) for name in inside.split()}
    assert {s.path for s in plan("vcm-4bit").sites} == wanted
    assert "blocks/1/attention/linear_pos/kernel" in repr(plan("vcm-4bit"))
    uses = {s.path: s.uses for s in plan("vcm-4bit").sites}
    assert [u.vectors for u in uses["blocks/0/attention/linear_pos/kernel"]] == [2 * 7 - 1]
    assert [u.vectors for u in uses["blocks/0/attention/qkv/kernel"]] == [3 * 7]


def test_sums_of_shifted_frames_cannot_be_placed():
    _, fn, params = network(depthwise="sums")
    with pytest.raises(TypeError, match="blocks/0/convolution/depthwise/kernel is not the weight of a product"):
        ax.place(fn, {BLOCKS: ax.preset("vcm-4bit")})(params, *padded(LENGTHS, 25, fill=0.0))


def test_ideal_hardware_is_the_network_bit_for_bit():
    _, fn, params = network(blocks=2)
    x = padded(LENGTHS, 25, fill=0.0)
    chip = ax.program(KEY, plan("ideal"), params)
    analog, _ = jax.jit(lambda chip, *x: ax.analog(fn)(KEY, chip, *x))(chip, *x)
    np.testing.assert_array_equal(analog, fn(params, *x)[0])


def test_a_chip_speaks_like_its_network_but_not_the_same():
    _, fn, params = network()
    x = padded(LENGTHS, 25, fill=0.0)
    rule = "blocks/0/(attention/linear_pos|convolution/depthwise|ff1/up)/kernel"  # the others compile for 10 s
    plan = ax.place(fn, {rule: ax.preset("vcm-4bit")})(params, *x)
    chip = jax.jit(ax.program)(KEY, plan, params)
    analog, lengths = jax.jit(lambda chip, *x: ax.analog(fn)(KEY, chip, *x))(chip, *x)
    error = np.asarray(analog - fn(params, *x)[0])
    np.testing.assert_array_equal(lengths, [6, 4, 1])
    assert 1e-3 < np.sqrt(np.mean(error[0] ** 2)) < 1.0


def test_small_has_about_a_million_parameters():
    params = nnx.state(nnx.eval_shape(lambda: Conformer(SMALL, rngs=nnx.Rngs(0))), nnx.Param)
    assert 0.9e6 < sum(w.size for w in jax.tree.leaves(params)) < 1.0e6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 0}, "model.width: expected an integer from 1 to .*; got 0"),
        ({"vocabulary": 1}, "model.vocabulary: expected an integer from 2 to .*; got 1"),
        ({"kernel": 14}, "model.kernel: expected an odd number of taps; got 14"),
        ({"heads": 5}, "model.heads: expected a divisor of model.width=96; got 5"),
        ({"width": 33, "heads": 3}, "model.width: expected an even number, since .*; got 33"),
        ({"dropout": 1.0}, "model.dropout: expected a rate from 0 up to but not including 1; got 1.0"),
        ({"front_end": (8, 8, 8)}, "model.front_end: expected an even number of convolutions; got"),
        ({"front_end": ()}, "model.front_end: expected a list; got"),
        ({"modules": ("ff", "ffn")}, "model.modules: expected one of .*; got 'ffn'"),
        ({"modules": ("ff", "ff", "ff")}, "model.modules: expected two 'ff', one 'mhsa' and one 'conv' at most"),
        ({"position": "rope"}, "model.position: expected one of .*; got 'rope'"),
        ({"norm": "none"}, "model.norm: expected one of .*; got 'none'"),
        ({"depthwise": "fft"}, "model.depthwise: expected one of .*; got 'fft'"),
        ({"subsampling": "skip"}, "model.subsampling: expected one of .*; got 'skip'"),
        ({"score_bits": 1}, "model.score_bits: expected an integer from 2 to 16; got 1"),
    ],
    ids=str,
)
def test_bad_sizes_name_the_field(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(SMALL, **changes)


def test_bad_inputs_say_what_is_accepted():
    _, fn, params = network()
    with pytest.raises(ValueError, match=r"features: expected \[batch, frames >= 1, 6\]; got \(3, 25, 7\)"):
        fn(params, jnp.zeros((3, 25, 7)), jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match=r"lengths: expected \[3\], one per utterance; got \(2,\)"):
        fn(params, jnp.zeros((3, 25, 6)), jnp.zeros(2, jnp.int32))
