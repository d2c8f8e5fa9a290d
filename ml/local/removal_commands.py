"""`flightline remove` and `make upstream`: what they show, ask and say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from ml.core.errors import ConfigError, FlightlineError
from ml.local import removal
from ml.local.git import Git
from ml.local.tracking import with_server
from ml.render import console
from ml.settings import REPOSITORY, settings

_SHOWN = 12


def remove(slugs: Sequence[str], *, with_data: bool, with_models: bool, yes: bool) -> None:
    """Show what goes, ask, delete.

    Raises:
        ConfigError: if a slug is unknown, or nobody can be asked.
        TransientError: if a stage of one of them is running.
    """
    where = with_server(settings()) if with_models else settings()
    planned = removal.plan(slugs, where, with_data=with_data, with_models=with_models)
    if all(one.is_empty for one in planned):
        console().print(f"{', '.join(slugs)}: removed before, nothing is left", markup=False)
        return
    for one in planned:
        _show(one)
    if agreed("delete this", yes=yes):
        removal.carry_out(planned, where)
        names = " ".join(one.slug for one in planned)
        _say(f"removed {names}; kept out of updates by {removal.RECORD}")
        if Git(REPOSITORY).is_work_tree:
            _say(f'make it last: git add -A && git commit -m "Remove {names}"')


def _show(one: removal.Removal) -> None:
    _say(f"{one.slug}: {_files(len(one.files))} of the repository")
    for path in one.slice.paths():
        inside = sum(path in file.parents for file in one.files)
        name = path.relative_to(one.slice.root).as_posix()
        _say(f"    {name}/  {_files(inside)}" if inside else f"    {name}")
    if one.unsaved:
        _say(f"  {len(one.unsaved)} of them are not committed as they are: git cannot restore")
        _list(one.unsaved)
    if one.data:
        _say("  data:")
        for path in one.data:
            _say(f"    {path}")
    if one.models:
        _say("  models: its experiment with all runs, its registered model with all versions")
    if not one.has_data or not one.models:
        kept = [name for name, goes in (("data", one.has_data), ("models", one.models)) if not goes]
        _say(f"  {' and '.join(kept)} stay (--with-data, --with-models)")


def _list(names: Sequence[str]) -> None:
    shown = names if len(names) <= _SHOWN + 1 else names[:_SHOWN]
    for name in shown:
        _say(f"    {name}")
    if len(shown) < len(names):
        _say(f"    … and {len(names) - len(shown)} more")


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _say(line: str) -> None:
    console().print(line, markup=False, soft_wrap=True)


def agreed(question: str, *, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            "nobody can be asked here, so nothing was deleted",
            expected="a terminal, or --yes",
            repair="add --yes",
        )
    if typer.confirm(f"{question}?"):
        return True
    _say("nothing was deleted")
    return False


def remove_again(*, yes: bool, root: Path = REPOSITORY) -> list[str]:
    """Delete what an update brought back of the removed use cases; returns their files."""
    found, own = removal.again(root)
    for slug in own:
        _say(
            f"{slug} is in {removal.RECORD} and did not come by an update: it stays. Take its line "
            f"out of that file to keep it, or: flightline remove {slug}"
        )
    there = [file.relative_to(one.root).as_posix() for one in found for file in one.files()]
    if there:
        _say(f"{_files(len(there))} of removed use cases came back:")
        _list(there)
    if there and not agreed("delete them again", yes=yes):
        return []
    deleted = removal.remove_again(found)
    _say(f"deleted {_files(len(deleted))} again" if deleted else "nothing came back")
    return deleted


def upstream(branch: str, root: Path = REPOSITORY) -> None:
    """Merge the platform's updates; removed use cases stay removed, conflicts on them included.

    Repeated while a merge goes on, it finishes that one.

    Raises:
        ConfigError: if the work tree has changes, git refuses, or conflicts are left for a person.
    """
    git = Git(root)
    if git.is_merging:
        _say("a merge is going on: finishing it")
    else:
        if changed := git.call("status", "--porcelain", "--untracked-files=no").splitlines():
            raise ConfigError(
                f"{_files(len(changed))} with changes that are not committed",
                expected="a clean work tree before a merge",
                repair="git commit or git stash, then run this again",
            )
        # A slice that was made from a removed one looks to git like that one under a new name:
        # the update's changes would go into it. Before 2.50, git's default strategy looks for
        # renames whatever it is told; since then, `recursive` is another name of it.
        plainly = ("-s", "recursive", "-X", "no-renames")
        git_merge = ("-c", "merge.directoryRenames=false", "merge", "--no-ff", "--no-commit")
        done = git.run(*git_merge, *plainly, branch)
        if done.returncode and not git.is_merging:
            raise ConfigError(
                f"git merge {branch} failed: {(done.stderr or done.stdout).strip()}",
                expected="a branch of the platform's repository, fetched before",
                repair="git remote add upstream URL && git fetch upstream",
            )
    remove_again(yes=True, root=root)
    if left := git.unmerged():
        raise ConfigError(
            "conflicts are left in " + ", ".join(left),
            expected="files that you have not changed merge by themselves",
            repair="mend them, git add them, then: make upstream",
        )
    if not git.is_merging:
        _say("already up to date")
        return
    git.call("commit", "--no-edit", "--quiet")
    _say(f"merged {branch}; check it with: make test")


def main() -> None:
    """`make upstream`: all code is loaded before the merge, which may leave it with conflicts."""
    parser = argparse.ArgumentParser(description=upstream.__doc__)
    parser.add_argument("branch", nargs="?", default="upstream/main")
    try:
        upstream(parser.parse_args().branch)
    except FlightlineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
