"""The documentation builds as a site without a warning, and its reference leaves nothing out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from ml.cli import app
from ml.core.gates import GATES
from ml.core.metric_names import METRICS
from ml.settings import Settings
from ml.use_cases import load_all

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))  # the generator is part of the documents, as conf.py sees it

from generator import GENERATED, toctree  # noqa: E402  # after the path
from generator.markdown import entries, summary, table  # noqa: E402
from generator.spec import models  # noqa: E402
from generator.tables import models_of  # noqa: E402


def build(source: Path, output: Path, *, builder: str = "html") -> tuple[int, str]:
    """Exit code and warnings of a build as `make site` does it."""
    options = ["-q", "-W", "--keep-going", "-E", "-b", builder]
    folders = ["-c", source / "docs", "-d", output / "doctrees", source, output / "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("site")
    assert build(ROOT, output) == (0, "")
    return output / "html"


@pytest.mark.slow
def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    made = [site / path.relative_to(ROOT).with_suffix(".html") for path in pages]
    assert [path.name for path in made if not path.exists()] == []
    assert "docs/README.html" in (site / "index.html").read_text()


@pytest.mark.slow
def test_the_site_says_nothing_of_the_machine_that_built_it(site: Path) -> None:
    texts = [path for path in site.rglob("*") if path.suffix in {".html", ".js", ".inv", ".txt"}]
    assert len(texts) > 30
    names = machine_names(site)
    assert [p.name for p in texts if any(name in p.read_text("latin-1") for name in names)] == []


def machine_names(site: Path) -> list[str]:
    """Without the root: it is the home of some users, and in every address."""
    return [str(path) for path in (ROOT, Path.home(), site) if path.name]


def test_a_home_that_is_the_root_names_no_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/")
    assert machine_names(tmp_path) == [str(ROOT), str(tmp_path)]
    monkeypatch.setenv("HOME", "/home/somebody")
    assert machine_names(tmp_path) == [str(ROOT), "/home/somebody", str(tmp_path)]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A source folder with the site's configuration and two pages."""
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    shutil.copy(DOCS / "conf.py", source / "docs")
    for folder in ("generator", "_templates"):
        shutil.copytree(DOCS / folder, source / "docs" / folder)
    start = "# Start\n\n[Other](other.md#part), [code](conf.py)\n"
    (source / "docs" / "README.md").write_text(start)
    (source / "docs" / "other.md").write_text("# Other\n\n## Part\n\n<!-- generated: errors -->\n")
    return source


BROKEN = {
    "nowhere.md": "[x](nowhere.md)",
    "no-part": "[x](other.md#no-part)",
    "nothing.py": "[x](../ml/nothing.py)",
    "not-here": "[x](#not-here)",
    "nothing.png": "![x](nothing.png)",
}


def test_every_broken_link_fails_the_build(small: Path) -> None:
    page = small / "docs" / "other.md"
    page.write_text("\n\n".join([page.read_text(), *BROKEN.values()]))
    code, said = build(small, small.parent / "out", builder="dummy")
    # Pages and folders that this small source is without are warnings of another kind.
    found = [line for line in said.splitlines() if "toctree" not in line]
    assert code == 1
    assert len(found) == len(BROKEN)
    assert {name for name in BROKEN for line in found if name in line} == set(BROKEN)


def test_the_reference_names_everything() -> None:
    text = {name: one() for name, one in GENERATED.items()}
    commands = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    assert [name for name in commands if f"### `flightline {name}`" not in text["commands"]] == []
    fields = [f"MLOPS_{name}".upper() for name in Settings.model_fields]
    assert [name for name in fields if f"| `{name}` |" not in text["settings"]] == []
    assert [name for name in GATES if f"| `{name}` |" not in text["gates"]] == []
    assert [name for name in METRICS if f"`{name}" not in text["metrics"]] == []
    codes = re.findall(r"(\d+) [a-z]", str(app.info.help).partition("Exit codes: 0")[2])
    assert "1" in codes
    assert [code for code in codes if f"| {code} |" not in text["errors"]] == []
    for model in models():
        part = text["spec"].partition(f"## {model.__name__}\n")[2].partition("\n## ")[0]
        assert [name for name in model.model_fields if f"| `{name}` |" not in part] == []


def test_the_reference_names_the_tables_and_thresholds_of_every_use_case() -> None:
    tables, thresholds = GENERATED["tables"](), GENERATED["thresholds"]()
    for slug, spec in load_all()[0].items():
        assert f"## {spec.title}\n" in tables
        names = [one["name"] for one in models_of(slug)]
        assert names
        assert [name for name in names if f"### {name}\n" not in tables] == []
        part = thresholds.partition(f"### {spec.title}\n")[2].partition("\n### ")[0]
        criteria = [(one.gate, one.metric) for one in spec.gates.criteria]
        assert [gate for gate, on in criteria if f"| `{gate}` | {on}" not in part] == []


def test_every_generated_part_is_in_a_page_and_every_mark_is_known() -> None:
    marks = [
        mark
        for path in DOCS.rglob("*.md")
        for mark in re.findall(r"<!-- generated: (\w+) -->", path.read_text())
    ]
    assert sorted(marks) == sorted(GENERATED)


def test_docstrings_become_tables() -> None:
    def documented() -> None:
        """What it is.

        More of it.

        Args:
            one, two: something that
                goes on.
            three: else.

        Returns:
            nothing
        """

    assert summary(documented) == "What it is.\n\nMore of it."
    said = {"one": "something that goes on.", "two": "something that goes on.", "three": "else."}
    assert entries(documented, "Args") == said
    assert entries(documented, "Attributes") == {}
    assert table(["a"], [["x|y\n z"]]) == "| a |\n| --- |\n| x\\|y z |\n"


def test_the_first_page_of_a_folder_lists_the_others() -> None:
    assert ":glob:" in toctree("docs/runbooks/README")
    assert "explanation/README" in toctree("docs/README")
    assert toctree("README") == toctree("docs/how-to/data") == ""
