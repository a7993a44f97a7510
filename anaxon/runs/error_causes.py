"""What causes the error: programming, reads and quantisation, each alone on chips beside the predicted split."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon import statistics
from anaxon.converter.dac import DAC
from anaxon.ensemble import ensemble
from anaxon.hardware import Hardware
from anaxon.interpret.linearise import linearised
from anaxon.interpret.plan import Plan
from anaxon.prng import fold_name
from anaxon.runs.error_measures import Panel, chip_results
from anaxon.runs.error_networks import Placed
from anaxon.runs.error_settings import Causes
from anaxon.types import Array, replace


class Noise(NamedTuple):
    """Deviations of cells at programming and at every read, relative to full scale, `[sites]` each."""

    sigma: Array
    read_sigma: Array


def split(
    net: Placed, panel: Panel, sigma: float, causes: Causes, seed: int, path: Path, progress: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The predicted split by cause and layer, each share beside the mean over chips on which nothing else is active.

    Predicted are the shares of one plan, on which all is active; sampled are plans of which the other causes are off.
    """
    quantised, exact = (_apart(net.plan, hw) for hw in _hardware(net.plan, causes))
    sites, sizes = [s.path for s in net.plan.sites], (sigma, causes.read_sigma)
    spread = jax.jit(linearised(net.fn))(_noisy(quantised, _all(sites, *sizes)), net.params, panel.x)
    mean = lambda found: {p: float(v.mean()) for p, v in found.items()}  # noqa: E731
    predicted = {
        **{f"programming/{p}": v for p, v in mean(spread.cells).items()},
        **{f"reads/{p}": v for p, v in mean(spread.reads).items()},
        "quantisation": float(((spread.mean - panel.exact) ** 2).mean()),
    }
    predicted |= {k: sum(v for p, v in predicted.items() if p.startswith(k)) for k in ("programming", "reads")}
    predicted["all"] = sum(predicted[k] for k in ("programming", "reads", "quantisation"))
    keys = jax.random.split(fold_name(jax.random.key(seed), "causes"), causes.chips)
    alone = ensemble(_errors(net, panel, exact, _single(sites, *sizes)), keys, path=path / "alone", progress=progress)
    together = {"all": _all(sites, *sizes), "quantisation": _all(sites, 0.0, 0.0)}
    whole = ensemble(_errors(net, panel, quantised, together), keys, path=path / "whole", progress=progress)
    rows = {**whole, **alone}
    sampled = {name: statistics.mean_over(v, "chips").as_json() for name, v in rows.items()}
    return {"sites": sites, "predicted": predicted, "sampled": sampled}, rows


def _hardware(plan: Plan, causes: Causes) -> tuple[Hardware, Hardware]:
    """That of the first site with quantised weights and inputs, and with exact ones; both with noise of reads."""
    hw = plan.of(plan.sites[0])
    exact = replace(hw, device=replace(hw.cells, read_sigma=0.0))
    array = replace(hw.array, weight_bits=causes.weight_bits, cell_bits=causes.weight_bits - 1)
    return replace(exact, array=array, dac=DAC(bits=causes.dac_bits)), exact


def _apart(plan: Plan, hw: Hardware) -> Plan:
    """The plan with a hardware for every site, whose noise is then its own."""
    sites = tuple(dataclasses.replace(s, hardware=i) for i, s in enumerate(plan.sites))
    return replace(plan, hardware=(hw,) * len(sites), sites=sites)


def _noisy(plan: Plan, noise: Noise) -> Plan:
    with_noise = lambda hw, s, r: replace(hw, device=replace(hw.cells, sigma=s, read_sigma=r))  # noqa: E731
    return replace(plan, hardware=tuple(with_noise(*x) for x in zip(plan.hardware, *noise, strict=True)))


def _all(sites: list[str], sigma: float, read_sigma: float) -> Noise:
    return Noise(jnp.full(len(sites), sigma), jnp.full(len(sites), read_sigma))


def _single(sites: list[str], sigma: float, read_sigma: float) -> dict[str, Noise]:
    """Programming alone and reads alone, in all layers and in each."""
    found = {"programming": _all(sites, sigma, 0.0), "reads": _all(sites, 0.0, read_sigma)}
    for i, site in enumerate(sites):
        here = jnp.zeros(len(sites)).at[i].set(1.0)
        found[f"programming/{site}"] = Noise(sigma * here, 0 * here)
        found[f"reads/{site}"] = Noise(0 * here, read_sigma * here)
    return found


def _errors(net: Placed, panel: Panel, plan: Plan, noises: dict[str, Noise]) -> Callable[[Array], dict[str, Array]]:
    """Of one chip: its mean squared error under every noise, with the same normal scores."""
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *noises.values())

    def one(key: Array) -> dict[str, Array]:
        error = lambda noise: chip_results(key, net, _noisy(plan, noise), panel)["error"].mean()  # noqa: E731
        return dict(zip(noises, jax.lax.map(error, stacked), strict=True))

    return one
