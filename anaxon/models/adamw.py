"""AdamW as all trainings use it: a warmed-up cosine schedule, decay on matrices, weights kept within a few sigma."""

from typing import Protocol

import optax

from anaxon.training import keep_within, matrices


class Rates(Protocol):
    """The fields of a training's settings that belong to the optimiser."""

    @property
    def learning_rate(self) -> float:
        """At its highest."""
        ...

    @property
    def weight_decay(self) -> float:
        """On matrices."""
        ...

    @property
    def gradient_norm(self) -> float:
        """Above which gradients are scaled down."""
        ...

    @property
    def clip_sigma(self) -> float:
        """Standard deviations of its matrix within which a weight stays; 0 is off."""
        ...

    @property
    def seed(self) -> int:
        """Of everything random."""
        ...


def check(config: Rates, whole: tuple[str, ...]) -> None:
    """Raises a `ValueError` that names the first field out of range; the fields `whole` are positive whole numbers."""
    for name in whole:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"training.{name} must be a positive whole number; got {value!r}")
    for name in ("learning_rate", "gradient_norm"):
        if not getattr(config, name) > 0:
            raise ValueError(f"training.{name} must be positive; got {getattr(config, name)!r}")
    for name in ("weight_decay", "clip_sigma", "seed"):
        if not getattr(config, name) >= 0:
            raise ValueError(f"training.{name} must not be negative; got {getattr(config, name)!r}")


def optimiser(config: Rates, steps: int, warm_up: int, b2: float = 0.999) -> optax.GradientTransformation:
    """AdamW over `steps` steps, of which `warm_up` rise (one at least, not all), behind a clip of the gradient."""
    steps = max(2, steps)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, min(max(1, warm_up), steps - 1), steps)
    return optax.chain(
        optax.clip_by_global_norm(config.gradient_norm),
        optax.adamw(rate, b2=b2, weight_decay=config.weight_decay, mask=matrices),
        keep_within(config.clip_sigma),
    )
