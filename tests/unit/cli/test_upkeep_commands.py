"""`flightline gc`, `backup` and `restore` as people call them: question, output, exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented import Reader
from old_homes import files, made

from ml.settings import Settings

OLD, YOUNG = "logs/scheduler.previous.log", "lake/raw/toy/events/partition_key=2020-01-01/x.parquet"


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """In a home with one file that may go, and one that stays."""
    found = Reader(tmp_path)
    made(Settings(home=found.home), OLD, days=400)
    made(Settings(home=found.home), YOUNG, days=400)
    (found.home / "locks").mkdir()  # as the first stage makes it: by them a home is known
    return found


def kept(reader: Reader) -> set[str]:
    return {OLD, YOUNG} & files(Settings(home=reader.home))


def test_gc_deletes_when_the_answer_is_yes_only(reader: Reader) -> None:
    nobody = reader.runs("flightline gc")
    assert nobody.returncode == 2 and "add --yes" in nobody.stderr
    shown = reader.runs("flightline gc --dry-run")
    assert shown.returncode == 0 and "delete this" not in shown.stdout
    no = reader.runs("flightline gc", answer="n")
    assert no.returncode == 0 and "nothing was deleted" in no.stdout + no.stderr
    assert kept(reader) == {OLD, YOUNG}
    yes = reader.runs("flightline gc", answer="y")
    assert yes.returncode == 0 and "delete this? [y/N]" in yes.stdout
    assert "deleted 1, 0.0 MiB" in yes.stdout and kept(reader) == {YOUNG}
    again = reader.runs("flightline gc --yes")
    assert (again.returncode, again.stdout.strip()) == (0, "nothing to delete")


def test_gc_refuses_a_use_case_that_is_not_there(reader: Reader) -> None:
    done = reader.runs("flightline gc --partitions-before no_such=2020-01-01 --dry-run")
    assert done.returncode == 2 and "bad --partitions-before" in done.stderr


def test_a_backup_and_its_restore_say_what_they_did(reader: Reader) -> None:
    backup = reader.runs("flightline backup home.tar.zst")
    assert backup.returncode == 0, backup.stderr
    assert "2 files, 0.0 MiB, in home.tar.zst" in backup.stdout
    assert "it holds passwords" in backup.stdout
    full = reader.runs("flightline restore home.tar.zst")
    assert full.returncode == 2 and "restore home.tar.zst --replace" in full.stderr
    (reader.home / YOUNG).write_text("changed")
    restored = reader.runs("flightline restore home.tar.zst --replace")
    assert restored.returncode == 0 and "2 files" in restored.stdout
    assert (reader.home / YOUNG).read_text() == "x"
    then = reader.runs("MLOPS_HOME=then flightline restore home.tar.zst")
    assert then.returncode == 0 and (reader.folder / "then" / YOUNG).exists()


def test_a_backup_that_is_damaged_or_missing_is_refused(reader: Reader) -> None:
    missing = reader.runs("flightline restore home.tar.zst --replace")
    assert missing.returncode == 2 and "there is no file home.tar.zst" in missing.stderr
    (reader.folder / "home.tar.zst").write_text("not an archive")
    damaged = reader.runs("flightline restore home.tar.zst --replace")
    assert damaged.returncode == 3 and "is damaged" in damaged.stderr
    assert kept(reader) == {OLD, YOUNG}
