"""VCM cell in slow float64 NumPy, written like the equations of Hennen et al. 2024 (arXiv 2404.06344)."""

import tomllib
from pathlib import Path

import numpy as np
from scipy.special import ndtr

FILE = Path(__file__).parent.parent / "configs" / "devices" / "vcm.toml"
with open(FILE, "rb") as file:
    P = tomllib.load(file)

LLRS, HHRS, U0 = P["current"]["low"], P["current"]["high"], P["current"]["reference_volts"]
ETA, UMAX = P["reset"]["curvature"], P["reset"]["full_volts"]
WK = np.array(P["device_to_device"]["weights"]) / np.sum(P["device_to_device"]["weights"])
MU = np.array(P["device_to_device"]["mean"])
GAMMA = np.array(P["cycle_to_cycle"]["quantile_map"])
L = np.array(P["cycle_to_cycle"]["innovation"])
A = np.array(P["cycle_to_cycle"]["lags"])  # oldest first
LDTD = np.zeros((3, 8, 8))
for k in range(3):
    for row, values in enumerate(P["device_to_device"]["factor"][k]):
        LDTD[k, row, : row + 1] = values

K_B, CHARGE = 1.380649e-23, 1.602176634e-19
G_LLRS, G_HHRS = np.polyval(LLRS, U0) / U0, np.polyval(HHRS, U0) / U0


def current(r, u):
    return (1 - r) * np.polyval(LLRS, u) + r * np.polyval(HHRS, u)


def state(resistance):
    return (G_LLRS - 1 / resistance) / (G_LLRS - G_HHRS)


def noise_variance(r, u, temperature=300.0, bandwidth=1e8, charge=CHARGE):
    """Johnson + shot of one cell [A^2]; 0 V is replaced by 1e-12 V, as published."""
    u = np.where(u == 0, 1e-12, u)
    i = np.abs(current(r, u))
    return 4 * K_B * temperature * bandwidth * i / np.abs(u) + 2 * charge * i * bandwidth


def latent(noise, history):
    """x_n from eps `[4]` and the history `[10, 4]`, oldest first."""
    x = L @ noise
    for lag in range(1, len(A) + 1):
        x = x + A[-lag] @ history[-lag]
    return x


def gamma(x):
    return np.stack([np.polyval(GAMMA[i], x[i]) for i in range(4)])


def fresh_features(rng, n):
    """Features `[4, n]` of cycle 0: log10 R_HRS, U_S, R_LRS, U_R."""
    component = np.searchsorted(np.cumsum(WK), rng.random(n))
    z = rng.standard_normal((n, 8))
    s = np.empty((n, 8))
    for k in range(3):
        s[component == k] = MU[:, k] + z[component == k] @ LDTD[k].T
    x = L @ rng.standard_normal((4, n))
    return s[:, :4].T + s[:, 4:].T * gamma(x)


def pulse(cell, u, next_features):
    """One cell (a dict) after a pulse of u [V]; `next_features` are those of the cycle that may begin."""
    cell = dict(cell)
    sets = not cell["low"] and u <= cell["features"][1]
    resets = not cell["high"] and u > cell["threshold"]
    full, part = resets and u >= UMAX, resets and u < UMAX
    begins = cell["low"] and resets
    if sets:
        cell.update(r=state(cell["features"][2]), low=True, high=False, threshold=cell["features"][3])
    x1, y1 = cell["threshold"], current(cell["r"], cell["threshold"])
    if begins:
        cell.update(features=next_features, cycle=cell["cycle"] + 1)
    if begins and not full:
        y2 = current(state(10 ** cell["features"][0]), UMAX)
        cell.update(gain=(y1 - y2) / abs(UMAX - x1) ** ETA, floor=y2)
    if resets:
        cell.update(low=False, threshold=u)
    if part:
        i = cell["gain"] * abs(UMAX - u) ** ETA + cell["floor"]
        cell["r"] = (i - np.polyval(LLRS, u)) / (np.polyval(HHRS, u) - np.polyval(LLRS, u))
    if full:
        cell.update(high=True, r=state(10 ** cell["features"][0]))
    return cell


def fresh_cdf(feature, y):
    """P(Y <= y) of a fresh cell: the integral over the device's scale s and the latent x, mean mu given s normal."""
    sd_x = np.sqrt((L @ L.T)[feature, feature])
    t, dt = np.linspace(-8, 8, 801, retstep=True)
    density = np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi) * dt
    g = np.polyval(GAMMA[feature], sd_x * t)
    total = 0.0
    for k in range(3):
        cov = LDTD[k] @ LDTD[k].T
        mu, scale = MU[feature, k], MU[feature + 4, k]
        v_mu, v_s, c = cov[feature, feature], cov[feature + 4, feature + 4], cov[feature, feature + 4]
        for z, p in zip(t[::4], density[::4] * 4, strict=True):
            s = scale + np.sqrt(v_s) * z
            given = mu + c / v_s * (s - scale)
            total += WK[k] * p * (density @ ndtr((y - given - s * g) / np.sqrt(v_mu - c**2 / v_s)))
    return total
