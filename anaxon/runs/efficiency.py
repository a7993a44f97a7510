"""Time, energy and area of one step of a recurrent network, beside the published chip."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from anaxon.hardware import Hardware
from anaxon.interpret.components import Components, load_components
from anaxon.interpret.cost import cost
from anaxon.interpret.counts import extent
from anaxon.interpret.place import place
from anaxon.interpret.plan import Plan
from anaxon.runs.converters import KINDS, at_bits
from anaxon.types import Array, PyTree

PAPER = "Yang et al., Nat. Commun. 16:1136 (2025), doi 10.1038/s41467-025-56254-6, Table 1 (16 nm CMOS and RRAM, 1 GHz)"


class Published(NamedTuple):
    """A column of Table 1 of the paper; time and energy of a step follow from it (operations over TOPS and TOPS/W).

    `ops` are 2 x rows x columns of its array, area in mm2, power in mW.
    """

    name: str
    bits: int
    ops: int
    area: float
    power: float
    tops_per_watt: float
    tops_per_mm2: float

    @property
    def energy(self) -> float:
        """Of one step [J]."""
        return self.ops / (self.tops_per_watt * 1e12)

    @property
    def time(self) -> float:
        """Of one step [s]: energy over power."""
        return self.energy / (self.power * 1e-3)


PUBLISHED = (
    Published("keywords, 72 x 128", 5, 2 * 72 * 128, 0.003, 3.7, 31.0, 39.48),
    Published("keywords, 72 x 128", 8, 2 * 72 * 128, 0.003, 4.6, 4.0, 6.1),
    Published("characters, 633 x 8064", 5, 2 * 633 * 8064, 0.71, 406.5, 47.9, 27.6),
    Published("characters, 633 x 8064", 8, 2 * 633 * 8064, 0.71, 766.8, 7.2, 7.8),
)


def lstm_step(hardware: Hardware, rows: int, cols: int) -> Plan:
    """The plan of one step of an LSTM whose gates are one array of `rows` x `cols`, inputs, state and bias together.

    From shapes alone; the same function whatever the converters: four gates, the new cell state, its tanh.
    """

    def step(params: PyTree, x: Array) -> Array:
        i, f, g, o = jnp.split(x @ params["gates"], 4, axis=-1)
        c = jax.nn.sigmoid(f) + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c)

    params = {"gates": jax.ShapeDtypeStruct((rows, cols), jnp.float32)}
    return place(step, hardware)(params, jax.ShapeDtypeStruct((1, rows), jnp.float32))


def efficiency(step: Plan, components: Components | str) -> dict[str, float]:
    """What one step costs by the component table.

    Args:
      step: the plan of one step of one sequence; only what stands on arrays, and the activations, are billed.
      components: the table, or its name.

    Returns:
      `time` [s], `energy` [J], `area` [m2], `power` [W], `ops` (two for each cell pair on an array), `tops`,
      `tops_per_watt`, `tops_per_mm2`; `activations_time`, `activations_energy`: of the digital units in it.
    """
    bill = cost(step, components if isinstance(components, Components) else load_components(components))
    ops = sum(2 * stack * rows * cols for stack, rows, cols in map(extent, step.sites))
    time, energy, area = float(bill.latency), float(bill.energy), float(bill.area)
    return {
        "time": time,
        "energy": energy,
        "area": area,
        "power": energy / time,
        "ops": float(ops),
        "tops": ops / time / 1e12,
        "tops_per_watt": ops / energy / 1e12,
        "tops_per_mm2": ops / time / 1e12 / (area * 1e6),
        "activations_time": float(bill.functions.latency),
        "activations_energy": float(bill.functions.energy.total),
    }


def published() -> list[dict[str, Any]]:
    """The paper's rows in the same units, for a table; never a result of this code."""
    return [
        {
            "name": row.name,
            "bits": row.bits,
            "time": row.time,
            "energy": row.energy,
            "area": row.area * 1e-6,
            "power": row.power * 1e-3,
            "ops": float(row.ops),
            "tops_per_watt": row.tops_per_watt,
            "tops_per_mm2": row.tops_per_mm2,
        }
        for row in PUBLISHED
    ]


def designs(hardware: Hardware, rows: int, cols: int, bits: Sequence[int], components: str) -> list[dict[str, Any]]:
    """What a step costs with a ramp and with linear converters, at these resolutions: entries of `results.json`."""
    names = {"ramp": "ramp ADC", "linear": "linear ADC, digital activations"}
    return [
        {"name": f"{names[kind]}, {rows} x {cols}", "bits": b}
        | efficiency(lstm_step(at_bits(hardware, kind, b, rows, cols), rows, cols), components)
        for kind in KINDS
        for b in bits
    ]
