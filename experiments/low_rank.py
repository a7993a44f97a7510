# %% [markdown]
# # What low rank costs
# The mean squared error of the error budget's networks (five convolutions, untrained, two smooth pictures) by sketches
# of low rank, beside full covariances: how far one sketch is off, what the sketches state, and the seconds of both.
#
# `python experiments/low_rank.py [--kind plain] [--ranks 64 256] [--sketches 6] [--sigma 0.01]`

# %%
import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.interpret.moments import low_rank
from anaxon.models.convnet import NETWORKS, Channels
from anaxon.report import markdown


def timed(call):
    """The result, and the seconds of the second call."""
    jax.block_until_ready(call())
    start = time.perf_counter()
    return jax.block_until_ready(call()), time.perf_counter() - start


def main():
    """Prints a line for every rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=NETWORKS, default="plain")
    parser.add_argument("--ranks", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--sketches", type=int, default=6)
    parser.add_argument("--sigma", type=float, default=0.01)
    given = parser.parse_args()
    fn, params = functional(NETWORKS[given.kind](Channels(), rngs=nnx.Rngs(0)))
    coarse = jax.random.uniform(jax.random.key(1), (2, 7, 7))
    x = jnp.repeat(jnp.repeat(coarse, 4, 1), 4, 2)
    hw = ax.Hardware(device=ax.Gaussian(sigma=given.sigma), array=ax.Array(weight_bits=None))
    plan, exact = ax.place(fn, hw)(params, x), fn(params, x)
    (mean, covariance), seconds = timed(lambda: ax.predict(fn)(plan, params, x))
    squared = lambda mean, variance: (variance + (mean - exact) ** 2).mean()  # noqa: E731
    full = float(squared(mean, jnp.diagonal(covariance, axis1=1, axis2=2)))
    rows = [("full", f"{full:.5g}", "", "", f"{seconds / len(x):.3g}")]
    for rank in given.ranks:
        run = low_rank(fn, rank, given.sketches)
        found, seconds = timed(lambda run=run: run(jax.random.key(5), plan, params, x))
        each = np.asarray(jax.vmap(squared)(found.means, found.variances))
        figure, stated = found.of(squared)
        off = f"{figure / full - 1:+.3%} ({stated / full:.3%})"
        one = f"{seconds / each.size / len(x):.3g}"
        rows.append((rank, f"{figure:.5g}", f"{each.std(ddof=1) / full:.3%}", off, one))
    head = ("rank", "error", "one sketch scatters by", "mean of all, off by (stated)", "s an example and sketch")
    print(markdown.table(head, rows))


if __name__ == "__main__":
    main()
