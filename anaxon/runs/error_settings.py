"""The configuration of an error budget: which network, which hardware, how many chips to compare with."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from anaxon.check import choice, integer, number, require
from anaxon.data.images import ImageData
from anaxon.device.gaussian import Gaussian
from anaxon.hardware import Hardware
from anaxon.models.convnet import NETWORKS, Channels
from anaxon.models.regularise import TrainingNoise
from anaxon.models.train import Training
from anaxon.runs.config import described, from_table, hardware_of, seed_of
from anaxon.settings import check_keys


@dataclasses.dataclass(frozen=True)
class Study:
    """What is predicted and sampled.

    Attributes:
      networks: of `models.convnet.NETWORKS`; the first is the one that is tuned.
      sigmas: standard deviations of a programmed conductance, relative to full scale.
      sigma: the one whose budget is told layer by layer, and at which windows are tuned.
      windows: of all weights of the first network at `sigma`, where its error is told, too.
      images: of the test set, followed and sampled.
      chips: sampled for every sigma.
      window_chips: sampled for every window.
      power_chips: whose power is measured.
      tuned_images: of the training set, from which windows are chosen.
      tuned_chips: sampled for every choice of windows and budget.
      budgets: power, relative to full windows for every tensor.
      refined_budget: the one of them at which the windows of layers are refined by gradients through the moments; 0 for
        none.
      refined_images: of the training set, that the moments follow.
      refined_steps: of the optimiser.

    Raises:
      ValueError: for a value out of range.
    """

    networks: tuple[str, ...] = ("plain", "residual")
    sigmas: tuple[float, ...] = (0.001, 0.003, 0.01, 0.02, 0.03)
    sigma: float = 0.01
    windows: tuple[float, ...] = (0.15, 0.25, 0.4, 0.65)
    images: int = 48
    chips: int = 400
    window_chips: int = 400
    power_chips: int = 100
    tuned_images: int = 128
    tuned_chips: int = 300
    budgets: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.5)
    refined_budget: float = 0.0
    refined_images: int = 16
    refined_steps: int = 5

    def __post_init__(self) -> None:
        for name in self.networks:
            choice("study.networks", name, tuple(NETWORKS))
        for name in ("images", "chips", "window_chips", "power_chips", "tuned_images", "tuned_chips", "refined_images"):
            integer(f"study.{name}", getattr(self, name), 2, 10**6)
        integer("study.refined_steps", self.refined_steps, 1, 10**6)
        for value in self.sigmas:
            number("study.sigmas", value, "shares of full scale above 0", low=0, open_low=True)
        if self.sigma not in self.sigmas:
            raise ValueError(f"study.sigma: expected one of study.sigmas = {list(self.sigmas)}; got {self.sigma}")
        for value in self.windows:
            if not 0 < value <= 1:
                raise ValueError(f"study.windows: expected shares of full scale in (0, 1]; got {value}")
        for value in self.budgets:
            if not 0 < value <= 1:
                raise ValueError(f"study.budgets: expected shares of full power in (0, 1]; got {value}")
        one_of = f"0 or one of study.budgets = {list(self.budgets)}"
        require(self.refined_budget in (0, *self.budgets), "study.refined_budget", self.refined_budget, one_of)


DELTA = ("transformer", "keyword-lstm")


@dataclasses.dataclass(frozen=True)
class Delta:
    """Networks with attention and loops, whose error is predicted to first order only.

    Attributes:
      networks: of `DELTA`; "keyword-lstm" is left out where the extra `speech` is not installed.
      sigmas: standard deviations of a programmed conductance; that of a pair is sqrt(2) times as large.
      inputs: of the test sets, followed and sampled.
      chips: sampled for every sigma.
      epochs: of the transformer's training, with the batch and rate of `training`.
      clip_epochs: of the LSTM's.
      clips: spoken to train on; a tenth as many to validate and to test.

    Raises:
      ValueError: for a value out of range.
    """

    networks: tuple[str, ...] = DELTA
    sigmas: tuple[float, ...] = (0.003, 0.007)
    inputs: int = 16
    chips: int = 1000
    epochs: int = 10
    clip_epochs: int = 20
    clips: int = 2400

    def __post_init__(self) -> None:
        for name in self.networks:
            choice("delta.networks", name, DELTA)
        for name, least in (("inputs", 2), ("chips", 2), ("epochs", 1), ("clip_epochs", 1), ("clips", 240)):
            integer(f"delta.{name}", getattr(self, name), least, 10**6)
        require(len(self.sigmas) > 0, "delta.sigmas", list(self.sigmas), "one or more")
        for value in self.sigmas:
            number("delta.sigmas", value, "shares of full scale above 0", low=0, open_low=True)


@dataclasses.dataclass(frozen=True)
class Causes:
    """What else errs, besides programming, where the error of the first network is split by cause.

    Attributes:
      weight_bits: of a weight, on one pair of cells.
      dac_bits: of the row drivers.
      read_sigma: std of a cell at every read, relative to full scale.
      chips: sampled for every cause and layer.

    Raises:
      ValueError: for a value out of range.
    """

    weight_bits: int = 6
    dac_bits: int = 6
    read_sigma: float = 0.02
    chips: int = 300

    def __post_init__(self) -> None:
        integer("causes.weight_bits", self.weight_bits, 2, 9)
        integer("causes.dac_bits", self.dac_bits, 2, 16)
        integer("causes.chips", self.chips, 2, 10**6)
        number("causes.read_sigma", self.read_sigma, "a share of full scale above 0", low=0, open_low=True)


QUIET = TrainingNoise(weight=0.0, level=0.0, shift=0, time_mask=0, mel_mask=0)


@dataclasses.dataclass(frozen=True)
class Learning:
    """How the networks are trained.

    Attributes:
      epochs: over the training pictures.
      batch: pictures.
      learning_rate: at its highest.
    """

    epochs: int = 20
    batch: int = 100
    learning_rate: float = 5e-3

    def schedule(self, seed: int) -> Training:
        """With nothing disturbed."""
        return Training(epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate, smoothing=0.0,
                        noise=QUIET, seed=seed, save_every=self.epochs)  # fmt: skip

    def __post_init__(self) -> None:
        self.schedule(0)


SECTIONS = {"data": ImageData, "model": Channels, "training": Learning, "study": Study, "causes": Causes,
            "delta": Delta}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int
    data: ImageData
    model: Channels
    training: Learning
    study: Study
    causes: Causes
    delta: Delta
    hardware: Hardware
    hardware_table: Any

    @property
    def record(self) -> dict[str, Any]:
        """The resolved configuration, as JSON."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        hardware = {"given": self.hardware_table, "resolved": described(self.hardware)}
        return {"job": "error_budget", "seed": self.seed, **sections, "hardware": hardware}


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, (*SECTIONS, "job", "seed", "hardware"), "")
    sections: dict[str, Any] = {name: from_table(kind, table.get(name, {}), name) for name, kind in SECTIONS.items()}
    hardware = hardware_of(table, "gaussian-8bit")
    if not isinstance(hardware.device, Gaussian) or hardware.array.weight_bits is not None:
        raise ValueError(
            "hardware: the power of windows is that of one linear pair for each weight; expected [hardware.device] "
            'kind = "gaussian" and [hardware.array] weight_bits = "analog"; got '
            f"{type(hardware.device).__name__} and weight_bits = {hardware.array.weight_bits}"
        )
    return Settings(seed=seed_of(table), hardware=hardware, hardware_table=table["hardware"], **sections)
