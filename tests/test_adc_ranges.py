"""Ranges, gains and bits of ADCs that are chosen from data, against trying every choice."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import anaxon as ax
from anaxon import adc_ranges
from anaxon.interpret.program import cells_of, mapped
from anaxon.types import replace

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, COLS, BITS = 8, 4, 7
SIZES = (4, 6, 8)
# The first layer's inputs and weights have one sign: its columns are long, the second's short.
PARAMS = {
    "tall": jnp.asarray(RNG.uniform(0.2, 1, (16, 6)), jnp.float32),
    "small": jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32),
}
X = jnp.asarray(RNG.uniform(0, 1, (60, 16)), jnp.float32)


def net(p, x):
    return jnp.tanh(x @ p["tall"] - 5.0) @ p["small"]


def hardware(adc=None, device=None):
    array = ax.Array(rows=ROWS, cols=COLS, weight_bits=BITS)
    return ax.Hardware(device=device or ax.IdealDevice(), array=array, dac=ax.DAC(bits=6), adc=adc or ax.ADC.bits(3, 3))


def planned(adc=None, device=None):
    return ax.calibrate(net)(KEY, ax.place(net, hardware(adc, device))(PARAMS, X), PARAMS, X)


@cache
def sweeps():
    return adc_ranges.sweep_ranges(net, SIZES)(KEY, planned(), PARAMS, X)


@cache
def observer():
    return jax.jit(lambda plan: ax.observe(net)(KEY, ax.program(KEY, plan, PARAMS), mapped(plan, PARAMS), X)[1])


def errors(plan):
    return {path: float(stats.error) for path, stats in observer()(plan).items()}


def adc_energy(plan):
    return float(ax.cost(plan).parts.adc)


def bits_of(plan):
    return {s.path: plan.of(s).adc.total_bits for s in plan.sites}


def test_the_errors_of_a_sweep_are_those_of_building_every_converter():
    """The layers before have the plan's converters, so that every layer is tried at the inputs that it gets."""
    plan, found = planned(), sweeps()
    for path in PARAMS:
        for i, bits in enumerate(SIZES):
            for gain in (-2, 0, 3):
                limit = 4.0 * 2.0**gain
                adc = replace(plan.hardware[0].adc, full_scale=limit, step=limit / 2 ** (bits - 1))
                built = errors(adc_ranges.with_adcs(plan, {path: adc}))[path]
                tried = float(found[path].error[i, adc_ranges.GAINS.index(gain)])
                np.testing.assert_allclose(tried, built, rtol=1e-4, err_msg=f"{path} {bits} bits, gain {gain}")


def test_the_range_of_a_layer_is_the_best_of_all():
    plan = planned()
    chosen = adc_ranges.split_by_layer(plan, sweeps())
    assert bits_of(chosen) == bits_of(plan) == {"small": 6, "tall": 6}
    for path, i in ((p, plan.index(p)) for p in PARAMS):
        tried = {}
        for r in range(7):
            adc = ax.ADC.bits(r, 6 - r)
            tried[r] = errors(adc_ranges.with_adcs(plan, {path: adc}))[path]
        best = min(tried, key=lambda r: tried[r])
        assert float(chosen.ranges[i].column) == 2.0 ** (best - 1), tried
        assert sorted(tried.values())[1] > 1.01 * tried[best], "the choice matters"
    assert len({float(r.column) for r in chosen.ranges}) == 2, "one range would do for both layers"


def slow_columns(x, w):
    """`z [S, T, K]` of object arrays `[M, columns]`, written like the mapping."""
    level, _ = reference.levels(w, BITS, None)
    code, _ = reference.dac(x, 6)
    for s, (_, g) in enumerate(reference.pairs(level, BITS, 1)):
        for t, top in enumerate(range(0, w.shape[0], ROWS)):
            for k, left in enumerate(range(0, w.shape[1], COLS)):
                yield (s, t, k), code[:, top : top + ROWS] @ g[top : top + ROWS, left : left + COLS]


