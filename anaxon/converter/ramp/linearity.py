"""INL and DNL of a ramp. Definitions differ between papers, so one is stated with every number: see `DEFINITIONS`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from anaxon.converter.ramp.activation import find
from anaxon.converter.ramp.design import Design
from anaxon.types import Array, ArrayLike

DEFINITIONS = {
    "INL_out": "INL_out(k) = (g(V_k) - g(V_k ideal)) / LSB, LSB = output range / 2^bits: output steps",
    "INL_in": "INL_in(k) = (V_k - V_k ideal) / mean ideal ramp step: input steps",
    "DNL": "DNL(k) = (V_k+1 - V_k) / (V_k+1 - V_k)ideal - 1: ideal steps",
    "INL_bestfit": "INL_bestfit(k) = residual of g(V_k) / LSB to its least-squares line over g(V_k ideal) / LSB: "
    "output steps; without gain and offset, so smaller than INL_out",
}


def inl(design: Design, thresholds: ArrayLike) -> Array:
    """INL_out `[..., K]` in LSB of the output: `(g(V_k) - g(V_k ideal)) / LSB`."""
    g = find(design.activation).fn
    ideal = jnp.asarray(design.thresholds, jnp.float32)
    return (g(jnp.asarray(thresholds, jnp.float32)) - g(ideal)) / design.output_step


def inl_input(design: Design, thresholds: ArrayLike) -> Array:
    """INL_in `[..., K]`: `(V_k - V_k ideal) / mean(dV ideal)`, in mean steps of the ramp."""
    return (
        jnp.asarray(thresholds, jnp.float32) - jnp.asarray(design.thresholds, jnp.float32)
    ) / design.increments.mean()


def dnl(design: Design, thresholds: ArrayLike) -> Array:
    """DNL `[..., K - 1]`: width of a code over its ideal width, less one; -1 is a missing code."""
    width = jnp.diff(jnp.asarray(thresholds, jnp.float32), axis=-1)
    return width / jnp.diff(jnp.asarray(design.thresholds, jnp.float32)) - 1.0


def best_fit_inl(design: Design, thresholds: ArrayLike) -> Array:
    """INL `[..., K]` in LSB of the output after the least-squares line is taken out (gain and offset).

    The definition of linear converters, e.g. ReADC (Nat. Commun. 2025, s41467-025-65233-w): smaller than `inl`.
    """
    g = find(design.activation).fn
    ideal = g(jnp.asarray(design.thresholds, jnp.float32)) / design.output_step
    actual = g(jnp.asarray(thresholds, jnp.float32)) / design.output_step
    x = ideal - jnp.mean(ideal)
    y = actual - jnp.mean(actual, axis=-1, keepdims=True)
    return y - x * (jnp.sum(x * y, axis=-1, keepdims=True) / jnp.sum(x * x))


def missing_codes(design: Design, thresholds: ArrayLike) -> Array:
    """How many codes of the ideal ramp no input gives, `[...]`: equal thresholds leave none between them."""
    v = jnp.asarray(thresholds, jnp.float32)
    codes = _codes_after(design)
    ends = jnp.full((*v.shape[:-1], 1), jnp.inf)
    wide = jnp.diff(jnp.concatenate([-ends, v, ends], axis=-1), axis=-1) > 0
    of_code = (codes[:, None] == np.unique(codes)).astype(np.float32)
    return jnp.sum(jnp.einsum("...k,kc->...c", wide.astype(jnp.float32), of_code) == 0, axis=-1)


def _codes_after(design: Design) -> np.ndarray:
    """The code in each of the K + 1 intervals."""
    signs: Any = design.signs or (1,) * jnp.shape(design.thresholds)[0]
    return design.first_code + np.concatenate([[0], np.cumsum(signs)])


def share_within(errors: ArrayLike, limit: float = 0.5) -> Array:
    """Yield: the share of ramps whose largest |INL| or |DNL| `[ramps, K]` is within `limit` LSB."""
    return jnp.mean(jnp.max(jnp.abs(jnp.asarray(errors)), axis=-1) <= limit, axis=-1)
