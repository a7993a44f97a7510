"""Names of parameters: the same for Flax NNX, Linen and Equinox, and across their versions.

Rules match these names and random bits are folded from them, so they must not depend on how a library wraps a leaf.
"""

from typing import Any

import jax

from anaxon.types import PyTree


def name_of(keypath: tuple[Any, ...]) -> str:
    """Attribute, dict and index names joined by `/`; a last `.value` and Linen's "params" collection dropped."""
    if len(keypath) > 1 and _is_wrapper(keypath[-1]):
        keypath = keypath[:-1]
    names = [_part(k) for k in keypath]
    if len(names) > 1 and names[0] == "params":
        names = names[1:]
    return "/".join(names) or "weight"


def _is_wrapper(key: Any) -> bool:
    return isinstance(key, jax.tree_util.GetAttrKey) and key.name in ("value", "raw_value")


def _part(key: Any) -> str:
    for field in ("name", "key", "idx"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)


def flatten(tree: PyTree, is_leaf: Any = None) -> tuple[list[str], list[Any], Any]:
    """Names, leaves and structure of a parameter tree.

    Raises:
      ValueError: if two leaves have the same name.
    """
    pairs, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    names = [name_of(p) for p, _ in pairs]
    twice = {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"params: two leaves are called {sorted(twice)[0]!r}; names must differ")
    return names, [leaf for _, leaf in pairs], treedef