def test_the_gain_of_every_array_is_numpys_best():
    chosen = adc_ranges.gain_by_array(planned(), sweeps())
    column = np.asarray(chosen.ranges[chosen.index("tall")].column)
    assert column.shape == (6, 1, 2, 2)
    steps, seen = 2**5, set()
    for (s, t, k), z in slow_columns(X, PARAMS["tall"]):
        limits = [4.0 * 2.0**g for g in adc_ranges.GAINS]
        lost = [np.sum((reference.adc(z, limit, limit / steps) - z) ** 2) for limit in limits]
        assert column[s, 0, t, k] == limits[int(np.argmin(lost))]
        swept = sweeps()["tall"].arrays[SIZES.index(6), :, s, 0, t, k]
        np.testing.assert_allclose(swept, lost, rtol=1e-4, atol=1e-9)
        seen.add(column[s, 0, t, k])
    assert len(seen) > 1, "one gain would do for all arrays"


def test_gains_of_arrays_lose_less_than_a_range_of_the_layer():
    plan = planned()
    default, layer = errors(plan)["tall"], errors(adc_ranges.split_by_layer(plan, sweeps()))["tall"]
    assert errors(adc_ranges.gain_by_array(plan, sweeps()))["tall"] < layer < default


def squared(plan):
    return sum(error**2 for error in errors(plan).values())


def test_bits_go_where_they_help_within_the_energy_of_the_plan():
    """Uniform bits are one allocation among all that greedy steps could have taken."""
    plan, found = planned(), adc_ranges.sweep_ranges(net, tuple(range(2, 11)))(KEY, planned(), PARAMS, X)
    chosen = adc_ranges.allocate(plan, found)
    assert adc_energy(chosen) <= adc_energy(plan) * (1 + 1e-6)
    bits = bits_of(chosen)
    assert bits["small"] != bits["tall"]
    bill = ax.cost(plan)
    weight = {s.path: s.counts.linear_conversions for s in bill.sites}
    assert sum(weight[p] * b for p, b in bits.items()) <= sum(weight[p] * 6 for p in bits)
    by_range = adc_ranges.split_by_layer(plan, found)
    assert squared(chosen) < squared(by_range) < squared(plan)


def cheapest(found, plan):
    """All allocations that can be paid, and the least summed squared error among them."""
    table = {}
    for b in found["tall"].bits:
        adc = replace(plan.hardware[0].adc, total_bits=b)
        for site in ax.cost(adc_ranges.with_adcs(plan, dict.fromkeys(PARAMS, adc))).sites:
            table[site.path, b] = float(site.energy.adc)
    least = {(p, b): float(np.min(s.error[i])) ** 2 for p, s in found.items() for i, b in enumerate(s.bits)}
    budget = adc_energy(plan)
    paid = [
        (least["tall", a] + least["small", b], a, b)
        for a in found["tall"].bits
        for b in found["tall"].bits
        if table["tall", a] + table["small", b] <= budget * (1 + 1e-9)
    ]
    return min(paid)


def test_allocated_bits_are_within_one_of_the_best_of_all_allocations():
    plan = planned()
    found = adc_ranges.sweep_ranges(net, tuple(range(2, 11)))(KEY, plan, PARAMS, X)
    bits = bits_of(adc_ranges.allocate(plan, found))
    _, tall, small = cheapest(found, plan)
    assert abs(bits["tall"] - tall) <= 1 and abs(bits["small"] - small) <= 1


def sweep_of(*least, bits=SIZES):
    """A sweep whose smallest errors are these."""
    error = jnp.ones((len(bits), len(adc_ranges.GAINS))).at[:, 3].set(jnp.asarray(least))
    return adc_ranges.Sweep(error=error, arrays=jnp.zeros(()), bits=bits)


def test_bits_are_bought_across_a_resolution_that_does_not_help():
    plan = planned(ax.ADC.bits(4, 3))
    bits = bits_of(adc_ranges.allocate(plan, {"tall": sweep_of(0.5, 0.5, 0.5), "small": sweep_of(0.5, 0.6, 0.1)}))
    assert bits == {"tall": 4, "small": 8}


def test_no_allocation_costs_more_or_errs_more_than_the_plan():
    plan = planned()
    for _ in range(25):
        least = {p: np.sort(RNG.uniform(size=3))[::-1] for p in PARAMS}
        chosen = adc_ranges.allocate(plan, {p: sweep_of(*e) for p, e in least.items()})
        assert adc_energy(chosen) <= adc_energy(plan) * (1 + 1e-6)
        found = sum(least[p][SIZES.index(b)] ** 2 for p, b in bits_of(chosen).items())
        assert found <= sum(e[SIZES.index(6)] ** 2 for e in least.values()) * (1 + 1e-6)


