"""Slow float64 of ramps, written like the equations; nothing shared with anaxon but what a ramp is said to be."""

import json
from pathlib import Path

import numpy as np
from scipy import optimize, special

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "ramp.json").read_text())

FUNCTIONS = {
    "logistic": (special.expit, 0.0, 1.0),
    "tanh": (np.tanh, -1.0, 1.0),
    "softplus": (lambda x: np.logaddexp(0.0, x), 0.0, None),
    "softsign": (lambda x: x / (1 + abs(x)), -1.0, 1.0),
    "elu": (lambda x: x if x > 0 else np.expm1(x), -1.0, None),
    "selu": (lambda x: 1.0507009874 * (x if x > 0 else 1.6732632424 * np.expm1(x)), -1.0507009874 * 1.6732632424, None),
}
DOMAINS = {"logistic": 4.0, "tanh": 2.0, "softplus": 4.0, "softsign": 4.0, "elu": 3.0, "selu": 3.0}


def inverse(g, y):
    """The input of an output, by bisection."""
    return optimize.brentq(lambda x: g(x) - y, -1e3, 1e3, xtol=1e-14, rtol=1e-14)


def levels(name, bits, convention):
    """All ramp levels of a convention."""
    g, low, high = FUNCTIONS[name]
    p, end = 2**bits, DOMAINS[name]
    if convention == "range":
        low, high = g(-end), g(end)
    high = g(end) if high is None else high
    lsb = (high - low) / p
    if convention == "range":
        return np.array([-end, *(inverse(g, low + k * lsb) for k in range(1, p)), end])
    if convention == "centres":
        return np.array([inverse(g, low + (k - 0.5) * lsb) for k in range(1, p + 1)])
    return np.array([inverse(g, low + k * lsb) for k in range(1, p)])


def codes(thresholds, z, signs=None, first=0):
    """The counter: one comparison per threshold."""
    total = np.full(np.shape(z), first)
    for k, v in enumerate(np.asarray(thresholds, np.float64)):
        total += (z >= v) * (1 if signs is None else signs[k])
    return total


def walk_std(name, bits, r, calibrated):
    """First-order std of INL_out(k), k = 1..P-1, for errors of std r G_max: `P g'(V_k) max dV r sqrt(steps)`."""
    g, low, high = FUNCTIONS[name]
    p, v = 2**bits, levels(name, bits, "edges")
    slope = np.array([(g(x + 1e-6) - g(x - 1e-6)) / 2e-6 for x in v])
    k = np.arange(1, p)
    steps = abs(k - p / 2) if calibrated else k - 1
    return p / (high - low) * slope * np.diff(v).max() * r * np.sqrt(steps)


def close(value, listed, rtol=1e-5):
    """Whether a value is a listed figure, to `rtol` or to the last digit it is listed with."""
    digits = len(f"{listed!r}".partition(".")[2])
    return abs(value - listed) <= max(rtol * abs(listed), 0.5 * 10.0**-digits * (1 + 1e-9))
