"""Counting passed thresholds: `passed(z) = sum_k [z >= V_k]`, what the counter behind a comparator holds.

The sum is the definition also where programming errors make steps equal or reverse them (Yang et al., Nat. Commun.
16:1136 (2025): the comparator gates a clock). Few thresholds are compared one by one. Many are searched for: on an
accelerator by bisection, on a CPU by a guide table, where z falls into one of many equal buckets, the table knows how
many thresholds lie in lower buckets, and only those in its own are compared. All are exact: the bucket is a monotone
function of z in floating point too, so a threshold in a lower bucket is below z whatever was rounded.
"""

import jax
import jax.numpy as jnp

from anaxon.types import Array, pytree

COMPARED = 48  # up to this many thresholds one comparison each is the fastest (measured: `anaxon bench --only ramp`)
BUCKETS = 2048


@pytree
class Guide:
    """A guide table over sorted thresholds.

    Attributes:
      low, density: of the buckets, which begin at the lowest threshold [z units, buckets per z unit].
      below: `[BUCKETS + 2]`, thresholds in lower buckets; bucket 0 holds all that is below the lowest threshold.
      first: `[BUCKETS + 2]`, the first threshold in or above each bucket.
      ordered: `[K + 1]`, all thresholds and NaN, which nothing passes.
      deepest: the most thresholds that share a bucket.
    """

    low: Array
    density: Array
    below: Array
    first: Array
    ordered: Array
    deepest: Array


def guide_of(thresholds: Array) -> Guide | None:
    """The table for thresholds `[K]`, or for many sets of them `[A, K]`; None where plain comparison is faster."""
    if thresholds.shape[-1] <= COMPARED:
        return None
    thresholds = jax.lax.stop_gradient(jnp.asarray(thresholds, jnp.float32))
    return _guide(thresholds) if thresholds.ndim == 1 else jax.vmap(_guide)(thresholds)


def _guide(thresholds: Array) -> Guide:
    ordered = jnp.sort(thresholds)
    low, width = ordered[0], ordered[-1] - ordered[0]
    density = jnp.where(width > 0, (BUCKETS - 1) / jnp.where(width > 0, width, 1.0), 0.0)
    holder = _bucket(low, density, ordered)
    below = jnp.searchsorted(holder, jnp.arange(BUCKETS + 2), side="left", method="sort").astype(jnp.int32)
    ordered = jnp.append(ordered, jnp.nan)  # which nothing passes, not even an infinite z
    deepest = jnp.max(jnp.diff(below, append=thresholds.size))
    return Guide(low=low, density=density, below=below, first=ordered[below], ordered=ordered, deepest=deepest)


def _bucket(low: Array, density: Array, z: Array) -> Array:
    """`0 ... BUCKETS + 1`, never decreasing in z; NaN is below everything, as no comparison with it holds."""
    place = jnp.minimum((z - low) * density, BUCKETS)
    return jnp.where(place >= 0, place, -1.0).astype(jnp.int32) + 1


def passed(thresholds: Array, guide: Guide | None, z: Array) -> Array:
    """How many of the thresholds `[K]` each z has passed, int32 of the shape of `z`."""
    z = jax.lax.stop_gradient(z)
    if guide is None:
        return _compared(jax.lax.stop_gradient(thresholds), z)
    if jax.default_backend() != "cpu":  # where loops of unknown length wait for the host
        count = jnp.searchsorted(guide.ordered[:-1], z, side="right", method="scan_unrolled").astype(jnp.int32)
        return jnp.where(z == z, count, 0)
    bucket = _bucket(guide.low, guide.density, z)
    count = _at(guide.below, bucket) + (z >= _at(guide.first, bucket))

    # Programming errors may crowd several thresholds into a bucket; ideal ones have it to themselves.
    def further(_: Array, count: Array) -> Array:
        return count + (z >= _at(guide.ordered, count))

    return jax.lax.fori_loop(1, guide.deepest, further, count)


def _compared(thresholds: Array, z: Array) -> Array:
    # A chain of additions stays one vectorised loop; a reduction over a new axis does not on a CPU.
    count = jnp.zeros(z.shape, jnp.int32)
    for k in range(thresholds.shape[-1]):
        count = count + (z >= thresholds[k])
    return count


def passed_by_row(thresholds: Array, row: Array, signs: Array, z: Array) -> tuple[Array, Array]:
    """Where values differ in their thresholds `[R, K]`: how many each z passed of its `row`, and their signs' sum.

    One threshold at a time for all values: no `[..., K]` tensor.
    """
    z, thresholds = jax.lax.stop_gradient((z, thresholds))

    def compare(carry: tuple[Array, Array], step: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        count, total = carry
        column, sign = step
        hit = z >= _at(column, row)
        return (count + hit, total + sign * hit), None

    zero = jnp.zeros(z.shape, jnp.int32)
    (count, total), _ = jax.lax.scan(compare, (zero, zero), (thresholds.T, signs))
    return count, total


def _at(table: Array, index: Array) -> Array:
    return table.at[index].get(mode="promise_in_bounds")
