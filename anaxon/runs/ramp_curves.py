"""What a ramp makes of its input: codes and outputs over a range, on the host."""

import jax
import numpy as np

from anaxon.converter import ramp as nladc
from anaxon.converter.ramp import Design, Ramp


def codes(design: Design, z: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Codes of inputs `z` `[n]` behind ascending levels `[K]`: the counter's definition, by bisection."""
    signs = np.ones(len(levels), int) if design.signs is None else np.asarray(design.signs)
    counted = np.concatenate([[0], np.cumsum(signs)])
    return design.first_code + counted[np.searchsorted(levels, z, side="right")]


def output(design: Design, z: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """What the digital side takes the codes of `z` for, `[n]`."""
    return np.asarray(design.output(codes(design, z, levels)), np.float64)


def ideal_output(design: Design, z: np.ndarray) -> np.ndarray:
    """The output behind the design's own thresholds, `[n]`."""
    return output(design, z, np.asarray(design.thresholds, np.float64))


def levels_of(ramp: Ramp, name: str) -> np.ndarray:
    """Thresholds `[K]` of a ramp whose errors are all systematic: the key decides nothing."""
    return np.asarray(nladc.sample(jax.random.key(0), ramp, name), np.float64)
