"""In-memory pruning: the published procedure's table, V14, real devices, guard bands, fetches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anaxon as ax
from anaxon import in_memory
from anaxon.attention import pruned_softmax
from anaxon.in_memory import Comparator, HighBits

EXACT = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), dac=ax.DAC(bits=4))
GAUSSIAN = ax.Hardware(
    device=ax.Gaussian(sigma=0.02, read_sigma=0.01), array=ax.Array(weight_bits=None), dac=ax.DAC(bits=4)
)
VCM = ax.Hardware(device=ax.VCM(), array=ax.Array(weight_bits=4), dac=ax.DAC(bits=4))
PROGRAM, READ = jax.random.key(0), jax.random.key(1)


def operands(keys=512, head=64, bits=8, seed=0):
    """Standard normal queries, then keys, each quantised by its absmax: the set-up of spec 5.1's table."""
    rng = np.random.default_rng(seed)
    levels = 2 ** (bits - 1) - 1
    return [np.round(x / np.abs(x).max() * levels) for x in rng.standard_normal((2, keys, head))]


def seen(hardware, form, queries, keys, comparator=None):
    plan, params = in_memory.placed(hardware, keys, form)
    return in_memory.seen(READ, ax.program(PROGRAM, plan, params), queries, form, comparator)


def rates(exact, found, pruning):
    threshold = np.quantile(exact, pruning)
    return {name: float(v) for name, v in in_memory.wrong(exact >= threshold, found >= threshold).items()}


@pytest.mark.parametrize(
    ("kept", "rounding", "lost", "extra", "left"),
    [
        (4, "round", (0.103, 0.145), (0.135, 0.181), (0.259, 0.104)),
        (4, "floor", (0.029, 0.043), (0.483, 0.629), (0.470, 0.258)),
        (4, "zero", (0.419, 0.748), None, (0.155, 0.026)),
        (3, "round", (0.162, 0.223), None, None),
        (5, "round", (0.059, 0.077), None, None),
        (6, "round", (0.033, 0.040), None, None),
    ],
)
def test_the_table_of_quantisation(kept, rounding, lost, extra, left):
    """Spec 5.1, at pruning rates 0.75 and 0.9; on perfect multi-level cells through the whole analog read."""
    queries, keys = operands()
    exact = queries @ keys.T
    hardware = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None), dac=ax.DAC(bits=kept))
    found = seen(hardware, HighBits(kept=kept, rounding=rounding), queries, keys)
    for i, pruning in enumerate((0.75, 0.9)):
        got = rates(exact, found, pruning)
        expected = {"false_negative": lost, "false_positive": extra, "kept": left}
        for name, value in expected.items():
            if value is not None:
                assert got[name] == pytest.approx(value[i], abs=1.1e-3), (name, pruning)
    if (kept, rounding) == (4, "round"):
        assert np.corrcoef(np.ravel(found), np.ravel(exact))[0, 1] == pytest.approx(0.972, abs=1e-3)


@pytest.mark.parametrize(
    ("noise", "lost", "extra"), [(0.02, 0.111, 0.128), (0.05, 0.113, 0.130), (0.1, 0.119, 0.137), (0.2, 0.137, 0.167)]
)
def test_the_table_of_comparator_noise(noise, lost, extra):
    """Spec 5.1: noise relative to the scores' spread, 4 bits rounded, pruning rate 0.75."""
    queries, keys = operands()
    exact, form = queries @ keys.T, HighBits()
    comparator = Comparator(noise=noise * exact.std() / form.column_unit)
    got = rates(exact, seen(EXACT, form, queries, keys, comparator), 0.75)
    assert got["false_negative"] == pytest.approx(lost, abs=0.01)
    assert got["false_positive"] == pytest.approx(extra, abs=0.01)


@pytest.mark.parametrize("rounding", ["round", "floor", "zero"])
def test_all_bits_without_noise_lose_nothing(rounding):
    """V14."""
    queries, keys = operands(keys=128)
    hardware = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None))
    found = seen(hardware, HighBits(kept=8, rounding=rounding), queries, keys)
    exact = queries @ keys.T
    got = rates(exact, np.round(found), 0.8)
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())
    assert (got["false_negative"], got["false_positive"]) == (0, 0)


def test_fewer_bits_lose_more_and_truncation_is_biased():
    """V14."""
    queries, keys = operands(keys=256, seed=3)
    exact = queries @ keys.T
    hardware = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None))
    lost = [rates(exact, seen(hardware, HighBits(kept=m), queries, keys), 0.75)["false_negative"] for m in (3, 4, 5, 6)]
    assert np.all(np.diff(lost) < 0)
    left = [rates(exact, seen(EXACT, HighBits(rounding=r), queries, keys), 0.75)["kept"] for r in ("floor", "zero")]
    assert left[0] > 0.4 and left[1] < 0.2


