"""From the tables of a TOML file to the dataclasses of a job, and back for the record."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import jax

from anaxon.hardware import Hardware
from anaxon.interpret.components import DEFAULT, load_components
from anaxon.presets import hardware_from
from anaxon.runs.converters import at_bits
from anaxon.settings import check_keys

T = TypeVar("T")

SIZES = ("small", "full")


def from_table(kind: type[T], table: Any, where: str) -> T:
    """An instance of a dataclass from a TOML table; a field that is itself a dataclass takes a table of its own.

    Raises:
      ValueError: for an unknown key (with the nearest known one), or what the class refuses.
      TypeError: for a value that is not of the type of the field's default.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"{where}: expected a table, [{where}]; got {table!r}")
    defaults = {f.name: _default(f) for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    check_keys(table, defaults, where)
    kinds = get_type_hints(kind)
    values = {k: _value(defaults[k], v, f"{where}.{k}", kinds[k]) for k, v in table.items()}
    return kind(**values)


def _default(field: dataclasses.Field) -> Any:
    return field.default_factory() if field.default is dataclasses.MISSING else field.default  # type: ignore[misc]


def _value(default: Any, value: Any, where: str, kind: Any = str) -> Any:
    if dataclasses.is_dataclass(default):
        return from_table(type(default), value, where)
    if isinstance(default, tuple):
        return _list(default, value, where)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    expected = next(t for t in (*get_args(kind), str) if t is not type(None)) if default is None else type(default)
    if type(value) is not expected:
        words = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
        raise TypeError(f"{where}: expected {words.get(expected, expected.__name__)}; got {value!r}")
    return value


def _list(default: tuple, value: Any, where: str) -> tuple:
    """A list of one or more values, each of the type of the default's first."""
    if not isinstance(value, list | tuple) or not value:
        raise TypeError(f"{where}: expected a list such as {list(default)}; got {value!r}")
    return tuple(_value(default[0], v, f"{where}[{i}]") for i, v in enumerate(value))


def seed_of(table: Mapping[str, Any]) -> int:
    """The seed of a configuration, 0 where none is given.

    Raises:
      ValueError: for anything but a whole number of 32 bits.
    """
    seed = table.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected a whole number from 0 to 2**32 - 1; got {seed!r}")
    return seed


def size_of(table: Mapping[str, Any], kind: type[T]) -> tuple[str, T]:
    """Which of `SIZES` a configuration asks for, and that table of it.

    Raises:
      ValueError: for another one, or what `from_table` refuses.
    """
    size = table.get("size", "small")
    if size not in SIZES:
        raise ValueError(f"size: expected one of {', '.join(SIZES)}; got {size!r}")
    return size, from_table(kind, table.get(size, {}), size)


def hardware_of(table: Mapping[str, Any], example: str) -> Hardware:
    """The hardware of a configuration.

    Raises:
      ValueError: where `[hardware]` is missing or wrong.
    """
    if "hardware" not in table:
        raise ValueError(f'hardware: missing; expected a table such as [hardware] with preset = "{example}"')
    return hardware_from(table["hardware"])


def ramp_hardware_of(table: Mapping[str, Any]) -> Hardware:
    """The hardware of a job that compares ramp ADCs with linear ones.

    Raises:
      ValueError: where `[hardware]` is missing, wrong or without a ramp.
    """
    hardware = hardware_of(table, "ramp-5bit")
    at_bits(hardware, "ramp", 5, 1, 1)  # complains about hardware without a ramp
    return hardware


def components_of(table: Mapping[str, Any]) -> str:
    """The component table that `[cost]` names.

    Raises:
      ValueError, TypeError: for an unknown key, or a table that cannot be read: now rather than after the run.
    """
    given = table.get("cost", {})
    if not isinstance(given, Mapping):
        raise TypeError(f"cost: expected a table, [cost]; got {given!r}")
    check_keys(given, ("components",), "cost")
    name = given.get("components", DEFAULT)
    load_components(name)
    return name


def described(hardware: Hardware) -> dict[str, Any]:
    """Every field of a hardware as JSON, parts with their kind; large tables and fitted parameters as checksums."""
    return {f.name: _described(getattr(hardware, f.name)) for f in dataclasses.fields(hardware)}


def _described(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value):
        leaves = [f for f in dataclasses.fields(value) if f.repr]
        inner = {f.name: _described(getattr(value, f.name)) for f in leaves}
        if len(str(inner)) > 600:
            inner = {"checksum": f"{zlib.crc32(str(inner).encode()):08x}"}
        return {"kind": type(value).__name__, **inner}
    if isinstance(value, tuple | list):
        return [_described(v) for v in value]
    if hasattr(value, "shape"):
        array = jax.device_get(value)
        return float(array) if array.size == 1 else {"checksum": f"{zlib.crc32(array.tobytes()):08x}"}
    return str(value)
