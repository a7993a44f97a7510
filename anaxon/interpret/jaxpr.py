"""The only place that knows how a jaxpr is spelled in the JAX versions that anaxon supports (0.10.2 to 0.12)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

CALLS = {"jit", "pjit", "closed_call", "core_call", "core_closed_call"}
REMATS = {"remat", "remat2", "checkpoint"}
CUSTOM = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A jaxpr and its constants, whether it came closed (to 0.10) or not."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def inner(eqn: Any) -> Any:
    """The one jaxpr of a call-like equation."""
    return eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))


def contains(jaxpr: Any, primitives: Sequence[str]) -> bool:
    """Whether one of these primitives occurs in a jaxpr or in one of those inside it."""
    for eqn in opened(jaxpr)[0].eqns:
        nested = [p for v in eqn.params.values() for p in (v if isinstance(v, tuple | list) else (v,))]
        inside = any(hasattr(p, "eqns") and contains(p, primitives) for p in nested)
        if eqn.primitive.name in primitives or inside:
            return True
    return False


class ScanSplit(NamedTuple):
    """How many of a scan's operands are constants and carries."""

    consts: int
    carry: int


def scan_split(eqn: Any) -> ScanSplit:
    """`num_consts`/`num_carry` to 0.10, the lengths of `ft_in`'s groups from 0.11."""
    if "num_consts" in eqn.params:
        return ScanSplit(eqn.params["num_consts"], eqn.params["num_carry"])
    consts, carry, _ = eqn.params["ft_in"].unpack()  # iterating it would flatten the groups
    return ScanSplit(len(consts), len(carry))


def bind(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """Evaluates one equation as it stands; always a list of outputs."""
    params = eqn.primitive.get_bind_params(eqn.params)
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*values, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def precise(eqn: Any) -> Any:
    """A product at the highest precision, with results of its operands' type."""
    highest = (jax.lax.Precision.HIGHEST,) * 2
    return eqn.replace(params={**eqn.params, "precision": highest, "preferred_element_type": None})


def is_literal(atom: Any) -> bool:
    """Whether an equation's operand is a number written into it."""
    return isinstance(atom, core.Literal)


def trace(fn: Any, *args: Any) -> tuple[Any, Any]:
    """The closed jaxpr of `fn` and the tree structure of its result."""
    jaxpr, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    return jaxpr, jax.tree.structure(shape)


def live(jaxpr: Any, consts: Sequence[Any]) -> list[Any]:
    """The constants that results depend on: a model's unused random streams do not say what a function is."""
    needed = {a for a in jaxpr.outvars if not is_literal(a)}
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(v in needed for v in eqn.outvars):
            needed.update(a for a in eqn.invars if not is_literal(a))
    return [c for v, c in zip(jaxpr.constvars, consts, strict=True) if v in needed]
