"""Construction-time checks of a device's numbers."""

import numpy as np

from anaxon.types import Array


def require(ok: bool | np.bool_, field: str, value: object, accepted: str) -> None:
    """Raises a `ValueError` that names the field, what came and what is accepted."""
    if not ok:
        raise ValueError(f"{field}: expected {accepted}; got {value}")


def number(field: str, value: float | Array | None, accepted: str, *, low: float, open_low: bool = False) -> None:
    """Checks what a user wrote: a Python or NumPy number that is finite and at least (or above) `low`.

    Arrays of JAX pass: a dataclass is also rebuilt around tracers, and around gradients, which may be negative.

    Raises:
      ValueError: for a number out of range.
      TypeError: for text.
    """
    if isinstance(value, str):
        raise TypeError(f"{field}: expected {accepted}; got the text {value!r}")
    if isinstance(value, int | float | np.number | np.ndarray):
        v = np.asarray(value, np.float64)
        above = v > low if open_low else v >= low
        require(np.all(np.isfinite(v) & above), field, value, accepted)
