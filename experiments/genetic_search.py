# %% [markdown]
# # Windows by a geometric program, and by a genetic search
# `pip install pymoo`, then `python experiments/genetic_search.py [--set a.b=v ...]` (settings of
# `configs/error_budget.toml`) prints Markdown.
#
# A window of conductance for each layer of the trained five-convolution network, least mean squared error of its
# results (mean over them and over pictures) within a power budget. `tune.least_error` measures every layer's
# sensitivity once and solves for the optimum. The alternative is the search of Kern et al. (AICAS 2022,
# arXiv 2205.01707): pymoo's genetic algorithm, 100 candidates, 100 generations, here timed over the first three. For
# each candidate it asks a black box for the predicted error. Theirs is one propagation of moments, our `predict`; with
# `linearised` in its place a search is already much faster, and with the error that follows from the measured
# sensitivities, which it would have to be told of, it is as fast as its own bookkeeping. The constraint is the power
# from measured currents in all three, which costs nothing.

# %%
import argparse
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.callback import Callback
from pymoo.core.problem import ElementwiseProblem
from pymoo.optimize import minimize

import anaxon as ax
from anaxon import tune
from anaxon.data import images
from anaxon.report import markdown
from anaxon.runs import error_measures, error_settings
from anaxon.runs.error_networks import at_sigma, trained
from anaxon.settings import load_settings

CONFIG = Path(__file__).parent.parent / "configs" / "error_budget.toml"
POPULATION, GENERATIONS, TIMED = 100, 100, 3
BUDGET = 0.1  # of the power of full windows
LOWEST = 0.01  # window of a candidate


class Windows(ElementwiseProblem):
    """Logarithms of windows, one for each layer; least error within a power budget."""

    def __init__(self, error, given, power_budget):
        self.error, self.power, self.budget = error, jax.jit(given.power_at), power_budget
        self.shape = {p: np.shape(a) for p, a in given.error.items()}
        n = len(self.shape)
        super().__init__(n_var=n, n_obj=1, n_ieq_constr=1, xl=np.full(n, np.log(LOWEST)), xu=np.zeros(n))

    def _evaluate(self, x, out, *args, **kwargs):
        windows = {p: np.full(s, np.exp(v), np.float32) for v, (p, s) in zip(x, self.shape.items(), strict=True)}
        out["F"] = float(self.error(windows))
        out["G"] = float(self.power(windows)) / self.budget - 1


class Clock(Callback):
    """Seconds and CPU seconds after every generation."""

    def __init__(self):
        super().__init__()
        self.times = []

    def notify(self, algorithm):
        self.times.append((time.perf_counter(), time.process_time()))


def searched(problem, generations):
    """The best error (NaN where none meets the budget), and wall and CPU seconds a generation."""
    clock, start = Clock(), (time.perf_counter(), time.process_time())
    algorithm = GA(pop_size=POPULATION, eliminate_duplicates=True)
    found = minimize(problem, algorithm, ("n_gen", generations), seed=1, callback=clock)
    seconds = [(b - a) / generations for a, b in zip(start, clock.times[-1], strict=True)]
    return (float("nan") if found.F is None else float(found.F[0])), *seconds


def median_seconds(call, calls=5):
    """Wall and CPU seconds of a call, the medians of several after one that compiles."""
    jax.block_until_ready(call())
    seen = []
    for _ in range(calls):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(call())
        seen.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return tuple(statistics.median(s) for s in zip(*seen, strict=True))


