"""The direction of imports, and the size of files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "anaxon").rglob("*.py"))
CORE = 5  # the highest layer that knows neither flax nor optax
LAYERS = {
    0: {"check", "types", "prng", "threefry", "numerics", "normal", "units", "configs"},
    1: {"device", "converter"},
    2: {"crossbar", "attention"},
    3: {"hardware", "presets", "settings", "sourced", "accelerators"},
    4: {"interpret"},
    5: {
        "adc_ranges",
        "columns",
        "row_offsets",
        "ensemble",
        "calibrate",
        "tune",
        "store",
        "statistics",
        "rates",
        "in_memory",
    },  # fmt: skip
    6: {"flax", "training", "models", "data", "decoding", "report", "cli", "runs", "__main__"},
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
KERNEL_USERS = {"anaxon.crossbar.array", "anaxon.attention.bitserial", "anaxon.attention.pipeline"}


def module_of(path):
    """`anaxon/device/vcm.py` -> `anaxon.device.vcm`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(source):
    """`(module, is at the top level)` of every import statement; `from anaxon import prng` is `anaxon.prng`."""
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their layer"
            names = [f"anaxon.{a.name}" for a in node.names] if node.module == "anaxon" else [node.module]
            yield from ((name, id(node) in top) for name in names)


def violations(module, source):
    """Sentences about the imports of one module that go the wrong way."""
    part = module.split(".")[1] if "." in module else "__init__"
    layer = {"kernels": 0, "__init__": CORE}.get(part, LAYER_OF.get(part))
    if layer is None:
        return [f"{module}: belongs to no layer; add it to LAYERS"]
    found = []
    for name, is_top in imports(source):
        package, _, rest = name.partition(".")
        if package in ("flax", "optax") and layer <= CORE:
            found.append(f"{module}: the core imports neither flax nor optax; {name}")
        elif package == "experiments":
            found.append(f"{module}: nothing imports experiments")
        elif package == "anaxon" and rest:
            found += _inside(module, part, layer, rest.split(".")[0], is_top)
    return found


def _inside(module, part, layer, target, is_top):
    if target == "kernels":
        lazy = module in KERNEL_USERS and not is_top
        return [] if lazy or part == "kernels" else [f"{module}: kernels are imported lazily, by {KERNEL_USERS} only"]
    # a name that is no module is one of the public names, which only the top layer may use
    if LAYER_OF.get(target, 6) > layer:
        return [f"{module}: layer {layer} imports {target}, layer {LAYER_OF.get(target, 'public name')}"]
    return []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down(path):
    assert violations(module_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("anaxon.prng", "from anaxon.device import vcm"),
        ("anaxon.device.vcm", "import anaxon.crossbar.array"),
        ("anaxon.crossbar.array", "def f():\n    from anaxon import hardware"),
        ("anaxon.interpret.analog", "from flax import nnx"),
        ("anaxon.store", "import optax"),
        ("anaxon", "from anaxon.models import train"),
        ("anaxon.kernels.read", "from anaxon.device import cell"),
        ("anaxon.crossbar.array", "from anaxon.kernels import read"),
        ("anaxon.cli", "import experiments.benchmarks"),
        ("anaxon.new", ""),
    ],
)
def test_the_check_finds(module, line):
    assert len(violations(module, line)) == 1


def test_the_check_allows_what_is_meant():
    assert violations("anaxon.crossbar.array", "def f():\n    from anaxon.kernels import read") == []
    assert violations("anaxon.models.train", "import optax\nfrom anaxon import prng\nimport anaxon.store") == []


def test_importing_anaxon_imports_neither_flax_nor_optax():
    code = "import anaxon, sys; sys.exit(str({'flax', 'optax'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_files_are_small():
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert {name: n for name, n in lengths.items() if n > 400} == {}
