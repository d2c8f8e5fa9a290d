"""Where things are: everything that differs between a laptop and production.

Read from the environment (`MLOPS_…`); what to *do* stands in a use case's spec instead.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml.core.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """The platform's settings.

    Attributes:
        profile: which set of adapters is used.
        home: all state of the local profile: lake, warehouse, features, models, Airflow, logs.
        tracking_uri: MLflow server; by default the one that runs here, else its database file.
        duckdb_memory_limit, duckdb_threads: caps for each DuckDB connection.
        airflow_port, mlflow_port: 0 means: choose a free one and keep it.
    """

    model_config = SettingsConfigDict(env_prefix="MLOPS_", extra="ignore", frozen=True)

    profile: Literal["local"] = "local"
    home: Path = REPOSITORY / ".mlops"
    tracking_uri: str | None = None
    duckdb_memory_limit: str = Field(default="1GB", pattern=r"^\d+(\.\d+)?(MB|GB|MiB|GiB)$")
    duckdb_threads: int = Field(default=2, ge=1)
    airflow_port: int = Field(default=0, ge=0, le=65_535)
    mlflow_port: int = Field(default=0, ge=0, le=65_535)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()  # Airflow refuses a relative home

    @property
    def dbt_project(self) -> Path:
        return REPOSITORY / "dbt_project"

    @property
    def feature_repo(self) -> Path:
        return REPOSITORY / "feature_repo"

    @property
    def dags(self) -> Path:
        return REPOSITORY / "dags"

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def mlflow_database(self) -> Path:
        return self.home / "mlflow" / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.home / "mlflow" / "artifacts"

    @property
    def logs(self) -> Path:
        return self.home / "logs"


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: naming the variable, its value and what was expected.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "MLOPS_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(
            f"setting {name}={first['input']!r}",
            expected=first["msg"],
            repair=f"set or unset {name}",
        ) from error