# %%
def main():
    options = argparse.ArgumentParser()
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    settings = error_settings.read(load_settings(CONFIG, options.parse_args().set))
    study, data = settings.study, images.load(settings.data)
    net = trained(settings, data, "plain", progress=False)
    plan, panel = at_sigma(net.plan, study.sigma), error_measures.panel_of(net, data.train, study.tuned_images)

    by_site = jax.jit(tune.trade(net.fn))
    start = time.perf_counter()
    given = jax.block_until_ready(by_site(plan, net.params, panel.x))
    compiled = time.perf_counter() - start
    measuring = median_seconds(lambda: by_site(plan, net.params, panel.x), 3)
    budget = BUDGET * float(given.power_at(dict.fromkeys(given.error, 1.0)))
    solving = median_seconds(lambda: tune.least_error(given, budget))
    optimum = float(given.error_at(tune.least_error(given, budget)))

    def black_box(method, x, exact):
        """Mean squared error by a prediction of the network with a candidate's windows."""

        @jax.jit
        def error(windows):
            found = method(net.fn)(tune.with_windows(plan, windows), net.params, x)
            mean, variance = (found.mean, found.variance) if method is ax.linearised else _moments(*found)
            return jnp.mean(variance + (mean - exact) ** 2)

        return error

    few = 2  # pictures, followed one after another: moments of all take as much longer as there are more
    full = {p: np.ones(np.shape(a), np.float32) for p, a in given.error.items()}
    of_few = black_box(ax.predict, panel.x[:few], panel.exact[:few])
    moments = [s * study.tuned_images / few for s in median_seconds(lambda: of_few(full), 3)]
    boxes = {
        "`linearised`": black_box(ax.linearised, panel.x, panel.exact),
        "sensitivities, known": jax.jit(given.error_at),
    }
    for box in boxes.values():
        box(full)  # compiles
    found = {name: searched(Windows(box, given, budget), TIMED) for name, box in boxes.items()}
    whole = searched(Windows(boxes["sensitivities, known"], given, budget), GENERATIONS)

    print("# Windows for each layer: a geometric program beside a genetic search\n")
    print(f"`python experiments/genetic_search.py`, jax {jax.__version__}, {jax.devices()[0].device_kind}, "
          f"{data.name}, {study.tuned_images} pictures, sigma {study.sigma}, {BUDGET:.0%} of full power, "
          f"{len(given.error)} windows. Without compiling.\n")  # fmt: skip
    rows = [("sensitivities", f"{measuring[0]:.3g}", f"{measuring[1]:.3g}", f"{compiled:.3g}"),
            ("`least_error`", f"{solving[0]:.3g}", f"{solving[1]:.3g}", "")]  # fmt: skip
    print(markdown.table(("ours", "seconds", "CPU seconds", "seconds with compiling"), rows))
    evaluations = POPULATION * GENERATIONS
    taken = {"`predict` (the literature's)": [evaluations * s for s in moments]}
    taken |= {name: [GENERATIONS * s for s in seconds] for name, (_, *seconds) in found.items()}
    both = [a + b for a, b in zip(measuring, solving, strict=True)]
    quality = {name: f"{best / optimum:.3f}" for name, (best, *_) in found.items()}
    rows = [
        (name, f"{wall / evaluations:.3g}", f"{wall:.4g}", f"{cpu:.4g}", f"{wall / solving[0]:.3g}",
         f"{wall / both[0]:.3g}", f"{cpu / both[1]:.3g}", quality.get(name, "not run"))
        for name, (wall, cpu) in taken.items()
    ]  # fmt: skip
    print(markdown.table(("error of a candidate by", "seconds a candidate", f"seconds, {POPULATION} x {GENERATIONS}",
                          "CPU seconds", "x `least_error`", "x sensitivities and `least_error`", "the same, CPU",
                          f"error after {TIMED} generations / optimum"), rows))  # fmt: skip
    all_of_it = whole[1] * GENERATIONS
    print(f"Searches are extrapolated from {TIMED} generations, `predict` from one candidate and {few} pictures. The "
          f"search that knows the sensitivities, run to its {GENERATIONS} generations, took {all_of_it:.3g} s and "
          f"reached {whole[0] / optimum:.4f} of the optimum's error, {optimum:.4g}.")  # fmt: skip


def _moments(mean, covariance):
    return mean, jnp.diagonal(covariance, axis1=1, axis2=2)


if __name__ == "__main__":
    main()
