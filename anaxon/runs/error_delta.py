"""Networks with loops and attention: their error by the delta method alone, beside sampled chips."""

import dataclasses
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon import statistics
from anaxon.data import cache, keywords
from anaxon.data.images import Images, Split
from anaxon.flax import functional
from anaxon.interpret.linearise import linearised
from anaxon.models import train
from anaxon.models.train import Training
from anaxon.models.vit import PictureSizes, PictureTransformer
from anaxon.runs import error_measures, network
from anaxon.runs.error_measures import Panel, Point
from anaxon.runs.error_networks import Placed, at_sigma, placed
from anaxon.runs.error_settings import Settings
from anaxon.runs.folder import RunFolder

Trained = tuple[Placed, Split]  # and test inputs, the first of which are followed


def measured(
    settings: Settings, images: Images, folder: RunFolder, progress: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """For every network of `settings.delta` its lines, or why it was left out; and arrays of the chips by name."""
    found: dict[str, Any] = {"networks": {}, "skipped": {}}
    rows: dict[str, np.ndarray] = {}
    for kind in settings.delta.networks:
        if kind == "keyword-lstm" and find_spec("espeakng_loader") is None:
            found["skipped"][kind] = "there is nothing that speaks its words: pip install 'anaxon[speech]'"
            continue
        with folder.phase(f"training, {kind}"):
            net, test = (transformer if kind == "transformer" else keyword_lstm)(settings, images, progress)
        panel = error_measures.panel_of(net, test, settings.delta.inputs)
        with folder.busy(f"first order, {kind}", progress):
            lines = followed(net, panel, settings.delta.sigmas)
        with folder.phase(f"chips, {kind}"):
            points = tuple(Point(sigma) for sigma in settings.delta.sigmas)
            chips = error_measures.sampled(net, panel, points, settings.delta.chips, settings.seed, folder.chunks(kind),
                                           progress)  # fmt: skip
        compared = [beside(line, chips, i) for i, line in enumerate(lines)]
        error = chips["error"][:, -1].mean(1)
        with folder.busy(f"time of chips, {kind}", progress):
            speed = error_measures.seconds_to_sample(net, panel, settings.delta.sigmas[-1], error)
        found["networks"][kind] = {"lines": compared, "speed": speed, "test_accuracy": net.accuracy,
                                   "inputs": len(panel.labels)}  # fmt: skip
        rows |= {f"{kind}/{name}": chips[name] for name in ("error", "hit")}
    return found, rows


def transformer(settings: Settings, images: Images, progress: bool) -> Trained:
    """A small transformer on the pictures of the other networks, trained as they are."""
    sizes = PictureSizes()
    fn, start = functional(PictureTransformer(sizes, rngs=nnx.Rngs(settings.seed)))
    schedule = dataclasses.replace(settings.training, epochs=settings.delta.epochs).schedule(settings.seed)
    code = cache.fingerprint(images=images.checksum, model=dataclasses.asdict(sizes),
                             training=dataclasses.asdict(schedule))  # fmt: skip
    where = cache.folder() / "models" / f"transformer-{code}"
    params, history = train.fit(fn, start, images.train, images.test, schedule, where, progress)
    return placed(settings, fn, params, images.train.features, float(history["accuracy"][-1])), images.test


def keyword_lstm(settings: Settings, images: Images, progress: bool) -> Trained:
    """The keyword job's LSTM on a small spoken corpus."""
    del images
    delta = settings.delta
    data = keywords.KeywordData(train=delta.clips, validation=delta.clips // 10, test=delta.clips // 10)
    schedule = Training(epochs=delta.clip_epochs, seed=settings.seed, save_every=delta.clip_epochs)
    corpus = keywords.load(data, progress)
    net = network.trained(network.Model(), data, schedule, corpus, progress)
    hits = network.logits(net, corpus.test.features).argmax(-1) == corpus.test.labels
    rows = keywords.stratified_panel(corpus.test.labels, delta.inputs, settings.seed)
    followed = Split(corpus.test.features[rows], corpus.test.labels[rows])
    return placed(settings, net.fn, net.params, corpus.train.features, float(hits.mean())), followed


def followed(net: Placed, panel: Panel, sigmas: tuple[float, ...]) -> list[dict[str, Any]]:
    """Mean squared error to first order for every sigma, `[n]` by input, its causes, and the seconds that it took."""
    by_slopes = jax.jit(linearised(net.fn))
    found = []
    for sigma in sigmas:
        plan = at_sigma(net.plan, sigma)
        spread, seconds, first = error_measures.timed(lambda plan=plan: by_slopes(plan, net.params, panel.x), 3)
        bias = ((spread.mean - panel.exact) ** 2).mean(-1)
        found.append({
            "sigma": sigma,
            "predicted": np.asarray(spread.variance.mean(-1) + bias),
            "bias": float(bias.mean()),
            "cells": {p: float(jnp.mean(v)) for p, v in spread.cells.items()},
            "reads": {p: float(jnp.mean(v)) for p, v in spread.reads.items()},
            "seconds": {"linearised": seconds, "linearised_first": first},
        })  # fmt: skip
    return found


def beside(line: dict[str, Any], chips: dict[str, np.ndarray], i: int) -> dict[str, Any]:
    """A line of `followed` with what the chips of its sigma, the i-th, have in its place."""
    error = chips["error"][:, i]
    sampled = statistics.mean_over(error.mean(1), "chips")
    return {
        **line,
        "predicted": float(line["predicted"].mean()),
        "pair_sigma": 2**0.5 * line["sigma"],
        "sampled": sampled.as_json(),
        "ratio": float(line["predicted"].mean() / sampled.mean),
        "by_input": np.quantile(line["predicted"] / error.mean(0), [0, 0.5, 1]).tolist(),
        "accuracy": statistics.mean_over(chips["hit"][:, i].mean(1), "chips").as_json(),
        "kurtosis": error_measures.kurtosis(chips["away"][:, i].astype(np.float64)),
    }
