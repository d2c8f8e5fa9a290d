"""As much of git as removing use cases and merging updates need, run in one repository."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ml.core.errors import ConfigError


class Git:
    """git in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What git did; its exit code is for the caller to judge.

        Raises:
            ConfigError: if there is no git.
        """
        try:
            return subprocess.run(
                ["git", "-C", str(self.root), *arguments],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise ConfigError("git is not installed", repair="install git") from error

    def call(self, *arguments: str) -> str:
        """What git prints.

        Raises:
            ConfigError: with git's own words, if it fails.
        """
        done = self.run(*arguments)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise ConfigError(f"git {arguments[0]} failed: {said}", repair="see the text of git")
        return done.stdout

    @property
    def is_work_tree(self) -> bool:
        """Whether `root` is the top of a work tree: an unpacked archive has no git."""
        try:
            done = self.run("rev-parse", "--show-toplevel")
        except ConfigError:
            return False
        return done.returncode == 0 and Path(done.stdout.strip()).resolve() == self.root.resolve()

    @property
    def is_merging(self) -> bool:
        return self.run("rev-parse", "--quiet", "--verify", "MERGE_HEAD").returncode == 0

    def lines(self, *arguments: str) -> list[str]:
        """What git prints with `-z`, one entry each."""
        return [line for line in self.call(*arguments).split("\0") if line]

    def unmerged(self) -> list[str]:
        """Files with conflicts."""
        return sorted(set(self.lines("diff", "-z", "--name-only", "--diff-filter=U")))

    def not_committed(self, paths: Sequence[str]) -> list[str]:
        """Files below `paths` that git could not bring back as they are."""
        if not paths:
            return []
        found = self.lines("status", "-z", "--porcelain", "--untracked-files=all", "--", *paths)
        return [line[3:] for line in found if len(line) > 3 and line[0] != "D" and line[1] != "D"]

    def came_by_merge(self, path: str) -> bool:
        """Whether only the other side of the merge that goes on, or has just ended, had `path`."""
        ours, theirs = ("HEAD", "MERGE_HEAD") if self.is_merging else ("HEAD^1", "HEAD^2")
        return self._has(theirs, path) and not self._has(ours, path)

    def _has(self, commit: str, path: str) -> bool:
        return self.run("cat-file", "-e", f"{commit}:{path}").returncode == 0

    def forget(self, paths: Sequence[str]) -> None:
        """Take `paths` out of the index, in whatever state of a conflict they are."""
        self.call("rm", "-r", "-f", "-q", "--cached", "--ignore-unmatch", "--", *paths)
