"""The statements about ideal and deterministic ramps: V1 to V4, V7 to V9 and V15 of the validation.

Expected numbers are closed forms or float64 computations of the project's own; what a paper publishes is named so.
"""

import numpy as np
from scipy.special import ndtri

from anaxon.converter import ramp as nladc
from anaxon.converter.ramp import Design, Ramp
from anaxon.runs import ramp_faults
from anaxon.runs.ramp_curves import ideal_output
from anaxon.runs.validation import Statement, below, close

BITS = (3, 4, 5, 6, 8)
# First thresholds of the sigmoid, convention "edges": ln(k / (2^n - k)).
FIRST = {
    3: (-1.945910, -1.098612, -0.510826, 0.0),
    4: (-2.708050, -1.945910, -1.466337, -1.098612, -0.788457, -0.510826, -0.251314, 0.0),
    5: (-3.433987, -2.708050, -2.268684, -1.945910, -1.686399, -1.466337, -1.272966, -1.098612, -0.938270, -0.788457,
        -0.646627, -0.510826, -0.379490, -0.251314, -0.125163, 0.0),
}  # fmt: skip
MICROSIEMENS = {  # of the first ramp devices, 150 uS the largest
    3: (150.0, 104.0579, 90.4332),
    4: (150.0, 94.3868, 72.3735, 61.0429, 54.6419, 51.0755, 49.4623),
    5: (150.0, 90.7861, 66.6945, 53.6227, 45.4713, 39.9562, 36.0266, 33.1315, 30.9556, 29.3063, 28.0606, 27.1379,
        26.4848, 26.0666, 25.8624),
}  # fmt: skip
RMS = {  # of the quantisation error for inputs N(0, 2^2)
    "sigmoid": (0.0358, 0.01792, 0.00898, 0.00450, 0.00113),
    "tanh": (0.0856, 0.0411, 0.0198, 0.00964, 0.00232),
}
# dead step: (largest |INL| before calibration, mean before, mean after); after calibration the largest is 1 LSB
STUCK = {1: (5.744, 3.907, 0.032), 2: (3.500, 2.368, 0.049), 5: (1.759, 1.122, 0.103), 8: (1.281, 0.736, 0.161),
         15: (1.000, 0.368, 0.336), 16: (1.000, 0.336, 0.336)}  # fmt: skip
VOLTS = (0.15, 0.16, 0.175, 0.19, 0.20, 0.21, 0.225, 0.24, 0.25)  # [V]; 0.2 is nominal
FIXED_MAX = (3, 2, 1, 1, 0, 1, 1, 2, 2)
FIXED_MEAN = (1.482, 1.147, 0.697, 0.257, 0.0, 0.232, 0.542, 0.813, 0.976)
GAIN = {0.90: (0.753, 0.509), 0.95: (0.366, 0.248), 0.98: (0.144, 0.098), 1.02: (0.142, 0.096), 1.05: (0.349, 0.236),
        1.10: (0.682, 0.462)}  # fmt: skip


def statements() -> list[Statement]:
    """All of them, in order."""
    parts = (_counts(), _levels(), _quantiser(), _symmetry(), _stuck(), _volts(), _gains(), _gradient())
    return [s for part in parts for s in part]


def _counts() -> list[Statement]:
    """V1: devices of the column; V2's closed forms of the bias."""
    found = []
    for bits in BITS:
        design = nladc.design("sigmoid", bits)
        exact = np.log(2**bits - 1) / np.log(2 * (2**bits - 1) / (2**bits - 2))
        count, size = _bias(design)
        what = f"{bits} bit: ramp devices provided, bias devices, conductance of the bias over g_max"
        found.append(close("V1", what, (2**bits, bits, exact), (2**bits, count, size), (0, 0, 1e-5)))
    return found


def _bias(design: Design) -> tuple[int, float]:
    bias = nladc.bias_devices(design)
    return bias.count, bias.count * bias.conductance


def _levels() -> list[Statement]:
    found = []
    for bits, levels in FIRST.items():
        design, half = nladc.design("sigmoid", bits), len(levels)
        found.append(close("V2", f"{bits} bit sigmoid: first thresholds", levels, np.asarray(design.thresholds)[:half],
                           1e-5, 1e-6))  # fmt: skip
        g = 150 * np.asarray(nladc.conductances(design))[: half - 1]
        found.append(close("V2", f"{bits} bit sigmoid: first conductances [uS]", MICROSIEMENS[bits], g, 1e-5))
    g = np.asarray(nladc.conductances(nladc.design("sigmoid", 5)))
    what = "5 bit sigmoid: largest over smallest conductance, sum over g_max"
    return [*found, close("V2", what, (5.79993, 9.461), (g.max() / g.min(), g.sum()), 1e-5, (0, 0.0005))]


