"""SpecAugment (Park et al. 2019, arXiv:1904.08779, section 2) without warping: masks in time and in frequency."""

import dataclasses

import jax
import jax.numpy as jnp

from anaxon.check import integer
from anaxon.types import Array, ArrayLike


@dataclasses.dataclass(frozen=True)
class SpecAugment:
    """Up to one time mask every `time_every` frames, each up to `time_longest` frames, and some of feature bands.

    Numbers of masks are uniform from `least` to the limit, widths from 1 to the longest. Limits of the defaults:
    arXiv:2505.24721 (25, 20, 5, 8). 0 masks or a width of 0 turns a kind off.

    Raises:
      ValueError: for a value that is no whole number in range.
    """

    time_every: int = 25
    time_longest: int = 20
    feature_masks: int = 5
    feature_longest: int = 8
    least: int = 0

    def __post_init__(self) -> None:
        for name, low in (("time_every", 1), ("time_longest", 0), ("feature_masks", 0), ("feature_longest", 0),
                          ("least", 0)):  # fmt: skip
            integer(f"SpecAugment.{name}", getattr(self, name), low, 1_000_000)


def mask(key: Array, features: ArrayLike, lengths: ArrayLike, config: SpecAugment = SpecAugment()) -> Array:  # noqa: B008
    """`features` `[batch, frames, mels]` with masked places 0 (the mean), the masks of each row its own.

    A time mask lies within the row's first `lengths` `[batch]` frames.
    """
    features, lengths = jnp.asarray(features), jnp.asarray(lengths)
    frames, mels = features.shape[1:]
    times, bands = jax.random.split(key)
    most = jnp.full_like(lengths, config.feature_masks)
    time = _masks(times, frames, lengths, lengths // config.time_every, frames // config.time_every,
                  config.time_longest, config.least)  # fmt: skip
    band = _masks(bands, mels, jnp.full_like(lengths, mels), most, config.feature_masks,
                  config.feature_longest, config.least)  # fmt: skip
    return jnp.where(time[:, :, None] | band[:, None, :], 0, features)


def _masks(key: Array, size: int, lengths: Array, most: Array, slots: int, longest: int, least: int) -> Array:
    """Where rows are masked, `[batch, size]` bool: up to `most` `[batch]` masks of 1 to `longest`, within `lengths`."""
    if not slots or not longest:
        return jnp.zeros((len(lengths), size), bool)
    number, width, place = (jax.random.uniform(k, (len(lengths), n))
                            for k, n in zip(jax.random.split(key, 3), (1, slots, slots), strict=True))  # fmt: skip
    few = jnp.minimum(least, most)
    chosen = few + jnp.floor(number[:, 0] * (most - few + 1)).astype(jnp.int32)
    widths = jnp.minimum(1 + jnp.floor(width * longest).astype(jnp.int32), lengths[:, None])
    starts = jnp.floor(place * (lengths[:, None] - widths + 1)).astype(jnp.int32)
    widths = jnp.where(jnp.arange(slots) < chosen[:, None], widths, 0)
    at = jnp.arange(size)[:, None]
    return jnp.any((at >= starts[:, None]) & (at < (starts + widths)[:, None]), axis=-1)
