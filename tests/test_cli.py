import errno
import subprocess
import sys

import pytest

from anaxon import cli
from anaxon.configs import config_path

KEYWORDS = str(config_path("keywords.toml"))


def refused(capsys, *argv):
    """The one sentence that a refused command prints."""
    assert cli.main(argv) == 2
    told = capsys.readouterr().err
    assert told.startswith("anaxon: ") and told.count("\n") == 1 and "Traceback" not in told
    return told


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(cli, "_use_all_cores", lambda: None)


def test_explain_tells_what_is_active(capsys):
    assert cli.main(["explain", KEYWORDS]) == 0
    told = capsys.readouterr().out
    for words in ("lstm/cell/dense_i/kernel", "read noise", "ADC 8 bit", "Bill: one call"):
        assert words in told


def test_explain_follows_overrides(capsys):
    assert cli.main(["explain", "keywords", "--set", "model.hidden=8", "--set", "hardware.adc.range_bits=3"]) == 0
    told = capsys.readouterr().out
    assert "8 x 32" in told and "saturates at +-4" in told


def test_presets_are_listed(capsys):
    assert cli.main(["presets"]) == 0
    assert "vcm-4bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("run", "nowhere.toml"), "nowhere.toml: there is no such file"),
        (("run", KEYWORDS, "--set", "ensemble.chipz=3"), "did you mean 'chips'"),
        (("run", KEYWORDS, "--set", "ensemble.chips=many"), "expected a whole number; got 'many'"),
        (("run", KEYWORDS, "--set", "ensemble.chips"), "expected name=value"),
        (("run", KEYWORDS, "--set", "hardware.preset=vcm-5bit"), "vcm-4bit"),
        (("run", KEYWORDS, "--set", "hardware.array.weight_bits=40"), "weight_bits"),
        (("run", KEYWORDS, "--set", "job=images"), "got 'images'"),
        (("explain", KEYWORDS, "--set", "model.hidden=0"), "model.hidden"),
    ],
)
def test_wrong_input_is_one_sentence(capsys, argv, words):
    assert words in refused(capsys, *argv)


def test_bench_passes_its_arguments_on(tmp_path, monkeypatch, capsys):
    script = tmp_path / "run.py"
    script.write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    monkeypatch.setattr(cli, "benchmarks", lambda: script)
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", "--quick", "--only", "vcm"])
    assert caught.value.code == 3 and "['--quick', '--only', 'vcm']" in capsys.readouterr().out


def test_bench_without_a_checkout(tmp_path):
    with pytest.raises(ValueError, match="part of a source checkout"):
        cli.benchmarks(tmp_path)
    assert cli.benchmarks().exists()


def test_unknown_arguments_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["presets", "--quick"])
    assert caught.value.code == 2 and "unrecognized arguments: --quick" in capsys.readouterr().err


def test_toml_errors_have_a_line(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("job = 'keywords'\nseed = = 3\n")
    assert "line 2" in refused(capsys, "run", str(tmp_path / "bad.toml"))


def test_a_folder_that_is_no_speech_commands_copy(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ANAXON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    told = refused(capsys, "run", KEYWORDS, "--set", f"data.path={tmp_path / 'data'}", "--out", str(tmp_path / "run"))
    assert "is no Speech Commands folder" in told
    assert not (tmp_path / "run").exists(), "a wrong path leaves no run that would have to be continued"


def test_an_occupied_folder(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert "not empty" in refused(capsys, "run", KEYWORDS, "--out", str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def ours(kind, *args):
    """An error that a check in anaxon raised."""
    code = compile("raise error", cli.__file__, "exec")
    try:
        exec(code, {"error": kind(*args)})
    except kind as error:
        return error


def test_exit_codes():
    assert cli.exit_code(ours(ValueError, "x")) == cli.exit_code(ours(TypeError, "x")) == 2
    assert cli.exit_code(FileNotFoundError("x")) == cli.exit_code(PermissionError(errno.EACCES, "no")) == 2
    assert cli.exit_code(OSError(errno.ENOSPC, "full")) == cli.exit_code(MemoryError()) == 1
    with pytest.raises(ValueError) as caught:
        int("not ours")  # raised here, outside the package: a defect or a library, not an input
    assert cli.exit_code(caught.value) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (OSError(errno.ENOSPC, "No space left", "/a/b"), "/a/b: No space left"),
        (RuntimeError("RESOURCE_EXHAUSTED"), "RuntimeError: RESOURCE_EXHAUSTED"),
        (MemoryError(), "MemoryError"),
        (ValueError("x" * 5000), "x" * 600),
    ],
)
def test_sentences(error, expected):
    assert cli.sentence(error) == expected


def test_interruption_before_anything_is_done(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_job", interrupted)
    assert cli.main(["explain", KEYWORDS]) == 130
    assert "nothing was changed" in capsys.readouterr().err


def test_the_installed_command():
    done = subprocess.run([sys.executable, "-m", "anaxon.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("anaxon ")
    done = subprocess.run([sys.executable, "-m", "anaxon.cli", "rum"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "invalid choice: 'rum'" in done.stderr
