"""The README's Python runs when it is pasted, block after block."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
SCRIPTS = README.parent / "experiments"
SHORTER = {"jax.random.key(2), 1000)": "jax.random.key(2), 4)"}


@pytest.mark.slow
def test_python_blocks_run_one_after_another():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(block, names)
    assert names["plan"].sites


def printed(name, capsys):
    """By a script, made short."""
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    exec(text.replace("STEPS = 300", "STEPS = 60").replace("key(2), 100)", "key(2), 4)"), {"__name__": name})
    return capsys.readouterr().out


@pytest.mark.slow
def test_training_for_chips_is_worth_it(capsys):
    before, after = (
        float(x) for x in re.findall(r"(?:before|after): ([0-9.]+)%", printed("train_for_your_chips", capsys))
    )
    assert 50 < before < after <= 100


@pytest.mark.slow
def test_attention_of_ones_own_is_pruned_and_faster(capsys):
    found = printed("prune_your_attention", capsys)
    pruned, cycles, speed, energy = (
        float(re.search(rf"([0-9.]+){told}", found)[1]) for told in ("% pruned", " of 6", "x; ", "x less energy")
    )
    assert pruned == pytest.approx(90, abs=0.1) and 2 < cycles < 6
    assert 1 < speed < 6 and speed < energy
