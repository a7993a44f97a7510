"""What operations do to means and covariances.

Three kinds: elementwise functions of one value are chains (`chains`); operations that are linear in the values that
vary need no rule, because their own `vmap` and `jvp` say what they do to a covariance; products of two that vary have
theirs (`products`); everything else is registered here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.interpret import jaxpr as jx
from anaxon.interpret.moments.chains import Chain, settle
from anaxon.interpret.moments.ledger import Ledger, Random
from anaxon.interpret.moments.products import contraction, product, quotient
from anaxon.types import Array

# Linear in all operands that may vary; the places of those that may not are given.
LINEAR: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        """
        add add_any broadcast_in_dim concatenate convert_element_type copy copy_p cumsum expand_dims imag neg pad real
        reduce_sum reduce_window_sum reshape rev slice split squeeze stack sub tile transpose unstack
        """.split(),  # noqa: SIM905
        (),
    ),
    "div": (1,),
    "dynamic_slice": tuple(range(1, 9)),
    "dynamic_update_slice": tuple(range(2, 10)),
    "gather": (1,),
    "scatter": (1,),
    "scatter-add": (1,),
    "scatter-sub": (1,),
    "scatter_add": (1,),
    "scatter_sub": (1,),
    "select_n": (0,),
}
BILINEAR = frozenset(("mul", "dot_general", "conv_general_dilated"))  # linear where one operand is a number

# What an operation is likely to be a part of, for errors.
PARTS_OF = {
    "reduce_max": " (part of a softmax?)",
    "reduce_window_max": " (max pooling)",
    "argmax": " (of classes? follow the logits, and ask `class_chances` or `accuracy_draws`)",
}

Rule = Callable[[Ledger, Any, list[Any], str], list[Any]]
RULES: dict[str, Rule] = {}


def register(primitive: str, rule: Rule) -> None:
    """Teaches `predict` an operation.

        def largest(ledger, eqn, operands, where):           # to first order: that of the largest mean
            (x,) = operands                                  # a `Random`: `x.mean`, `ledger.covariance(x)`
            at_mean = lambda v: jnp.max(v, eqn.params["axes"])
            mean, slope = jax.linearize(at_mean, x.mean)     # arrays lead with a batch of one example
            return [ledger.derive(mean, [x], [slope], where)]

        register("reduce_max", largest)

    Args:
      primitive: the name that errors give, as in a jaxpr; a rule comes before what is built in.
      rule: `(ledger, equation, operands, where) -> results`, a list of one for each of the equation's. Operands are
        arrays, or `Random` values. Results are arrays, or what `ledger.derive(mean, parents, maps, where)` returns,
        for what is linear in its parents, or `ledger.add(mean, own, others, where)`: the covariance `own` is
        `[*shape, *shape]`, and `others` has, for the number of every live value z, the block `[*z, *shape]`.

    Raises:
      TypeError: for a rule that is no function.
    """
    if not isinstance(primitive, str) or not callable(rule):
        raise TypeError(f"register: expected a primitive's name and a function; got {primitive!r}, {rule!r}")
    RULES[primitive] = rule


def linear(ledger: Ledger, eqn: Any, operands: list[Any], where: str) -> list[Any]:
    """Any operation that is linear in its `Random` operands: each result by the operation's own derivative."""
    places = [i for i, v in enumerate(operands) if isinstance(v, Random)]
    parents = [operands[i] for i in places]
    numbers = [v.mean if isinstance(v, Random) else v for v in operands]
    means = jx.bind(eqn, numbers)

    def share(place: int, out: int) -> Callable[[Array], Array]:
        def one(x: Array) -> Array:
            return jx.bind(eqn, [x if i == place else v for i, v in enumerate(numbers)])[out]

        return lambda v: jax.jvp(one, (jnp.zeros_like(v),), (v,))[1]

    follow = functools.partial(_axis_behind, eqn)
    return [
        ledger.derive(mean, parents, [share(i, out) for i in places], where, follow) for out, mean in enumerate(means)
    ]


def _axis_behind(eqn: Any, axis: int) -> int | None:
    """Where an operation of one operand takes an axis whose slices it does not mix; None where it may."""
    name, of = eqn.primitive.name, eqn.params
    if name in ("neg", "copy", "copy_p", "convert_element_type"):
        return axis
    if name == "transpose":
        return of["permutation"].index(axis)
    if name == "reduce_sum" and axis not in of["axes"]:
        return axis - sum(a < axis for a in of["axes"])
    if name == "reduce_window_sum":
        still = [of[k][axis] == 1 for k in ("window_dimensions", "window_strides", "base_dilation", "window_dilation")]
        return axis if all(still) and tuple(of["padding"][axis]) == (0, 0) else None
    return None


def is_linear(eqn: Any, operands: list[Any]) -> bool:
    """Whether `linear` holds."""
    name = eqn.primitive.name
    places = [i for i, v in enumerate(operands) if isinstance(v, Random)]
    if name in BILINEAR:
        return len(places) == 1
    return name in LINEAR and not any(i in LINEAR[name] for i in places)


def applied(ledger: Ledger, eqn: Any, values: list[Any], where: str) -> list[Any]:
    """One equation with values that vary; raises for an operation that nobody has taught."""
    name = eqn.primitive.name
    both, shape = all(isinstance(v, Random | Chain) for v in values), tuple(eqn.outvars[0].aval.shape)
    if name == "div" and both and name not in RULES:
        return [quotient(ledger, values[0], values[1], shape, where)]
    operands = [settle(ledger, v, where) if isinstance(v, Random | Chain) else v for v in values]
    if name in RULES:
        try:
            found = RULES[name](ledger, eqn, operands, where)
        except Exception as error:
            error.add_note(f"in the rule of {name}; {where}")
            raise
        if not isinstance(found, list | tuple):
            raise TypeError(f"{name}: its rule returned {type(found).__name__}; expected a list of results")
        return list(found)
    if is_linear(eqn, operands):
        return linear(ledger, eqn, operands, where)
    if name == "mul":
        return [product(ledger, operands[0], operands[1], shape, where)]
    if name == "dot_general" and both:
        return [contraction(ledger, eqn, operands[0], operands[1], where)]
    raise TypeError(
        f"{where}: {name} of values that vary has no rule{PARTS_OF.get(name, '')}; use `linearised`, which needs none, "
        f"or teach it: `anaxon.interpret.moments.register({name!r}, rule)`"
    )
