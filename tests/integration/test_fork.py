"""The whole repository as a fork: with none or one of the use cases, and kept up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trees import Tree, copy_repository, git

from ml.use_cases import available

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("fork")]

SUITES = ("tests/unit", "tests/dags", "tests/docs", "tests/conformance")
# They make slices of their own, or know of none: no fork changes what they find.
ELSEWHERE = (
    *("tests/conformance/test_broken.py", "tests/unit/core", "tests/unit/adapters"),
    *("tests/unit/local/test_backup.py", "tests/unit/local/test_restore.py"),
)


def forked(folder: Path, *, kept: int) -> Tree:
    """A copy under git from which all use cases but the first few were removed by the command."""
    tree = copy_repository(folder)
    tree.git("init", "--quiet", "--initial-branch=main")
    tree.git("add", "-A")
    tree.git("commit", "--quiet", "-m", "v1")
    if removed := available()[kept:]:
        done = tree.flightline("remove", *removed, "--yes")
        assert done.returncode == 0, done.stderr
        tree.git("add", "-A")
        tree.git("commit", "--quiet", "-m", "Remove the reference use cases")
    return tree


@pytest.mark.parametrize("kept", [0, 1])
def test_the_quick_tests_pass_with_none_or_one_of_the_use_cases(tmp_path: Path, kept: int) -> None:
    if len(available()) <= kept:
        pytest.skip("there are no more use cases than these")
    tree = forked(tmp_path, kept=kept)
    options = ["-q", "-x", "-n", "2", "-p", "no:cacheprovider"]
    done = tree.python("-m", "pytest", *SUITES, *(f"--ignore={one}" for one in ELSEWHERE), *options)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_commands_work_without_any_use_case(tmp_path: Path) -> None:
    tree = forked(tmp_path, kept=0)
    listed = tree.flightline("list", "--json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    assert "no use case is there yet" in tree.flightline("list").stdout
    assert tree.flightline("status").returncode == 0
    done = tree.flightline("demo")
    assert done.returncode == 2 and "no use case has a demo" in done.stderr
    done = tree.flightline("ingest", "toy", "2020-01-01")
    assert done.returncode == 2 and "none is there yet" in done.stderr


def test_the_real_repository_stays_without_them_through_an_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream changes a removed spec, adds files beside it, and changes the platform."""
    if not available():
        pytest.skip("there is no use case that could be removed")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
    tree, slug = forked(tmp_path, kept=0), available()[0]
    before = set(tree.git("ls-files").splitlines())
    upstream = tmp_path / "upstream"
    git(tmp_path, "clone", "--quiet", str(tree.root), str(upstream))
    git(upstream, "checkout", "--quiet", "-B", "main", "HEAD~1")
    for name in (f"ml/use_cases/{slug}/spec.py", "ml/core/names.py"):
        path = upstream / name
        path.write_text(path.read_text() + "\n# v2\n")
    (upstream / "dbt_project" / "models" / slug / "feat_new.sql").write_text("select 1\n")
    (upstream / "dags" / f"{slug}_monitor.py").write_text("# airflow dag\n")
    git(upstream, "add", "-A")
    git(upstream, "commit", "--quiet", "-m", "v2")
    tree.git("remote", "add", "upstream", str(upstream))
    tree.git("fetch", "--quiet", "upstream")
    done = tree.python("-m", "ml.local.removal_commands", "upstream/main")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(tree.git("ls-files").splitlines()) == before
    assert tree.git("status", "--porcelain") == ""
    assert (tree.root / "ml/core/names.py").read_text().endswith("# v2\n")
    assert not (tree.root / "dbt_project" / "models" / slug).exists()
