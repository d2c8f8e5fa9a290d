"""Which code made a model: by content, so it holds without git and with uncommitted changes."""

from __future__ import annotations

import subprocess
from hashlib import sha256

from ml.adapters.files import file_digest
from ml.settings import REPOSITORY

_SUFFIXES = {".py", ".sql", ".yml", ".yaml", ".csv"}


def code_digest(slug: str) -> str:
    """SHA-256 over every file that can change a model of this use case, 64 digits."""
    roots = ["ml/core", "ml/adapters", "ml/stages", f"ml/use_cases/{slug}", "dbt_project/macros"]
    roots += [f"dbt_project/models/{slug}", f"dbt_project/seeds/{slug}", f"feature_repo/{slug}"]
    digest = sha256()
    for root in roots:
        for path in sorted((REPOSITORY / root).rglob("*")):
            if path.suffix in _SUFFIXES:
                name = path.relative_to(REPOSITORY).as_posix()
                digest.update(f"{name}={file_digest(path)};".encode())
    return digest.hexdigest()


def code_tags() -> dict[str, str]:
    """What people look for: the commit, whether it was changed, and the locked environment."""
    lock = REPOSITORY / "uv.lock"
    return {
        "git.commit": _git("rev-parse", "HEAD") or "unknown",
        "git.dirty": str(bool(_git("status", "--porcelain"))).lower(),
        "env.lock_sha256": file_digest(lock)[:16] if lock.exists() else "unknown",
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
