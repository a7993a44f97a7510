"""Weights of another program's file for a Flax model, by a map of names.

A map says for each of our paths what the other side calls it and how its array becomes ours:
`{"blocks/0/up/kernel": ("encoder.layer.0.intermediate.dense.weight", transposed)}`. Nothing is guessed: what does not
match is an error that lists both sides.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from einops import EinopsError, rearrange
from flax import nnx

from anaxon.interpret.paths import flatten

Transform = Callable[[np.ndarray], np.ndarray]
Model = TypeVar("Model", bound=nnx.Module)
SHOWN = 12  # names a side in an error


class Source(NamedTuple):
    """The name of an array on the other side, and how it becomes ours."""

    name: str
    transform: Transform = np.asarray


NameMap = Mapping[str, Source]


def transposed(weight: np.ndarray) -> np.ndarray:
    """A kernel `[in, out]` from the weight `[out, in]` of a linear layer."""
    return weight.T


def to_heads(heads: int) -> Transform:
    """The kernel `[in, heads, head]` of queries, keys or values from `[heads * head, in]`, or their bias."""

    def transform(array: np.ndarray) -> np.ndarray:
        return rearrange(array, "(h d) -> h d" if array.ndim == 1 else "(h d) i -> i h d", h=heads)

    return transform


def from_heads(heads: int) -> Transform:
    """The output kernel `[heads, head, out]` of an attention from `[out, heads * head]`."""
    return lambda weight: rearrange(weight, "o (h d) -> h d o", h=heads)


def bert_names(layers: int, heads: int) -> dict[str, Source]:
    """The map from `encoder.Encoder` to files of the BERT family, as PyTorch names them there."""
    names = {f"embeddings/{n}/embedding": Source(f"embeddings.{theirs}_embeddings.weight")
             for n, theirs in (("word", "word"), ("position", "position"), ("type", "token_type"))}  # fmt: skip
    names |= _norm_names("embeddings/norm", "embeddings.LayerNorm")
    for i in range(layers):
        ours, theirs = f"blocks/{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            for ending, name in (("kernel", "weight"), ("bias", "bias")):
                source = Source(f"{theirs}.attention.self.{part}.{name}", to_heads(heads))
                names[f"{ours}/attention/{part}/{ending}"] = source
        names |= _linear_names(f"{ours}/attention/out", f"{theirs}.attention.output.dense", from_heads(heads))
        names |= _norm_names(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm")
        names |= _linear_names(f"{ours}/up", f"{theirs}.intermediate.dense", transposed)
        names |= _linear_names(f"{ours}/down", f"{theirs}.output.dense", transposed)
        names |= _norm_names(f"{ours}/norm", f"{theirs}.output.LayerNorm")
    return names


BERT_UNUSED = (r"pooler\..*", r".*position_ids")  # of such files: a head, and the numbers 0, 1, 2, ...


def read(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Raises:
      ModuleNotFoundError: without the package that reads it.
      FileNotFoundError: where there is no such file.
      ValueError: for a file that is none or is damaged.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ModuleNotFoundError:
        raise ModuleNotFoundError("weights are in safetensors files: pip install 'anaxon[attention]'",
                                  name="safetensors") from None  # fmt: skip
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file, or a damaged one ({error})") from error


def load(
    model: Model, arrays: Mapping[str, np.ndarray], names: NameMap, unused: Sequence[str] = (), keep: Sequence[str] = ()
) -> Model:
    """A copy of a model with the weights of `arrays`.

    Args:
      model: any NNX model; what is in its `nnx.Param`s is replaced.
      arrays: by their names, as `read` gives them.
      names: from our paths to `Source`s; shared weights have one path.
      unused: patterns (full matches) of the other side's names that nobody takes.
      keep: patterns of our paths that keep their values, such as a new head or thresholds.

    Raises:
      ValueError: for parameters without a source, arrays that nobody takes, sources that are not there, or a shape
        that does not fit. The sentences list both sides.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    paths, leaves, tree = flatten(params)
    ours = dict(zip(paths, leaves, strict=True))
    wanted = {path: leaf for path, leaf in ours.items() if not _matches(path, keep)}
    _check_names(set(wanted), names, arrays, unused)
    new = [_array(path, names[path], arrays, leaf) if path in wanted else leaf for path, leaf in ours.items()]
    return nnx.merge(graphdef, jax.tree_util.tree_unflatten(tree, new), rest, copy=True)


def _array(path: str, source: Source, arrays: Mapping[str, np.ndarray], leaf: jax.Array) -> jax.Array:
    theirs = arrays[source.name]
    try:
        array = source.transform(theirs)
    except (ValueError, EinopsError) as error:
        raise ValueError(f"{path}: {source.name} {theirs.shape} cannot be taken as it is") from error
    if array.shape != leaf.shape:
        raise ValueError(f"{path}: expected {leaf.shape}; {source.name} {theirs.shape} gives {array.shape}")
    return jnp.asarray(array, leaf.dtype)


def _check_names(
    wanted: set[str], names: NameMap, arrays: Mapping[str, np.ndarray], unused: Sequence[str]
) -> None:  # fmt: skip
    taken = {names[path].name for path in wanted & set(names)}
    spare = {name for name in arrays if name not in taken and not _matches(name, unused)}
    faults = [
        _listed("parameters of the model that the map does not name", wanted - set(names)),
        _listed("paths of the map that the model does not have", set(names) - wanted),
        _listed("sources of the map that the file does not have", taken - set(arrays)),
        _listed("arrays of the file that nothing takes", spare),
    ]
    if any(faults):
        raise ValueError("weights whose names do not match:" + "".join(faults))


def _listed(what: str, names: set[str]) -> str:
    if not names:
        return ""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"\n  {what} ({len(names)}): {', '.join(sorted(names)[:SHOWN])}{more}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _linear_names(ours: str, theirs: str, transform: Transform) -> dict[str, Source]:
    return {f"{ours}/kernel": Source(f"{theirs}.weight", transform), f"{ours}/bias": Source(f"{theirs}.bias")}


def _norm_names(ours: str, theirs: str) -> dict[str, Source]:
    return {f"{ours}/scale": Source(f"{theirs}.weight"), f"{ours}/bias": Source(f"{theirs}.bias")}
