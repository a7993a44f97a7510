# %% [markdown]
# # Levels by floor, or to the nearest
# `python experiments/floor_or_round.py [--chips 300] [--set a.b=v ...]` (settings of `configs/error_budget.toml`)
# prints Markdown.
#
# The software of Kern et al. (AICAS 2022, arXiv 2205.01707) gives a weight the next lower of its levels, where a
# mapping to cells, ours too, takes the nearest. A floor moves every weight down by half a level on average, and shifts
# of one sign add up along a column. Here the trained five-convolution network has its weights on either grid before
# they are programmed, as analog pairs that hold them as they are; errors are those against the float network.

# %%
import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import anaxon as ax
from anaxon.data import images
from anaxon.interpret import paths
from anaxon.numerics import TIE
from anaxon.report import markdown
from anaxon.runs import error_measures, error_settings
from anaxon.runs.error_networks import at_sigma, trained
from anaxon.settings import load_settings

CONFIG = Path(__file__).parent.parent / "configs" / "error_budget.toml"
ROUNDINGS = {"floor": jnp.floor, "nearest": jnp.round}


def on_levels(weight, levels, rounding, largest=None):
    """The weight on multiples of `largest / levels`, by default of its own largest value, limited to that."""
    largest = jnp.max(jnp.abs(weight)) if largest is None else largest
    step = largest / levels
    v = weight / step
    v = jnp.where(jnp.abs(v - jnp.round(v)) <= TIE * levels, jnp.round(v), v)  # a level stays what it is
    return step * jnp.clip(ROUNDINGS[rounding](v), -levels, levels)


def quantised(net, levels, rounding):
    """The parameters with every placed weight on levels."""
    names, leaves, treedef = paths.flatten(net.params)
    placed = {s.path for s in net.plan.sites}
    return treedef.unflatten(
        [on_levels(w, levels, rounding) if n in placed else w for n, w in zip(names, leaves, strict=True)]
    )


def white(net, panel, levels):
    """The error if every weight were off by an independent `step^2 / 12`: Gaussian pairs of that variance."""
    plan = at_sigma(net.plan, 1 / (levels * 24**0.5))  # two cells a pair
    return float(ax.linearised(net.fn)(plan, net.params, panel.x).variance.mean())


def sampled(net, panel, params, sigma, chips):
    """Mean squared error against the float network over chips of the given parameters, with its standard error."""
    plan = at_sigma(net.plan, sigma)

    def one(key):
        return error_measures.chip_results(key, net._replace(params=params), plan, panel)["error"].mean()

    error = np.asarray(ax.ensemble(one, jax.random.split(jax.random.key(3), chips), progress=False))
    return error.mean(), error.std() / chips**0.5


# %%
def main():
    options = argparse.ArgumentParser()
    options.add_argument("--chips", type=int, default=300)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = options.parse_args()
    settings = error_settings.read(load_settings(CONFIG, given.set))
    study, data = settings.study, images.load(settings.data)
    net = trained(settings, data, "plain", progress=False)
    panel = error_measures.panel_of(net, data.test, study.images)
    fn, spread = jax.jit(net.fn), jax.jit(ax.linearised(net.fn))
    rows = []
    for levels in (7, 32, 127, 1024):
        for rounding in ROUNDINGS:
            params = quantised(net, levels, rounding)
            alone = float(((fn(params, panel.x) - panel.exact) ** 2).mean())
            found = spread(at_sigma(net.plan, study.sigma), params, panel.x)
            predicted = float((found.variance + (found.mean - panel.exact) ** 2).mean())
            mean, error = sampled(net, panel, params, study.sigma, given.chips)
            hits = float((fn(params, data.test.features).argmax(-1) == data.test.labels).mean())
            rows.append((levels, rounding, f"{alone:.4g}", f"{white(net, panel, levels):.4g}", f"{hits:.1%}",
                         f"{predicted:.4g}", f"{mean:.4g} ± {1.96 * error:.2g}",
                         f"{float(found.variance.mean()) / predicted:.0%}"))  # fmt: skip
    print("# Levels by floor, or to the nearest\n")
    print(
        f"`python experiments/floor_or_round.py --chips {given.chips}`, jax {jax.__version__}, "
        f"{jax.default_backend()}, {data.name}, plain network, {study.images} pictures. Mean squared errors of "
        f"logits against the float network; `levels` on either side of zero; chips of sigma {study.sigma}."
    )
    print()
    print(markdown.table(("levels", "rounding", "error, no noise", "first order, step²/12 a weight", "accuracy",
                          "error on chips, `linearised`", "sampled, 95 %", "of it variance"), rows))  # fmt: skip


if __name__ == "__main__":
    main()
