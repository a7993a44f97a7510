"""Any list of sound files and transcripts: CSV, TSV or JSON lines, one utterance each."""

import csv
import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anaxon.data.recordings import SPLITS, Listing, Recording, split_of, text_of

if TYPE_CHECKING:
    from anaxon.data.asr import SpeechData

# Names of a column, the first that is there; those of Common Voice and of NeMo are among them.
COLUMNS = {
    "file": ("audio", "file", "path", "audio_filepath", "audio_path", "filename", "wav"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "split": ("split", "subset", "part"),
    "start": ("start", "offset"),
    "duration": ("duration",),
}
_SUFFIXES = (".csv", ".tsv", ".jsonl")
_HELD_OUT = (80, 90)  # percent of speakers up to which they train, validate; the others are the test


def find(path: Path, config: "SpeechData") -> Listing | None:
    """The utterances of a manifest, or of all manifests in a folder; None where there is none.

    Relative sound files are looked for beside the manifest and in its `clips` folder. The split is that of the column
    `split`, else of the manifest's name (`train.tsv`); where neither says it, whole speakers are held out by the CRC-32
    of their names: 80 % train, 10 % validation, 10 % test (files, where no speaker is given).

    Raises:
      ValueError: for a line or a column that is missing; the sentence names file and line.
    """
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix in _SUFFIXES)
    files = [file for file in files if file.suffix in _SUFFIXES]
    if not path.is_file():  # beside train.tsv, a list without a split (Common Voice's validated.tsv) repeats it
        files = [file for file in files if split_of(file.stem, config)] or files
    if not files:
        return None
    found: dict[str, list[Recording]] = {split: [] for split in SPLITS}
    for file in files:
        if not (rows := _rows(file)):
            raise ValueError(f"{file}: the manifest holds no rows")
        for number, row in enumerate(rows, start=1):
            recording = _recording(file, number, row)
            for split in _splits(file, row, recording, config):
                found[split].append(recording)
    return Listing(f"manifest {path.name}", found)


def _rows(file: Path) -> list[Mapping[str, Any]]:
    lines = io.StringIO(text_of(file), newline="")
    if file.suffix != ".jsonl":
        quoting = csv.QUOTE_MINIMAL if file.suffix == ".csv" else csv.QUOTE_NONE
        return list(csv.DictReader(lines, delimiter="," if file.suffix == ".csv" else "\t", quoting=quoting))
    rows = [_json(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if bad := next((row for row in rows if not isinstance(row, dict)), None):
        raise ValueError(f"{file}: every line must be a JSON object; got {str(bad)[:60]}")
    return rows


def _json(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: line {number} is not JSON: {error.msg} at column {error.colno}") from None


def _value(row: Mapping[str, Any], field: str) -> str:
    return next((str(row[name]) for name in COLUMNS[field] if row.get(name) not in (None, "")), "")


def _recording(file: Path, number: int, row: Mapping[str, Any]) -> Recording:
    for field in ("file", "text"):
        if not any(name in row for name in COLUMNS[field]):
            raise ValueError(
                f"{file}: line {number} has no {field}; expected a column named {', '.join(COLUMNS[field])}"
            )
    name = _value(row, "file")
    sound = next((p for p in (file.parent / name, file.parent / "clips" / name) if p.is_file()), file.parent / name)
    try:
        start = float(_value(row, "start") or 0)
        stop = start + float(_value(row, "duration")) if _value(row, "duration") else None
    except ValueError:
        raise ValueError(f"{file}: line {number}: start and duration must be numbers of seconds") from None
    return Recording(f"{file.stem}-{number:06d}-{Path(name).stem}", sound, _value(row, "text"),
                     _value(row, "speaker") or name, start, stop)  # fmt: skip


def _splits(file: Path, row: Mapping[str, Any], recording: Recording, config: "SpeechData") -> list[str]:
    if said := _value(row, "split"):
        return split_of(said, config)
    if named := split_of(file.stem, config):
        return named
    share = zlib.crc32(recording.speaker.encode()) % 100
    return [SPLITS[sum(share >= limit for limit in _HELD_OUT)]]
