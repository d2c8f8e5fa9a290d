"""Documents cannot lie: the commands, options, links and files that they name exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ml.cli import app
from ml.core.alerts import Kind
from ml.local.removal import removed

ROOT = Path(__file__).resolve().parents[2]
README_MAX_LINES = 150


def documents() -> list[Path]:
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [path for path in top if path.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def sources() -> list[Path]:
    """Code whose texts tell people what to run."""
    return sorted((ROOT / "ml").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_in(markdown: str) -> Iterator[str]:
    """Lines of code blocks, and inline code."""
    fence = re.compile(r"^ *```.*?^ *```", flags=re.MULTILINE | re.DOTALL)
    for block in fence.findall(markdown):
        yield from block.splitlines()[1:-1]
    yield from re.findall(r"`([^`\n]+)`", fence.sub("", markdown))


@cache
def commands() -> dict[str, Any]:
    return dict(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def options_of(command: str) -> set[str]:
    """Of a command, or of all commands of a group."""
    found = commands()[command]
    some = [found, *getattr(found, "commands", {}).values()]
    names = {name for one in some for parameter in one.params for name in parameter.opts}
    return names | {"--help", "-h"}


def wrong_commands(code: str) -> list[str]:
    """What a line of code asks of `flightline` that it does not have."""
    wrong = []
    for call in re.findall(r"\bflightline +([a-z][a-z-]*[^|;&#]*)", code):
        command, *words = call.split()
        if command not in commands():
            wrong.append(f"flightline {command}")
            continue
        if command == "dbt":
            continue  # what follows the slug is dbt's
        options = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
        allowed = options_of(command)
        wrong += [f"flightline {command} {name}" for name in options if name not in allowed]
    return wrong


def wrong_targets(code: str) -> list[str]:
    called = re.findall(r"(?:^|[ ;&(])make((?: +[A-Z]+=\S+)*) +([a-z][a-z-]*)", code)
    return [f"make {target}" for _, target in called if target not in make_targets()]


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_commands_and_make_targets_in_documents_exist(path: Path) -> None:
    code = list(code_in(path.read_text()))
    assert [wrong for line in code for wrong in wrong_commands(line)] == []
    assert [wrong for line in code for wrong in wrong_targets(line)] == []


def test_commands_in_messages_and_help_exist() -> None:
    """A repair that cannot be typed is worse than none."""
    wrong = {}
    for path in sources():
        called = re.findall(r"\bflightline ([a-z][a-z-]*)", path.read_text())
        targets = re.findall(r"(?:run|with): make ([a-z][a-z-]*)", path.read_text())
        found = [name for name in called if name not in commands()]
        found += [f"make {name}" for name in targets if name not in make_targets()]
        if found:
            wrong[name_of(path)] = found
    assert wrong == {}


def test_the_makefile_calls_commands_that_exist() -> None:
    called = re.findall(r"\$\(FLIGHTLINE\) ([a-z][a-z-]*)", (ROOT / "Makefile").read_text())
    assert called
    assert [name for name in called if name not in commands()] == []


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_has_help_and_stands_in_the_documents(name: str) -> None:
    command = commands()[name]
    assert command.help
    assert [p.name for p in command.params if not getattr(p, "help", None)] == []
    texts = [path.read_text() for path in documents()]
    assert any(f"flightline {name}" in text for text in texts), f"flightline {name}: nowhere"


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_relative_links_resolve(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if is_of_a_removed_use_case(there):
            continue  # pages of the platform tell of its reference, which a fork may be without
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def is_of_a_removed_use_case(path: Path) -> bool:
    slugs = [slug for slug in removed() if not (ROOT / "ml" / "use_cases" / slug).exists()]
    names = (*path.relative_to(ROOT).parts, path.stem) if path.is_relative_to(ROOT) else ()
    return any(name == slug or name.startswith(f"{slug}_") for slug in slugs for name in names)


def anchors(path: Path) -> set[str]:
    """Identifiers that a page gets from its headings."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_MAX_LINES


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    index = (folder / "README.md").read_text()
    assert [name for name in pages if f"({name})" not in index] == []


@cache
def tracked_texts() -> dict[str, str]:
    """Every file that is or would be in the repository, but the lock file."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git work tree, so nothing says which files belong to it")
    texts = {}
    for name in done.stdout.splitlines():
        path = ROOT / name
        if name != "uv.lock" and path.is_file():
            texts[name] = path.read_bytes().decode(errors="replace")
    return texts


def where(pattern: str) -> dict[str, str]:
    found = {name: re.search(pattern, text) for name, text in tracked_texts().items()}
    own = Path(__file__).relative_to(ROOT).as_posix()
    return {name: match[0] for name, match in found.items() if match and name != own}


def test_no_file_names_a_folder_of_one_machine() -> None:
    folders = [r"/home/[a-z][\w.-]*/", r"/Users/\w+/", r"/(?:root)/"]
    # A checkout in `/app` would be any word with a slash; deeper ones are unmistakable.
    folders += [re.escape(str(p)) + r"\b" for p in (ROOT, Path.home()) if len(p.parts) > 2]
    assert where(r"(?<![\w.$}~/-])(?:" + "|".join(folders) + ")") == {}


def test_no_file_names_a_package_index_or_an_inner_host() -> None:
    assert where(r"--(?:extra-)?index-url|\bUV_(?:DEFAULT_)?INDEX|\bPIP_INDEX_URL") == {}
    assert where(r"https?://(?!127\.|0\.0\.0\.0)\d+\.\d+\.\d+\.\d+") == {}


def test_the_lock_file_names_the_public_index_alone() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_the_checks_of_commands_trip() -> None:
    """Planted mistakes, each of which must be found."""
    assert wrong_commands("flightline fly flight_delay") == ["flightline fly"]
    assert wrong_commands("flightline ingest x --nonsense 1") == ["flightline ingest --nonsense"]
    assert wrong_commands("flightline ingest x 2013-01-01 --json | jq .") == []
    assert wrong_targets("cd x && make nothing-like-it") == ["make nothing-like-it"]
    assert wrong_targets("FRESH=1 make test") == []
    assert list(code_in("a `make x` b\n\n```sh\nmake y\n```\n")) == ["make y", "make x"]


def without_heading(page: str) -> list[str]:
    """Kinds of alerts that no heading of the page names, by the words of the kind."""
    headings = set(re.findall(r"^## (.+)$", page, flags=re.MULTILINE))
    words = {kind: kind.value.replace("_", " ") for kind in Kind}
    return [kind for kind in Kind if not headings & {words[kind], _SAID.get(kind, "")}]


_SAID = {Kind.RUN_STUCK: "run is stuck"}


def test_every_kind_of_alert_has_its_heading_in_the_runbook() -> None:
    page = (ROOT / "docs" / "runbooks" / "alerts.md").read_text()
    assert without_heading(page) == []
    assert without_heading(page.replace("## task lost", "## lost")) == [Kind.TASK_LOST]
