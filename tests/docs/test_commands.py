"""What the documents tell people to type works as it is written, in the order of the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from documented import (
    BOOKS,
    EXCEPTIONS,
    REFUSED,
    ROOT,
    SCRIPTS,
    Reader,
    commands_in,
    commands_of,
    pages,
)

from ml.use_cases import available

READ = ["docs/tutorial.md", *(page for book in BOOKS.values() for page in book)]


whole = pytest.mark.skipif(bool(BOOKS.keys() - available()), reason="a fork has fewer pages")


def test_each_page_with_commands_is_read_once() -> None:
    assert [page for page in pages() if commands_of(page) and page not in READ] == []
    assert len(READ) == len(set(READ))


@whole
def test_a_page_or_an_exception_that_is_not_needed_any_more_fails() -> None:
    assert [page for page in READ if not commands_of(page)] == []
    typed = {line for page in READ for line in commands_of(page)}
    assert EXCEPTIONS.keys() - typed == set()
    assert {line for line, _ in REFUSED} - typed == set()


def test_what_is_no_command_is_not_typed() -> None:
    page = "```python\nx\n```\nflightline a\n\n```\nflightline b  # c\n text\nX=1 make d\n```\n"
    assert commands_in(page) == ["flightline b", "X=1 make d"]


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    wrong = Reader(tmp_path).types("flightline status no_such_use_case")
    assert wrong.startswith("flightline status no_such_use_case: exit code 2, not 0: ConfigError")


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("slug", BOOKS)
def test_commands_of_pages_that_are_read_in_order(slug: str, tmp_path: Path) -> None:
    if slug not in available():
        pytest.skip("it was taken out of this fork")
    assert Reader(tmp_path).read_book(slug) == []


def documented_targets() -> list[str]:
    texts = [(ROOT / page).read_text() for page in pages()]
    code = [
        one for text in texts for one in [*commands_in(text), *re.findall(r"`([^`\n]+)`", text)]
    ]
    return sorted({target for line in code for target in re.findall(r"^make ([a-z][a-z-]*)", line)})


def make(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The environment counts as set up, and is the one that runs the tests."""
    make_it = ["make", "-o", "setup", *arguments, f"FLIGHTLINE={SCRIPTS / 'flightline'}"]
    env = Reader(home.parent).environment()
    return subprocess.run(make_it, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not shutil.which("make"), reason="this machine has no make")
def test_make_knows_what_to_do_for_each_documented_target(tmp_path: Path) -> None:
    targets = documented_targets()
    assert len(targets) >= 15
    done = {target: make("-n", target, home=tmp_path / "home") for target in targets}
    assert {target: one.stderr for target, one in done.items() if one.returncode} == {}


@pytest.mark.skipif(not shutil.which("make"), reason="this machine has no make")
def test_make_status_says_what_runs(tmp_path: Path) -> None:
    done = make("status", home=tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert "scheduler" in done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="this machine has no make")
def test_make_doctor_looks_at_everything(tmp_path: Path) -> None:
    """Whatever it finds: this machine may lack something."""
    done = make("doctor", home=tmp_path / "home")
    assert done.returncode == 0 or "repair" in done.stdout + done.stderr
    assert "scripts" in done.stdout and "Traceback" not in done.stdout + done.stderr
