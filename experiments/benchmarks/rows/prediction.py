"""The mean squared error of a network's results: predicted, and from as many chips as a 95 % half-width of 2 % needs.

The same inputs for all, few and many. Chips are counted from a pilot, which is not timed; nor is compiling: both
have rows of their own. `predict` follows covariances of whole layers, `linearised` derivatives.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.interpret.plan import Plan
from anaxon.models.convnet import Channels, ConvNet

from .measure import ON_CPU, in_turns, over, row
from .ramp import lstm
from .ramp import problem as lstm_problem

SIGMA, HALF_WIDTH = 0.005, 0.02
CHIPS, PILOT, LOOP = (32, 1024, 8) if ON_CPU else (1024, 4096, 8)
AT_ONCE, SEEDS = (1, 1) if ON_CPU else (512, 8192)  # examples of `predict`, backward passes of `linearised`
HARDWARE = ax.Hardware(device=ax.Gaussian(sigma=SIGMA), array=ax.Array(weight_bits=None))
WIDTH, DEPTH = 64, 5


class Case(NamedTuple):
    """A network on its hardware, inputs and exact results; whether its moments are followed, too."""

    name: str
    fn: Callable[..., jax.Array]
    params: Any
    plan: Plan
    x: jax.Array
    exact: jax.Array
    moments: bool


def rows(quick: bool) -> list[dict[str, Any]]:
    """Four rows for each network, two for a recurrent one."""
    return [r for case in cases(quick) for r in _rows(case, quick)]


def cases(quick: bool) -> list[Case]:
    """A perceptron, the error budget's convolutions, an LSTM; random weights. Few inputs, and as many as a job's."""
    keys = jax.random.split(jax.random.key(0), DEPTH + 2)
    dense = [jax.random.normal(k, (WIDTH, WIDTH)) * (2 / WIDTH) ** 0.5 for k in keys[:DEPTH]]
    conv, conv_params = functional(ConvNet(Channels((4,) * 5 if quick else (4, 8, 16, 16, 16)), rngs=nnx.Rngs(0)))
    lstm_params, frames = lstm_problem(*((8, 8, 2, 3) if quick else (40, 32, 64, 49)))
    hidden = lstm_params["u"].shape[0]
    lstm_params["readout"] = jax.random.normal(keys[0], (hidden, 12)) / hidden**0.5
    vectors, pictures = (jax.random.normal(keys[-2], (512, WIDTH)), jax.random.uniform(keys[-1], (32, 28, 28)))
    return [
        *(_case(f"perceptron, {DEPTH} x {WIDTH}, {n} inputs", _perceptron, dense, vectors[:n], True)
          for n in ((8,) if quick else (8, 512))),
        *(_case(f"five convolutions, {n} pictures", conv, conv_params, pictures[:n], True)
          for n in ((2,) if quick else (4, 32))),
        *(_case(f"LSTM, {frames.shape[1]} steps, {n} inputs", _recurrent, lstm_params, frames[:n], False)
          for n in ((2,) if quick else (4, 64))),
    ]  # fmt: skip


def _perceptron(params: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in params[:-1]:
        x = jax.nn.relu(x @ w)
    return x @ params[-1][:, :10]


def _recurrent(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return lstm(params, x) @ params["readout"]


def _case(name: str, fn: Callable[..., jax.Array], params: Any, x: jax.Array, moments: bool) -> Case:
    return Case(name, fn, params, ax.place(fn, HARDWARE)(params, x), x, jax.jit(fn)(params, x), moments)


def _rows(case: Case, quick: bool) -> list[dict[str, Any]]:
    chips = min(CHIPS, 4) if quick else CHIPS
    sampled, single = jax.jit(lambda keys: over(_chip_of(case), keys)), jax.jit(_chip_of(case))
    begun = time.perf_counter()
    parts = 2 if quick else -(-PILOT // chips)
    pilot = [np.asarray(sampled(jax.random.split(jax.random.key(i), chips))) for i in range(parts)]
    before = time.perf_counter() - begun
    errors = np.concatenate(pilot).astype(np.float64)
    needed = float((1.96 * errors.std(ddof=1) / (HALF_WIDTH * errors.mean())) ** 2)
    keys = jax.random.split(jax.random.key(1), chips)
    predicted, first = _predicted(case)
    runs = {name: lambda run=run: run(case.plan, case.params, case.x) for name, run in predicted.items()}
    runs |= {"ensemble": lambda: sampled(keys), "loop": lambda: [float(single(k)) for k in keys[:LOOP]]}
    times = in_turns(runs, 2 if quick else 7)
    scale = {"ensemble": needed / chips, "loop": needed / min(LOOP, chips)}
    found = {name: float(run(case.plan, case.params, case.x)) for name, run in predicted.items()}
    settings = {"sigma": SIGMA, "chips": round(needed), "at once": [AT_ONCE, SEEDS],
                "predicted / sampled": {name: round(v / errors.mean(), 4) for name, v in found.items()}}  # fmt: skip
    title = f"Mean squared error to ±{HALF_WIDTH:.0%}: {case.name}, ms"
    others = {"ensemble": ("our ensemble", 0.1), "loop": ("a loop over chips", 0.01)}
    compared = [
        row(title, f"{name} beside {what}", (name, times[name]), (what, [t * scale[other] for t in times[other]]),
            limit=limit, **settings)
        for name in predicted
        for other, (what, limit) in others.items()
    ]  # fmt: skip
    return compared + [_once(case, name, first[name], before, settings) for name in predicted]


def _once(case: Case, name: str, first: float, pilot: float, settings: dict[str, Any]) -> dict[str, Any]:
    """The same asked once, in seconds by the clock: compiling, and a pilot that tells how many chips are needed."""
    return row(f"With compiling, and a pilot of {PILOT} chips: {case.name}, s", name, (name, [first]),
               ("compiling and pilot", [pilot]), unit="s", **settings)  # fmt: skip


def _chip_of(case: Case) -> Callable[[jax.Array], jax.Array]:
    def one(key: jax.Array) -> jax.Array:
        program_key, read_key = jax.random.split(key)
        chip = ax.program(program_key, case.plan, case.params)
        return jnp.mean((ax.analog(case.fn)(read_key, chip, case.x) - case.exact) ** 2)

    return one


def _predicted(case: Case) -> tuple[dict[str, Callable[..., jax.Array]], dict[str, float]]:
    """Compiled predictions by name, and the seconds of their first calls."""
    moments, slopes = ax.predict(case.fn, AT_ONCE), ax.linearised(case.fn, at_once=SEEDS)

    @jax.jit
    def by_moments(plan: Plan, params: Any, x: jax.Array) -> jax.Array:
        mean, covariance = moments(plan, params, x)
        bias = (mean - case.exact) ** 2
        return jnp.mean(jnp.diagonal(covariance, axis1=1, axis2=2)) + jnp.mean(bias)

    @jax.jit
    def by_slopes(plan: Plan, params: Any, x: jax.Array) -> jax.Array:
        found = slopes(plan, params, x)
        return jnp.mean(found.variance + (found.mean - case.exact) ** 2)

    calls = {"predict": by_moments, "linearised": by_slopes} if case.moments else {"linearised": by_slopes}
    first = {}
    for name, call in calls.items():
        start = time.perf_counter()
        jax.block_until_ready(call(case.plan, case.params, case.x))
        first[name] = round(time.perf_counter() - start, 2)
    return calls, first
