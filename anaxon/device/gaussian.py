"""Linear cells with Gaussian programming noise: the usual abstraction of write-verified ReRAM and PCM."""

import math

import jax
import jax.numpy as jnp

from anaxon import prng
from anaxon.check import number, require
from anaxon.device import noise
from anaxon.device.moments import PairMoments
from anaxon.normal import Clip, clip_moments, folded_mean
from anaxon.numerics import clip
from anaxon.types import Array, pytree, static
from anaxon.units import ROOM_TEMPERATURE


@pytree
class Gaussian:
    """A target t in [0, 1] programs `g = g_min + t (g_max - g_min)` plus noise; the read is Ohm's law.

    A weight step is the whole window `g_max - g_min`, so a finite on/off ratio costs no weight range; it enlarges the
    noise in weight units. Which noises exist is structure (None is off), how large they are is a leaf.

    Attributes:
      sigma: std of a programmed conductance, relative to g_max.
      sigma_rel: std proportional to the target conductance (adds to `sigma`: `sigma + sigma_rel g`), or None.
      g_max, g_min: conductances of t = 1 and t = 0 [S].
      clipped: clip programmed conductances to the window; otherwise they may be negative.
      stuck_off, stuck_on: shares of cells that stay at g_min, or at g_max, whatever is programmed; None for none.
      read_sigma: std of a cell's conductance noise at each read, relative to g_max, or None.
      bandwidth: of the read [Hz], for Johnson and shot noise, or None.
      temperature: for the Johnson noise [K].

    Raises:
      ValueError: for a number out of range.
    """

    sigma: float | Array = 0.0
    sigma_rel: float | Array | None = None
    g_max: float | Array = 25e-6
    g_min: float | Array = 0.0
    clipped: bool = static(default=False)
    stuck_off: float | Array | None = None
    stuck_on: float | Array | None = None
    read_sigma: float | Array | None = None
    bandwidth: float | Array | None = None
    temperature: float | Array = ROOM_TEMPERATURE

    def __post_init__(self) -> None:
        number("Gaussian.sigma", self.sigma, "a number >= 0, relative to g_max", low=0.0)
        number("Gaussian.sigma_rel", self.sigma_rel, "None or a number >= 0", low=0.0)
        number("Gaussian.g_max", self.g_max, "siemens > 0", low=0.0, open_low=True)
        number("Gaussian.g_min", self.g_min, "siemens, 0 <= g_min < g_max", low=0.0)
        for name in ("stuck_off", "stuck_on"):
            number(f"Gaussian.{name}", getattr(self, name), "None or a share of cells in [0, 1]", low=0.0)
        if all(isinstance(p, int | float | None) for p in (self.stuck_off, self.stuck_on)):
            share = sum(float(p) for p in (self.stuck_off, self.stuck_on) if p is not None)
            require(share <= 1, "Gaussian.stuck_off + Gaussian.stuck_on", share, "shares of cells, together <= 1")
        number("Gaussian.read_sigma", self.read_sigma, "None or a number >= 0, relative to g_max", low=0.0)
        number("Gaussian.bandwidth", self.bandwidth, "None or hertz > 0", low=0.0, open_low=True)
        number("Gaussian.temperature", self.temperature, "kelvin >= 0", low=0.0)
        if isinstance(self.g_min, int | float) and isinstance(self.g_max, int | float):
            require(self.g_min < self.g_max, "Gaussian.g_min", self.g_min, f"less than g_max = {self.g_max:g} S")

    @property
    def ohmic(self) -> bool:
        """Whether currents and their noise are proportional to voltages, so that the inputs' range cancels."""
        return self.bandwidth is None

    @property
    def cell_bits(self) -> int | None:
        """Any number of levels."""
        return None

    @property
    def window(self) -> Array | float:
        """`1 - g_min / g_max`: what a weight step is of g_max."""
        return 1.0 - self.g_min / self.g_max

    @property
    def _one_normal(self) -> bool:
        """Whether one number describes the pair: noise that depends on no state, and no state read later."""
        return self.sigma_rel is None and self.bandwidth is None and not self.clipped and not self.has_stuck

    @property
    def has_stuck(self) -> bool:
        """Whether some cells do not follow what is programmed."""
        return self.stuck_off is not None or self.stuck_on is not None

    @property
    def _stuck(self) -> tuple[Array, Array]:
        """Shares of cells that are stuck at g_min and at g_max."""
        off, on = (jnp.float32(0.0 if p is None else p) for p in (self.stuck_off, self.stuck_on))
        return off, on

    def program(self, key: Array, target: Array) -> Array:
        """Programmed conductances g / g_max `[2, S, *W]`, or the difference of the pair `[1, S, *W]`.

        The difference of two independent cells has std `sqrt(2) sigma`: one draw for the pair where nothing else asks
        for the single cells.
        """
        if self._one_normal:
            difference = (target[:1] - target[1:]) * self.window
            return difference + math.sqrt(2) * self.sigma * prng.normal(key, difference.shape)
        g = self.g_min / self.g_max + target * self.window
        std = self.sigma if self.sigma_rel is None else self.sigma + self.sigma_rel * g
        g = g + std * prng.normal(key, g.shape)
        floor = self.g_min / jnp.asarray(self.g_max)
        g = clip(g, floor, jnp.ones((), g.dtype)) if self.clipped else g
        if not self.has_stuck:
            return g
        off, on = self._stuck
        chance = jax.random.uniform(prng.fold_name(key, "stuck"), g.shape)
        return jnp.where(chance < off, floor, jnp.where(chance >= 1 - on, 1.0, g)).astype(g.dtype)

    def drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """Ohm's law: `U / v_max`."""
        return (volts / v_max,)

    def response(self, cells: Array) -> tuple[Array, ...]:
        """The pair's conductance difference in weight steps, `[S, *W]`."""
        return ((cells[0] if self._one_normal else cells[0] - cells[1]) / self.window,)

    def noise_drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """Conductance noise of the cells, then Johnson and shot noise, where on."""
        window = {"g_max": self.g_max, "g_min": self.g_min}
        terms = []
        if self.read_sigma is not None:
            terms.append(noise.cell_noise(volts, v_max, read_sigma=self.read_sigma, **window))
        if self.bandwidth is not None:
            source = {"bandwidth": self.bandwidth, "temperature": self.temperature}
            terms.append(noise.johnson_shot(volts, v_max, **source, **window))
        return tuple(terms)

    def noise_response(self, cells: Array) -> tuple[Array, ...]:
        """Two cells a pair; the sum of the pair's conductances (of their size, where one is negative)."""
        terms = []
        if self.read_sigma is not None:
            terms.append(jnp.full((), 2.0, cells.dtype))
        if self.bandwidth is not None:
            terms.append(jnp.abs(cells[0]) + jnp.abs(cells[1]))
        return tuple(terms)

    def moments(self, target: Array) -> PairMoments:
        """Of pairs: a normal conductance, or one that is clipped to the window."""
        floor = self.g_min / jnp.asarray(self.g_max)
        g = floor + target * self.window
        std = self.sigma if self.sigma_rel is None else self.sigma + self.sigma_rel * g
        variance = jnp.broadcast_to(std, g.shape) ** 2
        if self.clipped:
            found = clip_moments(Clip(low=floor, high=jnp.ones_like(floor)), g, variance)
            g, variance = found.mean[0], found.covariance[0, 0]
        size = folded_mean(g, 0.0 * variance if self.clipped else variance)
        if self.has_stuck:
            g, variance, size = self._with_stuck(g, variance, size)
        mean, of_pair = (g[:1] - g[1:]) / self.window, (variance[:1] + variance[1:]) / self.window**2
        noise = []
        if self.read_sigma is not None:
            noise.append(jnp.full(mean.shape, 2.0, mean.dtype))
        if self.bandwidth is not None:
            noise.append(size[:1] + size[1:])
        return PairMoments(mean=(mean,), covariance=((of_pair,),), noise=tuple(noise))

    def _with_stuck(self, g: Array, variance: Array, size: Array) -> tuple[Array, Array, Array]:
        """Mean, variance and mean size of conductances some of which are stuck: those of a mixture."""
        floor = self.g_min / jnp.asarray(self.g_max)
        (off, on), free = self._stuck, 1.0 - sum(self._stuck)
        mean = free * g + off * floor + on
        spread = free * (variance + (g - mean) ** 2) + off * (floor - mean) ** 2 + on * (1.0 - mean) ** 2
        return mean, spread, free * size + off * floor + on

    def explain(self) -> list[tuple[str, str]]:
        """Device, programming noise and read noise, with sizes and units."""
        g_max, g_min, sigma = float(self.g_max), float(self.g_min), float(self.sigma)
        off_state = sigma + float(self.sigma_rel or 0.0) * g_min / g_max
        relative = "" if self.sigma_rel is None else f" + {float(self.sigma_rel):.3g} of the target conductance"
        clipped = "clipped to the window" if self.clipped else "unclipped"
        rows = [
            ("device", f"gaussian: linear cells of {g_min * 1e6:.4g} to {g_max * 1e6:.4g} uS"),
            (
                "programming noise",
                f"std {sigma:.3g} of g_max{relative} per cell, {clipped}; "
                f"{math.sqrt(2) * off_state / (1 - g_min / g_max):.3g} weight steps per pair at target 0",
            ),
        ]
        if self.has_stuck:
            off, on = (float(p) for p in self._stuck)
            rows.append(("stuck cells", f"{off:.3g} of them at g_min, {on:.3g} at g_max"))
        if self.read_sigma is not None:
            rows.append(("read noise", f"std {float(self.read_sigma):.3g} of g_max per cell, fresh at every read"))
        if self.bandwidth is not None:
            rows.append(noise.johnson_shot_row(self.bandwidth, self.temperature, self.g_max))
        return rows if self.read_sigma is not None or self.bandwidth is not None else [*rows, ("read noise", "none")]
