from __future__ import annotations

import pytest
from documented import Reader


@pytest.fixture(scope="session")
def after_the_tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, list[str]]:
    """Who has typed the tutorial up to Airflow, and what went otherwise than it says."""
    reader = Reader(tmp_path_factory.mktemp("tutorial"))
    return reader, reader.read("docs/tutorial.md")
