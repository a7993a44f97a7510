"""In-memory pruning: the high bits of keys stand on crossbars, a comparator under every column prunes, survivors are
recomputed digitally (SPRINT: Yazdanbakhsh et al., MICRO 2022, arXiv 2209.00606).

A key is one column of `head size` cells; a query's high bits drive the rows; `kept = column >= threshold`, one bit, no
ADC. What the low bits, the cells and the comparator get wrong loses tokens (false negatives) or fetches too many (false
positives, which the exact recomputation drops). All of it is the ordinary plan, chip and read of anaxon:

    plan, params = in_memory.placed(hardware, keys, form)      # keys: integers [keys, head]
    chip = program(key, plan, params)
    seen = in_memory.seen(read_key, chip, queries, form)       # [queries, keys], what the comparators see
    kept = in_memory.recomputed(exact, seen >= threshold, threshold)

Scores and thresholds are in units of the exact integer product `queries @ keys.T` throughout. Where bit slices hold a
key, their currents are weighed and added (current mirrors) in front of the one comparator. One head at a time; `vmap`
over heads with a key for each. A key whose head is taller than the array would need the sum of several columns, which
one comparator cannot make: an error.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax

from anaxon.adc_ranges import changed
from anaxon.check import choice, integer, numbers
from anaxon.hardware import Hardware
from anaxon.interpret.analog import analog
from anaxon.interpret.moments import predict
from anaxon.interpret.place import place
from anaxon.interpret.plan import Chip, Plan
from anaxon.numerics import contract
from anaxon.prng import fold_name, normal
from anaxon.types import Array, ArrayLike, pytree, static

Rounding = Literal["round", "floor", "zero"]
PATH = "keys"  # of the placed weight
EXACT_IN_FLOAT32 = 2**24
HALVINGS = 60

# Energies of SPRINT's 65 nm ReRAM (arXiv 2209.00606) [J].
JOULES_PER_MAC, JOULES_PER_BIT_READ, JOULES_PER_BIT_WRITTEN = 0.10e-12, 3.1e-12, 24.4e-12


@pytree
class HighBits:
    """Which bits of quantised operands prune.

    Attributes:
      bits: of a quantised query or key, with its sign.
      kept: of them on the array and through the DAC.
      rounding: "round" to nearest (half to even), "floor" drops bits of two's complement, "zero" bits of a magnitude.

    The values are those of two's complement, `-2**(kept-1)` to `2**(kept-1) - 1`: 16 levels of a 4-bit cell. What
    rounds up to `2**(kept-1)` is limited to the level below.
    """

    bits: int = static(default=8)
    kept: int = static(default=4)
    rounding: Rounding = static(default="round")

    def __post_init__(self) -> None:
        integer("HighBits.bits", self.bits, 2, 12)
        integer("HighBits.kept", self.kept, 2, self.bits)
        choice("HighBits.rounding", self.rounding, get_args(Rounding))

    @property
    def step(self) -> int:
        """What the lowest kept bit is worth."""
        return 2 ** (self.bits - self.kept)

    @property
    def full(self) -> int:
        """Magnitude of the lowest kept value, in steps, one above the highest; also what drives a row fully."""
        return 2 ** (self.kept - 1)

    @property
    def column_unit(self) -> float:
        """The score that one cell fully on brings at full input."""
        return float((self.full * self.step) ** 2)

    def of(self, x: Array) -> Array:
        """The high bits of integers, in steps from `-full` to `full - 1`; float32, the shape of `x`."""
        cut = {"round": jnp.round, "floor": jnp.floor, "zero": jnp.trunc}[self.rounding]
        return jnp.clip(cut(jnp.asarray(x).astype(jnp.float32) / self.step), -self.full, self.full - 1)


@pytree
class Comparator:
    """The 1-bit converter under a column; errors in column units, 1 = one cell fully on at full input.

    Attributes:
      noise: standard deviation of its input-referred noise, fresh at every decision.
      offset_sigma: standard deviation of its offset, drawn once per chip and column.
    """

    noise: float | Array = 0.0
    offset_sigma: float | Array = 0.0

    def __post_init__(self) -> None:
        numbers(self, ("noise", "offset_sigma"), "a standard deviation >= 0, column units", low=0.0)


@pytree
class Error:
    """How seen scores follow exact ones: `seen = slope * exact + offset + sigma * (about normal)`."""

    slope: Array
    offset: Array
    sigma: Array


def scores(params: dict[str, Array], queries: Array) -> Array:
    """The function that is placed: `[queries, head]` times the keys `[keys, head]`, `[queries, keys]`."""
    return queries @ params[PATH].T


def placed(hardware: Hardware, keys: Array, form: HighBits) -> tuple[Plan, dict[str, Array]]:
    """The plan of a key matrix's high bits, and the parameters to program.

    Cells hold the integers as they are, 2**kept levels of a signed weight: full scale is `2**(kept-1)`, or the largest
    level that `weight_bits` leave, where values beyond are limited. Differential slices of `weight_bits = kept` have
    `+-(2**(kept-1) - 1)`, one level less; a bit more holds the lowest level, too.

    Args:
      hardware: without an ADC; its rows hold a head, its DAC the kept bits.
      keys: integers `[keys, head]`.
      form: which bits.

    Raises:
      ValueError: for hardware that converts before the comparator, too few rows or bits, or keys of other rank.
    """
    if jnp.ndim(keys) != 2:
        raise ValueError(f"keys: expected [keys, head], one head at a time (vmap over more); got {jnp.shape(keys)}")
    _check(hardware, keys.shape[1], form)
    top = form.full if hardware.array.weight_bits is None else min(form.full, hardware.array.max_level)
    high = jnp.clip(form.of(keys), -top, top)
    params = {PATH: high}
    plan = place(scores, hardware)(params, jax.ShapeDtypeStruct((1, keys.shape[1]), jnp.float32))
    full = form.full if hardware.array.weight_bits is None else hardware.array.max_level
    window = jnp.maximum(jnp.max(jnp.abs(high)), 1.0) / full
    return changed(plan, {PATH: {"window": window, "input": jnp.float32(form.full)}}), params


def _check(hardware: Hardware, head: int, form: HighBits) -> None:
    array, dac = hardware.array, hardware.dac
    if hardware.adc is not None or hardware.activation is not None:
        raise ValueError(
            f"Hardware.adc: a comparator decides on the column itself; expected no ADC and no ramp; got {hardware!r}"
        )
    if head > array.rows:
        raise ValueError(
            f"Array.rows: a comparator sees one column; a head of {head} needs as many rows; got {array.rows}"
        )
    if array.scale != "tensor" or array.clip_sigma is not None:
        raise ValueError(
            f"Array.scale: one threshold needs one scale and no clipping; got {array.scale!r}, {array.clip_sigma}"
        )
    if array.weight_bits is not None and array.weight_bits < form.kept:
        raise ValueError(f"Array.weight_bits: expected at least the {form.kept} kept bits; got {array.weight_bits}")
    if dac is not None and dac.bits < form.kept:
        raise ValueError(f"DAC.bits: expected at least the {form.kept} kept bits; got {dac.bits}")
    if dac is not None and dac.encoding == "bit-serial":
        raise ValueError("DAC.encoding: a comparator cannot add the bits' reads; got 'bit-serial'")


def seen(read_key: Array, chip: Chip, queries: Array, form: HighBits, comparator: Comparator | None = None) -> Array:
    """Scores as the comparators see them, `[queries, keys]`, in units of the exact integer score.

    Args:
      read_key: of read noise and of the comparators' noise.
      chip: of a plan from `placed`.
      queries: integers `[queries, head]`.
      form: as of the plan.
      comparator: its errors; None for none.
    """
    z = _read(read_key, chip, form.of(queries)) * form.step**2
    if comparator is None:
        return z
    offset = comparator.offset_sigma * normal(fold_name(chip.key, "comparator offset"), z.shape[1:])
    noise = comparator.noise * normal(fold_name(read_key, "comparator noise"), z.shape)
    return z + form.column_unit * (offset + noise)


@jax.jit  # operation by operation, a read outside any trace would compile dozens of programs
def _read(read_key: Array, chip: Chip, high: Array) -> Array:
    return analog(scores)(read_key, chip, high)


def exact_scores(queries: Array, keys: Array, bits: int) -> Array:
    """The digital integer products `[queries, keys]` of `bits`-bit operands: float32 where that holds them, or int32.

    Raises:
      ValueError: for sums beyond int32.
    """
    largest = keys.shape[-1] * 4 ** (bits - 1)
    if largest >= 2**31:
        raise ValueError(f"bits: sums of {keys.shape[-1]} products of {bits} bits exceed 31 bits; expected fewer bits")
    dimensions = (((queries.ndim - 1,), (keys.ndim - 1,)), ((), ()))
    if largest <= EXACT_IN_FLOAT32:
        return contract(jnp.asarray(queries, jnp.float32), jnp.asarray(keys, jnp.float32), dimensions)
    left, right = jnp.asarray(queries).astype(jnp.int32), jnp.asarray(keys).astype(jnp.int32)
    return lax.dot_general(left, right, dimensions, preferred_element_type=jnp.int32)


def recomputed(exact: Array, kept: Array, threshold: ArrayLike) -> Array:
    """What is left once survivors are recomputed digitally: false positives are dropped, false negatives stay lost."""
    return kept & (exact >= threshold)


def wrong(exact_kept: Array, kept: Array) -> dict[str, Array]:
    """Shares of pairs, over all axes: `false_negative` of the exactly kept ones that are lost, `false_positive` of the
    kept ones that are not exactly kept, and `kept` of all. 0 where there are none.
    """
    share = lambda a, b: jnp.sum(a) / jnp.maximum(jnp.sum(b), 1)  # noqa: E731
    return {
        "false_negative": share(exact_kept & ~kept, exact_kept),
        "false_positive": share(kept & ~exact_kept, kept),
        "kept": jnp.mean(kept),
    }


def predicted_error(
    plan: Plan, params: dict[str, Array], queries: Array, keys: Array, form: HighBits, comparator: Comparator | None
) -> Error:
    """What is seen against exact scores, without sampling a chip: low bits, I-V curve, cells, reads, comparators.

    The means over chips (`predict`) hold what is systematic, dropped bits included; their line over the exact scores is
    the slope and offset, what is left of them and the predicted variances are sigma.

    Args:
      plan, params: from `placed`.
      queries, keys: integers of some calibration data, `[queries, head]` (few: a covariance of all keys each) and the
        keys that were placed.
      form: as of the plan.
      comparator: as of `seen`.
    """
    mean, covariance = predict(scores)(plan, params, form.of(queries))
    variance = jnp.diagonal(covariance, axis1=1, axis2=2) * form.step**4
    x = exact_scores(queries, keys, form.bits).astype(jnp.float32)
    y = mean * form.step**2
    dx, dy = x - jnp.mean(x), y - jnp.mean(y)
    slope = jnp.sum(dx * dy) / jnp.maximum(jnp.sum(dx**2), 1e-30)
    total = jnp.mean((dy - slope * dx) ** 2) + jnp.mean(variance)
    if comparator is not None:
        total += form.column_unit**2 * (jnp.square(comparator.noise) + jnp.square(comparator.offset_sigma))
    return Error(slope=slope, offset=jnp.mean(y) - slope * jnp.mean(x), sigma=jnp.sqrt(total))


def guard_band(error: Error, exact: Array, threshold: ArrayLike, target: float) -> Array:
    """kappa: by how many sigma the comparators' threshold must lie lower for a false-negative rate.

    A kept score `x` is lost with probability `Phi(slope (threshold - x) / sigma - kappa)`; the mean over the scores of
    calibration data that are kept is brought to the target by bisection.

    Args:
      error: from `predicted_error`.
      exact: exact scores of calibration data, any shape.
      threshold: in their units.
      target: share of them that may be lost, in (0, 1).

    Raises:
      ValueError: for a target out of range.
    """
    if not 0 < target < 1:
        raise ValueError(f"target: expected a false-negative rate in (0, 1); got {target}")
    kept = exact >= threshold
    margin = error.slope * (threshold - exact) / jnp.maximum(error.sigma, 1e-30)
    count = jnp.maximum(jnp.sum(kept), 1)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        lost = jnp.sum(jnp.where(kept, jax.scipy.stats.norm.cdf(margin - middle), 0.0)) / count
        return jnp.where(lost > target, middle, low), jnp.where(lost > target, high, middle)

    return lax.fori_loop(0, HALVINGS, halve, (jnp.float32(-10.0), jnp.float32(10.0)))[1]


def guarded(error: Error, threshold: ArrayLike, kappa: ArrayLike) -> Array:
    """The comparators' threshold: where an exact score at `threshold` is seen, less a guard band of kappa sigma."""
    return error.slope * threshold + error.offset - kappa * error.sigma


