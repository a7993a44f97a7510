# %% [markdown]
# # Attention that prunes itself, in a model of your own
# Thresholds in a Flax attention, then early termination of its scores and what that costs. Tokens here are random.

# %%
import jax
from flax import nnx

from anaxon import attention
from anaxon.accelerators import load_accelerator
from anaxon.attention import accelerator
from anaxon.attention.tile import Tile
from anaxon.flax import PrunedAttention, calibrate_pruning
from anaxon.models.attention_traces import capture, steps_of

attend = nnx.MultiHeadAttention(8, 512, attention_fn=PrunedAttention(), decode=False, rngs=nnx.Rngs(0))
tokens = jax.random.normal(jax.random.key(0), (4, 128, 512))
calibrate_pruning(attend, [(tokens,)], rate=0.9)  # or train attend.attention_fn.threshold with the weights
attend.set_attributes(hard=True)  # the hard rule from now on
print("threshold", float(attend.attention_fn.threshold[...]), "result", attend(tokens).shape)

# %% [markdown]
# Bit by bit: queries and keys as 12-bit integers, stopped as soon as a score is certain to stay below the threshold.

# %%
(trace,) = capture(attend)(nnx.state(attend, nnx.Param), tokens).values()  # `[batch, length, heads, d]`
steps = steps_of([trace], bits=12)
query, key = (
    attention.quantised(x.swapaxes(1, 2), step, 12) for x, step in zip((trace.query, trace.key), steps, strict=True)
)
threshold = float(attend.attention_fn.threshold[...])
cut = attention.integer_threshold(threshold, *steps, head_dim=64, bits=12)
run = attention.terminate(query, key, cut, bits=12, per_cycle=2)
print(f"{1 - run.kept.mean():.1%} pruned, {run.cycles.mean():.2f} of 6 cycles a pair")

# %%
costs = load_accelerator()
row = accelerator.account(run.cycles, run.kept, tile=Tile.area_efficient(), costs=costs.costs, head=64)[0]
print(
    f"{row.cycles} cycles, the baseline {row.baseline_cycles}: {row.speed_up:.2f}x; {row.energy_ratio:.2f}x less energy"
)
print(costs)
