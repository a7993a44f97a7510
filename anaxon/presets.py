"""Hardware from TOML: the shipped presets and a run's own `[hardware]` table.

A table has the sections `device`, `array`, `dac`, `adc` and `activation`; each takes the arguments of the class of that
name. `preset = "name"` starts from a preset and changes what else is given.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from anaxon.configs import config_path
from anaxon.converter.adc import ADC
from anaxon.converter.dac import DAC
from anaxon.converter.ramp import Ramp
from anaxon.crossbar.mapping import Array
from anaxon.hardware import Hardware
from anaxon.settings import check_keys, merged, read_toml

SECTIONS = ("device", "array", "dac", "adc", "activation")
DEVICE_KINDS = ("vcm", "gaussian", "table", "ideal", "none")
ANALOG = "analog"  # `weight_bits` of one analog pair per weight; TOML has no null
_WORDS = {float: "a number", int: "an integer", bool: "true or false", str: "text"}


def presets() -> tuple[str, ...]:
    """The names of the shipped hardware."""
    return tuple(sorted(path.stem for path in config_path("hardware").glob("*.toml")))


def preset(name: str) -> Hardware:
    """The shipped hardware of this name.

    Raises:
      ValueError: for an unknown name, with the nearest and all known ones.
    """
    return hardware_from(preset_table(name), f"preset {name}")


def preset_table(name: str) -> dict[str, Any]:
    """A preset as its file has it, with `description` and `source`."""
    if not isinstance(name, str):
        raise TypeError(f"preset: expected a name, one of {', '.join(presets())}; got {name!r}")
    try:
        check_keys({name: None}, presets(), "preset")
    except ValueError as error:
        raise ValueError(str(error).replace("unknown key", "unknown name")) from None
    return read_toml(config_path("hardware", f"{name}.toml"))


def hardware_from(table: Mapping[str, Any] | str, where: str = "hardware") -> Hardware:
    """Hardware from a TOML table, or from the name of a preset.

    Raises:
      ValueError: for an unknown key (with the nearest known one), a missing device, or a value that a class refuses;
        the message starts with the place in the table.
      TypeError: for a value of the wrong type.
    """
    if isinstance(table, str):
        table = {"preset": table}
    table = _on_preset(table, where)
    check_keys(table, ("preset", "description", "source", *SECTIONS, "bias"), where)
    if "device" not in table:
        raise ValueError(f"{where}.device: missing; expected a table with kind = one of {', '.join(DEVICE_KINDS)}")
    device = _device(_section(table, "device", where), f"{where}.device")
    parts: dict[str, Any] = {"device": device}
    for name, build in (("array", _array), ("dac", _dac), ("adc", _adc), ("activation", _activation)):
        if table.get(name, "none") != "none":
            parts[name] = build(_section(table, name, where), f"{where}.{name}")
    if "bias" in table:
        parts["bias"] = table["bias"]
    return _call(Hardware, parts, where)


def _on_preset(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The table over the preset that it names; a device of another kind replaces the preset's."""
    if "preset" not in table:
        return table
    try:
        base = preset_table(table["preset"])
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}.{error}") from None
    new = table.get("device")
    if isinstance(new, Mapping) and new.get("kind", base["device"]["kind"]) != base["device"]["kind"]:
        base = {k: v for k, v in base.items() if k != "device"}
    new = table.get("adc")
    if isinstance(new, Mapping) and _is_uniform(new) != _is_uniform(base.get("adc", {})):
        base = {k: v for k, v in base.items() if k != "adc"}
    return merged(base, table, where)


