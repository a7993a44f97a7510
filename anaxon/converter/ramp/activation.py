"""Which activations a ramp can compute: by name, by a JAX function, or any callable of one's own.

A ramp needs, for an output level, the input at which the function reaches it. Built-in functions know their inverse in
closed form; a callable's comes from the user or from a table of its values, made once (`tabulate`).
"""

import difflib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from typing import Any

import jax
import numpy as np

from anaxon.converter.ramp.closed_forms import ALIASES, FORMS, FUNCTIONS
from anaxon.converter.ramp.tabulate import TAIL, Limits, Table, direction, evaluate, inverse_of, limits_of, tabulate
from anaxon.types import Array

_MARK = "anaxon_activation_"


@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise function as a ramp sees it.

    Attributes:
      name: how tables and traces call it; unique.
      fn: the function, elementwise JAX.
      domain: finite inputs (z_min, z_max) between which the ramp of convention "range" runs.
      limits: outputs at -inf and +inf; None where they are unbounded (the ramp ends at the domain there).
      inverse: input of an output, NumPy float64 or JAX as its argument is; None for a function that turns.
      rising: direction of a monotone function; None for one that turns.
      strict: inputs between which it is not flat; a ramp does not run outside.
      exact: the function in float64 NumPy, where known.
      tabulated: its table, where it was made.
    """

    name: str
    fn: Callable[[Any], Any]
    domain: tuple[float, float]
    limits: Limits
    inverse: Callable[[Any], Any] | None = None
    rising: bool | None = None
    strict: tuple[float, float] = (-inf, inf)
    exact: Callable[[Any], Any] | None = None
    tabulated: Table | None = field(default=None, repr=False)

    @cached_property
    def table(self) -> Table:
        """The function's values on a dense grid."""
        return self.tabulated or tabulate(self.fn, self.name, self.domain)

    def value(self, z: Any) -> Any:
        """The output: JAX for JAX inputs, else float64 on the host."""
        if isinstance(z, jax.Array):
            return self.fn(z)
        z = np.asarray(z, np.float64)
        return self.exact(z) if self.exact else evaluate(self.fn, z)

    @property
    def low(self) -> float | None:
        """Infimum of the outputs; None where unbounded."""
        return self._bound(0)

    @property
    def high(self) -> float | None:
        """Supremum of the outputs; None where unbounded."""
        return self._bound(1)

    def _bound(self, which: int) -> float | None:
        if self.rising is not None:
            return self.limits[which] if self.rising else self.limits[1 - which]
        upwards = [np.inf if limit is None else limit for limit in self.limits]
        found = (self.table.y.min(), self.table.y.max())[which]
        # A table reaches 1e6: what is unbounded has its extreme at an end of it.
        ends = self.table.y[[0, -1]]
        return None if np.inf in upwards and found in ends[np.isinf(upwards)] else float(found)


_KNOWN: dict[str, Activation] = {
    name: Activation(name, f.fn, f.domain, f.limits, f.inverse, True if f.inverse else None, f.strict, f.exact)
    for name, f in FORMS.items()
}
_MADE: dict[tuple, Activation] = {}  # by what it was made of; the activation keeps its function, so an id stays its own


def find(which: str | Callable[[Any], Any] | Activation) -> Activation:
    """The activation of a name, a known JAX function, a marked function, or any elementwise callable (tabulated once).

    Raises:
      ValueError: for an unknown name, or a callable that `activation` refuses.
      TypeError: for anything else.
    """
    if isinstance(which, Activation):
        return which
    if isinstance(which, str):
        return _named(which)
    if not callable(which) or isinstance(which, type):
        raise TypeError(f"activation: expected a name, an elementwise function or an Activation; got {which!r}")
    marked = marked_name(getattr(which, "__name__", ""))
    known = marked if marked in _KNOWN else _known_function(which)
    return _KNOWN[known] if known else _made(which, None, None, None, None, None)


def _named(name: str) -> Activation:
    key = ALIASES.get(name, name)
    if key not in _KNOWN:
        names = sorted({*_KNOWN, *ALIASES})
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"activation: expected one of {', '.join(names)}, or a function; got {name!r}{hint}")
    return _KNOWN[key]


def _known_function(fn: Any) -> str | None:
    try:
        return FUNCTIONS.get(fn)
    except TypeError:  # not hashable, so none of ours
        return None


def activation(
    fn: Callable[[Any], Any],
    *,
    inverse: Callable[[Any], Any] | None = None,
    domain: tuple[float, float] | None = None,
    low: float | None = None,
    high: float | None = None,
    name: str | None = None,
) -> Callable[[Any], Array]:
    """Marks an elementwise `fn` as one that a ramp ADC may compute; it runs unchanged elsewhere.

    Args:
      fn: elementwise JAX function, differentiable; monotone, or with turns (then the counter counts up and down).
      inverse: its inverse, elementwise; without one, `fn` is tabulated here, once.
      domain: inputs (z_min, z_max) between which the ramp runs where the output is unbounded; needed there.
      low, high: bounds of the output, where they are not the limits at -inf and +inf.
      name: how tables call it; the function's own name by default. A second function of one name gets a number.

    Raises:
      ValueError: for a domain that is none, an unbounded function without one, an inverse that is none, or a function
        with an inverse that is not monotone on its domain.
      TypeError: for a function that is not elementwise.
    """
    if not callable(fn) or isinstance(fn, type):
        raise TypeError(f"activation: expected an elementwise function; got {fn!r}")
    plain = inverse is None and domain is None and low is None and high is None and name is None
    known = _known_function(fn) if plain else None
    made = _KNOWN[known] if known else _made(fn, inverse, domain, low, high, name)

    def marked(z: Array) -> Array:
        return fn(z)

    marked.__name__ = marked.__qualname__ = _MARK + made.name
    return jax.jit(marked)


