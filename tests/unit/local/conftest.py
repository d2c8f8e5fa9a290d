from __future__ import annotations

from pathlib import Path

import pytest

from ml.settings import Settings


@pytest.fixture
def scratch(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", airflow_port=0, mlflow_port=0)
