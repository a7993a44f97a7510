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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_for_your_chips", "prune_your_attention"])
def test_scripts_for_ones_own_model(name, capsys):
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    exec(text.replace("STEPS = 300", "STEPS = 3").replace("key(2), 100)", "key(2), 4)"), {"__name__": name})
    printed = capsys.readouterr().out
    assert {"train_for_your_chips": "after: ", "prune_your_attention": "of 6 cycles a pair"}[name] in printed
