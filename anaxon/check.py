"""Construction-time checks of numbers, in one wording."""

import numpy as np


def require(ok: bool | np.bool_, field: str, value: object, accepted: str) -> None:
    """Raises a `ValueError` that names the field, what came and what is accepted."""
    if not ok:
        raise ValueError(f"{field}: expected {accepted}; got {value}")


def number(field: str, value: object, accepted: str, *, low: float, open_low: bool = False) -> None:
    """Checks what a user wrote: a Python or NumPy number that is finite and at least (or above) `low`, or None.

    Arrays of JAX pass: a dataclass is also rebuilt around tracers, and around gradients, which may be negative.

    Raises:
      ValueError: for a number out of range.
      TypeError: for what is no number.
    """
    if isinstance(value, str | bool | list | tuple | dict | type):
        raise TypeError(f"{field}: expected {accepted}; got {value!r}")
    if isinstance(value, int | float | np.number | np.ndarray):
        v = np.asarray(value, np.float64)
        above = v > low if open_low else v >= low
        require(np.all(np.isfinite(v) & above), field, value, accepted)


def numbers(obj: object, names: tuple[str, ...], accepted: str, *, low: float, open_low: bool = False) -> None:
    """Checks fields of a dataclass; Python integers become floats, since an integer leaf has no gradient."""
    for name in names:
        value = getattr(obj, name)
        number(f"{type(obj).__name__}.{name}", value, accepted, low=low, open_low=open_low)
        if isinstance(value, int):
            object.__setattr__(obj, name, float(value))


def integer(field: str, value: object, low: int, high: int) -> None:
    """Checks a bit count or a size.

    Raises:
      ValueError: for what is no integer, or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field}: expected an integer from {low} to {high}; got {value!r}")


def choice(field: str, value: object, accepted: tuple[str, ...]) -> None:
    """Checks a kind.

    Raises:
      ValueError: for one that does not exist.
    """
    if value not in accepted:
        raise ValueError(f"{field}: expected one of {accepted}; got {value!r}")
