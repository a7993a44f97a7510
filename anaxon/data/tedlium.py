"""TED-LIUM 2 (Rousseau et al. 2014): `<part>/sph/*.sph`, cut at the times of `<part>/stm/*.stm`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from anaxon.data.recordings import SPLITS, Listing, Recording, split_of, text_of

if TYPE_CHECKING:
    from anaxon.data.asr import SpeechData

_IGNORED = "ignore_time_segment_in_scoring"
_MARKS = re.compile(r"<[^>]*>|\{[^}]*\}|\[[^]]*\]|\(\d+\)")  # <unk>, {NOISE}, pronunciations such as a(2)
_SUFFIX = re.compile(r"\s+'(?=[a-z])")  # the transcripts write it 's


def find(path: Path, config: "SpeechData") -> Listing | None:
    """The segments of the parts that the config's patterns name; None where there is no STM file.

    Segments that are not to be scored are left out; marks (`<unk>`, `{NOISE}`, `(2)`) are removed, and both counted.
    """
    root = next((folder for folder in (path, path / "TEDLIUM_release2") if _is_root(folder)), None)
    if root is None:
        return None
    found: dict[str, list[Recording]] = {split: [] for split in SPLITS}
    ignored = marked = 0
    for part in sorted(folder for folder in root.iterdir() if folder.is_dir()):
        lines = [(file, line) for file in sorted(part.glob("stm/*.stm")) for line in _lines(file)]
        for split in split_of(part.name, config):
            scored = [(file, line) for file, line in lines if _IGNORED not in line]
            ignored += len(lines) - len(scored)
            marked += sum("<unk>" in line for _, line in scored)
            found[split] += [_segment(file, line) for file, line in scored]
    notes = [f"{ignored:,} segments are not to be scored and left out"] if ignored else []
    notes += [f"{marked:,} transcripts hold <unk>, which is removed"] if marked else []
    return Listing("TED-LIUM 2", found, tuple(notes))


def _is_root(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob("*/stm/*.stm"), None) is not None


def _lines(file: Path) -> list[str]:
    return [line for line in text_of(file).splitlines() if line.strip() and not line.startswith(";;")]


def _segment(file: Path, line: str) -> Recording:
    """One STM line: `talk channel speaker start end <labels> transcript`.

    Raises:
      ValueError: for a line that is none.
    """
    fields = line.split(maxsplit=5)
    try:
        talk, _, speaker, start, stop = fields[:5]
        times = float(start), float(stop)
    except ValueError:
        raise ValueError(f"{file}: not an STM line: {line[:80]!r}") from None
    sound = file.parent.parent / "sph" / f"{talk}.sph"
    return Recording(f"{talk}-{times[0]:08.2f}", sound, transcript(fields[5] if len(fields) > 5 else ""),
                     f"tedlium-{speaker}", *times)  # fmt: skip


def transcript(text: str) -> str:
    """An STM transcript without its marks, suffixes joined: `<o,f0> it 's a(2) <unk>` is `it's a`."""
    return _SUFFIX.sub("'", " ".join(_MARKS.sub(" ", text).split()))