def _quantiser() -> list[Statement]:
    z = 2 * ndtri((np.arange(200_000) + 0.5) / 200_000)
    found = []
    for name, exact in (("sigmoid", lambda z: 1 / (1 + np.exp(-z))), ("tanh", np.tanh)):
        middle = {bits: ideal_output(nladc.design(name, bits), z) - exact(z) for bits in BITS}
        rms = [np.sqrt((e**2).mean()) for e in middle.values()]
        found.append(close("V3", f"{name}: rms error for inputs N(0, 4), {BITS} bit", RMS[name], rms, 0.01))
        worst = max(np.abs(middle[bits]).max() / nladc.design(name, bits).lsb for bits in BITS)
        found.append(below("V3", f"{name}: largest error, mid-rise [LSB]", 0.5 + 1e-3, worst))
        floor = nladc.design(name, 5, reconstruction="floor")
        error = np.abs(ideal_output(floor, z) - exact(z)).max() / floor.lsb
        found.append(below("V3", f"{name}: largest error, floor [LSB]", 1.0, error))
    return found


def _symmetry() -> list[Statement]:
    found = []
    for bits in BITS:
        one, two = (np.asarray(nladc.conductances(nladc.design(n, bits)), np.float64) for n in ("sigmoid", "tanh"))
        found.append(below("V4", f"{bits} bit: relative difference of the conductances of sigmoid and tanh", 1e-12,
                           np.abs(one / two - 1).max()))  # fmt: skip
    return found


def _stuck() -> list[Statement]:
    design, found = nladc.design("sigmoid", 5), []
    for step, (worst, mean, mended) in STUCK.items():
        before, after = ramp_faults.dead_step(design, step)
        got = (np.abs(before).max(), np.abs(before).mean(), np.abs(after).max(), np.abs(after).mean())
        what = f"5 bit, step {step} stuck at OFF: largest and mean |INL| before, largest and mean after calibration"
        found.append(close("V7", what, (worst, mean, 1.0, mended), got, 0.0, 1e-3))
    return found


def _volts() -> list[Statement]:
    ramp = Ramp(bits=5)
    z = np.linspace(-4, 4, 80_001)
    change = {kind: [ramp_faults.code_change(ramp, "sigmoid", kind, v / 0.2, z) for v in VOLTS]
              for kind in ("tracking", "fixed")}  # fmt: skip
    return [
        close("V8", "read voltage 0.15 to 0.25 V, tracking reference: largest change of a code", np.zeros(len(VOLTS)),
              [worst for worst, _ in change["tracking"]]),
        close("V8", "the same, fixed reference: largest change of a code", FIXED_MAX, [w for w, _ in change["fixed"]]),
        close("V8", "the same, fixed reference: mean change of a code, |z| <= 4", FIXED_MEAN,
              [mean for _, mean in change["fixed"]], 0.01, 0.0005),
    ]  # fmt: skip


def _gains() -> list[Statement]:
    found = []
    for kappa, expected in GAIN.items():
        inl = np.abs(ramp_faults.gain_error(Ramp(bits=5), "sigmoid", kappa))
        what = f"5 bit, ramp gain {kappa:g}: largest and mean |INL|"
        found.append(close("V9", what, expected, (inl.max(), inl.mean()), 0.0, 0.0006))
    return found


def _gradient() -> list[Statement]:
    """V15: the dithered quantiser's slope beside g' smoothed alike, and g' itself, over |z| <= 2."""
    found, z = [], np.linspace(-2, 2, 401)
    for bits, bounds in ((5, (0.0007, 0.016)), (4, (0.063, 0.073))):
        slope = dithered_slope(nladc.design("sigmoid", bits), z)
        for words, bound, true in zip(
            ("g' smoothed alike", "g'"), bounds, (smoothed_slope(z), logistic_slope(z)), strict=True
        ):
            what = f"{bits} bit: largest relative distance of the dithered quantiser's slope from {words}, |z| <= 2"
            found.append(below("V15", what, bound, np.abs(slope / true - 1).max()))
    return found


WIDTH = 0.25  # of the dither


def dithered_slope(design: Design, z: np.ndarray) -> np.ndarray:
    """`d/dz E[Q(z + u)]`, u normal of std 0.25: one bell for each threshold, `[n]`."""
    x = (np.asarray(design.thresholds, np.float64)[:, None] - z) / WIDTH
    return np.asarray(design.lsb) * np.exp(-(x**2) / 2).sum(0) / (WIDTH * np.sqrt(2 * np.pi))


def smoothed_slope(z: np.ndarray) -> np.ndarray:
    """`E[g'(z + u)]` by Gauss-Hermite quadrature, `[n]`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    return logistic_slope(z[:, None] + WIDTH * nodes) @ (weights / weights.sum())


def logistic_slope(z: np.ndarray) -> np.ndarray:
    """`g'(z)` of the sigmoid."""
    return 1 / (2 + np.exp(z) + np.exp(-z))
