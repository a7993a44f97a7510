"""Noise to train with: on the weights alone, or that of a plan's hardware, scaled."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.converter.adc import ADC
from anaxon.converter.ramp import Ramp
from anaxon.device.gaussian import Gaussian
from anaxon.device.ideal import IdealDevice
from anaxon.hardware import Hardware
from anaxon.interpret.plan import Plan
from anaxon.types import Array, ArrayLike, PyTree, is_concrete, replace

# Standard deviations that one factor scales. Johnson and shot noise have the variance of their bandwidth.
_NOISES: dict[type, tuple[str, ...]] = {
    Gaussian: ("sigma", "sigma_rel", "read_sigma"),
    IdealDevice: (),
    ADC: ("noise", "offset_sigma", "gain_sigma"),
    Ramp: ("sigma", "read_sigma", "tolerance"),
}


def disturb_weights(key: Array, params: PyTree, sigma: ArrayLike) -> PyTree:
    """`params` with fresh Gaussian noise on every matrix; vectors (biases) stay. Needs no plan and costs one draw.

    `sigma` is relative to a matrix's largest weight (Joshi et al. 2020, doi:10.1038/s41467-020-16108-9, eq. 1).
    """
    if is_concrete(sigma) and sigma == 0:
        return params
    matrices = [w for w in jax.tree.leaves(params) if w.ndim > 1]
    # One draw for all: every call of the generator in a scan costs 0.4 s of compile time on a CPU.
    normals = jax.random.normal(key, (sum(w.size for w in matrices),))
    ends = np.cumsum([w.size for w in matrices])
    pieces = iter(jnp.split(normals, ends[:-1]))

    def disturbed(w: Array) -> Array:
        if w.ndim < 2:
            return w
        scale = sigma * jax.lax.stop_gradient(jnp.abs(w).max())
        return w + (scale * next(pieces).reshape(w.shape)).astype(w.dtype)

    return jax.tree.map(disturbed, params)


def scaled_noise(plan: Plan, factor: ArrayLike) -> Plan:
    """The plan with every noise of its hardware times `factor`, which may be traced.

    These are the standard deviations (and tolerances) of devices, ramps and linear ADCs, at programming and at reads;
    what is no noise (stuck devices, gain and voltage errors, quantisation) stays. Noises that are off stay off.

    Raises:
      TypeError: for a device whose noise is not a number of it, such as fitted cells or tables.
    """
    return replace(plan, hardware=tuple(_quieter(hw, factor) for hw in plan.hardware))


def _quieter(hardware: Hardware, factor: ArrayLike) -> Hardware:
    parts = {name: getattr(hardware, name) for name in ("device", "adc", "activation")}
    return replace(hardware, **{name: _scaled(part, factor) for name, part in parts.items() if part is not None})


def _scaled(part: Any, factor: ArrayLike) -> Any:
    if type(part) not in _NOISES:
        raise TypeError(
            f"plan: {type(part).__name__} has no noise that one factor scales; train without a schedule, or place on "
            f"{Gaussian.__name__} cells of about its spread"
        )
    there = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    new = {name: there[name] * factor for name in _NOISES[type(part)] if there.get(name) is not None}
    if there.get("bandwidth") is not None:
        new["bandwidth"] = there["bandwidth"] * factor**2
    return replace(part, **new)
