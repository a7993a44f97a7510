# %% [markdown]
# # Training for the chips it will run on
# A new chip at every step, noise that grows, ranges that are learned with the weights. Data here are random.

# %%
import jax
import optax
from flax import nnx

import anaxon as ax
from anaxon.flax import functional
from anaxon.training import chip_loss, keep_within, learned_ranges, with_ranges

STEPS = 300

model = nnx.Sequential(nnx.Linear(64, 128, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(128, 10, rngs=nnx.Rngs(1)))
fn, params = functional(model)
x = jax.random.normal(jax.random.key(0), (256, 64))
labels = fn(params, x).argmax(-1)

hw = ax.Hardware(device=ax.Gaussian(sigma=0.05), dac=ax.DAC(bits=8), adc=ax.ADC.uniform(bits=6))
plan = ax.place(fn, hw)(params, x)
plan = ax.calibrate(fn)(jax.random.key(1), plan, params, x)


# %%
def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


schedule = optax.linear_schedule(0.0, 1.0, STEPS // 3)  # the noise grows; None for VCM cells
optimiser = optax.chain(optax.adam(3e-3), keep_within(2.5))  # no weight beyond 2.5 standard deviations
trained = {"weights": params, "ranges": learned_ranges(plan)}  # of a calibrated plan
state = optimiser.init(trained)


def loss(trained, key, step):
    """Of a freshly programmed chip."""
    on_chip = chip_loss(fn, cross_entropy, with_ranges(plan, trained["ranges"]), schedule)
    return on_chip(trained["weights"], key, step, (x,), labels)


@jax.jit
def train(trained, state, step):
    value, grads = jax.value_and_grad(loss)(trained, jax.random.key(step), step)
    updates, state = optimiser.update(grads, state, trained)
    return optax.apply_updates(trained, updates), state, value


for step in range(STEPS):
    trained, state, value = train(trained, state, step)
    if step % 50 == 0:
        print(f"step {step}: {value:.3f}")


# %%
def accuracy(plan, weights):
    """Over 100 chips."""

    def one(key):
        k_program, k_read = jax.random.split(key)
        return (ax.analog(fn)(k_read, ax.program(k_program, plan, weights), x).argmax(-1) == labels).mean()

    return ax.ensemble(one, jax.random.split(jax.random.key(2), 100), progress=False)


learned = with_ranges(plan, trained["ranges"])  # chips of it are programmed with the trained weights
for name, found in {"before": accuracy(plan, params), "after": accuracy(learned, trained["weights"])}.items():
    print(f"{name}: {found.mean():.1%} +- {found.std():.1%} over chips")
