# %% [markdown]
# # Where prediction ends
# Random ReLU networks of growing depth, width 64, on noisy pairs: the mean squared error that `predict` and
# `linearised` give, beside thousands of chips. With depth and noise the results' tails grow (products of many layers'
# errors), which no second moment knows of: the excess kurtosis says where.
#
# `python experiments/deep_networks.py [--chips 8000] [--inputs 8]` prints `experiments/results/deep_networks.md`.

# %%
import argparse

import jax
import jax.numpy as jnp
import numpy as np

import anaxon as ax
from anaxon.report import markdown

WIDTH, CLASSES = 64, 10


def network(depth, skips=False):
    """`fn` and parameters: He initialisation; with skips every other layer adds its input."""
    keys = jax.random.split(jax.random.key(depth), depth + 1)
    gain = 1.0 if skips else 2.0
    params = {f"w{i:02}": jax.random.normal(k, (WIDTH, WIDTH)) * (gain / WIDTH) ** 0.5 for i, k in enumerate(keys[:-1])}
    params["out"] = jax.random.normal(keys[-1], (WIDTH, CLASSES)) / WIDTH**0.5

    def fn(params, x):
        for i in range(depth):
            y = jax.nn.relu(x @ params[f"w{i:02}"])
            x = (x + y) / 2**0.5 if skips and i % 2 else y
        return x @ params["out"]

    return fn, params


def compared(depth, sigma, skips, chips, inputs):
    """Predicted, first-order and sampled error, with the sampled one's standard error, and the kurtosis."""
    fn, params = network(depth, skips)
    x = jax.random.normal(jax.random.key(1), (inputs, WIDTH))
    hw = ax.Hardware(device=ax.Gaussian(sigma=sigma), array=ax.Array(weight_bits=None))
    plan = ax.place(fn, hw)(params, x)
    exact = fn(params, x)
    mean, covariance = ax.predict(fn)(plan, params, x)
    predicted = jnp.diagonal(covariance, axis1=1, axis2=2).mean() + ((mean - exact) ** 2).mean()
    first = ax.linearised(fn)(plan, params, x).variance.mean()

    def one(key):
        return ax.analog(fn)(key, ax.program(key, plan, params), x) - exact

    away = np.asarray(
        ax.ensemble(one, jax.random.split(jax.random.key(2), chips), chunk=256, progress=False), np.float64
    )
    error = (away**2).mean((1, 2))
    centred = away - away.mean(0)
    kurtosis = ((centred**4).mean(0) / (centred**2).mean(0) ** 2 - 3).mean()
    return float(predicted), float(first), error.mean(), error.std() / chips**0.5, kurtosis


# %%
def main():
    options = argparse.ArgumentParser()
    options.add_argument("--chips", type=int, default=8000)
    options.add_argument("--inputs", type=int, default=8)
    given = options.parse_args()
    rows = []
    for depth, skips in ((5, False), (14, False), (14, True), (30, False)):
        for sigma in (0.001, 0.01, 0.03):
            predicted, first, error, s_e, kurtosis = compared(depth, sigma, skips, given.chips, given.inputs)
            row = (
                f"{predicted / error - 1:+.1%}",
                f"{first / error - 1:+.1%}",
                f"{s_e / error:.1%}",
                f"{kurtosis:+.2f}",
            )
            rows.append((depth + 1, "yes" if skips else "no", sigma, f"{error:.4g}", *row))
    head = ("layers", "skips", "sigma", "sampled error", "`predict`", "`linearised`", "s.e. of sampling", "kurtosis")
    command = f"`python experiments/deep_networks.py --chips {given.chips} --inputs {given.inputs}`"
    where = f"jax {jax.__version__}, {jax.default_backend()}"
    print(f"# Predicted errors of deep random networks\n\n{command}, {where}.")
    print("Mean squared errors; deviations of the predicted ones from those of sampled chips.\n")
    print(markdown.table(head, rows))


if __name__ == "__main__":
    main()
