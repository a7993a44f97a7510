"""Cells that hold exactly what they are told, linear and noiseless: the quantisation of the mapping alone."""

import jax.numpy as jnp

from anaxon.device.moments import PairMoments
from anaxon.types import Array, PyTree, pytree


@pytree
class IdealDevice:
    """A perfect linear cell; with converters around it, a forward pass is the quantisation-aware one.

    Attributes:
      g_max: conductance of a fully programmed cell [S]; only cost reads it.
    """

    g_max: float | Array = 25e-6

    @property
    def ohmic(self) -> bool:
        """Whether currents and their noise are proportional to voltages, so that the inputs' range cancels."""
        return True

    @property
    def cell_bits(self) -> int | None:
        """Any number of levels."""
        return None

    def program(self, key: Array, target: Array) -> PyTree:
        """The difference of the pair, `[1, S, *W]`; `key` is not used."""
        del key
        return target[:1] - target[1:]

    def drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """Ohm's law: `U / v_max`."""
        return (volts / v_max,)

    def response(self, cells: PyTree) -> tuple[Array, ...]:
        """The conductance difference of the pair."""
        return (cells[0],)

    def noise_drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """None."""
        del volts, v_max
        return ()

    def noise_response(self, cells: PyTree) -> tuple[Array, ...]:
        """None."""
        del cells
        return ()

    def moments(self, target: Array) -> PairMoments:
        """Exact."""
        return PairMoments(mean=(target[:1] - target[1:],), covariance=((jnp.zeros_like(target[:1]),),), noise=())

    def explain(self) -> list[tuple[str, str]]:
        """Nothing is active."""
        return [("device", "ideal: exact conductances, linear, no read noise")]