@pytest.mark.parametrize("rounding", ["round", "floor", "zero"])
@pytest.mark.parametrize("kept", [2, 4, 8])
def test_kept_bits_have_as_many_levels(kept, rounding):
    """No more than 2**kept: those of two's complement, of queries and of keys."""
    form, every = HighBits(kept=kept, rounding=rounding), np.arange(-127, 128)
    levels = np.unique(form.of(every))
    assert levels.size <= 2**kept
    assert levels.min() >= -(2 ** (kept - 1))
    assert levels.max() == 2 ** (kept - 1) - 1
    hardware = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=None))
    _, params = in_memory.placed(hardware, every[:, None], form)
    np.testing.assert_array_equal(np.unique(params["keys"]), levels)


def test_binary_slices_hold_the_same_integers():
    """Seven levels a side in three binary cells; five bits also hold the eighth of the negative ones."""
    queries, keys = operands(keys=64, head=32)
    for bits, top in ((4, 7), (5, 8)):
        hardware = ax.Hardware(device=ax.IdealDevice(), array=ax.Array(weight_bits=bits), dac=ax.DAC(bits=4))
        high = HighBits()
        rounded = np.clip(np.round(queries / 16), -8, 7), np.clip(np.round(keys / 16), -top, 7)
        expected = rounded[0] @ rounded[1].T * 256
        np.testing.assert_allclose(seen(hardware, high, queries, keys), expected, atol=0.05)


@pytest.mark.parametrize(
    ("hardware", "lost"),
    [
        pytest.param(EXACT, 0.105, id="exact"),
        pytest.param(GAUSSIAN, 0.124, id="Gaussian", marks=pytest.mark.slow),
        pytest.param(VCM, 0.135, id="VCM"),
    ],
)
def test_devices_predicted_errors_and_guard_bands(hardware, lost):
    """What cells add to the low bits' error, predicted from 16 calibration queries, and a band that meets a target."""
    queries, keys = operands(keys=256, seed=1)
    exact, form = queries @ keys.T, HighBits()
    comparator = Comparator(noise=1e-3, offset_sigma=2e-3)
    plan, params = in_memory.placed(hardware, keys, form)
    found = in_memory.seen(READ, ax.program(PROGRAM, plan, params), queries, form, comparator)
    assert rates(exact, found, 0.75)["false_negative"] == pytest.approx(lost, abs=0.015)
    error = in_memory.predicted_error(plan, params, queries[:16], keys, form, comparator)
    left = np.asarray(found)[16:] - (float(error.slope) * exact[16:] + float(error.offset))
    assert left.std() == pytest.approx(float(error.sigma), rel=0.04)
    assert abs(left.mean()) < 0.05 * float(error.sigma)
    threshold = np.quantile(exact, 0.75)
    for target in (0.05, 0.01):
        kappa = in_memory.guard_band(error, exact[:16], threshold, target)
        kept = found[16:] >= in_memory.guarded(error, threshold, kappa)
        got = float(in_memory.wrong(exact[16:] >= threshold, kept)["false_negative"])
        assert got == pytest.approx(target, rel=0.35)


@pytest.mark.parametrize("hardware", [GAUSSIAN, VCM], ids=["Gaussian", "VCM"])
def test_recomputing_survivors_saves_quality(hardware):
    """Attention outputs against those of exact pruning: recomputed scores, and the seen ones as they are."""
    queries, keys = operands(keys=256, seed=2)
    values = np.random.default_rng(7).standard_normal((256, 64))
    exact, form = in_memory.exact_scores(queries, keys, 8), HighBits()
    found = seen(hardware, form, queries, keys)
    threshold = float(jnp.quantile(exact, 0.75))
    unit = 1.5 / float(jnp.std(exact))  # scores with the spread of trained attention
    weigh = lambda x, kept: np.asarray(pruned_softmax(x * unit, -jnp.inf, kept) @ values)  # noqa: E731
    best = weigh(exact, exact >= threshold)
    error = lambda y: np.linalg.norm(y - best) / np.linalg.norm(best)  # noqa: E731
    survivors = in_memory.recomputed(exact, found >= threshold, threshold)
    assert not np.any(survivors & ~(exact >= threshold))
    with_it, without = error(weigh(exact, survivors)), error(weigh(found, found >= threshold))
    assert with_it < 0.5 * without


def test_offsets_belong_to_the_chip_and_noise_to_the_read():
    queries, keys = operands(keys=32, head=16)
    form = HighBits()
    plan, params = in_memory.placed(EXACT, keys, form)
    chip = ax.program(PROGRAM, plan, params)
    clean = in_memory.seen(READ, chip, queries, form)
    one = lambda key, c: np.asarray(in_memory.seen(key, chip, queries, form, c) - clean)  # noqa: E731
    offset = one(READ, Comparator(offset_sigma=0.1))
    np.testing.assert_allclose(offset, offset[:1].repeat(32, 0), atol=0.01)
    np.testing.assert_array_equal(offset, one(jax.random.key(9), Comparator(offset_sigma=0.1)))
    assert 0.06 < offset[0].std() / form.column_unit < 0.15
    noise = one(READ, Comparator(noise=0.1))
    assert noise.std() / form.column_unit == pytest.approx(0.1, rel=0.12)
    assert not np.allclose(noise, one(jax.random.key(9), Comparator(noise=0.1)))


