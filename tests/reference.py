"""Slow float64 NumPy of a read, written like the equations: one loop per slice and tile, nothing shared with anaxon.

A linear, noiseless device: the current of a cell is `g * U`; a pair subtracts.
"""

import numpy as np


def levels(weight, bits, axes, clip_sigma=None):
    """Signed integer levels of a weight and the worth of one level; `axes` share a scale."""
    w = np.asarray(weight, np.float64)
    if clip_sigma is not None:
        limit = clip_sigma * w.std(axis=axes, keepdims=True)
        w = np.minimum(np.maximum(w, -limit), limit)
    n = 1 if bits is None else 2 ** (bits - 1) - 1
    absmax = np.abs(w).max(axis=axes, keepdims=True)
    scale = np.where(absmax > 0, absmax, 1.0) / n
    level = w / scale
    return (level if bits is None else np.round(level)), scale


def pairs(level, bits, cell_bits):
    """`[(significance, g+ - g-)]` per slice, least significant first; conductances in [0, 1]."""
    if bits is None:
        return [(1.0, level)]
    magnitude, digits, full = np.abs(level).astype(int), [], 2**cell_bits - 1
    for k in range(-(-(bits - 1) // cell_bits)):
        digit = (magnitude // 2 ** (cell_bits * k)) % 2**cell_bits
        digits.append((full * 2 ** (cell_bits * k), np.sign(level) * digit / full))
    return digits


def dac(x, bits):
    """Codes in [-1, 1] and the range they are relative to."""
    x = np.asarray(x, np.float64)
    absmax = np.abs(x).max()
    full_scale = absmax if absmax > 0 else 1.0
    n = 2 ** (bits - 1)
    return np.clip(np.round(x / full_scale * n), -n, n) / n, full_scale


def cycles(code, bits, encoding):
    """`[(digital weight, drive in [-1, 1])]` of the read cycles."""
    if encoding != "bit-serial":
        return [(1.0, code)]
    n = 2 ** (bits - 1)
    magnitude = np.round(np.abs(code) * n).astype(int)
    return [(2**k / n, np.sign(code) * (magnitude // 2**k % 2)) for k in range(bits)]


def adc(z, full_scale, step):
    """Converted columns."""
    n = full_scale / step
    return step * np.clip(np.round(z / step), -n, n)


def fixed_adc(full_scale, step):
    """A converter of given range: all columns to `(full_scale, step)`."""
    return lambda columns: (full_scale, step)


def uniform_adc(bits):
    """A converter whose range is the absmax of everything it sees."""

    def ranges(columns):
        absmax = max(np.abs(z).max() for z in columns)
        absmax = absmax if absmax > 0 else 1.0
        return absmax, absmax / (2 ** (bits - 1) - 1)

    return ranges


def undecided(z, step):
    """Columns between two codes to within float32: half the absmax lies between 63 and 64 of 127 codes.

    Sums in units of a power of two are exact, and then both round half to even.
    """
    if np.log2(step) % 1 == 0:
        return np.zeros(z.shape, bool)
    return np.abs(np.abs(z / step) % 1 - 0.5) < 1e-4


def columns(x, weight, *, bits, cell_bits, rows, dac_bits, encoding, scale_axes, clip_sigma):
    """Every analog column sum `[(digital weight, z [M, C])]` of `x [M, N] @ weight [N, C]`, and the unit of a level."""
    level, scale = levels(weight, bits, scale_axes, clip_sigma)
    code, full_scale = dac(x, dac_bits)
    found = []
    for worth, g in pairs(level, bits, cell_bits):
        for start in range(0, g.shape[0], rows):
            for value, drive in cycles(code, dac_bits, encoding):
                found.append((worth * value, drive[:, start : start + rows] @ g[start : start + rows]))
    return found, scale * full_scale


def matmul(
    x,
    weight,
    ranges=None,
    *,
    bits=4,
    cell_bits=1,
    rows=128,
    dac_bits=8,
    encoding="amplitude",
    scale_axes=None,
    clip_sigma=None,
):
    """`x @ weight` on arrays; NaN where a column lies between two codes, which float32 may round either way.

    `ranges` gives the ADC's (full scale, step) for all columns; none for exact sums.
    """
    found, unit = columns(
        x,
        weight,
        bits=bits,
        cell_bits=cell_bits,
        rows=rows,
        dac_bits=dac_bits,
        encoding=encoding,
        scale_axes=scale_axes,
        clip_sigma=clip_sigma,
    )
    if ranges is None:
        return sum(worth * z for worth, z in found) * unit.reshape(1, -1)
    full_scale, step = ranges([z for _, z in found])
    total = sum(worth * np.where(undecided(z, step), np.nan, adc(z, full_scale, step)) for worth, z in found)
    return total * unit.reshape(1, -1)


def conv1d_patches(x, window, stride, dilation, pad):
    """`[N * positions, C * window]` rows (channel, then window) of `x [N, T, C]`, and the number of positions."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), pad, (0, 0)))
    reach = (window - 1) * dilation
    patches = [
        [x[n, t + k * dilation, c] for c in range(x.shape[2]) for k in range(window)]
        for n in range(x.shape[0])
        for t in range(0, x.shape[1] - reach, stride)
    ]
    return np.array(patches), len(patches) // x.shape[0]
