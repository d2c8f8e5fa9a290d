"""Which code made a model: by content, so it holds without git and with uncommitted changes."""

from __future__ import annotations

import subprocess
from hashlib import sha256

from ml.adapters.files import file_digest
from ml.settings import REPOSITORY

_SUFFIXES = {".py", ".sql", ".yml", ".yaml", ".csv"}


def code_digest(slug: str) -> str:
    """SHA-256 over every file that can change a model of this use case, 64 digits.

    The lock file is among them: another version of a library may give another model.
    """
    folders = ["ml/core", "ml/adapters", "ml/stages", f"ml/use_cases/{slug}", "dbt_project/macros"]
    folders += [f"dbt_project/models/{slug}", f"dbt_project/seeds/{slug}", f"feature_repo/{slug}"]
    single = ["feature_repo/sources.py", "feature_repo/feature_store.local.yaml", "uv.lock"]
    single += ["dbt_project/dbt_project.yml", "dbt_project/profiles.yml"]
    found = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*"))]
    files = [path for path in found if path.suffix in _SUFFIXES]
    files += [REPOSITORY / name for name in single if (REPOSITORY / name).exists()]
    digest = sha256()
    for path in files:
        digest.update(f"{path.relative_to(REPOSITORY).as_posix()}={file_digest(path)};".encode())
    return digest.hexdigest()


def code_tags() -> dict[str, str]:
    """What people look for: the commit, whether it was changed, and the locked environment."""
    lock = REPOSITORY / "uv.lock"
    changed = _git("status", "--porcelain")
    return {
        "git.commit": _git("rev-parse", "HEAD") or "unknown",
        "git.dirty": "unknown" if changed is None else str(bool(changed)).lower(),
        "env.lock_sha256": file_digest(lock)[:16] if lock.exists() else "unknown",
    }


def _git(*arguments: str) -> str | None:
    """What git prints, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
