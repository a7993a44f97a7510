from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.models import char_lm
from anaxon.models.char_lm import CharLM, Sizes
from anaxon.types import replace

KEY = jax.random.key(0)
SIZES, SYMBOLS = Sizes(embedding=5, hidden=7, projection=4), 11
CODES = np.random.default_rng(0).integers(0, SYMBOLS, (3, 21)).astype(np.uint8)


@cache
def network():
    """Numbers drawn here: the initialisers would be compiled one by one."""
    rng = np.random.default_rng(0)
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: CharLM(SYMBOLS, SIZES, rngs=nnx.Rngs(0))), nnx.Param)
    return functional(nnx.merge(graphdef, jax.tree.map(lambda w: jnp.asarray(rng.normal(0, 0.3, w.shape)), shapes)))


def reference(p, codes, c, h):
    """Logits `[batch, time, symbols]` and the state, in float64 as the equations have them."""
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    logits = []
    for column in codes.T:
        x = p["embedding"]["embedding"][column]
        z = x @ p["cell"]["input"]["kernel"] + h @ p["cell"]["recurrent"]["kernel"] + p["cell"]["recurrent"]["bias"]
        i, f, g, o = z[:, :7], z[:, 7:14], z[:, 14:21], z[:, 21:]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ p["projection"]["kernel"]
        logits.append(h @ p["readout"]["kernel"] + p["readout"]["bias"])
    return np.stack(logits, 1), (c, h)


def float64(params):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), nnx.to_pure_dict(params))


