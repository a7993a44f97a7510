"""The networks of an error budget: trained once, kept in the cache, placed on the hardware."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.calibrate import calibrate
from anaxon.data import cache
from anaxon.data.images import Images
from anaxon.flax import functional
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.models import train
from anaxon.models.convnet import NETWORKS
from anaxon.prng import fold_name
from anaxon.runs.error_settings import Settings
from anaxon.types import Array, PyTree, replace

CALIBRATION = 512  # training pictures from which the ranges of inputs, and of converters if there are any, follow


class Placed(NamedTuple):
    """A trained network on its hardware; `accuracy` is the digital one on the whole test set."""

    fn: Callable[..., Array]
    params: PyTree
    plan: Plan
    accuracy: float


def trained(settings: Settings, images: Images, kind: str, progress: bool) -> Placed:
    """Trains, or reads the finished checkpoint of these settings and pictures from the cache."""
    fn, start = functional(NETWORKS[kind](settings.model, rngs=nnx.Rngs(settings.seed)))
    schedule = settings.training.schedule(settings.seed)
    code = cache.fingerprint(images=images.checksum, kind=kind, model=dataclasses.asdict(settings.model),
                             training=dataclasses.asdict(schedule))  # fmt: skip
    where = cache.folder() / "models" / f"convnet-{kind}-{code}"
    params, history = train.fit(fn, start, images.train, images.test, schedule, where, progress)
    return placed(settings, fn, params, images.train.features, float(history["accuracy"][-1]))


def placed(settings: Settings, fn: Callable[..., Array], params: PyTree, seen: np.ndarray, accuracy: float) -> Placed:
    """A trained network on the hardware, with ranges from the first inputs that it has seen."""
    some = jnp.asarray(seen[:CALIBRATION])
    plan = place(fn, settings.hardware)(params, some)
    plan = calibrate(fn)(fold_name(jax.random.key(settings.seed), "calibration"), plan, params, some)
    return Placed(fn, params, plan, accuracy)


def at_sigma(plan: Plan, sigma: Array | float) -> Plan:
    """The plan with another programming noise."""
    hardware = tuple(replace(hw, device=replace(hw.cells, sigma=sigma)) for hw in plan.hardware)
    return replace(plan, hardware=hardware)
