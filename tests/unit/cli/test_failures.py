"""How a command that failed ends: one text, an exit code, a traceback only if asked for."""

from __future__ import annotations

import io
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml import cli
from ml import settings as settings_module
from ml.cli import failures
from ml.core.errors import ConfigError, DataError, GateRejected, TransientError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(failures, "_is_verbose", False)
    settings_module.settings.cache_clear()
    yield tmp_path / "home"
    settings_module.settings.cache_clear()


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    with pytest.raises(SystemExit) as exit_, failures.told():
        raise error
    shown = capsys.readouterr()
    assert shown.out == "", "stdout is for results"
    return exit_.value.code, shown.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("seen", expected="good", repair="mend"), 2),
        (DataError("seen", expected="good", repair="mend"), 3),
        (GateRejected("seen", expected="good", repair="mend"), 4),
        (TransientError("seen", expected="good", repair="mend"), 75),
    ],
)
def test_an_expected_error_is_its_text_and_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    name = type(error).__name__
    text = f"{name}: seen\n  expected: good\n  repair: mend\n"
    assert ended(error, capsys) == (code, text)
    assert not home.exists(), "no report is needed"


def test_a_fault_of_ours_is_told_in_words_and_kept_for_a_report(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["flightline", "train", "toy", "--as-of", "x y"])
    code, text = ended(ZeroDivisionError("division by zero"), capsys)
    assert code == 1 and "Traceback" not in text and text.count("\n") == 3
    assert "ZeroDivisionError: division by zero" in text and "test_failures.py, line" in text
    log = home / "logs" / "errors.log"
    assert str(log) in text and failures.ISSUES in text
    kept = log.read_text()
    assert "Traceback" in kept and "flightline train toy --as-of 'x y'" in kept
    ended(KeyError("another"), capsys)
    assert kept in log.read_text() and "KeyError" in log.read_text(), "the first one stays"


def test_where_nothing_can_be_kept_verbose_is_the_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", "/etc/passwd/below")
    settings_module.settings.cache_clear()
    code, text = ended(ZeroDivisionError("x"), capsys)
    assert code == 1 and "flightline --verbose" in text and "errors.log" not in text


@pytest.mark.parametrize("error", [ConfigError("seen"), ZeroDivisionError("seen")])
def test_verbose_shows_where_it_was_raised(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_is_verbose", True)
    _, text = ended(error, capsys)
    assert "Traceback" in text and "raise error" in text
    assert text.splitlines()[-1].startswith((type(error).__name__, "  repair"))


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'lightgbm'"),
        ImportError("cannot import name 'Booster' from 'lightgbm'"),
    ],
)
def test_a_library_that_is_missing_or_half_there_asks_for_setup(
    error: ImportError, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = ended(error, capsys)
    assert code == 2 and "lightgbm" in text and "repair: rm -r .venv; make setup" in text


def test_a_file_that_stands_in_the_way_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = ended(FileExistsError(17, "File exists", "/home/locks"), capsys)
    assert code == 1 and "/home/locks" in text and "flightline doctor" in text


def test_a_damaged_database_is_bad_data_and_named(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    file = home / "mlflow" / "mlflow.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x00\xff" * 600)
    (home / "feast").mkdir()
    sqlite3.connect(home / "feast" / "registry.sqlite").close()
    try:
        sqlite3.connect(file).execute("select * from runs")
    except sqlite3.DatabaseError as error:
        wrapped = RuntimeError("as SQLAlchemy raises it")
        wrapped.orig = error  # type: ignore[attr-defined]  # SQLAlchemy's attribute
    code, text = ended(wrapped, capsys)
    assert code == 3 and str(file) in text and "backup" in text
    assert "registry.sqlite" not in text and "fault of Flightline" not in text


def test_a_wrong_statement_is_no_damaged_database(capsys: pytest.CaptureFixture[str]) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("create table t (n integer unique)")
    for statement in ("insert into t values (1), (1)", "select ?", "select nothing"):
        with pytest.raises(sqlite3.DatabaseError) as caught:
            database.execute(statement)
        code, text = ended(caught.value, capsys)
        assert code == 1 and "fault of Flightline" in text and "backup" not in text, statement


def test_verbose_may_stand_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """People add it to the end of what has just failed."""
    monkeypatch.setattr(
        logging, "basicConfig", lambda **_: None
    )  # the test's logs stay as they are
    for words in (["--verbose", "status", "nonsense"], ["status", "nonsense", "--verbose"]):
        monkeypatch.setattr(failures, "_is_verbose", False)
        monkeypatch.setattr(sys, "argv", ["flightline", *words])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert exit_.value.code == 2 and "Traceback" in capsys.readouterr().err, words


def run(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a shell, as people write it; `$F` is `flightline`."""
    command = f"set -o pipefail; {command}"
    where = {**os.environ, "F": f"{sys.executable} -m ml.cli", **variables}
    return subprocess.run(  # the shell is what is tested
        ["bash", "-c", command], env=where, capture_output=True, text=True, check=False
    )


def test_output_that_nobody_reads_is_no_fault() -> None:
    for command in (
        "$F list | head -1",
        "$F --help | head -1",
        "$F logs >&-",
        "$F list | true",
        "$F list 2>&-",
    ):
        done = run(command)
        assert (done.returncode, done.stderr) == (0, ""), command


# A start that tells much, and leaves a file behind when it came to its end.
START = """
import pathlib, sys
from ml.cli import main
from ml.local import commands

END = sys.argv.pop()
sys.argv.append("up")
commands.show_addresses = lambda _: pathlib.Path(END).touch()
commands.supervisor.up = lambda *_, progress, **__: [progress(f"line {n}") for n in range(5_000)]
main()
"""


def test_a_start_goes_on_when_nobody_reads_its_progress(tmp_path: Path) -> None:
    """`flightline up | head -1` had stopped what it had started."""
    for reader in ("head -1", "true"):
        end = tmp_path / f"{reader}.end"
        done = run(
            '"$PYTHON" -c "$START" "$END" | $READER',
            START=START,
            END=str(end),
            READER=reader,
            PYTHON=sys.executable,
        )
        assert (done.returncode, done.stderr) == (0, "") and end.exists(), reader


def test_letters_that_a_terminal_does_not_have_are_replaced() -> None:
    for command in ("$F --help", "$F status nonsense"):
        done = run(command, PYTHONIOENCODING="ascii")
        assert "UnicodeEncodeError" not in done.stderr and done.returncode in (0, 2), command


def test_a_full_disk_under_the_output_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    done = run("$F logs > /dev/full")
    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    from ml.local import commands

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "show_diagnosis", interrupted)
    monkeypatch.setattr(sys, "argv", ["flightline", "doctor"])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 130 and "Traceback" not in sys.stderr.getvalue()
