"""What a crossbar asks of a device: the interface every device file implements.

Separable cells. A cell's current at voltage U is a short sum `I(U, s) = sum_m phi_m(U) psi_m(s)`, so an array reads as
`sum_m phi_m(U) @ psi_m(s)`: matrix products only. The two cells of a differential pair subtract in `psi`, so a term
whose `psi` is the same constant for every cell cancels and is not returned at all. Read noise that is independent from
cell to cell is Gaussian with a variance of the same form, `sum_m chi_m(U) omega_m(s)`, summed over both cells.

Shapes: `P` = 2 polarities (0 positive, 1 negative), `S` bit slices, `W` the weight's own shape.
Units: a column current of 1 is one cell (pair) at full conductance and full input voltage `v_max`.
"""

from typing import Protocol

from anaxon.types import Array, PyTree


class Device(Protocol):
    """A memristor technology. Floats are pytree leaves, kinds are static, so noise sweeps `vmap` and `grad`."""

    @property
    def cell_bits(self) -> int | None:
        """The most bits one cell can hold; None for any (a continuous conductance)."""
        ...

    @property
    def g_max(self) -> Array | float:
        """Conductance of a fully programmed cell [S]; the unit of the normalised state."""
        ...

    def program(self, key: Array, target: Array) -> PyTree:
        """Programs fresh cells.

        Args:
          key: one key; the noise of a cell is a function of it and of the cell's coordinate.
          target: `[P, S, *W]` in [0, 1], 1 = fully on. Differentiable (straight-through where the state is discrete).

        Returns:
          The cells' state: a pytree of arrays `[P, S, *W]` (or `[1, S, *W]` where one number describes the pair).
        """
        ...

    def drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """`phi_m(U)`, each of the shape of `volts` [V], in column units (1 at `v_max` for a linear device)."""
        ...

    def response(self, cells: PyTree) -> tuple[Array, ...]:
        """`psi_m(s+) - psi_m(s-)`, each `[S, *W]`, in the same order as `drive`."""
        ...

    def noise_drive(self, volts: Array, v_max: Array) -> tuple[Array, ...]:
        """`chi_m(U)` in column units squared; an empty tuple where reads are noiseless."""
        ...

    def noise_response(self, cells: PyTree) -> tuple[Array, ...]:
        """`omega_m(s+) + omega_m(s-)`, each `[S, *W]` or a scalar that holds for every pair."""
        ...

    def explain(self) -> list[tuple[str, str]]:
        """Which non-ideality is active, with its size and unit: `(name, sentence)` rows for `anaxon explain`."""
        ...


class Disturbed(Protocol):
    """A device whose reads can change its cells."""

    def disturb(self, key: Array, cells: PyTree, lowest: Array) -> tuple[PyTree, Array]:
        """The cells after reads whose most negative voltage was `lowest` (broadcasts to `W`) [V], and how many changed.

        `key` is the chip's own key of these cells: repeated disturbs of one chip use the same thresholds.
        """
        ...
