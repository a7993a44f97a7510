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
import numpy as np
from flax import nnx
from rich.progress import Progress

from anaxon.attention import bitserial, integers, threshold
from anaxon.data import minilm, texts, token_batches
from anaxon.models.attention_traces import capture

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
    pairs, wrong, scores, kept, start = 0, 0, 0, 0, time.perf_counter()
    with Progress() as bar:
        shown = bar.add_task("pairs", total=wanted)
        for batch in documents:
            operands = traces(params, batch.tokens, batch.mask)
            for i, name in enumerate(layers):
                more = compared(operands[name], cuts[i], steps[i])
                pairs, wrong, scores, kept = (a + b for a, b in zip((pairs, wrong, scores, kept), more, strict=True))
            bar.update(shown, completed=pairs)
            if pairs >= wanted:
                break
    seconds = time.perf_counter() - start
    print(f"{jax.local_devices()[0].device_kind}, jax {jax.__version__}: {pairs:.4g} pairs, {wrong} wrong decisions, "
          f"{scores} wrong scores of survivors; {1 - kept / pairs:.1%} pruned; {seconds:.0f} s")  # fmt: skip


def settled(found: list) -> tuple[float, tuple[float, float]]:
    """A layer's threshold and the steps of its queries and keys, by calibration."""
    scores = [threshold.scores(t.query, t.key) for t in found]
    cut = float(threshold.quantile_threshold(scores, RATE, [t.where for t in found]))
    top = [max(float(jnp.abs(getattr(t, name)).max()) for t in found) for name in ("query", "key")]
    query, key = (float(np.asarray(integers.step_of(x, BITS))) for x in top)
    return cut, (query, key)


def compared(trace, cut: float, steps: tuple[float, float]) -> tuple[int, int, int, int]:
    """Valid pairs, wrong decisions, survivors with a wrong score, survivors."""
    sides = zip((trace.query, trace.key), steps, strict=True)
    q, k = (jnp.moveaxis(integers.quantised(x, step, BITS), 1, 2) for x, step in sides)
    head = q.shape[-1]
    run = bitserial.terminate(q, k, integers.integer_threshold(cut, *steps, head, BITS), bits=BITS, where=trace.where)
    exact = np.matmul(np.asarray(q, np.float64), np.swapaxes(np.asarray(k, np.float64), -1, -2))
    right = (exact * (steps[0] * steps[1] / np.sqrt(head)) >= cut) & np.asarray(trace.where)
    kept = np.asarray(run.kept)
    valid = int(np.sum(np.asarray(trace.where))) * q.shape[1]
    return valid, int(np.sum(kept != right)), int(np.sum((np.asarray(run.scores) != exact) & kept)), int(kept.sum())


if __name__ == "__main__":
    main()
