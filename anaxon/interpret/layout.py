"""Where a weight's original axes went: each axis of a view is a list of factors of original axes."""

from dataclasses import dataclass
from math import prod
from typing import Any

Factor = tuple[int, int]  # (original axis, extent)


@dataclass(frozen=True)
class Layout:
    """Factors of every view axis, outermost first; None where a reshape cut axes unevenly."""

    axes: tuple[tuple[Factor, ...], ...] | None

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Layout":
        """The weight as it is."""
        return cls(tuple(((a, n),) for a, n in enumerate(shape)))

    def original(self, view_axes: tuple[int, ...]) -> frozenset[int]:
        """The original axes that have a factor in the given view axes."""
        if self.axes is None:
            return frozenset()
        return frozenset(a for v in view_axes for a, n in self.axes[v] if n > 1 or len(self.axes[v]) == 1)

    def drop_first(self) -> "Layout":
        """Inside a scan over the first axis."""
        return Layout(None if self.axes is None else self.axes[1:])

    def view(self, eqn: Any) -> "Layout":
        """After one of the walk's `VIEWS`."""
        name, p = eqn.primitive.name, eqn.params
        if self.axes is None:
            return self
        out = tuple(eqn.outvars[0].aval.shape)
        if name == "transpose":
            return Layout(tuple(self.axes[a] for a in p["permutation"]))
        if name in ("reshape", "squeeze", "expand_dims"):
            return self._reshape(out)
        if name == "broadcast_in_dim":
            where = {d: i for i, d in enumerate(p["broadcast_dimensions"])}
            return Layout(tuple(self.axes[where[d]] if d in where else () for d in range(len(out))))
        if name == "slice":
            sliced = [_resized(f, n) for f, n in zip(self.axes, out, strict=True)]
            return Layout(None if None in sliced else tuple(f for f in sliced if f is not None))
        return self

    def _reshape(self, shape: tuple[int, ...]) -> "Layout":
        factors = [f for axis in self.axes or () for f in axis if f[1] > 1]
        axes = []
        for size in shape:
            taken: list[Factor] = []
            while (have := prod(n for _, n in taken)) < size:
                if not factors or size % have:
                    return Layout(None)
                (a, n), need = factors.pop(0), size // have
                if n > need:
                    if n % need:
                        return Layout(None)
                    factors.insert(0, (a, n // need))
                    n = need
                taken.append((a, n))
            if prod(n for _, n in taken) != size:
                return Layout(None)
            axes.append(tuple(taken))
        return Layout(tuple(axes))


def _resized(factors: tuple[Factor, ...], size: int) -> tuple[Factor, ...] | None:
    """The factors of a sliced axis; None where the slice cuts through merged axes."""
    if prod(n for _, n in factors) == size:
        return factors
    return ((factors[0][0], size),) if len(factors) == 1 else None
