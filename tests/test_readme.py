"""The README's Python runs when it is pasted, block after block."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
SHORTER = {"jax.random.key(2), 1000)": "jax.random.key(2), 4)", "range(300)": "range(2)"}


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
