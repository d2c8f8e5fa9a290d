"""A home that was restored into another folder works on, and the old one may be gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import forget_artifacts, platform_at

from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.local.backup import backup
from ml.local.restore import restore
from ml.settings import Settings
from ml.stages import reproduce, train

FIRST_AS_OF, SECOND_AS_OF = "2013-03-01", "2013-03-20"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]


@pytest.fixture(scope="module")
def moved(
    chain: Any, spec: UseCase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """The chain's home in another place, while its own is out of reach."""
    folder = tmp_path_factory.mktemp("moved")
    backup(Settings(home=chain.home), folder / "home.tar.zst", made_at="2013-06-01T00:00:00+00:00")
    restore(Settings(home=folder / "home"), folder / "home.tar.zst", replace=False)
    aside = chain.home.with_name("aside")
    chain.home.rename(aside)
    try:
        forget_artifacts()
        platform = platform_at(folder / "home", spec)
        yield dataclasses.replace(platform, code_digest=chain.platform.code_digest)
    finally:
        aside.rename(chain.home)
        forget_artifacts()


def test_no_file_but_logs_names_the_old_home(moved: Platform, chain: Any) -> None:
    home, old = Path(moved.tracking.settings.home), str(chain.home).encode()  # type: ignore[attr-defined]  # it is MLflow's
    named = {
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file() and old in path.read_bytes()
    }
    # What DuckDB has dropped stays in its file until the room is used again.
    assert {name for name in named if not name.startswith(("logs/", "warehouse/"))} == set()


def test_its_models_load_and_their_runs_are_found_again(
    moved: Platform, chain: Any, spec: UseCase
) -> None:
    for trained, as_of in ((chain.first, FIRST_AS_OF), (chain.second, SECOND_AS_OF)):
        assert moved.tracking.load_model(trained.run_id).columns
        found = train.run(moved, as_of=spec.as_of(as_of))
        assert (found.run_id, found.version, found.is_new) == (
            trained.run_id,
            trained.version,
            False,
        )
    assert reproduce.run(moved, run_id=chain.first.run_id).is_same
