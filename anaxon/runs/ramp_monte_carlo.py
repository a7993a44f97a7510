"""The statistical statements about programmed ramps: V5, V6 and V12 of the validation.

Expected numbers are those of a float64 Monte Carlo of 20,000 ramps (normal errors, conductances clipped at 0, threshold
convention "edges", INL in LSB of the output): the project's own derivation, none is a published measurement.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.converter import ramp as nladc
from anaxon.converter.ramp import Ramp
from anaxon.prng import fold_name
from anaxon.runs.validation import Statement, close
from anaxon.types import Array

G_MAX, SIGMA, READ_SIGMA = 150e-6, 2.73e-6, 0.14e-6  # [S]
MEAN, EXTREME = 0.02, 0.04  # tolerances of means and of what is made of maxima
DIGIT = 0.0005  # half the last digit of the expected numbers
BLOCK = 1000

# bits: (mean |INL|, rms) calibrated, the same uncalibrated, largest std of a code calibrated and not, all in units of r
FIRST_ORDER = {
    3: (1.065, 1.454, 1.629, 2.291, 1.797, 3.177),
    4: (2.709, 3.621, 4.352, 6.084, 4.573, 8.574),
    5: (7.214, 9.626, 11.889, 16.689, 12.424, 23.773),
    6: (19.75, 26.40, 33.00, 46.50, 34.33, 66.60),
    8: (154.0, 206.5, 260.2, 367.9, 270.0, 529.1),
}
PLAIN, MENDED = "not calibrated", "calibrated"
WAYS: dict[str, dict[str, str]] = {
    PLAIN: {},
    MENDED: {"calibration": "one-point"},
    "calibrated, sequential bias devices": {"calibration": "one-point", "bias": "sequential"},
    "not calibrated, blind bias devices": {"bias": "blind"},
}
# sigma [uS]: mean |INL|, rms, mean of the maximum, its 95th percentile [LSB], in the order of WAYS; DNL rms, mean max
FIVE_BIT = {
    0.5: ((0.040, 0.055, 0.094, 0.176), (0.024, 0.032, 0.064, 0.105), (0.027, 0.035, 0.068, 0.112),
          (0.047, 0.064, 0.104, 0.198), (0.015, 0.038)),
    1.0: ((0.079, 0.111, 0.189, 0.352), (0.048, 0.064, 0.128, 0.211), (0.054, 0.070, 0.137, 0.225),
          (0.093, 0.128, 0.207, 0.397), (0.029, 0.075)),
    2.0: ((0.158, 0.222, 0.377, 0.705), (0.096, 0.128, 0.256, 0.421), (0.107, 0.141, 0.274, 0.450),
          (0.187, 0.257, 0.415, 0.792), (0.058, 0.150)),
    2.73: ((0.216, 0.303, 0.515, 0.960), (0.131, 0.175, 0.350, 0.575), (0.147, 0.192, 0.374, 0.613),
           (0.255, 0.350, 0.566, 1.081), (0.079, 0.205)),
    3.5: ((0.277, 0.388, 0.660, 1.230), (0.168, 0.224, 0.449, 0.737), (0.188, 0.246, 0.479, 0.787),
          (0.326, 0.449, 0.726, 1.384), (0.102, 0.263)),
    5.0: ((0.395, 0.554, 0.943, 1.760), (0.240, 0.321, 0.641, 1.052), (0.269, 0.352, 0.684, 1.123),
          (0.466, 0.641, 1.036, 1.975), (0.146, 0.375)),
}  # fmt: skip
CENTRES = {PLAIN: (0.334, 0.815), MENDED: (0.194, 0.537)}
OTHER_WIDTHS = {
    4: ((0.079, 0.110, 0.178, 0.339), (0.049, 0.066, 0.122, 0.203)),
    3: ((0.029, 0.041, 0.061, 0.122), (0.019, 0.026, 0.043, 0.076)),
}


def statements(key: Array, ramps: int) -> list[Statement]:
    """V5, V6 and V12, each from `ramps` ramps."""
    found = [s for bits in FIRST_ORDER for s in _first_order(key, bits, ramps)]
    for sigma in FIVE_BIT:
        found += _five_bit(key, sigma, ramps)
    for bits in OTHER_WIDTHS:
        found += _other_width(key, bits, ramps)
    return [*found, *_centres(key, ramps), _fine(key, ramps), _read_noise(key, ramps)]


Draw = Callable[[Array, Array], dict[str, tuple[Array, Array]]]


@cache
def _programmed(bits: int, ways: tuple[str, ...]) -> Draw:
    """INL `[K]` [LSB of the output] and DNL `[K - 1]` of a block of sigmoid ramps, by way: of its keys and sigma."""

    def one(key: Array, sigma: Array) -> dict[str, tuple[Array, Array]]:
        found = {}
        for way in ways:
            ramp = Ramp(bits=bits, g_max=G_MAX, sigma=sigma, **WAYS[way])  # type: ignore[arg-type]
            design, levels = nladc.design_of(ramp, "sigmoid"), nladc.sample(key, ramp, "sigmoid")
            found[way] = nladc.inl(design, levels), nladc.dnl(design, levels)
        return found

    return jax.jit(jax.vmap(one, (0, None)))


def _drawn(draw: Draw, key: Array, sigma: float, ramps: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """INL `[ramps, K]` and DNL by way, at sigma relative to g_max; drawn in blocks."""
    blocks = [
        jax.device_get(draw(jax.random.split(jax.random.fold_in(key, i), BLOCK), jnp.float32(sigma)))
        for i in range(-(-ramps // BLOCK))
    ]
    return {w: (_rows(blocks, w, 0)[:ramps], _rows(blocks, w, 1)[:ramps]) for w in blocks[0]}


def _rows(blocks: list[dict[str, tuple[np.ndarray, np.ndarray]]], way: str, which: int) -> np.ndarray:
    return np.concatenate([np.asarray(block[way][which], np.float64) for block in blocks])


def four(inl: np.ndarray) -> tuple[float, float, float, float]:
    """Mean of |INL|, rms, mean of its maximum over codes and the maximum's 95th percentile, over ramps `[n, K]`."""
    size = np.abs(inl)
    worst = size.max(1)
    return float(size.mean()), float(np.sqrt((inl**2).mean())), float(worst.mean()), float(np.quantile(worst, 0.95))


