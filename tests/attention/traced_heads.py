"""Heads of normal operands, traced by the reference, and their tables: what the accelerator's tests share."""

import jax.numpy as jnp
import numpy as np
import reference_attention as reference

from anaxon.accelerators import load_accelerator
from anaxon.attention.accelerator import account
from anaxon.attention.pipeline import simulate
from anaxon.attention.tile import Tile

COSTS = load_accelerator().costs
HEADS = reference.gaussian_heads(128, 64, 12)
QUANTILES = (0.5, 0.75, 0.9, 0.95)


def traces(per_cycle=2, heads=HEADS):
    """Cycles and survivors at each of `QUANTILES`, `[quantile, q, k]`."""
    scores = heads[0] @ heads[1].T
    each = [reference.termination(*heads, np.quantile(scores, p), 12, per_cycle) for p in QUANTILES]
    return tuple(np.stack([found[i] for found in each]) for i in (2, 0))


CYCLES, KEPT = traces()


def run(units, cycles=CYCLES, kept=KEPT, **changes):
    return simulate(jnp.asarray(cycles), jnp.asarray(kept), Tile(units=units, **changes))


def table_of(cycles, kept, **changes):
    settings = {"tile": Tile.area_efficient(), "costs": COSTS, "head": 64, **changes}
    return account(jnp.asarray(cycles), jnp.asarray(kept), **settings)
