"""A product with a weight in one normal form: operand `[G, M, N]` times weight `[G, N, C]`.

`G` stack (batch dimensions or convolution groups), `M` input vectors, `N` rows (contracted), `C` columns. A
convolution's kernel is unrolled to rows (input channel, then window), one input vector per output position.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from anaxon.types import Array

PRODUCTS = ("dot_general", "conv_general_dilated")


@dataclass(frozen=True)
class Product:
    """The static description of one product; axes are those of the weight as it stands in the product.

    Attributes:
      stack: weight axes that run in parallel with the operand's (never mixed).
      rows: contracted weight axes, in the order of the operand's.
      cols: the other weight axes.
      groups: convolution groups; the column axis is split into them.
      column_axis: the output axis that holds the columns, if one does.
    """

    stack: tuple[int, ...]
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    groups: int
    weight_shape: tuple[int, ...]
    operand_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    column_axis: int | None

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """`(G, M, N, C)`."""
        size = lambda axes: prod(self.weight_shape[a] for a in axes)  # noqa: E731
        g = size(self.stack) * self.groups
        n, c = size(self.rows), size(self.cols) // self.groups
        return g, prod(self.out_shape) // max(1, g * c), n, c

    def weight(self, w: Array) -> Array:
        """`[..., *weight]` to `[..., G, N, C]`; leading axes (polarity, slice) stay."""
        lead = w.ndim - len(self.weight_shape)
        order = (*self.stack, *self.rows, *self.cols)
        w = jnp.transpose(w, (*range(lead), *(lead + a for a in order)))
        g, _, n, c = self.sizes
        if self.groups == 1:
            return w.reshape(*w.shape[:lead], g, n, c)
        return jnp.moveaxis(w.reshape(*w.shape[:lead], n, g, c), -2, -3)

    @property
    def vector_axes(self) -> tuple[int, ...]:
        """The output axes that number input vectors; the others are stack and columns."""
        raise NotImplementedError

    @property
    def uses_all(self) -> bool:
        """Whether `operand` holds every number that it is given."""
        return True

    def operand(self, x: Array) -> Array:
        """The operand as `[G, M, N]`, with zeros where it is padded."""
        raise NotImplementedError

    def assemble(self, y: Array) -> Array:
        """`[G, M, C]` as the product's own output."""
        raise NotImplementedError


@dataclass(frozen=True)
class Dot(Product):
    """`dot_general` with the weight on either side; `free` are the operand's free axes."""

    x_stack: tuple[int, ...] = ()
    x_rows: tuple[int, ...] = ()
    x_free: tuple[int, ...] = ()
    weight_is_left: bool = False

    @property
    def vector_axes(self) -> tuple[int, ...]:
        """Behind the stack axes, and behind the columns if the weight is the left operand."""
        first = len(self.stack) + (len(self.cols) if self.weight_is_left else 0)
        return tuple(range(first, first + len(self.x_free)))

    def operand(self, x: Array) -> Array:
        """Batch, free, contracted."""
        g, _, n, _ = self.sizes
        return jnp.transpose(x, (*self.x_stack, *self.x_free, *self.x_rows)).reshape(g, -1, n)

    def assemble(self, y: Array) -> Array:
        """Batch, then left free, then right free axes: `dot_general`'s order."""
        stack = [self.weight_shape[a] for a in self.stack]
        free = [self.operand_shape[a] for a in self.x_free]
        cols = [self.weight_shape[a] for a in self.cols]
        y = y.reshape(*stack, *free, *cols)
        if not self.weight_is_left:
            return y
        b, f = len(stack), len(free)
        return jnp.transpose(y, (*range(b), *range(b + f, y.ndim), *range(b, b + f)))