def _section(table: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    value = table[name]
    if not isinstance(value, Mapping):
        raise TypeError(f"{where}.{name}: expected a table, [{name}]; got {value!r}")
    return dict(value)


def _device(section: dict[str, Any], where: str) -> Any:
    kind = section.pop("kind", None)
    if kind not in DEVICE_KINDS:
        raise ValueError(f"{where}.kind: expected one of {', '.join(DEVICE_KINDS)}; got {kind!r}")
    return {"vcm": _vcm, "gaussian": _gaussian, "table": _table, "ideal": _ideal, "none": _none}[kind](section, where)


def _vcm(section: dict[str, Any], where: str) -> Any:
    from anaxon.device.vcm import VCM
    from anaxon.device.vcm_parameters import load_parameters

    checked = _checked(VCM, section, where, hidden=("tables",), files=("parameters",))
    if "parameters" in checked:
        checked["parameters"] = _call(load_parameters, {"path": _file(checked["parameters"], where)}, where)
    return _call(VCM, checked, where)


def _gaussian(section: dict[str, Any], where: str) -> Any:
    from anaxon.device.gaussian import Gaussian

    return _built(Gaussian, section, where)


def _table(section: dict[str, Any], where: str) -> Any:
    from anaxon.device.table import device_from_table

    if "file" not in section:
        raise ValueError(f"{where}.file: missing; expected the path of a CSV file with the device's tables")
    file = section.pop("file")
    checked = _checked(device_from_table, section, where, hidden=("source",), more=("file",))
    return _call(device_from_table, {"source": _file(file, where), **checked}, where)


def _ideal(section: dict[str, Any], where: str) -> Any:
    from anaxon.device.ideal import IdealDevice

    return _built(IdealDevice, section, where)


def _none(section: dict[str, Any], where: str) -> None:
    check_keys(section, (), f"{where} of kind 'none'")


def _array(section: dict[str, Any], where: str) -> Array:
    analog = section.get("weight_bits") == ANALOG
    if analog:
        del section["weight_bits"]
    checked = _checked(Array, section, where, more=("weight_bits",))
    return _call(Array, checked | ({"weight_bits": None} if analog else {}), where)


def _dac(section: dict[str, Any], where: str) -> DAC:
    return _built(DAC, section, where)


def _is_uniform(section: Any) -> bool:
    return isinstance(section, Mapping) and "bits" in section


def _adc(section: dict[str, Any], where: str) -> ADC:
    """`bits` makes a uniform converter, `range_bits` and `precision_bits` one of a fixed step."""
    both = sorted({"range_bits", "precision_bits"} & section.keys())
    if _is_uniform(section) and both:
        raise ValueError(f"{where}: either bits, or range_bits and precision_bits; got bits and {', '.join(both)}")
    if not _is_uniform(section) and not both:
        raise ValueError(
            f"{where}: expected bits, or range_bits and precision_bits; got {', '.join(section) or 'none'}"
        )
    errors = ("noise", "offset_sigma", "gain_sigma")
    make = ADC.uniform if _is_uniform(section) else ADC.bits
    return _call(make, _checked(make, section, where, more=errors, hints=get_type_hints(ADC)), where)


def _activation(section: dict[str, Any], where: str) -> Ramp:
    kind = section.pop("kind", "ramp")
    if kind != "ramp":
        raise ValueError(f"{where}.kind: expected 'ramp'; got {kind!r}")
    checked = _checked(Ramp, section, where, files=("measured",))
    if "measured" in checked:
        checked["measured"] = _measured(checked["measured"], checked.get("g_max", Ramp.g_max), f"{where}.measured")
    return _call(Ramp, checked, where)


def _measured(files: Any, g_max: float, where: str) -> dict[str, Any]:
    """Measured ramp columns of one CSV file or several, each with a column `activation`."""
    from anaxon.converter.ramp.table import read_conductances

    found: dict[str, Any] = {}
    for file in files if isinstance(files, list) else [files]:
        new = _call(read_conductances, {"path": _file(file, where), "g_max": g_max}, where)
        twice = sorted(found.keys() & new.keys())
        if twice:
            raise ValueError(f"{where}: {', '.join(twice)} is in two files")
        found |= new
    return found


def _file(path: Any, where: str) -> Path:
    """A file as given, or one of the shipped devices."""
    if not isinstance(path, str):
        raise TypeError(f"{where}: expected the path of a file; got {path!r}")
    if Path(path).exists():
        return Path(path)
    try:
        return config_path("devices", path)
    except FileNotFoundError:
        raise ValueError(f"{where}: {path!r} is neither a file nor one of the shipped devices") from None


def _built(make: Callable[..., Any], section: dict[str, Any], where: str) -> Any:
    return _call(make, _checked(make, section, where), where)


def _checked(
    make: Callable[..., Any],
    section: dict[str, Any],
    where: str,
    *,
    hidden: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    hints: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The section, if its keys are arguments of `make` (less `hidden`, and `more`) and its values of their types."""
    takes = [n for n, p in inspect.signature(make).parameters.items() if p.kind is not p.VAR_KEYWORD]
    known = [n for n in takes if n not in hidden]
    check_keys(section, (*known, *(n for n in more if n not in known)), where)
    hints = {**(hints or {}), **_hints(make)}
    for key, value in section.items():
        if key not in files and key in hints and not _fits(value, hints[key]):
            raise TypeError(f"{where}.{key}: expected {_described(hints[key])}; got {value!r}")
    return {key: _number(value, hints.get(key)) for key, value in section.items()}


def _number(value: Any, hint: Any) -> Any:
    """An integer where a float is meant becomes one: floats are leaves, and gradients need them so."""
    options = _options(hint)
    return float(value) if type(value) is int and float in options and int not in options else value


@cache
def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(make)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    for option in _options(hint):
        if get_origin(option) is Literal:
            option = type(get_args(option)[0])
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return True
        if option in (int, bool, str) and type(value) is option:
            return True
    return False


def _described(hint: Any) -> str:
    words = []
    for option in _options(hint):
        if get_origin(option) is Literal:
            words.append("one of " + ", ".join(map(repr, get_args(option))))
        elif option in _WORDS:
            words.append(_WORDS[option])
    return " or ".join(words)


def _call(make: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> Any:
    """`make(**arguments)`, its complaints prefixed with the place in the table."""
    try:
        return make(**arguments)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from None
