"""A fork without the reference use cases stays one through updates by git: real repositories."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from trees import git

from ml.core.errors import ConfigError
from ml.local import removal, removal_commands
from ml.settings import Settings

SPEC = "".join(f"line {number} of a spec\n" for number in range(40))
SLICE = {
    "dags/{slug}_daily.py": "build_partition('{slug}')\n",
    "dbt_project/models/{slug}/fct_things.sql": "select 1\n" * 20,
    "feature_repo/{slug}/features.py": "view = 1\n" * 20,
    "ml/use_cases/{slug}/spec.py": SPEC,
    "docs/runbooks/{slug}.md": "look at the log\n" * 20,
}
PLATFORM = {"ml/core/spec.py": "x = 1\n" * 20, "README.md": "the platform\n" * 20}


def write(root: Path, contents: dict[str, str], slug: str = "") -> None:
    for name, text in contents.items():
        path = root / name.format(slug=slug)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{slug}", slug))


def commit(root: Path, message: str) -> None:
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", message)


def files(root: Path) -> set[str]:
    return set(git(root, "ls-files").splitlines())


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    root = tmp_path / "upstream"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    write(root, PLATFORM)
    for slug in ("reference", "second"):
        write(root, SLICE, slug)
    commit(root, "v1")
    return root


@pytest.fixture
def fork(
    tmp_path: Path, upstream: Path, scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A clone without the reference use cases, and with one of its own that began as a copy."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
    root = tmp_path / "fork"
    git(tmp_path, "clone", "--quiet", "--origin", "upstream", str(upstream), str(root))
    git(root, "switch", "--quiet", "--create", "ours")
    removal.carry_out(removal.plan(["reference", "second"], scratch, root=root), scratch)
    write(root, SLICE, "churn")
    commit(root, "Remove the reference use cases, add churn")
    return root


def update(upstream: Path, **changes: str) -> None:
    """A version upstream: a removed slice's files change, it gets new ones, the platform, too."""
    write(upstream, {"ml/use_cases/{slug}/spec.py": SPEC + "a new line\n"}, "reference")
    write(upstream, {"dbt_project/models/{slug}/feat_new.sql": "select 2\n"}, "reference")
    write(upstream, {"dags/{slug}_monitor.py": "build_monitor()\n"}, "reference")
    write(upstream, {"ml/core/spec.py": PLATFORM["ml/core/spec.py"] + "y = 2\n"})
    for name, text in changes.items():
        write(upstream, {name.replace("__", "/"): text})
    commit(upstream, "v2")


def merge(fork: Path) -> None:
    git(fork, "fetch", "--quiet", "upstream")
    removal_commands.upstream("upstream/main", fork)


def status(fork: Path) -> str:
    return git(fork, "status", "--porcelain")


def test_an_update_brings_the_platforms_change_and_no_removed_use_case(
    upstream: Path, fork: Path
) -> None:
    """Its changed file, its new files: no conflict is left, and nothing of it is there."""
    before = files(fork)
    update(upstream)
    merge(fork)
    assert status(fork) == ""
    assert files(fork) == before
    assert (fork / "ml/core/spec.py").read_text().endswith("y = 2\n")
    assert not (fork / "ml/use_cases/reference").exists()
    assert git(fork, "log", "-1", "--format=%P").count(" ") == 1, "a merge: the next one is small"


def test_a_use_case_that_began_as_a_copy_of_a_removed_one_is_left_alone(
    upstream: Path, fork: Path
) -> None:
    """To git it is the removed one under a new name: plain `git merge` changes it."""
    update(upstream)
    git(fork, "fetch", "--quiet", "upstream")
    trap = fork.parent / "trap"
    shutil.copytree(fork, trap)
    with suppress(AssertionError):  # conflicts
        git(trap, "merge", "--quiet", "upstream/main")
    assert (trap / "ml/use_cases/churn/spec.py").read_text() != SPEC, "or no care would be needed"
    merge(fork)
    assert (fork / "ml/use_cases/churn/spec.py").read_text() == SPEC
    assert status(fork) == ""


def test_updates_go_on_and_one_without_news_changes_nothing(upstream: Path, fork: Path) -> None:
    before = files(fork)
    for number in range(3):
        update(upstream, README=f"version {number}\n", ml__use_cases__second__spec=f"v{number}\n")
        merge(fork)
        assert files(fork) - {"README", "ml/use_cases/second/spec"} == before
    newest = git(fork, "rev-parse", "HEAD")
    merge(fork)
    assert git(fork, "rev-parse", "HEAD") == newest


def test_a_conflict_of_the_teams_own_is_left_to_it_and_the_merge_can_be_finished(
    upstream: Path, fork: Path
) -> None:
    write(fork, {"README.md": "our platform\n" * 20})
    commit(fork, "ours")
    update(upstream, **{"README.md": "their platform\n" * 20})
    with pytest.raises(ConfigError, match=r"conflicts are left in README\.md"):
        merge(fork)
    assert removal.Git(fork).unmerged() == ["README.md"], "those of removed files are settled"
    (fork / "README.md").write_text("both\n")
    git(fork, "add", "README.md")
    merge(fork)
    assert status(fork) == "" and not (fork / "dags/reference_monitor.py").exists()


def test_a_plain_merge_is_settled_by_again(upstream: Path, fork: Path) -> None:
    """Somebody has merged by hand: conflicts on removed files, and new ones beside them."""
    update(upstream)
    git(fork, "fetch", "--quiet", "upstream")
    with pytest.raises(AssertionError, match="CONFLICT"):
        git(fork, "merge", "-s", "recursive", "-X", "no-renames", "upstream/main")
    deleted = removal_commands.remove_again(yes=True, root=fork)
    assert "dags/reference_monitor.py" in deleted and "ml/use_cases/reference/spec.py" in deleted
    git(fork, "commit", "--quiet", "--no-edit")
    assert status(fork) == ""
    assert not any("reference" in name for name in files(fork))
    assert removal_commands.remove_again(yes=True, root=fork) == []


def test_a_use_case_that_the_team_took_up_again_stays(
    upstream: Path, fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its slug is still in the record, committed or not yet."""
    write(fork, SLICE, "second")
    assert removal_commands.remove_again(yes=True, root=fork) == []
    commit(fork, "second again, our way")
    assert removal_commands.remove_again(yes=True, root=fork) == []
    assert (fork / "ml/use_cases/second/spec.py").exists()
    assert "second is in .flightline/removed" in capsys.readouterr().out


def test_changes_that_are_not_committed_stop_an_update(upstream: Path, fork: Path) -> None:
    update(upstream)
    (fork / "README.md").write_text("half done\n")
    with pytest.raises(ConfigError, match="not committed"):
        merge(fork)
    assert (fork / "README.md").read_text() == "half done\n"


def test_a_branch_that_is_not_there_is_told_with_the_repair(fork: Path) -> None:
    with pytest.raises(ConfigError, match="git merge nowhere/main failed") as caught:
        removal_commands.upstream("nowhere/main", fork)
    assert "git fetch upstream" in caught.value.repair


def test_an_upstream_that_deletes_a_removed_use_case_is_no_conflict(
    upstream: Path, fork: Path
) -> None:
    shutil.rmtree(upstream / "ml/use_cases/second")
    update(upstream)
    merge(fork)
    assert status(fork) == ""