def _first_order(key: Array, bits: int, ramps: int) -> list[Statement]:
    r = 0.002  # small: the law is the first order in r
    drawn = _drawn(_programmed(bits, (PLAIN, MENDED)), fold_name(key, f"first order {bits}"), r, ramps)
    plain, mended = drawn[PLAIN][0], drawn[MENDED][0]
    got = (*four(mended)[:2], *four(plain)[:2], mended.std(0).max(), plain.std(0).max())
    what = (
        f"{bits} bit: mean |INL| and rms calibrated, the same uncalibrated, largest std of a code calibrated and not, "
        f"each divided by r = sigma / g_max = {r:g}"
    )
    return [close("V5", what, FIRST_ORDER[bits], np.array(got) / r, 0.03)]


def _five_bit(key: Array, sigma: float, ramps: int) -> list[Statement]:
    drawn = _drawn(_programmed(5, tuple(WAYS)), fold_name(key, f"5 bit {sigma}"), sigma * 1e-6 / G_MAX, ramps)
    found = [_inl(f"5 bit, sigma {sigma:g} uS, {way}", expected, drawn[way][0])
             for way, expected in zip(WAYS, FIVE_BIT[sigma], strict=False)]  # fmt: skip
    dnl = drawn[PLAIN][1]
    got = (np.sqrt((dnl**2).mean()), np.abs(dnl).max(1).mean())
    what = f"5 bit, sigma {sigma:g} uS: DNL rms and mean of its maximum"
    return [*found, close("V6", what, FIVE_BIT[sigma][-1], got, (MEAN, EXTREME), DIGIT)]


def _inl(words: str, expected: tuple[float, ...], inl: np.ndarray) -> Statement:
    what = f"{words}: mean |INL|, rms, mean of its maximum, 95th percentile of it"
    return close("V6", what, expected, four(inl), (MEAN, MEAN, EXTREME, EXTREME), DIGIT)


def _other_width(key: Array, bits: int, ramps: int) -> list[Statement]:
    drawn = _drawn(_programmed(bits, (PLAIN, MENDED)), fold_name(key, f"{bits} bit"), SIGMA / G_MAX, ramps)
    return [_inl(f"{bits} bit, sigma 2.73 uS, {way}", expected, drawn[way][0])
            for way, expected in zip((PLAIN, MENDED), OTHER_WIDTHS[bits], strict=True)]  # fmt: skip


def _centres(key: Array, ramps: int) -> list[Statement]:
    """Convention "centres" over all 32 levels of the ramp; the counter of 32 codes uses the first 31 as thresholds."""
    design = nladc.design("sigmoid", 5, convention="centres")
    target, levels = np.asarray(nladc.conductances(design)), np.asarray(design.levels)
    program = jax.jit(jax.vmap(lambda k: nladc.program(k, target, sigma=SIGMA / G_MAX)))
    g = np.asarray(program(jax.random.split(fold_name(key, "centres"), ramps)), np.float64)
    walk = np.cumsum(g - target, 1) * design.increments.max()
    walk = np.concatenate([np.zeros((ramps, 1)), walk], 1)
    found = []
    for way, expected in CENTRES.items():
        shift = walk[:, 15:17].mean(1, keepdims=True) if way == MENDED else 0.0
        inl = 32 * (_logistic(levels + walk - shift) - _logistic(levels))
        what = f"5 bit, sigma 2.73 uS, convention centres, {way}: mean |INL| over its 32 levels, mean of its maximum"
        found.append(close("V6", what, expected, four(inl)[::2], (MEAN, EXTREME), DIGIT))
    return found


def _logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _fine(key: Array, ramps: int) -> Statement:
    inl = _drawn(_programmed(8, (PLAIN, MENDED)), fold_name(key, "fine"), READ_SIGMA / G_MAX, ramps)[MENDED][0]
    what = "8 bit, sigma 0.14 uS, calibrated: mean |INL|, mean of its maximum"
    return close("V6", what, (0.144, 0.43), four(inl)[::2], (MEAN, EXTREME), (DIGIT, 0.005))


def _read_noise(key: Array, ramps: int) -> Statement:
    drawn = _drawn(_programmed(5, tuple(WAYS)), fold_name(key, "read noise"), READ_SIGMA / G_MAX, ramps)
    what = "5 bit, errors of the size of read noise, 0.14 uS a device, calibrated: mean |INL|, mean of its maximum"
    return close("V12", what, (0.0066, 0.018), four(drawn[MENDED][0])[::2], (MEAN, EXTREME), (0.00005, DIGIT))