def test_heads_by_vmap():
    queries, keys = (np.stack(x) for x in zip(*(operands(keys=24, head=16, seed=s) for s in range(3)), strict=True))
    form = HighBits()

    def of_head(key, q, k):
        plan, params = in_memory.placed(GAUSSIAN, k, form)
        return in_memory.seen(READ, ax.program(key, plan, params), q, form)

    of_head = jax.jit(of_head)
    together = jax.jit(jax.vmap(of_head))(jax.random.split(PROGRAM, 3), jnp.asarray(queries), jnp.asarray(keys))
    for h, key in enumerate(jax.random.split(PROGRAM, 3)):
        np.testing.assert_allclose(together[h], of_head(key, queries[h], keys[h]), atol=2)


def test_exact_scores_beyond_float32():
    queries, keys = operands(keys=16, head=128, bits=12)
    np.testing.assert_array_equal(in_memory.exact_scores(queries, keys, 12), (queries @ keys.T).astype(np.int64))


def test_fetches_of_adjacent_queries():
    """Random sets overlap by their density; the sets of the worked example by hand."""
    kept = jnp.asarray([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], bool)
    found = in_memory.locality(kept)
    assert float(found["new"]) == pytest.approx(2 / 8)
    assert float(found["overlap"]) == pytest.approx(3 / 5)
    random = in_memory.locality(jax.random.uniform(READ, (400, 400)) < 0.25)
    assert float(random["new"]) == pytest.approx(0.25 * 0.75, abs=0.005)
    assert float(random["overlap"]) == pytest.approx(0.25, abs=0.005)


def test_traffic_and_energy_by_hand():
    """Two new keys, one new, one new, over three queries; head of 8, keys and values of 8 bits."""
    kept = jnp.asarray([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], bool)
    bill = {name: float(v) for name, v in in_memory.traffic(kept, 8, HighBits()).items()}
    assert bill["bytes"] == pytest.approx(4 / 3 * 8 * 2 + 4 / 8)
    assert bill["bytes_dense"] == 4 * 8 * 2
    assert bill["pruning"] == pytest.approx(4 * 8 * 0.10e-12)
    assert bill["reads"] == pytest.approx(4 / 3 * 8 * 16 * 3.1e-12)
    assert bill["reads_dense"] == pytest.approx(4 * 8 * 16 * 3.1e-12)
    assert bill["writes"] == pytest.approx(4 * 8 * 16 / 3 * 24.4e-12)
    assert bill["digital_macs"] == pytest.approx(7 / 3 * 8)


@pytest.mark.parametrize(
    ("changes", "head", "message"),
    [
        ({"adc": ax.ADC.uniform(bits=5)}, 16, "Hardware.adc"),
        ({"array": ax.Array(rows=8, weight_bits=None)}, 16, "Array.rows.*head of 16.*got 8"),
        ({"array": ax.Array(weight_bits=3)}, 16, "Array.weight_bits.*4 kept bits.*got 3"),
        ({"array": ax.Array(weight_bits=None, scale="column")}, 16, "Array.scale"),
        ({"dac": ax.DAC(bits=3)}, 16, "DAC.bits.*got 3"),
        ({"dac": ax.DAC(bits=4, encoding="bit-serial")}, 16, "DAC.encoding"),
    ],
)
def test_hardware_that_cannot(changes, head, message):
    hardware = ax.Hardware(**{"device": ax.IdealDevice(), "array": ax.Array(weight_bits=None), **changes})
    with pytest.raises(ValueError, match=message):
        in_memory.placed(hardware, np.ones((4, head)), HighBits())


def test_bad_numbers():
    with pytest.raises(ValueError, match=r"HighBits.kept: expected an integer from 2 to 8; got 9"):
        HighBits(kept=9)
    with pytest.raises(ValueError, match=r"HighBits.rounding"):
        HighBits(rounding="up")
    with pytest.raises(ValueError, match=r"Comparator.noise"):
        Comparator(noise=-1.0)
    with pytest.raises(ValueError, match=r"one head at a time"):
        in_memory.placed(EXACT, np.ones((2, 4, 8)), HighBits())
    with pytest.raises(ValueError, match=r"target: .*got 0"):
        in_memory.guard_band(in_memory.Error(slope=1.0, offset=0.0, sigma=1.0), jnp.ones(3), 0.0, 0)