@dataclass(frozen=True)
class Conv(Product):
    """`conv_general_dilated` with the weight as kernel."""

    params: Any = None

    @property
    def vector_axes(self) -> tuple[int, ...]:
        """Batch and positions."""
        batch, _, *positions = self.params["dimension_numbers"].out_spec
        return (batch, *positions)

    @property
    def uses_all(self) -> bool:
        """Where windows follow each other without gaps, and no edge is cut."""
        p = self.params
        close = all(s == 1 for s in (*p["window_strides"], *p["rhs_dilation"]))
        return close and all(edge >= 0 for pair in p["padding"] for edge in pair)

    def operand(self, x: Array) -> Array:
        """Windows of the input: `[N * positions, channels * window]`, split into groups."""
        p, numbers = self.params, self.params["dimension_numbers"]
        x = jnp.transpose(x, numbers.lhs_spec)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        window = [self.weight_shape[a] for a in numbers.rhs_spec[2:]]
        edges = [
            (low, high, dilation - 1) for (low, high), dilation in zip(p["padding"], p["lhs_dilation"], strict=True)
        ]
        x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, 0, 0), *edges))
        for i, (size, stride, dilation) in enumerate(zip(window, p["window_strides"], p["rhs_dilation"], strict=True)):
            x = windows(x, 2 + i, size, stride, dilation)
        g, _, n, _ = self.sizes
        spatial = len(window)
        batch, channels, *positions = x.shape[: 2 + spatial]
        x = x.reshape(batch, g, channels // g, *positions, -1)
        order = (1, 0, *range(3, 3 + spatial), 2, 3 + spatial)
        return jnp.transpose(x, order).reshape(g, -1, n)

    def assemble(self, y: Array) -> Array:
        """Back to (batch, channels, positions) and from there to the output's own layout."""
        out_spec = self.params["dimension_numbers"].out_spec
        ncs = [self.out_shape[a] for a in out_spec]
        g, _, _, c = self.sizes
        y = y.reshape(g, ncs[0], *ncs[2:], c)
        y = jnp.moveaxis(y, (0, -1), (1, 2)).reshape(ncs)
        return jnp.transpose(y, tuple(np.argsort(out_spec)))


def windows(x: Array, axis: int, size: int, stride: int, dilation: int) -> Array:
    """Every window along an axis: the axis becomes their positions, a new last axis their elements.

    By gathering: a convolution with an identity kernel is slow, and rounds where units for half precision do it.
    """
    positions = (x.shape[axis] - (size - 1) * dilation - 1) // stride + 1
    first = np.arange(size) * dilation
    last = first + (positions - 1) * stride + 1
    parts = [lax.slice_in_dim(x, int(a), int(b), stride, axis) for a, b in zip(first, last, strict=True)]
    return jnp.stack(parts, axis=-1)


@dataclass(frozen=True)
class Row(Product):
    """A weight on a row driven by the constant 1, added to an output that it broadcasts to: a bias row.

    One input vector per output that shares the row's columns: each is a read of its own.
    """

    @property
    def vector_axes(self) -> tuple[int, ...]:
        """Where the row is read again."""
        return tuple(a for a, n in enumerate(self.out_shape) if self.weight_shape[a] != n)

    def operand(self, x: Array) -> Array:
        """The constant, once per vector."""
        return jnp.broadcast_to(x, (1, self.sizes[1], 1))

    def assemble(self, y: Array) -> Array:
        """Vectors and columns back in the output's order."""
        order = (*self.vector_axes, *(a for a in range(len(self.out_shape)) if a not in self.vector_axes))
        return jnp.transpose(y.reshape([self.out_shape[a] for a in order]), tuple(np.argsort(order)))


def row_of(weight_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Row:
    """A bias row of a weight that broadcasts to the output."""
    long = [a for a, n in enumerate(weight_shape) if n > 1]
    return Row(
        stack=(),
        rows=(),
        cols=tuple(range(len(weight_shape))),
        groups=1,
        weight_shape=weight_shape,
        operand_shape=(),
        out_shape=out_shape,
        column_axis=long[0] if len(long) == 1 else None,
    )


def product_of(eqn: Any, weight_position: int) -> Product:
    """The product of an equation whose operand at `weight_position` is the weight.

    Raises:
      TypeError: for a weight that is convolved (not the kernel) and for batch-grouped convolutions.
    """
    if eqn.primitive.name == "dot_general":
        return _dot(eqn, weight_position)
    if weight_position != 1:
        raise TypeError("conv_general_dilated: a placed weight must be the kernel; here it is the input")
    if eqn.params["batch_group_count"] != 1:
        raise TypeError("conv_general_dilated: batch_group_count must be 1 for a placed kernel")
    return _conv(eqn)


def _dot(eqn: Any, side: int) -> Dot:
    contract, batch = eqn.params["dimension_numbers"]
    w, x = eqn.invars[side].aval, eqn.invars[1 - side].aval
    rows, x_rows = tuple(contract[side]), tuple(contract[1 - side])
    stack, x_stack = tuple(batch[side]), tuple(batch[1 - side])
    cols = tuple(a for a in range(w.ndim) if a not in rows and a not in stack)
    free = tuple(a for a in range(x.ndim) if a not in x_rows and a not in x_stack)
    first = len(stack) if side == 0 else len(stack) + len(free)
    return Dot(
        stack=stack,
        rows=rows,
        cols=cols,
        groups=1,
        weight_shape=tuple(w.shape),
        operand_shape=tuple(x.shape),
        out_shape=tuple(eqn.outvars[0].aval.shape),
        column_axis=first if len(cols) == 1 else None,
        x_stack=x_stack,
        x_rows=x_rows,
        x_free=free,
        weight_is_left=side == 0,
    )


def _conv(eqn: Any) -> Conv:
    x, w = (v.aval for v in eqn.invars)
    numbers = eqn.params["dimension_numbers"]
    return Conv(
        stack=(),
        rows=tuple(numbers.rhs_spec[1:]),
        cols=(numbers.rhs_spec[0],),
        groups=eqn.params["feature_group_count"],
        weight_shape=tuple(w.shape),
        operand_shape=tuple(x.shape),
        out_shape=tuple(eqn.outvars[0].aval.shape),
        column_axis=numbers.out_spec[1] if eqn.params["feature_group_count"] == 1 else None,
        params=eqn.params,
    )


def restrict(product: Product, operand: Array, axis: int, start: int, size: int) -> tuple[Array, Product]:
    """The part of a `Dot` that belongs to `start:start+size` of one weight axis: a row range also cuts the operand.

    Raises:
      TypeError: for a convolution, whose concatenated kernels are not supported.
    """
    if not isinstance(product, Dot):
        raise TypeError("concatenated weights can be placed in dot_general only, not as convolution kernels")
    weight_shape = resized(product.weight_shape, axis, size)
    if axis in product.rows:
        x_axis = product.x_rows[product.rows.index(axis)]
        operand = lax.slice_in_dim(operand, start, start + size, axis=x_axis)
        shape = resized(product.operand_shape, x_axis, size)
        return operand, replace(product, weight_shape=weight_shape, operand_shape=shape)
    out_shape = product.out_shape
    if product.column_axis is not None:
        out_shape = resized(out_shape, product.column_axis, size)
    return operand, replace(product, weight_shape=weight_shape, out_shape=out_shape)


def resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """A shape with another size along one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])
