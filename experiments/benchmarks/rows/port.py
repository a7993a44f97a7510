"""The VCM layer beside a torch loop over cells, written straightforwardly in the manner of the published port.

Every array (slice, tile, polarity) is a `[rows, cols]` state; a read makes the current of every cell for every input,
`[batch, rows, cols]`, adds its noise and sums over the rows. Not that program (SynaptogenML, MPL-2), whose programming
is NumPy and whose read is a little different; it took 4.2 s a chip where this was first measured.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import anaxon as ax
from anaxon.units import BOLTZMANN, ELEMENTARY_CHARGE

from . import vcm
from .measure import in_turns, row
from .problem import Layer, chips, layer, planned, same_error

TITLE, NAME = "VCM 4-bit, {}: program anew and read, ms a chip", "torch loop over cells, as the published port"


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row; says what to install where torch is missing."""
    it = layer(quick, chips=4)
    title = TITLE.format(it.sizes)
    try:
        import torch
    except ImportError:
        return [{"title": title, "name": NAME, "skipped": "torch is not installed (pip install torch)"}]
    tile = min(128, it.weight.shape[0] // 2)
    plan = planned(vcm.hardware(tile), it)
    ours = jax.jit(chips)
    loop = torch_chip(plan.of(plan.sites[0]).device, float(plan.ranges[0].input), tile, it)
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: ours(plan, it), "torch": loop}
    errors = same_error({name: jnp.asarray(run()) for name, run in runs.items()}, it)
    times = in_turns(runs, 2 if quick else 7)
    mine = ("ax.program + ax.analog over chips", [t / len(it.keys) for t in times["ours"]])
    theirs = ("torch, per-cell currents, one chip", times["torch"])
    settings = vcm.SETTINGS | {"tile": tile, "relative_error": errors, "torch": torch.__version__}
    return [row(title, NAME, mine, theirs, **settings)]


def torch_chip(device: ax.VCM, x_range: float, tile: int, it: Layer) -> Callable[[], float]:
    """A call that programs and reads one chip, and returns its relative squared error."""
    import torch

    torch.set_num_threads(1)
    weight, x, exact = (torch.tensor(np.array(a)) for a in (it.weight, it.x, it.exact))
    size = weight.shape[0]
    cuts = [(i, j) for i in range(0, size, tile) for j in range(0, size, tile)]

    def run() -> float:
        scale = weight.abs().max() / vcm.LEVELS
        level = torch.round(weight / scale).int()
        volts = torch.clamp(torch.round(x / x_range * 128), -128, 128) / 128 * vcm.V_MAX
        y = torch.zeros_like(exact)
        for s in range(vcm.SLICES):
            bit = (level.abs() >> s) & 1
            for i, j in cuts:
                part = (slice(i, i + tile), slice(j, j + tile))
                pair = [
                    currents(
                        device, program(device, (bit[part] == 1) & (sign * level[part] > 0)), volts[:, i : i + tile]
                    )
                    for sign in (1, -1)
                ]
                z = (pair[0] - pair[1]) * device.current_scale
                y[:, j : j + tile] += 2**s * torch.clamp(torch.round(z * 16), -128, 128) / 16
        y *= scale * x_range
        return float(((y - exact) ** 2).sum() / (exact**2).sum())

    return run


def program(device: ax.VCM, on: Any) -> Any:
    """States `[rows, cols]` of one array: the device's features are drawn, then the cell is set or left."""
    import torch

    p = device.parameters
    component = torch.multinomial(torch.tensor(p.mixture), on.numel(), replacement=True)
    mean, factor = torch.tensor(p.mean).T.float()[component], torch.tensor(p.factor).float()
    drawn = torch.randn(on.numel(), 8)
    features = mean + torch.einsum("ckl,nl->nck", factor, drawn)[torch.arange(on.numel()), component]
    latent = torch.randn(on.numel(), 4) @ torch.tensor(p.innovation).float().T
    mapped = sum(torch.tensor(p.quantile_map).float()[:, k] * latent ** (4 - k) for k in range(5))
    cycle = features[:, :4] + features[:, 4:] * mapped
    resistance = torch.where(on.flatten(), cycle[:, 2], 10 ** cycle[:, 0])
    state = (p.low_conductance - 1 / resistance) / (p.low_conductance - p.high_conductance)
    return state.reshape(on.shape)


def currents(device: ax.VCM, state: Any, volts: Any) -> Any:
    """Column currents `[batch, cols]` [A]: one current and one noise sample for every cell and input."""
    import torch

    def bound(coefficients: tuple[float, ...]) -> Any:
        value = torch.zeros_like(volts)
        for c in coefficients:
            value = value * volts + c
        return value[:, :, None]

    cell = (1 - state) * bound(device.parameters.low) + state * bound(device.parameters.high)
    at = volts[:, :, None]
    johnson = 4 * BOLTZMANN * device.temperature * cell.abs() / (at.abs() + 1e-12)
    variance = device.bandwidth * (johnson + 2 * ELEMENTARY_CHARGE * cell.abs())
    return (cell + torch.randn_like(cell) * variance.sqrt()).sum(dim=1)
