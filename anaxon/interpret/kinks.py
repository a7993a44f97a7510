"""Statistical linearisation: elementwise kinks passed with the mean and slope that a value's own spread gives them.

`f(X)` of a normal X is replaced by the affine function that is closest to it on average, `E f(X) + E f'(X) (X - E X)`
(Booton 1954; for a ReLU the slope is the chance to be active), and what is left, uncorrelated with X, by new noise of
its variance: what values then vary by is right, and covariances to first order of the Hermite rule. The variance of X
comes with the values: a forward pass carries some random deviations of all cells and reads (probes) through the same
slopes, and takes their mean square.
Slopes at a value's mean are those without any variance; loops, attention and shared weights need nothing of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.device.moments import PairMoments
from anaxon.interpret import jaxpr as jx
from anaxon.interpret import trace
from anaxon.interpret.moments.chains import ELEMENTWISE, Chain, extended, moments_of
from anaxon.interpret.moments.ledger import Random
from anaxon.interpret.moments.sketch import roots
from anaxon.interpret.taps import PROBES, shaken
from anaxon.interpret.values import Param
from anaxon.normal import Clip
from anaxon.prng import fold_name, normal
from anaxon.types import Array, PyTree

ACCOUNT = "(kinks)"  # of variance that kinks add; no path has its name
KINKS = frozenset("abs ceil clamp eq floor ge gt le lt max min ne round select_n sign".split())  # noqa: SIM905


def probed(fn: Callable[[PyTree], Array], means: PyTree, cells: dict[str, PairMoments], probes: int) -> Array:
    """`fn` of the cells' means, with slopes averaged over what so many random deviations of the cells become."""

    def one(number: Array) -> Array:
        return jax.jvp(fn, (means,), (_deviations(cells, number),))[0]

    return jax.vmap(one, out_axes=None, axis_name=PROBES)(jnp.arange(probes))


def anchored(means: PyTree) -> Array:
    """A zero that depends on the cells, so that it has a tangent where they have one."""
    return jnp.sum(jnp.stack([0.0 * jnp.ravel(x)[0] for x in jax.tree.leaves(means)]))


def _deviations(cells: dict[str, PairMoments], number: Array) -> dict[str, tuple[Array, ...]]:
    """Random deviations of all cells' terms, of the cells' covariance between terms."""
    found = {}
    for path, of in cells.items():
        key = jax.random.fold_in(fold_name(jax.random.key(0), path), number)
        keys = jax.random.split(key, len(of.mean))
        drawn = [normal(k, m.shape).astype(m.dtype) for k, m in zip(keys, of.mean, strict=True)]
        rows = roots(of.covariance)
        found[path] = tuple(sum((r * z for r, z in zip(row, drawn, strict=False)), jnp.zeros(())) for row in rows)
    return lax.stop_gradient(found)


@jax.custom_jvp
def _variance(x: Array) -> Array:
    """What the probes say that a value varies by; 0 without probes."""
    return jnp.zeros_like(x)


@_variance.defjvp
def _variance_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    del primals
    (away,) = tangents
    return lax.stop_gradient(lax.pmean(away**2, PROBES)), jnp.zeros_like(away)


def averaged(chain: Chain, account: Array, key: Array, anchor: Array | float = 0.0) -> Array:
    """An elementwise function with its mean and its average slope; what it varies by beyond that is new noise.

    `anchor` is a zero with a tangent: a value that no cell has touched is followed like any other.
    """
    x = chain.base.mean
    x = x + jnp.asarray(anchor, x.dtype)
    here, variance = lax.stop_gradient(x), _variance(x)
    found = moments_of([chain], here, variance)
    at_mean, slope = jax.jvp(chain.fn, (here,), (jnp.ones_like(here),))
    varies = variance > 0
    mean = jnp.where(varies, found.mean[0], at_mean)
    slope = lax.stop_gradient(jnp.where(varies, found.slopes[0, 0], slope))
    beyond = jnp.where(varies, jnp.maximum(found.covariance[0, 0] - slope**2 * variance, 0.0), 0.0)
    straight = (lax.stop_gradient(mean) + slope * (x - here)).astype(chain.dtype)
    return shaken(straight, lax.stop_gradient(beyond), account, key)


