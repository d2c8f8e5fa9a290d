"""The upgrade of Airflow's database, with a migration that only seems to be one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml.local import supervisor
from ml.settings import Settings


def test_no_copy_counts_any_more_once_the_version_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next upgrade would bring back the history of months ago."""
    where = Settings(home=tmp_path / "home")
    where.airflow_home.mkdir(parents=True)
    with closing(sqlite3.connect(where.airflow_database)) as database, database:
        database.execute("create table runs (id)")
    begun = "*.begun"

    def migrate(*_: Any) -> Any:
        assert len(list(where.airflow_home.glob(begun))) == 1
        return SimpleNamespace(wait=lambda: 0)

    write = Path.write_text

    def killed(path: Path, text: str) -> None:
        if path.name != "migrated-to":
            write(path, text)
            return
        assert not list(path.parent.glob(begun))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            supervisor._migrate(where, migrate, print)
    supervisor._migrate(where, migrate, print)
    assert (where.airflow_home / "migrated-to").exists()
