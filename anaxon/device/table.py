"""A measured device: programming noise, drift and read noise as tables over the conductance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from anaxon import prng
from anaxon.check import number, require
from anaxon.device import noise
from anaxon.device.table_csv import check_columns, read_table
from anaxon.types import Array, pytree, static
from anaxon.units import ROOM_TEMPERATURE

# Tables are resampled to a uniform grid, where a lookup costs 10 ns a cell and a search through the user's rows 24 to
# 40 ns. A kink between grid points is missed by at most 1/8 of a grid step times the change of slope
# (3e-5 of the range).
INTERVALS = 4096


@pytree
class TableCells:
    """The state of table cells, each `[2, S, *W]`.

    Attributes:
      g: conductance after programming, g / g_max.
      nu: drift exponent, or None.
      flicker: standard score of the accumulated 1/f noise, or None.
    """

    g: Array
    nu: Array | None
    flicker: Array | None


@pytree
class Table:
    """A linear cell described by tables; make one with `device_from_table`.

    Programming: `g_p = max(g + sigma(g) xi, 0)`. Drift: `nu = |nu(g) + nu_sigma(g) xi|` and
    `g_d = g_p ((time + t0) / t0)^-nu`. Accumulated 1/f noise: `max(g_d + g_d q(g_p) sqrt(ln((time + t0 + t_read) /
    (2 t_read))) xi, 0)`, frozen for one chip because it is slow against reads. (Nandakumar et al., ICECS 2019; Joshi et
    al., Nat. Commun. 11:2473, 2020.)

    Attributes:
      sigma, nu, nu_sigma, q: tables `[points]` on the uniform grid from `low` to `high` [S]; sigma relative to g_max.
        None leaves the effect out, and no number is drawn for it.
      low, high: conductances of the first and last grid point [S]; beyond them a table is constant.
      g_max, g_min: conductances of the targets 1 and 0 [S].
      time: since programming [s]; None: no drift, and no number drawn for it.
      t0: time after programming that the table's g refers to [s].
      t_read: duration of a read [s].
      bandwidth: of the read [Hz], for Johnson and shot noise fresh at every read, or None.
      temperature: for the Johnson noise [K].
      name: for reports.
    """

    sigma: Array
    nu: Array | None = None
    nu_sigma: Array | None = None
    q: Array | None = None
    low: float | Array
    high: float | Array
    g_max: float | Array
    g_min: float | Array
    time: float | Array | None = 0.0
    t0: float | Array | None = None
    t_read: float | Array | None = None
    bandwidth: float | Array | None = None
    temperature: float | Array = ROOM_TEMPERATURE
    name: str = static(default="table")

    def __post_init__(self) -> None:
        number("Table.time", self.time, "None or seconds >= 0", low=0.0)
        number("Table.t0", self.t0, "seconds > 0", low=0.0, open_low=True)
        number("Table.t_read", self.t_read, "seconds > 0", low=0.0, open_low=True)
        number("Table.bandwidth", self.bandwidth, "None or hertz > 0", low=0.0, open_low=True)
        number("Table.temperature", self.temperature, "kelvin >= 0", low=0.0)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, g_min={self.g_min}, g_max={self.g_max}, time={self.time})"

    @property
    def ohmic(self) -> bool:
        """Whether currents and their noise are proportional to voltages, so that the inputs' range cancels."""
        return self.bandwidth is None

    @property
    def cell_bits(self) -> int | None:
        """Any number of levels."""
        return None

    def _lookup(self, table: Array, g: Array) -> Array:
        """`table` at the normalised conductance `g`, linear between grid points, constant outside the grid."""
        table = jnp.asarray(table)
        last = table.shape[0] - 1
        position = jnp.clip((g * self.g_max - self.low) / (self.high - self.low), 0.0, 1.0) * last
        index = jnp.minimum(position.astype(jnp.int32), last - 1)
        left, right = (table.at[i].get(mode="promise_in_bounds") for i in (index, index + 1))
        return left + (position - index) * (right - left)

    def program(self, key: Array, target: Array) -> TableCells:
        """Programs both cells of every pair, `[2, S, *W]`; one normal a cell for each effect that is on."""

        def draw(name: str) -> Array:
            return prng.normal(prng.fold_name(key, name), target.shape)

        g = (self.g_min + target * (self.g_max - self.g_min)) / self.g_max
        programmed = jnp.maximum(g + self._lookup(self.sigma, g) * draw("programming"), 0.0)
        nu = None
        if self.nu is not None and self.time is not None:
            spread = 0.0 if self.nu_sigma is None else self._lookup(self.nu_sigma, g) * draw("drift")
            nu = jnp.abs(self._lookup(self.nu, g) + spread)
        return TableCells(g=programmed, nu=nu, flicker=None if self.q is None else draw("flicker"))

    def conductance(self, cells: TableCells) -> Array:
        """Conductances g / g_max `[2, S, *W]` at `time`, with the 1/f noise accumulated until then."""
        g, time = cells.g, 0.0 if self.time is None else self.time
        if cells.nu is not None and self.t0 is not None:
            g = g * jnp.exp(-cells.nu * jnp.log1p(time / self.t0))
        if cells.flicker is not None and self.q is not None and self.t0 is not None and self.t_read is not None:
            spread = jnp.sqrt(jnp.log((time + self.t0 + self.t_read) / (2 * self.t_read)))
            g = jnp.maximum(g * (1.0 + self._lookup(self.q, cells.g) * spread * cells.flicker), 0.0)
        return g

    def drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """Ohm's law: `U / v_max`."""
        return (volts / v_max,)

    def response(self, cells: TableCells) -> tuple[Array, ...]:
        """The pair's conductance difference at `time` in weight steps, `[S, *W]`."""
        g = self.conductance(cells)
        return ((g[0] - g[1]) / (1.0 - self.g_min / self.g_max),)

    def noise_drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """Johnson and shot noise, where `bandwidth` is given."""
        if self.bandwidth is None:
            return ()
        chi = noise.johnson_shot(
            volts, v_max, bandwidth=self.bandwidth, temperature=self.temperature, g_max=self.g_max, g_min=self.g_min
        )
        return (chi,)

    def noise_response(self, cells: TableCells) -> tuple[Array, ...]:
        """The sum of the pair's conductances."""
        return () if self.bandwidth is None else (self.conductance(cells).sum(axis=0),)

    def explain(self) -> list[tuple[str, str]]:
        """Device, programming noise, drift and read noise, with sizes and units."""
        g_max, (off, on) = float(self.g_max) * 1e6, self._at_ends(self.sigma)
        rows = [
            ("device", f"{self.name}: linear cells of {float(self.g_min) * 1e6:.4g} to {g_max:.4g} uS"),
            (
                "programming noise",
                f"std {off * g_max:.3g} uS at target 0, {on * g_max:.3g} uS at target 1, conductances >= 0",
            ),
            ("drift", self._explain_drift()),
        ]
        if self.q is not None:
            off, on = self._at_ends(self.q)
            rows.append(("1/f noise", f"q {off:.3g} at target 0, {on:.3g} at target 1, accumulated, frozen per chip"))
        if self.bandwidth is not None:
            rows.append(noise.johnson_shot_row(self.bandwidth, self.temperature, self.g_max))
        return rows

    def _explain_drift(self) -> str:
        if self.nu is None or self.time is None:
            return "none"
        off, on = self._at_ends(self.nu)
        return f"exponent {off:.3g} at target 0, {on:.3g} at target 1; read {float(self.time):.4g} s after programming"

    def _at_ends(self, table: Array) -> list[float]:
        grid = np.linspace(float(self.low), float(self.high), len(table))
        return np.interp([float(self.g_min), float(self.g_max)], grid, np.asarray(table)).tolist()


