# %% [markdown]
# # Is early termination exact? Ten thousand million pairs of a real model against float64 products
# `python experiments/exact_pruning.py [--pairs 1e10]`: documents of 20 Newsgroups (256 tokens) through
# all-MiniLM-L6-v2; thresholds of each layer prune 80 % of training scores; queries and keys of 12 bits, two a cycle.

# %%
import argparse
import itertools
import time

import jax
import jax.numpy as jnp
from flax import nnx
from rich.progress import Progress

from anaxon.attention import audit, threshold
from anaxon.data import minilm, texts, token_batches
from anaxon.models.attention_traces import capture, steps_of

BITS, RATE, TOKENS = 12, 0.8, 2048  # TOKENS of a batch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=float, default=1e10, help="valid pairs to compare")
    wanted = options.parse_args().pairs
    found = texts.load(texts.TextData("20newsgroups"))
    model = minilm.encoder()
    params = nnx.state(model, nnx.Param)
    traces = jax.jit(capture(model))
    train = list(token_batches.in_order(minilm.tokenise(found.train.texts[:64]), TOKENS))
    calibration = [traces(params, b.tokens, b.mask) for b in train]
    layers = list(calibration[0])
    cuts, steps = zip(*(settled([c[name] for c in calibration]) for name in layers), strict=True)
    documents = itertools.cycle(
        token_batches.in_order(minilm.tokenise(found.train.texts[64:] + found.test.texts), TOKENS)
    )
    sums, kept, start = audit.Sums(0, 0, 0, 0), 0, time.perf_counter()
    with Progress() as bar:
        shown = bar.add_task("pairs", total=wanted)
        for batch in documents:
            operands = traces(params, batch.tokens, batch.mask)
            for i, name in enumerate(layers):
                t = operands[name]
                case = audit.decided(t.query, t.key, cuts[i], steps[i], bits=BITS, per_cycle=2, where=t.where)
                sums = audit.total([sums, audit.audited(case, t.where)])
                kept += int(jnp.sum(case.run.kept))
            bar.update(shown, completed=sums.pairs)
            if sums.pairs >= wanted:
                break
    seconds = time.perf_counter() - start
    print(f"{jax.local_devices()[0].device_kind}, jax {jax.__version__}: {sums.pairs:.4g} pairs, {sums.wrong} wrong "
          f"decisions, {sums.wrong_scores} wrong scores of survivors; {1 - kept / sums.pairs:.1%} pruned; "
          f"{seconds:.0f} s")  # fmt: skip


def settled(found: list) -> tuple[float, tuple[float, float]]:
    """A layer's threshold and the steps of its queries and keys, by calibration."""
    scores = [threshold.scores(t.query, t.key) for t in found]
    cut = float(threshold.quantile_threshold(scores, RATE, [t.where for t in found]))
    return cut, steps_of(found, BITS)


if __name__ == "__main__":
    main()
