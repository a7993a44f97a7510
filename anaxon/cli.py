"""The command line: `anaxon run`, `explain`, `presets`, `bench`.

Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted.
"""

import argparse
import errno
import importlib.metadata
import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FAILED, WRONG, INTERRUPTED = 1, 2, 130
JOBS = {
    "asr": "anaxon.runs.asr",
    "attention": "anaxon.runs.attention",
    "attention_memn2n": "anaxon.runs.attention_memn2n",
    "chars_ramp": "anaxon.runs.chars_ramp",
    "error_budget": "anaxon.runs.error_budget",
    "keywords": "anaxon.runs.keywords",
    "keywords_ramp": "anaxon.runs.keywords_ramp",
    "ramp_design": "anaxon.runs.ramp_design",
}
# What the user can put right; any other OSError (a full disk) is a failed run.
_INPUT_ERRNOS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EROFS}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    top = parser()
    args, args.rest = top.parse_known_args(argv)
    if args.rest and args.command is not _bench:
        top.error(f"unrecognized arguments: {' '.join(args.rest)}")
    try:
        return args.command(args)
    except KeyboardInterrupt:
        print("\nanaxon: interrupted; " + getattr(args, "comfort", "nothing was changed"), file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("ANAXON_TRACEBACK"):
            traceback.print_exc()
        print(f"anaxon: {sentence(error)}{_hint(args)}", file=sys.stderr)
        return exit_code(error)


def entry() -> None:
    """The command `anaxon`: leaves at once after an interrupt, when threads of XLA may be at work."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == INTERRUPTED:
        os._exit(code)
    sys.exit(code)


def exit_code(error: Exception) -> int:
    """2 where the input is at fault, 1 where the run failed."""
    if isinstance(error, OSError):
        return WRONG if error.errno in _INPUT_ERRNOS or isinstance(error, FileNotFoundError) else FAILED
    return WRONG if isinstance(error, ValueError | TypeError) and not _is_numeric_library(error) else FAILED


def _is_numeric_library(error: Exception) -> bool:
    """Whether an error was raised inside a library rather than by a check of ours: then it is no one's wrong input."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename if error.__traceback__ else __file__
    return Path(__file__).parent not in Path(last).parents


def sentence(error: Exception) -> str:
    """One line about an error, whatever its type."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, ValueError | TypeError | OSError) and text else f"{type(error).__name__}: "
    return (kind + text)[:600].removesuffix(": ")


def _hint(args: argparse.Namespace) -> str:
    folder = getattr(args, "folder", None)
    if folder is None:
        return ""
    try:
        folder.log("failed:\n" + traceback.format_exc())
    except OSError:
        return f" ({folder.path} cannot be written; continue with --resume when it can)"
    return f" (details in {folder.path / 'log.txt'}; what is done is kept; when that is mended, continue with --resume)"


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="anaxon", description="Neural networks on simulated memristor hardware.")
    top.add_argument("--version", action="version", version=f"anaxon {importlib.metadata.version('anaxon')}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run an experiment and write its report")
    _add_config(run)
    run.add_argument("--out", type=Path, metavar="DIR", help="the run's folder; default runs/<config>-<hash>")
    run.add_argument("--resume", action="store_true", help="continue an interrupted run")
    run.set_defaults(command=_run)
    explain = commands.add_parser("explain", help="tell which non-ideality is active where, in which unit")
    _add_config(explain)
    explain.set_defaults(command=_explain)
    presets = commands.add_parser("presets", help="list the hardware that comes with anaxon")
    presets.set_defaults(command=_presets)
    bench = commands.add_parser("bench", help="run the benchmarks of a source checkout", add_help=False)
    bench.set_defaults(command=_bench)
    return top


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", metavar="CONFIG", help="a TOML file, or the name of one that comes with anaxon")
    command.add_argument("--set", action="append", default=[], metavar="a.b=v", help="change a setting (repeatable)")


def _job(args: argparse.Namespace) -> tuple[ModuleType, Any]:
    """The job's module and the settings that it read."""
    import importlib

    from anaxon.settings import load_settings

    table = load_settings(_config_file(args.config), args.set)
    name = table.get("job")
    if name not in JOBS:
        raise ValueError(f"{args.config}: job: expected one of {', '.join(JOBS)}; got {name!r}")
    module = importlib.import_module(JOBS[name])
    return module, module.read(table)


def _config_file(name: str) -> Path:
    """The file as given, or a shipped one by its bare name."""
    from anaxon.configs import config_path

    path = Path(name)
    if path.exists() or path.parent != Path("."):
        return path
    try:
        return config_path(f"{path.stem}.toml")
    except FileNotFoundError:
        return path


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from anaxon.runs import folder
    from anaxon.settings import config_hash

    _use_all_cores()
    module, settings = _job(args)
    name = f"{Path(args.config).stem}-{config_hash(settings.record)[:8]}"
    path = args.out or Path("runs") / name
    opened = (folder.open_again if args.resume else folder.open_new)(path, settings.record)
    if opened.finished:
        print(f"{path} is finished: see {path / folder.REPORT}; to run it again, delete it or give another --out")
        return 0
    args.folder = opened
    args.comfort = f"continue with: {_again(args, path)}"
    record = module.run(settings, opened, progress=True)
    module.summary(record, path, Console())
    return 0


def _again(args: argparse.Namespace, path: Path) -> str:
    changes = "".join(f" --set '{change}'" for change in args.set)
    return f"anaxon run {args.config}{changes} --out {path} --resume"


def _use_all_cores() -> None:
    """One JAX device a core, so that chips run side by side; on an accelerator this changes nothing."""
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    except (RuntimeError, AttributeError):  # already started with another number, or no affinity on this system
        return


def _explain(args: argparse.Namespace) -> int:
    from anaxon.interpret.cost import cost
    from anaxon.interpret.explain import explain

    module, settings = _job(args)
    if not hasattr(module, "planned"):  # a job that places no network
        print(module.explained(settings))
        return 0
    plan = module.planned(settings)
    print(plan, explain(plan), cost(plan, settings.components), sep="\n\n")
    return 0


def _presets(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from anaxon.presets import preset_table, presets

    del args
    shown = Table("name", "what it is", "source", box=None, pad_edge=False)
    for name in presets():
        table = preset_table(name)
        shown.add_row(name, table.get("description", ""), table.get("source", ""))
    Console().print(shown)
    return 0


def _bench(args: argparse.Namespace) -> int:
    script = benchmarks()
    sys.argv = [str(script), *args.rest]
    runpy.run_path(str(script), run_name="__main__")
    return 0


def benchmarks(checkout: Path = Path(__file__).parent.parent) -> Path:  # noqa: B008  a constant
    """The script that runs the benchmarks.

    Raises:
      ValueError: where there is none: an installed wheel does not hold it.
    """
    script = checkout / "experiments" / "benchmarks" / "run.py"
    if not script.exists():
        raise ValueError(f"bench: the benchmarks are part of a source checkout; there is no {script}")
    return script


if __name__ == "__main__":
    entry()
