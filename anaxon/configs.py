"""Where the TOML files shipped with anaxon lie."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_path(*parts: str) -> Path:
    """The path of a shipped configuration file, e.g. `config_path("devices", "vcm.toml")`.

    An installed wheel carries them inside the package, a checkout beside it.

    Raises:
      FileNotFoundError: where no such file is shipped.
    """
    roots = (_PACKAGE / "_configs", _PACKAGE.parent / "configs")
    for root in roots:
        if (path := root.joinpath(*parts)).exists():
            return path
    raise FileNotFoundError(f"configs: no file {'/'.join(parts)}; looked in {' and '.join(map(str, roots))}")
