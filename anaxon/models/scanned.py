"""Equal blocks as one loop, so that compiling a deep model takes no longer than compiling one of its blocks."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from anaxon.types import Array


class Scanned(nnx.Module):
    """Blocks of one structure, called one after another as `block(x, *inputs)`; in place of a list of them.

    Their variables are stacked, `[blocks, ...]`. `place` puts a stacked weight on arrays block by block, with one
    hardware and one calibrated range for all; reads draw fresh noise in every block.

    Raises:
      ValueError: for no blocks, or blocks of different structure or shapes.
    """

    def __init__(self, blocks: Sequence[nnx.Module]) -> None:
        if not blocks:
            raise ValueError("blocks: expected at least one; got none")
        graphs, states = zip(*(nnx.split(b) for b in blocks), strict=True)
        shapes = [jax.tree.map(jnp.shape, s) for s in states]
        for i, (graph, shape) in enumerate(zip(graphs, shapes, strict=True)):
            if graph != graphs[0] or shape != shapes[0]:
                raise ValueError(f"blocks: expected blocks of one structure; number {i} differs from the first")
        self.stack = nnx.merge(graphs[0], jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))

    def __call__(self, x: Array, *inputs: Any) -> Array:
        """What the last block returns; `inputs` are the same for every block."""
        graph, state = nnx.split(self.stack)

        def step(x: Array, state: Any) -> tuple[Array, None]:
            return nnx.merge(graph, state)(x, *inputs), None

        return lax.scan(step, x, state)[0]