def clipping(x: Array, low: Array | float | None, high: Array | float | None = None) -> Chain:
    """A value limited to a range."""

    def fn(v: Array) -> Array:
        v = v if low is None else jnp.maximum(v, low)
        return v if high is None else jnp.minimum(v, high)

    return Chain(Random(x), fn, tuple(x.shape), x.dtype, Clip(low=low, high=high))


class AveragedWalk(trace.Walk):
    """The walk that keeps elementwise functions of one value together, and averages those with a kink."""

    def __init__(self, machine: Any) -> None:
        super().__init__(machine)
        self.accounted = machine
        self.bases: dict[int, tuple[Any, Random]] = {}  # by the value's id, with the value
        self.bent: weakref.WeakSet[Chain] = weakref.WeakSet()

    def equation(self, eqn: Any, values: list[Any]) -> list[Any]:
        """Calls and loops are entered; chains of elementwise functions grow; the rest is as ever."""
        name = eqn.primitive.name
        if name in jx.CALLS or (name in jx.CUSTOM and _is_curve(jx.inner(eqn))):
            return self.run(jx.inner(eqn), values)
        follows = any(isinstance(v, Chain) for v in values) or jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.floating)
        if name in ELEMENTWISE and (follows or name == "select_n"):
            found = self._elementwise(eqn, values)
            if found is not None:
                return [found]
        return super().equation(eqn, [self._plain_value(v) for v in values])

    def digital(self, value: Any) -> Any:
        """Chains are settled."""
        return super().digital(self._plain_value(value))

    def _plain_value(self, value: Any) -> Any:
        if not isinstance(value, Chain):
            return value
        if value.settled is None:
            bent = value in self.bent and jnp.issubdtype(value.dtype, jnp.floating)
            value.settled = Random(averaged(value, *self.accounted.at_kink()) if bent else value.fn(value.base.mean))
        return value.settled.mean

    def _elementwise(self, eqn: Any, values: list[Any]) -> Chain | Array | None:
        """One more operation; None where it is no function of one value."""
        shape, name = tuple(eqn.outvars[0].aval.shape), eqn.primitive.name
        if all(isinstance(v, Param) for v in values) or any(trace.is_weight(v) for v in values):
            return None
        operands = [self._operand(v) for v in values]
        links = [v for v in operands if isinstance(v, Random | Chain)]
        bases = {(v.base if isinstance(v, Chain) else v).number for v in links}
        numbers = [v for v in operands if not isinstance(v, Random | Chain)]
        if any(v.shape != shape for v in links) or any(jnp.shape(v) not in ((), shape) for v in numbers):
            return None
        if len(bases) == 2 and name in ("max", "min"):
            return self._between(name, *(self.digital(v) for v in values))
        if len(bases) != 1:
            return None
        chain = extended(eqn, operands)
        if name in KINKS or any(v in self.bent for v in links if isinstance(v, Chain)):
            self.bent.add(chain)
        return chain

    def _between(self, name: str, x: Array, y: Array) -> Array:
        """The larger or smaller of two values that vary, by their difference."""
        more = averaged(clipping(x - y, 0.0), *self.accounted.at_kink())
        return y + more if name == "max" else x - more

    def _operand(self, value: Any) -> Any:
        """A chain, a base, or numbers."""
        if isinstance(value, Chain):
            return value
        if isinstance(value, Param):
            return value.value
        if id(value) not in self.bases:
            found = self.digital(value)
            if not jnp.issubdtype(found.dtype, jnp.floating):
                return found
            self.bases[id(value)] = value, Random(found)
        return self.bases[id(value)][1]


def _is_curve(jaxpr: Any) -> bool:
    """Whether all of a call is elementwise, with a kink: its derivative is the slope, whatever else is told of it."""
    return _only_elementwise(jaxpr) and jx.contains(jaxpr, tuple(KINKS))


def _only_elementwise(jaxpr: Any) -> bool:
    eqns = jx.opened(jaxpr)[0].eqns
    return all(e.primitive.name in ELEMENTWISE or (_calls(e) and _only_elementwise(jx.inner(e))) for e in eqns)


def _calls(eqn: Any) -> bool:
    return eqn.primitive.name in jx.CALLS | jx.CUSTOM
