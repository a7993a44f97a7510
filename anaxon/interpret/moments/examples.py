"""What is checked before examples are followed one by one, whichever way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anaxon.interpret import paths
from anaxon.interpret.moments.expected import check_apart, check_followed
from anaxon.interpret.plan import Plan
from anaxon.interpret.program import check_weights
from anaxon.types import PyTree, is_concrete


def checked(fn: Callable[..., Any], found: Callable[[Plan, PyTree, tuple[PyTree, ...]], Any]) -> Callable[..., Any]:
    """`found(plan, params, inputs)` as a function of `(plan, params, *inputs)` that says what it cannot follow.

    Raises:
      ValueError: as `checks`.
    """
    check = checks(fn)

    def run(plan: Plan, params: PyTree, *inputs: PyTree) -> Any:
        check(plan, params, inputs)
        return found(plan, params, inputs)

    return run


def side_by_side(one: Callable[[PyTree], PyTree], rows: PyTree, at_once: int) -> PyTree:
    """`one` of every row of the leading axis, in a loop over batches of so many; on a CPU one after another.

    There, what `blocks.held` keeps apart would be fused again behind a batched branch, ten times as slow (which a
    caller's own `vmap` is, too), and batched backward passes came out wrong: XLA's CPU backend (jaxlib 0.10.2) left
    sums of squares behind a convolution's reads uninitialised.
    """
    count = jnp.shape(jax.tree.leaves(rows)[0])[0]
    if at_once == 1 or jax.default_backend() == "cpu":
        return jax.lax.map(one, rows)
    loops = max(1, -(-count // at_once))
    size = -(-count // loops)
    # The last batch repeats its last row: `lax.map` would compile the function once more for what is left.
    which = jnp.minimum(jnp.arange(loops * size), count - 1).reshape(loops, size)
    found = jax.lax.map(jax.vmap(one), jax.tree.map(lambda x: jnp.asarray(x)[which], rows))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)


def checks(fn: Callable[..., Any]) -> Callable[[Plan, PyTree, tuple[PyTree, ...]], None]:
    """What is checked of `(plan, params, inputs)`.

    Raises:
      ValueError: for parameters that are not the plan's, hardware that is not followed, inputs without a leading axis
        of examples or of different lengths, examples that mix, and numbers that are not finite where they are known
        (not under a caller's `jit`: there NaN comes out as NaN).
    """
    digital = jax.jit(fn)

    def check(plan: Plan, params: PyTree, inputs: tuple[PyTree, ...]) -> None:
        check_weights(plan, params)
        check_followed(plan)
        for name, leaf in zip(*paths.flatten(params)[:2], strict=True):
            _check_finite(name, leaf)
        check_inputs(inputs)
        check_apart(digital, params, inputs)

    return check


def check_inputs(inputs: tuple[PyTree, ...]) -> None:
    """Raises `ValueError` for inputs that do not lead with the same number of examples, or are not finite."""
    leaves = jax.tree_util.tree_flatten_with_path(inputs)[0]
    if not leaves:
        raise ValueError("inputs: expected at least one array with a leading axis of examples; got none")
    count: tuple[str, int] | None = None
    for path, leaf in leaves:
        name = "inputs" + jax.tree_util.keystr(path)
        if jnp.ndim(leaf) == 0:
            raise ValueError(f"{name}: expected a leading axis of examples; got a single number (`x[None]` adds one)")
        if jnp.shape(leaf)[0] == 0:
            raise ValueError(f"{name}: expected at least one example; got shape {jnp.shape(leaf)}")
        count = count or (name, jnp.shape(leaf)[0])
        if jnp.shape(leaf)[0] != count[1]:
            raise ValueError(f"{name}: expected {count[1]} examples as in {count[0]}; got shape {jnp.shape(leaf)}")
        _check_finite(name, leaf)


def _check_finite(name: str, leaf: Any) -> None:
    """Where it is known."""
    if not is_concrete(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return
    with jax.ensure_compile_time_eval():
        if not bool(jnp.all(jnp.isfinite(leaf))):
            raise ValueError(f"{name}: expected finite numbers; got some that are not")
