"""Memory networks on the accelerator: the same decisions as the hard rule's, all valid memories counted once."""

import jax.numpy as jnp
import pytest
from flax import nnx

from anaxon.attention import pruned_softmax
from anaxon.data import story_questions
from anaxon.data.stories import stories
from anaxon.flax import functional
from anaxon.models import train_memory
from anaxon.models.memory_network import MemoryNetwork, MemorySize
from anaxon.runs.attention_settings import Design
from anaxon.runs.memn2n_hardware import hardware


@pytest.fixture(scope="module")
def found():
    told = stories("single", 8, seed=3)
    known = story_questions.vocabulary(told)
    (asked,) = story_questions.trimmed([story_questions.questions(told, known, 32)])
    model = MemoryNetwork(len(known), MemorySize(width=8, hops=2, memories=32), rngs=nnx.Rngs(1))
    fn, params = functional(model)
    params = {name: 5 * x for name, x in nnx.to_pure_dict(params).items()}
    scores = train_memory.starting_thresholds(fn, params, asked)
    params["threshold"] = scores + jnp.asarray([1.0, 4.0])
    kept = train_memory.answered(fn, params, asked, pruned_softmax)[1]
    return hardware(model, params, asked, asked, Design()), asked, kept


def test_every_valid_memory_is_a_pair_and_is_decided_as_by_floats(found):
    made, asked, kept = found
    assert made["audit"]["wrong"] == made["audit"]["wrong_scores"] == 0
    assert made["audit"]["pairs"] == 2 * asked.valid.sum() == sum(map(sum, made["histogram"].values()))
    pairs = asked.valid.sum()
    for hop in range(2):
        row = made["rows"][hop]
        assert row["hop"] == hop + 1 and row["pairs"] == pairs
        assert 0 < row["pruning_rate"] < 1
        assert row["pruning_rate"] == pytest.approx(1 - kept[hop].sum() / pairs, abs=2 / pairs)
    assert made["audit"]["agree"] > 0.98


def test_survivors_take_all_bits_and_the_factors_multiply(found):
    made, _, _ = found
    whole = made["rows"][-1]
    assert whole["hop"] == "all" and whole["pairs"] == made["audit"]["pairs"]
    kept = made["histogram"]["kept"]
    assert sum(kept[:12]) == 0 and kept[12] == round((1 - whole["pruning_rate"]) * whole["pairs"])
    bits = sum(n * taken for counts in made["histogram"].values() for n, taken in enumerate(counts))
    assert bits <= whole["mean_bits"] * whole["pairs"] <= bits + whole["pairs"]  # two bits a cycle round up
    assert whole["energy_ratio"] == pytest.approx(whole["energy_ratio_pruning"] * whole["energy_ratio_termination"])