def test_where_the_best_step_leaves_no_energy_for_a_better_pair_the_plan_stays():
    """7 bits for the small layer lower the error most per joule, and 6 for the tall one can then not be paid."""
    plan, bits = planned(), (4, 5, 6, 7)
    sweeps = {
        "tall": sweep_of(*np.sqrt([0.9, 0.9, 0, 0]), bits=bits),
        "small": sweep_of(*np.sqrt([1, 0.9, 0.6, 0]), bits=bits),
    }
    assert bits_of(adc_ranges.allocate(plan, sweeps)) == {"tall": 6, "small": 6}


def test_an_allocated_converter_is_that_of_its_bits():
    plan = planned()
    chosen = adc_ranges.allocate(plan, sweeps())
    for site in chosen.sites:
        adc, sweep = chosen.of(site).adc, sweeps()[site.path]
        assert adc.total_bits in SIZES and adc.steps == 2 ** (adc.total_bits - 1)
        assert adc.full_scale == 4.0 * 2.0 ** sweep.best(adc.total_bits) and adc.step == adc.full_scale / adc.steps


def test_a_budget_below_the_lowest_resolution_is_refused():
    with pytest.raises(ValueError, match=r"bits: the lowest resolution everywhere costs .* J, the plan .* J"):
        adc_ranges.allocate(planned(ax.ADC.bits(1, 1)), sweeps())


def test_another_converter_for_one_weight_leaves_the_rest_alone():
    plan = planned(device=ax.Gaussian(sigma=0.1))
    adc = ax.ADC.bits(5, 2)
    changed = adc_ranges.with_adcs(plan, {"tall": adc})
    tall, small = changed.sites[changed.index("tall")], changed.sites[changed.index("small")]
    assert changed.of(tall).adc == adc and changed.of(small) == plan.of(plan.sites[plan.index("small")])
    assert changed.of(tall).device == plan.hardware[0].device and changed.of(tall).array == plan.hardware[0].array
    assert [r.input for r in changed.ranges] == [r.input for r in plan.ranges]
    one, other = (cells_of(ax.program(KEY, p, PARAMS)) for p in (plan, changed))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_hardware_that_no_weight_is_left_on_is_dropped():
    plan, adc = planned(), ax.ADC.bits(5, 2)
    assert len(adc_ranges.with_adcs(plan, {"tall": adc}).hardware) == 2
    both = adc_ranges.with_adcs(plan, dict.fromkeys(PARAMS, adc))
    assert len(both.hardware) == 1 and both.hardware[0].adc == adc
    again = adc_ranges.with_adcs(adc_ranges.with_adcs(plan, {"tall": adc}), {"tall": plan.hardware[0].adc})
    assert [again.of(s).adc for s in again.sites] == [plan.of(s).adc for s in plan.sites]


def test_a_range_that_was_set_goes_with_its_converter():
    plan = adc_ranges.with_full_scales(planned(), {"tall": 2.0, "small": 1.0})
    changed = adc_ranges.with_adcs(plan, {"tall": ax.ADC.bits(5, 2)})
    assert changed.ranges[changed.index("tall")].column is None
    assert float(changed.ranges[changed.index("small")].column) == 1.0


def test_what_cannot_be_chosen_says_so():
    with pytest.raises(ValueError, match=r"small: its ADC's range follows the columns; expected ADC.bits"):
        adc_ranges.sweep_ranges(net)(KEY, planned(ax.ADC.uniform(bits=6)), PARAMS, X)
    with pytest.raises(KeyError, match="no weight 'huge' is placed"):
        adc_ranges.with_full_scales(planned(), {"huge": 1.0})
    with pytest.raises(KeyError, match="no weight 'huge' is placed"):
        adc_ranges.with_adcs(planned(), {"huge": ax.ADC.bits(4, 4)})
    with pytest.raises(ValueError, match=r"sweeps: they have tried ADCs of \(4, 6, 8\) bits; the plan's have 7"):
        adc_ranges.split_by_layer(planned(ax.ADC.bits(4, 3)), {"tall": sweeps()["tall"]})
    with pytest.raises(ValueError, match=r"bits: expected resolutions in ascending order; got \(8, 4\)"):
        adc_ranges.sweep_ranges(net, (8, 4))
    with pytest.raises(ValueError, match="bits: expected an integer from 1 to 16; got 8.0"):
        adc_ranges.sweep_ranges(net, (8.0,))
