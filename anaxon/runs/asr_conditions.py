"""The conditions of the positional-encoding study: the same network and cells behind other ADC ranges.

Conditions of the papers (Hilmes et al., arXiv 2606.13379) are by hand: `p/r` are precision and range bits. Ours choose
from data: a split for each layer, a gain for each array, one energy budget for all layers, the known mean taken off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from anaxon.adc_ranges import Sweep, allocate, gain_by_array, split_by_layer, sweep_ranges, with_adcs, with_full_scales
from anaxon.converter.adc import ADC
from anaxon.hardware import Hardware
from anaxon.interpret.plan import Plan
from anaxon.row_offsets import without_offsets
from anaxon.types import Array, PyTree, replace

DIGITAL, NO_LINEAR = "digital-encodings", "no-linear-pos"
LINEAR_POS = r".*linear_pos/kernel"
BUDGET_BITS = tuple(range(4, 13))  # resolutions that the budget may choose


class Sample(NamedTuple):
    """A network with inputs to choose from: `fn(params, *inputs)`, its digital weights, a key for the chip used.

    `sweeps` keeps what was measured on the default plan, for the next condition that asks for it.
    """

    fn: Callable
    params: PyTree
    key: Array
    inputs: tuple
    sweeps: dict[tuple[int, ...], dict[str, Sweep]]

    def sweep(self, plan: Plan, bits: tuple[int, ...] = (8,)) -> dict[str, Sweep]:
        """Every range at these resolutions, on the default plan."""
        if bits not in self.sweeps:
            self.sweeps[bits] = sweep_ranges(self.fn, bits)(self.key, plan, self.params, *self.inputs)
        return self.sweeps[bits]


@dataclass(frozen=True)
class Condition:
    """One way to convert.

    Attributes:
      what: for reports.
      plan: from the default plan and a sample to the plan of this condition.
      linear_pos: whether it is about that layer, so that the network must have it.
      automatic: whether it chooses from data.
      equal: whether every conversion has as many bits as by default.
    """

    what: str
    plan: Callable[[Plan, Sample], Plan]
    linear_pos: bool = False
    automatic: bool = False
    equal: bool = True


def _same(plan: Plan, sample: Sample) -> Plan:
    del sample
    return plan


def _large(plan: Plan, sample: Sample) -> Plan:
    del sample
    found = {s.path: plan.of(s).adc for s in plan.sites}
    return with_adcs(plan, {path: _sixteen_bits(adc) for path, adc in found.items() if adc})


def _sixteen_bits(adc: ADC) -> ADC:
    """Precision 8, range 8, with the errors that the converter has."""
    large = ADC.bits(range_bits=8, precision_bits=8)
    return replace(adc, full_scale=large.full_scale, step=large.step, steps=large.steps, total_bits=large.total_bits)


def _by_hand(range_bits: int) -> Callable[[Plan, Sample], Plan]:
    """The range of `linear_pos` alone, at the bits it has."""

    def plan_of(plan: Plan, sample: Sample) -> Plan:
        del sample
        return with_full_scales(plan, dict.fromkeys(encoding_paths(plan), 2.0 ** (range_bits - 1)))

    return plan_of


def encoding_paths(plan: Plan) -> list[str]:
    """The weights that positional encodings pass."""
    return [s.path for s in plan.sites if s.path.endswith("linear_pos/kernel")]


def _encodings(plan: Plan, sample: Sample) -> Plan:
    sweeps = sample.sweep(plan)
    return split_by_layer(plan, {p: sweeps[p] for p in encoding_paths(plan)})


def _layers(plan: Plan, sample: Sample) -> Plan:
    return split_by_layer(plan, sample.sweep(plan))


def _arrays(plan: Plan, sample: Sample) -> Plan:
    return gain_by_array(plan, sample.sweep(plan))


def _budget(plan: Plan, sample: Sample) -> Plan:
    return allocate(plan, sample.sweep(plan, BUDGET_BITS))


def _offset(plan: Plan, sample: Sample) -> Plan:
    paths = encoding_paths(plan)
    still = without_offsets(sample.fn, paths)(sample.key, plan, sample.params, *sample.inputs)
    sweeps = sweep_ranges(sample.fn)(sample.key, still, sample.params, *sample.inputs)
    return split_by_layer(still, {p: sweeps[p] for p in paths})


CONDITIONS: dict[str, Condition] = {
    "default": Condition("the hardware's ADC everywhere", _same),
    "large": Condition("precision 8, range 8 everywhere", _large, equal=False),
    "pos-3/5": Condition("linear_pos with precision 3, range 5", _by_hand(5), linear_pos=True),
    "pos-2/6": Condition("linear_pos with precision 2, range 6", _by_hand(6), linear_pos=True),
    "pos-1/7": Condition("linear_pos with precision 1, range 7", _by_hand(7), linear_pos=True),
    "pos-auto": Condition("automatic range of linear_pos alone", _encodings, linear_pos=True, automatic=True),
    "layers": Condition("automatic range of every layer", _layers, automatic=True),
    "arrays": Condition("automatic gain of every array", _arrays, automatic=True),
    "budget": Condition("automatic bits and range of every layer, equal energy", _budget, automatic=True, equal=False),
    "offset": Condition("mean of the encodings taken off, automatic range of linear_pos", _offset, True, True),
    NO_LINEAR: Condition("linear_pos removed, retrained", _same),
    DIGITAL: Condition("linear_pos digital (oracle)", _same, linear_pos=True),
}


def rules(hardware: Hardware, perfect: Hardware, condition: str) -> dict[str, Hardware]:
    """Which weights stand on what: all of the blocks on arrays; digital encodings on `perfect` cells."""
    digital = {LINEAR_POS: perfect} if condition == DIGITAL else {}
    return {**digital, "blocks/.*kernel": hardware}