def device_from_table(
    source: str | Path | Mapping[str, np.ndarray],
    *,
    g_min: float | None = None,
    g_max: float | None = None,
    time: float | Array | None = 0.0,
    t0: float | None = None,
    t_read: float | None = None,
    bandwidth: float | None = None,
    temperature: float = ROOM_TEMPERATURE,
) -> Table:
    """A device from measurements: programmed conductance, its std, and optionally drift and 1/f noise.

    Args:
      source: a CSV file with a header such as `g [uS],sigma [uS],nu,nu_sigma,q`, or a mapping of these names to arrays
        `[rows]` in SI units. g increases from row to row; between rows everything is linear in g.
      g_min, g_max: conductances of the targets 0 and 1 [S]; by default the file's, else the first and last row.
      time: since programming [s]; None: no drift.
      t0: [s], needed by nu and q; t_read: [s], needed by q; by default the file's.
      bandwidth: of the read [Hz] for Johnson and shot noise, None for none; temperature [K].

    Raises:
      ValueError: for a bad header, unit, row or constant, naming the file and what is accepted.
    """
    columns, constants = (source, {}) if isinstance(source, Mapping) else read_table(source)
    where = "table" if isinstance(source, Mapping) else str(source)
    table = check_columns(columns, where)
    g = table.pop("g")
    given = {"g_min": g_min, "g_max": g_max, "t0": t0, "t_read": t_read}
    constants = {"g_min": g[0], "g_max": g[-1]} | constants | {k: v for k, v in given.items() if v is not None}
    _check_constants(table, constants, g, where)
    step = np.diff(g)
    points = len(g) if np.ptp(step) < 1e-6 * step.mean() else INTERVALS + 1
    grid = np.linspace(g[0], g[-1], points)
    table["sigma"] = table["sigma"] / constants["g_max"]
    fields: dict[str, Any] = {name: np.interp(grid, g, values).astype(np.float32) for name, values in table.items()}
    fields |= {name: float(value) for name, value in constants.items()}
    return Table(
        **fields,
        low=float(g[0]),
        high=float(g[-1]),
        time=time,
        bandwidth=bandwidth,
        temperature=temperature,
        name=Path(where).stem,
    )


def _check_constants(
    table: Mapping[str, np.ndarray], constants: Mapping[str, float], g: np.ndarray, where: str
) -> None:
    low, high = constants["g_min"], constants["g_max"]
    inside = g[0] * (1 - 1e-6) <= low < high <= g[-1] * (1 + 1e-6)
    require(inside, f"{where}: g_min, g_max", f"{low:g}, {high:g} S", f"{g[0]:g} <= g_min < g_max <= {g[-1]:g} S")
    for name, needed in (("t0", "nu" in table or "q" in table), ("t_read", "q" in table)):
        require(name in constants or not needed, f"{where}: {name}", None, "seconds (the table has a column nu or q)")
        require(constants.get(name, 1.0) > 0, f"{where}: {name}", constants.get(name), "seconds > 0")
