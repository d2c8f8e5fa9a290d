"""The page on adding a use case shows real code: its blocks and its table are what files hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.core.metric_names import METRICS
from ml.core.problems import ProblemType

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "add-a-use-case.md"
EXAMPLE, SMALL = "low_visibility", ("low_visibility", "co2_trend")
MOST_LINES = 400
TOLERANCE = 10
"""Lines that a file of a slice may gain or lose before the page's table must follow."""


def is_there(slug: str) -> bool:
    """A fork may have taken the slice out; then there is nothing to compare with."""
    return (ROOT / "ml" / "use_cases" / slug / "spec.py").exists()


def titled_blocks(markdown: str) -> Iterator[tuple[str, str]]:
    """Path and content of each code block that says which file it is from."""
    yield from re.findall(
        r'^```\w+ title="([^"]+)"\n(.*?)^```$', markdown, flags=re.MULTILINE | re.DOTALL
    )


def strangers(block: str, text: str) -> list[str]:
    """Parts of a block, separated by lines with an ellipsis, that the file does not hold."""
    parts = [part.strip("\n") for part in re.split(r"^…$", block, flags=re.MULTILINE)]
    return [part for part in parts if f"\n{part}\n" not in f"\n{text}\n"]


def files_of(slug: str, pattern: str = "") -> list[Path]:
    """The files of a slice; with a pattern of the page's table, those that it stands for."""
    wanted = pattern.replace("<slug>", slug)
    if wanted.endswith("/"):
        wanted += "**/*"
    patterns = (
        [wanted]
        if pattern
        else [
            f"ml/use_cases/{slug}/*.py",
            f"dbt_project/*/{slug}/**/*",
            f"feature_repo/{slug}/*.py",
            f"dags/{slug}_*.py",
        ]
    )
    found = (path for one in patterns for path in ROOT.glob(one) if path.is_file())
    return sorted({path for path in found if path.suffix in (".py", ".sql", ".yml", ".csv")})


def lines_of(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def table_rows(markdown: str) -> list[tuple[str, list[int]]]:
    """Pattern and numbers of lines, by slice, of the table of files."""
    found = re.findall(r"^\| `([^`]+)` \|[^|]+\| (\d+) \| (\d+) \|$", markdown, re.MULTILINE)
    return [(pattern, [int(one), int(other)]) for pattern, one, other in found]


def test_code_blocks_are_parts_of_the_files_that_they_name() -> None:
    if not is_there(EXAMPLE):
        pytest.skip(f"{EXAMPLE} was taken out")
    blocks = list(titled_blocks(PAGE.read_text()))
    assert len(blocks) >= 6
    wrong = {
        path: found
        for path, block in blocks
        if (found := strangers(block, (ROOT / path).read_text()))
    }
    assert wrong == {}, "take over what the file says now"


def test_a_block_that_differs_is_found() -> None:
    text = "a = 1\nb = 2\nc = 3\nd = 4"
    assert strangers("a = 1\n…\nc = 3\nd = 4\n", text) == []
    assert strangers("a = 1\nc = 3\n", text) == ["a = 1\nc = 3"]
    assert strangers("b = 22\n", text) == ["b = 22"]
    assert strangers("b = \n", text) == ["b = "]
    page = '```sql title="x.sql"\nselect 1\n```\n\n```\nflightline\n```\n'
    assert list(titled_blocks(page)) == [("x.sql", "select 1\n")]


@pytest.mark.parametrize("slug", SMALL)
def test_a_small_slice_is_small(slug: str) -> None:
    if not is_there(slug):
        pytest.skip(f"{slug} was taken out")
    assert lines_of(files_of(slug)) < MOST_LINES


@pytest.mark.parametrize("slug", SMALL)
def test_the_table_of_files_says_how_long_they_are(slug: str) -> None:
    if not is_there(slug):
        pytest.skip(f"{slug} was taken out")
    rows = table_rows(PAGE.read_text())
    assert len(rows) >= 6
    real = {pattern: lines_of(files_of(slug, pattern)) for pattern, _ in rows}
    said = {pattern: numbers[SMALL.index(slug)] for pattern, numbers in rows}
    assert {p for p in real if abs(real[p] - said[p]) > TOLERANCE} == set(), real


def test_the_table_names_every_file_of_the_example() -> None:
    if not is_there(EXAMPLE):
        pytest.skip(f"{EXAMPLE} was taken out")
    named = {
        path for pattern, _ in table_rows(PAGE.read_text()) for path in files_of(EXAMPLE, pattern)
    }
    left = [path for path in files_of(EXAMPLE) if path not in named and path.stem != "__init__"]
    assert left == []


def first_cells(markdown: str, header: str) -> set[str]:
    """Inline code in the first column of the table whose header begins like this."""
    _, _, after = markdown.partition(f"| {header} |")
    rows = re.match(r"[^\n]*\n(?:\|[^\n]*\n)+", after)
    assert rows, f"no table {header}"
    cells = [line.split(" | ")[0] for line in rows[0].splitlines()[2:]]
    return {code for cell in cells for code in re.findall(r"`([^`]+)`", cell)}


def signatures(kind: str, folder: str) -> set[str]:
    """Macros or data tests with their arguments, of tests without the model that dbt gives."""
    texts = [path.read_text() for path in sorted((ROOT / "dbt_project" / folder).glob("*.sql"))]
    found = [name for text in texts for name in re.findall(rf"{{% {kind} (\w+\(.*?\)) -?%}}", text)]
    return {name.replace("(model, ", "(") for name in found}


def test_the_tables_of_macros_and_data_tests_say_what_arguments_they_have() -> None:
    page = PAGE.read_text()
    macros = first_cells(page, "macro")
    assert len(macros) >= 6
    assert macros - signatures("macro", "macros") == set()
    assert first_cells(page, "data test") == signatures("test", "tests/generic")


@pytest.mark.parametrize("problem", ProblemType, ids=str)
def test_the_table_of_metrics_is_complete(problem: ProblemType) -> None:
    row = re.search(rf"^\| `{problem}` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert row
    mine = [metric for metric in METRICS.values() if problem in metric.problems]
    wanted = {f"{one.name}_<class>" if one.by_class else one.name for one in mine}
    assert set(re.findall(r"`([^`]+)`", row[1])) == wanted
