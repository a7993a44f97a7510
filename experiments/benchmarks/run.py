# %% [markdown]
# # The benchmarks: speed, memory and compile time as ratios
# `python experiments/benchmarks/run.py [--only NAME ...] [--quick] [--json FILE]`, or `anaxon bench [...]`.
#
# Each group runs in a process of its own, on one thread of one core; a ratio compares functions that took turns in that
# process. Times are CPU time of the process on a CPU and wall time of finished work on an accelerator; compile time is
# left out except where it is the subject. Groups: see `GROUPS`.

# %%
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FOLDER = Path(__file__).resolve().parent
GROUPS = {
    "gaussian": "512x512 with Gaussian programming noise, beside hand-written JAX and aihwkit-lightning",
    "vcm": "512x512 on VCM cells at 4-bit weights, beside hand-written JAX; what the time goes into",
    "port": "the same VCM layer beside a torch loop over cells",
    "memory": "peak memory of 10,000 chips beside 100",
    "compile": "compile time with 100 MB of closed-over weights beside explicit arguments",
    "ramp": "a scanned LSTM with ramp ADCs beside one with linear ADCs and digital activations",
    "recogniser": "a quantisation-aware training step of a Conformer beside the float step",
    "chips": "chips one after another, in batches and all at once",
    "prediction": "the error of a network: predicted, and from as many chips as its interval needs",
    "bitserial": "bit-serial early termination of an attention layer beside its float32 scores",
    "tile": "the cycles of an accelerator's tile beside one loop of XLA's for all heads",
}
ON_ACCELERATOR = ("gaussian", "vcm", "ramp", "recogniser", "chips", "prediction", "bitserial", "tile")
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

# %%
PROBE = """
import importlib.metadata, json, platform
import jax, anaxon

def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # this checkout, not installed
        return "checkout"

versions = {"python": platform.python_version()} | {n: version(n) for n in ("jax", "jaxlib", "numpy", "anaxon")}
print(json.dumps({"backend": jax.default_backend(), "device": jax.devices()[0].device_kind, "versions": versions}))
"""


def environment(backend: str | None) -> dict[str, str]:
    """For a group's process: this checkout first on the path, one thread on a CPU."""
    paths = [str(FOLDER), str(FOLDER.parent.parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return env | ONE_THREAD if backend == "cpu" else env


def probed() -> dict:
    """Backend, device and versions, asked in a process that ends (an accelerator's memory is free again)."""
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment(None), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"anaxon and jax cannot be imported by {sys.executable}:\n{done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def processor() -> str:
    """The CPU's own name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def load() -> list[float] | None:
    """The system's load averages: how busy others keep this machine."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None


# %%
def measured(group: str, quick: bool, backend: str) -> list[dict]:
    """The rows of one group; a group that fails is one row that says so."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "rows", group, str(result), *(["--quick"] if quick else [])]
        done = subprocess.run(command, env=environment(backend), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.exists() and done.returncode == 0:
            return json.loads(result.read_text())
        text = done.stdout.decode(errors="replace").strip()
        return [
            {
                "group": group,
                "title": GROUPS[group],
                "name": group,
                "failed": text[-2000:] or f"exit code {done.returncode}",
            }
        ]


# %%
def spread(values: dict | None, digits: str = ".3g") -> str:
    """`median (min - max)` of a measured quantity."""
    if values is None:
        return ""
    if values["max"] >= 1000:
        digits = ".0f"
    return f"{values['median']:{digits}} ({values['min']:{digits}} - {values['max']:{digits}})"


def verdict(row: dict) -> str:
    """The goal, and whether it was met."""
    if row.get("goal") is None:
        return ""
    return f"{row['goal']}: {'[green]met[/green]' if row['met'] else '[red]missed[/red]'}"


def shown(rows: list[dict]) -> list[Table]:
    """A table per subject; medians over the rounds, with the smallest and the largest in parentheses."""
    tables: dict[str, Table] = {}
    for row in rows:
        if row["title"] not in tables:
            table = tables[row["title"]] = Table(title=row["title"], title_justify="left", min_width=76)
            for name in ("beside", "anaxon", "alternative", "ratio", "goal"):
                table.add_column(name, overflow="fold")
        tables[row["title"]].add_row(*cells(row))
    return list(tables.values())


def cells(row: dict) -> tuple[str, ...]:
    """The columns of one row."""
    if "failed" in row:
        return row["name"], f"[red]failed[/red]: {escape(row['failed'].splitlines()[-1])}"
    if "skipped" in row:
        return row["name"], f"skipped: {escape(row['skipped'])}"
    ratio = spread(row["ratio"], ".3f")
    return row["name"], spread(row["ours"]), spread(row["alternative"]), ratio, verdict(row)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="anaxon's benchmarks: what they measure is in the name of each row.")
    parser.add_argument("--only", action="append", choices=list(GROUPS), metavar="NAME", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that the script runs, not a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    args = parser.parse_args(argv)
    console = Console()
    record = {"schema": 1, **probed(), "cpu": processor(), "cores": os.cpu_count(), "system": platform.platform()}
    on_cpu = record["backend"] == "cpu"
    record |= {
        "clock": "CPU time of one pinned thread" if on_cpu else "wall time until the result is there",
        "quick": args.quick,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load_before": load(),
        "rows": [],
    }
    console.print(f"{record['device']} ({record['cpu']}, {record['cores']} cores), {record['clock']}")
    console.print(", ".join(f"{k} {v}" for k, v in record["versions"].items()) + f"; load {record['load_before']}")
    for group in args.only or (GROUPS if on_cpu else ON_ACCELERATOR):
        with console.status(f"{group}: {GROUPS[group]}"):
            record["rows"] += measured(group, args.quick, record["backend"])
        record["load_after"] = load()
        if args.json:  # after every group, so that an interrupt keeps what is done
            args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    console.print("Every figure: median (min - max).", *shown(record["rows"]), sep="\n\n")
    return 1 if any("failed" in row for row in record["rows"]) else 0


# %%
if __name__ == "__main__":
    sys.exit(main())