def bits(logits, targets):
    """Cross entropy of every target in bits."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return -np.log2(np.take_along_axis(p, targets[..., None].astype(int), -1)[..., 0])


def test_equals_the_projected_lstm_equations_in_float64():
    fn, params = network()
    start = np.full((3, 7), 0.3), np.full((3, 4), -0.2)
    wanted, state = reference(float64(params), CODES, *start)
    logits, after = jax.jit(fn)(params, CODES, tuple(jnp.asarray(s, jnp.float32) for s in start))
    np.testing.assert_allclose(logits, wanted, atol=2e-6)
    for got, right in zip(after, state, strict=True):
        np.testing.assert_allclose(got, right, atol=2e-6)


def test_two_segments_are_one_text():
    fn, params = network()
    run = jax.jit(fn)
    whole, end = run(params, CODES, SIZES.state(3))
    first, state = run(params, CODES[:, :9], SIZES.state(3))
    second, last = run(params, CODES[:, 9:], state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    np.testing.assert_allclose(last[0], end[0], atol=1e-6)


def test_the_forget_gate_starts_open_and_the_paper_sized_array_is_633_by_8064():
    params = jax.eval_shape(lambda: nnx.state(CharLM(50, rngs=nnx.Rngs(0)), nnx.Param))
    cell = params["cell"]
    rows = cell["input"]["kernel"].shape[0] + cell["recurrent"]["kernel"].shape[0] + 1
    assert (rows, *cell["recurrent"]["bias"].shape) == (633, 8064)
    bias = jax.jit(lambda: CharLM(SYMBOLS, SIZES, rngs=nnx.Rngs(0)).cell.recurrent.bias[...])()
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 7))


@cache
def plan():
    fn, params = network()
    hw = ax.preset("ramp-5bit")
    hw = replace(hw, array=replace(hw.array, rows=SIZES.embedding + SIZES.projection + 1))
    return ax.place(fn, {"cell/.*kernel": hw})(params, CODES, SIZES.state(3))


def test_the_gates_share_one_array_that_ends_in_the_ramp():
    sites = {s.path: s for s in plan().sites}
    assert set(sites) == {"cell/input/kernel", "cell/recurrent/kernel", "cell/recurrent/bias"}
    assert len({s.group for s in sites.values()}) == 1 and sites["cell/recurrent/bias"].bias
    kinds = {kind for s in sites.values() for u in s.uses for kind, _ in u.conversions}
    assert kinds == {"logistic", "tanh"}
    hw = plan().hardware[0]
    small = replace(hw, array=replace(hw.array, rows=9))  # the bias does not fit
    fn, params = network()
    with pytest.raises(ValueError, match="needed: 10 rows, bias included, there: 9"):
        ax.place(fn, {"cell/.*kernel": small})(params, CODES, SIZES.state(3))


def test_a_fine_ramp_without_errors_is_the_digital_network():
    fn, params = network()
    hw = plan().hardware[0]
    fine = replace(
        hw,
        device=replace(hw.device, sigma=0.0),
        dac=replace(hw.dac, bits=12),
        activation=replace(hw.activation, bits=8),
    )
    programmed = lambda p: ax.program(KEY, replace(plan(), hardware=(fine,)), p)  # noqa: E731
    logits, _ = jax.jit(lambda p: ax.analog(fn)(KEY, programmed(p), CODES, SIZES.state(3)))(params)
    wanted, _ = reference(float64(params), CODES, np.zeros((3, 7)), np.zeros((3, 4)))
    assert 0 < np.abs(np.asarray(logits) - wanted).max() < 0.02  # half an output step of 1/256, through a small network


def test_bits_per_character_is_the_mean_over_whole_segments():
    fn, params = network()
    logits, _ = reference(float64(params), CODES, np.zeros((3, 7)), np.zeros((3, 4)))
    each = bits(logits[:, :20], CODES[:, 1:])
    got = lambda **kw: jax.jit(partial(char_lm.bits_per_character, fn, **kw))(params, CODES, SIZES.state(3))  # noqa: E731
    assert got(segment=8) == pytest.approx(each[:, :16].mean(), abs=1e-5)
    assert got(segment=10, skip=3) == pytest.approx(each[:, 3:].mean(), abs=1e-5)
    by_row = jax.jit(partial(char_lm.bits_by_row, fn, segment=10, skip=3))(params, CODES, SIZES.state(3))
    np.testing.assert_allclose(by_row, each[:, 3:].mean(1), atol=1e-5)
    with pytest.raises(ValueError, match="21 characters a row make 0 segments of 64"):
        got()
    with pytest.raises(ValueError, match="got skip=20, which leaves none"):
        got(segment=20, skip=20)


def test_bits_per_character_of_a_chip():
    fn, params = network()
    loss = lambda p, codes: char_lm.bits_per_character(fn, p, codes, SIZES.state(3), segment=10)  # noqa: E731
    quiet = replace(plan().hardware[0].device, sigma=0.0)

    @jax.jit
    def one(key, device):
        hw = replace(plan().hardware[0], device=device)
        return ax.analog(loss)(key, ax.program(key, replace(plan(), hardware=(hw,)), params), CODES)

    exact = float(jax.jit(loss)(params, CODES))
    noisy = [float(one(key, replace(quiet, sigma=0.05))) for key in jax.random.split(KEY)]
    assert abs(float(one(KEY, quiet)) - exact) < 0.05
    assert noisy[0] != noisy[1] and all(0 < abs(b - exact) < 1 for b in noisy)


def test_the_loss_is_in_bits_and_passes_the_state_on():
    fn, params = network()
    outputs = jax.jit(fn)(params, CODES[:, :-1], SIZES.state(3))
    loss, state = char_lm.next_character(outputs, CODES[:, 1:])
    assert float(loss) == pytest.approx(bits(np.asarray(outputs[0], np.float64), CODES[:, 1:]).mean(), abs=1e-5)
    assert state is outputs[1]


def test_rows_are_consecutive_text():
    np.testing.assert_array_equal(char_lm.rows(np.arange(11), 3), [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    with pytest.raises(ValueError, match="5 characters do not make 3 rows"):
        char_lm.rows(np.arange(5), 3)


@pytest.mark.parametrize("field", ["embedding", "hidden", "projection"])
def test_bad_sizes_name_the_field(field):
    with pytest.raises(ValueError, match=rf"model\.{field} must be a positive whole number; got 0"):
        Sizes(**{field: 0})
    with pytest.raises(ValueError, match="symbols must be a whole number, 2 or more; got 1"):
        CharLM(1, SIZES, rngs=nnx.Rngs(0))