def locality(kept: Array) -> dict[str, Array]:
    """Of adjacent queries' kept sets `[..., queries, keys]`: `new`, keys to fetch per query over all keys (pruned
    before and kept now), and `overlap`, the share of a query's kept keys that are there from the query before.
    """
    before, now = kept[..., :-1, :], kept[..., 1:, :]
    reused = jnp.sum(before & now) / jnp.maximum(jnp.sum(now), 1)
    return {"new": jnp.mean(now & ~before), "overlap": reused}


def traffic(kept: Array, head: int, form: HighBits, value_bits: int = 8) -> dict[str, Array]:
    """First-order bytes and joules of one query, beside fetching every key and value for it.

    Keys' high bits are fetched by a transposed read, low bits and values from ordinary ReRAM; a key is fetched when the
    query before had it pruned (the first query fetches all it keeps). Writes are shared out among the queries.

    Args:
      kept: `[queries, keys]`, of the comparators.
      head: cells of a key.
      form: which bits.
      value_bits: of a value.

    Returns:
      `bytes`, `bytes_dense`, `pruning` [J] (products in memory), `reads` [J], `reads_dense` [J], `writes` [J] and
      `digital_macs`, of the recomputed scores.
    """
    queries, keys = kept.shape
    first = jnp.concatenate([jnp.zeros((1, keys), bool), kept[:-1]])
    fetched = jnp.sum(kept & ~first) / queries * head * (form.bits + value_bits)
    dense = jnp.float32(keys * head * (form.bits + value_bits))
    return {
        "bytes": (fetched + keys) / 8,
        "bytes_dense": dense / 8,
        "pruning": jnp.float32(keys * head * JOULES_PER_MAC),
        "reads": fetched * JOULES_PER_BIT_READ,
        "reads_dense": dense * JOULES_PER_BIT_READ,
        "writes": dense / queries * JOULES_PER_BIT_WRITTEN,
        "digital_macs": jnp.sum(kept) / queries * head,
    }
