"""Pytree dataclasses, the one way anaxon declares its state, parameters and results."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

Array = jax.Array
ArrayLike = jax.typing.ArrayLike
PyTree = Any
T = TypeVar("T")


class AnaxonWarning(UserWarning):
    """A result that is still right but not what the caller may expect."""


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the pytree's structure (it changes shapes or code), not a leaf."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(static, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """A frozen keyword-only dataclass registered as a pytree: fields are leaves unless declared `static()`.

    `__post_init__` runs at construction and not when JAX rebuilds a value: gradients, axes and shapes travel in the
    same structure, and a negative gradient is no invalid sigma. (`register_dataclass` calls the constructor.)
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True, repr="__repr__" not in cls.__dict__)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    meta = tuple(f.name for f in fields if f.metadata.get("static"))
    data = tuple(f.name for f in fields if not f.metadata.get("static"))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(obj: T) -> tuple[tuple, tuple]:
        return tuple(getattr(obj, n) for n in data), tuple(getattr(obj, n) for n in meta)

    def flatten_with_keys(obj: T) -> tuple[tuple, tuple]:
        leaves, aux = flatten(obj)
        return tuple(zip(keys, leaves, strict=True)), aux

    def unflatten(aux: tuple, leaves: Any) -> T:
        obj = object.__new__(cls)
        obj.__dict__.update(zip(meta, aux, strict=True))
        obj.__dict__.update(zip(data, leaves, strict=True))
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def replace(obj: T, **changes: Any) -> T:
    """A copy of a dataclass with some fields changed; validation runs again."""
    return dataclasses.replace(obj, **changes)  # type: ignore[type-var]


def is_concrete(*values: Any) -> bool:
    """Whether every value is known now, so that it may be checked (tracers and shapes are not)."""
    return not any(isinstance(v, jax.core.Tracer | jax.ShapeDtypeStruct) or type(v) is object for v in values)
