"""Gaussian programming noise: anaxon beside a loop written by hand, and beside aihwkit-lightning."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import anaxon as ax
from anaxon import prng

from .measure import ON_CPU, in_turns, over, row
from .problem import Layer, Normal, chips, layer, planned, same_error, squared_error

SIGMA, BITS = 0.03, 8
SETTINGS = {"sigma": SIGMA, "dac_bits": BITS, "adc_bits": BITS, "mapping": "one unclipped analog pair a weight"}


def hardware(size: int) -> ax.Hardware:
    """One array, one analog pair a weight."""
    return ax.Hardware(
        device=ax.Gaussian(sigma=SIGMA),
        array=ax.Array(rows=size, cols=size, weight_bits=None),
        dac=ax.DAC(bits=BITS),
        adc=ax.ADC.uniform(BITS),
    )


def by_hand(normal: Normal, ranges: tuple[jax.Array, jax.Array], it: Layer) -> jax.Array:
    """The same arithmetic without anaxon: what someone writes who needs this one experiment."""
    x_range, full_scale = ranges
    levels, step = 2 ** (BITS - 1), full_scale / (2 ** (BITS - 1) - 1)

    def one(key: jax.Array) -> jax.Array:
        scale = jnp.max(jnp.abs(it.weight))
        cells = it.weight / scale + math.sqrt(2) * SIGMA * normal(key, it.weight.shape)
        code = jnp.clip(jnp.round(it.x / x_range * levels), -levels, levels) / levels
        z = jnp.matmul(code, cells, precision="highest")
        y = step * jnp.clip(jnp.round(z / step), 1 - levels, levels - 1)
        return squared_error(y * scale * x_range, it.exact)

    return over(one, it.keys)


def rows(quick: bool) -> list[dict[str, Any]]:
    """Beside the same generator, beside JAX's, beside aihwkit-lightning."""
    it = layer(quick)
    plan = planned(hardware(it.weight.shape[0]), it)
    ranges = (plan.ranges[0].input, plan.ranges[0].column)
    ours = jax.jit(chips)
    same, usual = (jax.jit(lambda r, it, n=n: by_hand(n, r, it)) for n in (prng.normal, jax.random.normal))
    runs = {"ours": lambda: ours(plan, it), "same": lambda: same(ranges, it), "usual": lambda: usual(ranges, it)}
    torch_layer = lightning(it, np.asarray(ranges))
    if callable(torch_layer):
        runs["lightning"] = torch_layer
    settings = SETTINGS | {"relative_error": same_error({name: jnp.asarray(run()) for name, run in runs.items()}, it)}
    times = in_turns(runs, 3 if quick else 11, per=len(it.keys))
    title = f"Gaussian programming noise, {it.sizes}, 8-bit DAC and ADC: program anew and read, ms a chip"
    mine = ("ax.program + ax.analog over chips", times["ours"])
    same, usual, torch = "the same by hand", "the same by hand with jax.random.normal", "aihwkit-lightning"
    out = [
        row(title, same, mine, (same, times["same"]), limit=1.2 if ON_CPU else None, **settings),
        row(title, usual, mine, (usual, times["usual"]), **settings),
    ]
    if callable(torch_layer):
        return [*out, row(title, torch, mine, (torch, times["lightning"]), **settings)]
    return [*out, {"title": title, "name": torch, "skipped": torch_layer}]


def lightning(it: Layer, ranges: np.ndarray) -> Any:
    """A call that reads as many freshly perturbed layers as `it` has keys; or why there is none."""
    try:
        import torch
        from aihwkit_lightning.nn import AnalogLinear
        from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
        from aihwkit_lightning.simulator.parameters import WeightNoiseInjectionType
    except ImportError as error:
        return f"aihwkit-lightning is not installed ({error}); pip install aihwkit-lightning"
    torch.set_num_threads(1)
    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 2**BITS - 2
    config.forward.out_bound = float(ranges[1])
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.learn_input_range = False
    config.pre_post.input_range.init_value = float(ranges[0])
    config.pre_post.input_range.init_from_data = 0
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
    config.modifier.std_dev = math.sqrt(2) * SIGMA
    size = it.weight.shape[0]
    net = AnalogLinear(size, size, bias=False, rpu_config=config)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(np.asarray(it.weight).T.copy()))
    net.train()  # it draws weight noise in training only
    x, exact = (torch.tensor(np.array(a)) for a in (it.x, it.exact))

    def run() -> list[float]:
        with torch.no_grad():
            return [float(((net(x) - exact) ** 2).sum() / (exact**2).sum()) for _ in it.keys]

    return run