def marked_name(jit_name: str) -> str | None:
    """The activation's name if a jitted call was marked by `activation`."""
    return jit_name.removeprefix(_MARK) if jit_name.startswith(_MARK) else None


def is_known(name: str) -> bool:
    """Whether a ramp can compute the activation of this name."""
    return name in _KNOWN or name in ALIASES


def _made(fn: Any, inverse: Any, domain: Any, low: Any, high: Any, name: str | None) -> Activation:
    key = (id(fn), id(inverse) if inverse else None, domain and tuple(domain), low, high, name)
    if key not in _MADE:
        base = _base_name(fn, name)
        domain = _checked_domain(base, domain)
        new = _tabulated(base, fn, domain) if inverse is None else _inverted(base, fn, inverse, domain, low, high)
        new = replace(new, name=_free_name(base, fn))
        _KNOWN[new.name] = _MADE[key] = new
    return _MADE[key]


def _base_name(fn: Any, name: str | None) -> str:
    """The function's own name; a lambda goes by its source, so that another process cannot take it for another one."""
    base = re.sub(r"\W+", "", name or getattr(fn, "__name__", "") or "activation")
    code = getattr(fn, "__code__", None)
    if name is not None or base != "lambda" or code is None:
        return base
    return f"lambda{zlib.crc32(repr((code.co_code, code.co_consts, code.co_names)).encode()):08x}"


def _free_name(base: str, fn: Any) -> str:
    """The name, with a number if another function has it; the same source marked again (a notebook's cell) keeps it."""
    names = (base if n == 1 else f"{base}_{n}" for n in range(1, len(_KNOWN) + 2))
    return next(name for name in names if not is_known(name) or _same_source(find(name).fn, fn))


def _same_source(one: Any, other: Any) -> bool:
    parts = [
        (c.co_code, c.co_consts, c.co_names, repr([cell.cell_contents for cell in f.__closure__ or ()]))
        for f in (one, other)
        if (c := getattr(f, "__code__", None)) is not None
    ]
    return len(parts) == 2 and repr(parts[0]) == repr(parts[1])


def _checked_domain(name: str, domain: Any) -> tuple[float, float] | None:
    if domain is None:
        return None
    try:
        low, high = (float(v) for v in domain)
    except (TypeError, ValueError):
        low, high = inf, inf
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"activation {name!r}: domain: expected finite (z_min, z_max), z_min < z_max; got {domain}")
    return low, high


def _tabulated(name: str, fn: Any, domain: tuple[float, float] | None) -> Activation:
    table = tabulate(fn, name, domain)
    inverse = None if table.rising is None else inverse_of(table)
    return Activation(name, fn, table.domain, table.limits, inverse, table.rising, tabulated=table)


def _inverted(name: str, fn: Any, inverse: Any, domain: Any, low: float | None, high: float | None) -> Activation:
    """An activation with a user's inverse, held to what the function does."""
    inverse, ends = _on_both(inverse), limits_of(fn)
    if domain is None:
        domain = _domain_between(name, inverse, low, high, ends)
    x = np.linspace(domain[0], domain[1], 257)
    rising = direction(x, evaluate(fn, x), domain)
    if rising is None:
        raise ValueError(f"activation {name!r}: expected a monotone function with an inverse; got turns on {domain}")
    at_low, at_high = ends if rising else ends[::-1]
    low, high = at_low if low is None else low, at_high if high is None else high
    limits = (low, high) if rising else (high, low)
    made = Activation(name, fn, domain, limits, inverse, rising)
    _check_inverse(made)
    return made


def _on_both(inverse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A user's inverse, written in NumPy or JAX, that gives float64 on the host."""

    def both(y: Any) -> Any:
        if isinstance(y, jax.Array):
            return inverse(y)
        with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
            return np.asarray(inverse(np.asarray(y)), np.float64)

    return both


def _domain_between(
    name: str, inverse: Callable[[Any], Any], low: float | None, high: float | None, ends: Limits
) -> tuple[float, float]:
    """Inputs at which the output is `TAIL` of its range from its bounds."""
    known = sorted(end for end in ends if end is not None)
    bounds = (low if low is not None else (known or [None])[0], high if high is not None else (known or [None])[-1])
    if bounds[0] is None or bounds[1] is None or not bounds[0] < bounds[1]:
        raise ValueError(
            f"activation {name!r}: expected domain=(z_min, z_max), or low and high with low < high, for a function "
            f"without limits at both ends; got low={low}, high={high}"
        )
    tail = TAIL * (bounds[1] - bounds[0])
    x = inverse(np.array([bounds[0] + tail, bounds[1] - tail]))
    if not np.all(np.isfinite(x)):
        raise ValueError(f"activation {name!r}: the inverse is infinite between low={bounds[0]} and high={bounds[1]}")
    return float(min(x)), float(max(x))


def _check_inverse(made: Activation) -> None:
    low, high = np.sort(made.value(np.array(made.domain)))
    y = low + (high - low) * np.linspace(0.05, 0.95, 19)
    x = made.inverse(y) if made.inverse else y
    back = made.value(np.nan_to_num(x))
    wrong = np.flatnonzero(~np.isfinite(x) | (np.abs(back - y) > 1e-3 * (high - low)))
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"activation {made.name!r}: inverse: expected fn(inverse(y)) = y; got inverse({y[i]:.4g}) = {x[i]:.4g}, "
            f"fn of it {back[i]:.4g}"
        )
