"""Which non-idealities of a VCM device are active, with sizes in weight steps (the unit of a column)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from anaxon.device.vcm_marginal import state_moments
from anaxon.types import Array, is_concrete

if TYPE_CHECKING:
    from anaxon.device.vcm import VCM

_FULL_VOLTS = 0.6  # the sizes are stated at the reference full input voltage
_DISTURB_VOLTS = (-0.3, -0.4, -0.5, -0.6)


def explain_rows(device: VCM) -> list[tuple[str, str]]:
    """`(name, sentence)` rows on variability, nonlinearity, read noise, read disturb and what is not modelled."""
    return [
        ("device", f"{device.parameters.name}: binary cell, {device.cycles} cycles behind it"),
        ("programming", _programming(device)),
        ("nonlinearity", _nonlinearity(device)),
        ("read noise", _noise(device)),
        ("read disturb", _disturb(device)),
        ("not modelled", "drift, retention, endurance, random telegraph and 1/f noise, reset by positive reads"),
    ]


def _programming(device: VCM) -> str:
    if device.programming == "ideal":
        return "ideal: every cell is a bound of the I-V fit, no variability"
    (off, off_sd), (on, on_sd) = state_moments(device.parameters, device.cycles)
    factor = "" if _shown(device.variability) == "1" else f", spread times {_shown(device.variability)}"
    return (
        f"one pulse; state r = {on:.4f} +- {on_sd:.4f} (LRS), {off:.4f} +- {off_sd:.4f} (HRS) of [0, 1], "
        f"sd {on_sd / (off - on):.4f} and {off_sd / (off - on):.4f} of a weight step{factor}"
    )


def _nonlinearity(device: VCM) -> str:
    off, on = device.state_means
    drive = device.drive(jnp.array([-_FULL_VOLTS, _FULL_VOLTS]), _FULL_VOLTS)[0] * (off - on)
    return (
        f"polynomial I(U); at -0.6 V and 0.6 V a mean pair carries {_shown(drive[0])} and {_shown(drive[1])} "
        "of a weight step (linear: -1, 1)"
    )


def _noise(device: VCM) -> str:
    if device.noise == "off":
        return "off"
    base, slope = device.noise_drive(jnp.float32(_FULL_VOLTS), _FULL_VOLTS)
    sigma = jnp.sqrt(base + slope * device.state_means[1])
    kind = f"Johnson ({_shown(device.temperature)} K) + shot, bandwidth {_shown(device.bandwidth)} Hz"
    if device.noise == "legacy":
        kind = "the constants of the published torch port (e = exp(1), 1e-8 Hz)"
    return f"{device.noise}: {kind}, {_shown(sigma)} of a weight step per LRS cell and read at 0.6 V, white"


def _disturb(device: VCM) -> str:
    if device.programming == "ideal":
        return "none (ideal programming)"
    shares = ", ".join(f"{100 * device.disturb_share(v):.2g} % at {v} V" for v in _DISTURB_VOLTS)
    return f"HRS cells set by reads down to a voltage (only applied by `disturb`): {shares}"


def _shown(value: Array | float | str) -> str:
    return f"{float(value):.4g}" if is_concrete(value) else "traced"
