"""The settings of the speech recognition job: data, network, trainings, conditions and chips."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from anaxon.check import choice, integer
from anaxon.data import tokens
from anaxon.data.asr import SpeechData
from anaxon.hardware import Hardware
from anaxon.models.conformer_sizes import ConformerSizes
from anaxon.models.train_ctc import CtcTraining
from anaxon.runs.asr_conditions import CONDITIONS, NO_LINEAR
from anaxon.runs.asr_decoding import Decoding
from anaxon.runs.config import components_of, described, from_table, hardware_of, seed_of
from anaxon.settings import check_keys

OBSERVERS = ("min-max", "moving-average", "learned")


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Quantisation-aware training from the float network, at every resolution of the weights.

    Attributes:
      epochs, learning_rate: of it.
      activation_bits: of the inputs of every layer.
      observer: how their ranges follow: "min-max", "moving-average" or "learned".
      chips: whether every step programs a fresh chip of the job's hardware instead of perfect cells.

    Raises:
      ValueError: for a value out of range.
    """

    epochs: int = 6
    learning_rate: float = 5e-4
    activation_bits: int = 8
    observer: str = "min-max"
    chips: bool = False

    def __post_init__(self) -> None:
        integer("quantised.epochs", self.epochs, 1, 10**6)
        integer("quantised.activation_bits", self.activation_bits, 2, 16)
        choice("quantised.observer", self.observer, OBSERVERS)
        if not self.learning_rate > 0:
            raise ValueError(f"quantised.learning_rate must be positive; got {self.learning_rate!r}")


@dataclasses.dataclass(frozen=True)
class Study:
    """What is put on chips, and who hears it.

    Attributes:
      seeds: trainings, from the configuration's `seed` on.
      weight_bits: resolutions of the weights.
      conditions: names of `CONDITIONS`.
      chips: of every network, the same in all conditions.
      words: the chips hear test sentences of about so many words; 0 for the whole test set.
      calibration: training sentences from which the automatic conditions choose.
      frames_per_batch, shapes: of what a chip hears at once; every shape is compiled by itself.

    Raises:
      ValueError: for a value out of range, an unknown condition, or one twice.
    """

    seeds: int = 1
    weight_bits: tuple[int, ...] = (4,)
    conditions: tuple[str, ...] = ("default", "pos-1/7", "layers", "digital-encodings")
    chips: int = 20
    words: int = 1500
    calibration: int = 24
    frames_per_batch: int = 6_000
    shapes: int = 2

    def __post_init__(self) -> None:
        least = {"chips": 2, "words": 0}
        for name in ("seeds", "chips", "words", "calibration", "frames_per_batch", "shapes"):
            integer(f"study.{name}", getattr(self, name), least.get(name, 1), 10**9)
        for bits in self.weight_bits:
            integer("study.weight_bits", bits, 2, 9)
        for condition in self.conditions:
            choice("study.conditions", condition, tuple(CONDITIONS))
        for name in ("weight_bits", "conditions"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"study.{name}: expected each once; got {list(getattr(self, name))}")


SECTIONS = {"data": SpeechData, "model": ConformerSizes, "training": CtcTraining, "quantised": FineTuning,
            "study": Study, "decoding": Decoding}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """A resolved configuration: every default filled in."""

    seed: int
    data: SpeechData
    model: ConformerSizes
    training: CtcTraining
    quantised: FineTuning
    study: Study
    decoding: Decoding
    hardware: Hardware
    hardware_table: Mapping[str, Any]
    components: str

    @property
    def record(self) -> dict[str, Any]:
        """The configuration as JSON: what decides the results, and nothing else."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        sections["data"].pop("workers")
        hardware = {"given": self.hardware_table, "resolved": described(self.hardware)}
        return {"job": "asr", "seed": self.seed, **sections, "hardware": hardware,
                "cost": {"components": self.components}}  # fmt: skip

    @property
    def seeds(self) -> range:
        """Of the trainings."""
        return range(self.seed, self.seed + self.study.seeds)

    def sizes(self, condition: str) -> ConformerSizes:
        """Of the network that a condition puts on chips."""
        return dataclasses.replace(self.model, position="no-linear") if condition == NO_LINEAR else self.model


def read(table: Mapping[str, Any]) -> Settings:
    """The settings of a configuration file.

    Raises:
      ValueError, TypeError: for a key or a value that is not accepted; the sentence names it.
    """
    check_keys(table, ("job", "seed", *SECTIONS, "hardware", "cost"), "configuration")
    sections: dict[str, Any] = {name: from_table(kind, table.get(name, {}), name) for name, kind in SECTIONS.items()}
    _check(sections["data"], sections["model"], sections["study"])
    hardware = hardware_of(table, "vcm-4bit")
    if hardware.dac is None or hardware.dac.bits != sections["quantised"].activation_bits:
        drives = "exact voltages" if hardware.dac is None else f"{hardware.dac.bits} bits"
        raise ValueError(
            f"quantised.activation_bits: expected what hardware.dac drives the rows with, {drives}; got "
            f"{sections['quantised'].activation_bits}"
        )
    if hardware.adc is None or hardware.adc.step is None:
        raise ValueError(
            "hardware.adc: expected range_bits and precision_bits: the study moves bits from one to the other"
        )
    return Settings(
        seed=seed_of(table),
        hardware=hardware,
        hardware_table=table["hardware"],
        components=components_of(table),
        **sections,
    )


def _check(data: SpeechData, model: ConformerSizes, study: Study) -> None:
    if model.mels != data.features.mels:
        raise ValueError(f"model.mels: expected data.features.mels = {data.features.mels}; got {model.mels}")
    if model.vocabulary != tokens.COUNT:
        raise ValueError(f"model.vocabulary: expected the {tokens.COUNT} tokens of the data; got {model.vocabulary}")
    if model.norm != "layer":
        raise ValueError(
            f"model.norm: expected 'layer': the statistics of other norms are not trained here; got {model.norm!r}"
        )
    about = [c for c in study.conditions if CONDITIONS[c].linear_pos]
    if about and model.position != "transformer-xl":
        raise ValueError(
            f"study.conditions: {about[0]!r} needs model.position = 'transformer-xl'; got {model.position!r}"
        )
