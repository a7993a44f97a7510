"""The words of Speech Commands, and espeak-ng's voices divided into training, validation and test identities."""

import re

import numpy as np

from anaxon.data import espeak

# Speech Commands v2 (Warden 2018, arXiv:1804.03209, table 1); the first ten are the keywords.
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = ("backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house",
          "learn", "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow",
          "zero")  # fmt: skip
CLASSES = (*KEYWORDS, "silence", "unknown")
SILENCE, UNKNOWN = 10, 11
ACCENTS = ("en-us", "en-us", "en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-scotland", "en-029",
           "en-gb-x-gbclan", "en-gb-x-gbcwmd")  # fmt: skip
SPLITS = ("train", "validation", "test")

_NOT_HUMAN = re.compile(r"robo|robot|whisper|croak|demonic|tweaky|kaukovalta|fast|klatt[2-6]|announcer", re.IGNORECASE)


def identity(variant: str) -> str:
    """Who speaks a variant: `steph`, `steph2` and `steph3` are one identity, `f1` ... `m8` are each their own."""
    return variant if re.fullmatch(r"[fm]\d", variant) else variant.rstrip("0123456789").lower()


def human_variants() -> list[str]:
    """espeak-ng's variants without robots, whispers and effects."""
    return [name for name in espeak.variants() if not _NOT_HUMAN.search(name)]


def identities() -> list[str]:
    """All identities, sorted; a speaker number of a corpus is an index into this list."""
    return sorted({identity(name) for name in human_variants()})


def cast(seed: int) -> dict[str, list[str]]:
    """The variants of each split. Whole identities are held out: 70 % train, 10 % validation, 20 % test."""
    names = identities()
    order = np.random.default_rng([seed, 101]).permutation(len(names))
    test, validation = len(names) // 5, len(names) // 10
    part = {names[k]: "test" if rank < test else "validation" if rank < test + validation else "train"
            for rank, k in enumerate(order)}  # fmt: skip
    return {split: [v for v in human_variants() if part[identity(v)] == split] for split in SPLITS}
