"""Configuration files: TOML in, one plain dictionary out, with errors that say where."""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_BARE = re.compile(r"[A-Za-z_~./][\w./~+-]*")  # a word that `--set` takes as text without quotes
_PART = re.compile(r"[A-Za-z0-9_-]+")


def read_toml(path: str | Path) -> dict[str, Any]:
    """A TOML file as a dictionary.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: for a file that is not TOML, with the line, or that cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def load_settings(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A TOML file with overrides `a.b=v` applied in order.

    A value is written as in TOML (`3`, `0.5`, `true`, `"text"`, `[1, 2]`); a plain word needs no quotes.

    Raises:
      FileNotFoundError, ValueError: for a bad file (see `read_toml`) or a bad override, quoted in the message.
    """
    settings = read_toml(path)
    for override in overrides:
        settings = merged(settings, _parsed(override))
    return settings


def _parsed(override: str) -> dict[str, Any]:
    """`a.b=v` as nested dictionaries."""
    name, equals, text = override.partition("=")
    parts = [p.strip() for p in name.split(".")]
    if not equals or not all(_PART.fullmatch(p) for p in parts):
        raise ValueError(f"--set {override}: expected name=value, such as hardware.dac.bits=6")
    value: Any = _value(text.strip(), override)
    for part in reversed(parts):
        value = {part: value}
    return value


def _value(text: str, override: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if _BARE.fullmatch(text):
            return text
        raise ValueError(f"--set {override}: {text!r} is not a TOML value; put text in double quotes") from None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table; neither is modified.

    Raises:
      ValueError: where a name below a plain value is set (`a.b=1` over `a=2`), naming the place.
    """
    result = dict(base)
    for key, value in changes.items():
        old, here = base.get(key), f"{where}.{key}".lstrip(".")
        if isinstance(value, Mapping) and key in base and not isinstance(old, Mapping):
            raise ValueError(f"{here}: is {old!r}, not a table; cannot set {', '.join(f'{here}.{k}' for k in value)}")
        result[key] = merged(old, value, here) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return result


def check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raises a `ValueError` for the first key of `table` that is not known, naming the nearest known one."""
    accepted = list(known)
    for key in table:
        if key in accepted:
            continue
        near = difflib.get_close_matches(key, accepted, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        place = f"{where}: " if where else ""
        raise ValueError(f"{place}unknown key {key!r}; {hint}accepted: {', '.join(accepted) or 'none'}")


def config_hash(resolved: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that are the same exactly when two resolved configurations are."""
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
