"""Where things are: everything that differs between a laptop and production.

Read from the environment (`MLOPS_…`); what to *do* stands in a use case's spec instead.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml.core.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]
_PORT = "a port number, 0 to 65535"
_LONGEST_DAYS = 36_500  # calendars begin in the year 1
_DAYS = f"a number of days, 1 to {_LONGEST_DAYS}"
_EXPECTED = {  # in words, where the library's message would show a pattern
    "duckdb_memory_limit": "a size such as 2GB or 512MiB",
    "duckdb_threads": "a whole number, at least 1",
    "airflow_port": _PORT,
    "mlflow_port": _PORT,
    "keep_logs_days": _DAYS,
    "keep_airflow_days": _DAYS,
    "keep_runs_days": _DAYS,
    "keep_quarantine_days": _DAYS,
    "notify_timeout_s": "seconds, more than 0 and at most 30",
}
_SPECIAL = set("'#$%*?[]\\")  # DuckDB, dbt, SQLAlchemy and Airflow do not take them as they are
_SECRET = {"notify_webhook"}  # whoever knows such an address may write to it


class Settings(BaseSettings):
    """The platform's settings.

    Attributes:
        profile: which set of adapters is used.
        home: all state of the local profile: lake, warehouse, features, models, Airflow, logs.
        tracking_uri: MLflow server or database; by default the database file in the home. The
            command line sets it to the server of this home's platform while that is up.
        duckdb_memory_limit, duckdb_threads: caps for each DuckDB connection.
        airflow_port, mlflow_port: 0 means: choose a free one and keep it.
        keep_logs_days, keep_airflow_days, keep_runs_days, keep_quarantine_days: how old must be
            what `flightline gc` deletes: logs of components and dbt, Airflow's history and logs,
            MLflow runs without a version, quarantined rows.
        notify_webhook: gets each alert as JSON; Slack and its kin understand it. A secret.
        notify_timeout_s: how long a webhook may keep a failed task waiting.
        notify_runbooks: address of the folder with the runbooks, for links in alerts; default:
            their paths in the repository.
    """

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    profile: Literal["local"] = "local"
    home: Path = Field(default=REPOSITORY / ".mlops", validate_default=True)
    tracking_uri: str | None = None
    duckdb_memory_limit: str = Field(default="1GB", pattern=r"^\d+(\.\d+)?(MB|GB|MiB|GiB)$")
    duckdb_threads: int = Field(default=2, ge=1)
    airflow_port: int = Field(default=0, ge=0, le=65_535)
    mlflow_port: int = Field(default=0, ge=0, le=65_535)
    keep_logs_days: int = Field(default=30, ge=1, le=_LONGEST_DAYS)
    keep_airflow_days: int = Field(default=90, ge=1, le=_LONGEST_DAYS)
    keep_runs_days: int = Field(default=180, ge=1, le=_LONGEST_DAYS)
    keep_quarantine_days: int = Field(default=180, ge=1, le=_LONGEST_DAYS)
    notify_webhook: SecretStr | None = None
    notify_timeout_s: float = Field(default=3.0, gt=0, le=30)
    notify_runbooks: str | None = None

    @field_validator("home")
    @classmethod
    def _own_folder(cls, home: Path) -> Path:
        try:
            home = home.expanduser().resolve()  # Airflow refuses a relative home
        except RuntimeError as error:  # `~nobody`, or links in a circle
            raise ValueError(f"a folder ({error})") from error
        if REPOSITORY.is_relative_to(home) or home == _home_of_the_user():
            raise ValueError("a folder of its own: a fresh demo deletes everything in it")
        nearest = next(path for path in (home, *home.parents) if os.access(path, os.F_OK))
        if not nearest.is_dir():
            raise ValueError(f"a folder, and {nearest} is a file")
        # Not written to: what a person asks when a disk became read-only must be answered there.
        if not os.access(nearest, os.R_OK | os.X_OK):
            raise ValueError(
                f"a folder that you may read: mend owner, permissions or mount of {nearest}"
            )
        if special := sorted(set(str(home)) & _SPECIAL):
            raise ValueError(
                f"a path without {' '.join(special)}, which has a meaning in the addresses of "
                "databases or the settings of Airflow"
            )
        return home

    @field_validator("tracking_uri")
    @classmethod
    def _tracking_address(cls, uri: str | None) -> str | None:
        if uri is not None and not _is_tracking_address(uri):
            raise ValueError("http(s)://host[:port] or sqlite:///path")
        if uri is not None and uri.startswith("http") and "@" in uri:  # it would be in all links
            raise ValueError(
                "no user or password in it: MLflow reads them from MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return uri

    @field_validator("notify_webhook", "notify_runbooks")
    @classmethod
    def _web_address(cls, given: SecretStr | str | None) -> SecretStr | str | None:
        address = given.get_secret_value() if isinstance(given, SecretStr) else given
        if address is not None and not _is_web_address(address):
            raise ValueError("http(s)://host[:port]/path")
        return given

    @field_validator("mlflow_port")
    @classmethod
    def _another_port(cls, port: int, info: ValidationInfo) -> int:
        if port and port == info.data.get("airflow_port"):
            raise ValueError("another port than MLOPS_AIRFLOW_PORT")
        return port

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
    def platform_lock(self) -> Path:
        """Held while somebody starts, stops or replaces the platform."""
        return self.home / "platform.lock"

    @property
    def locks(self) -> Path:
        """A lock for each use case, held while a stage works on its state."""
        return self.home / "locks"

    def lock_of(self, slug: str) -> Path:
        return self.locks / f"{slug}.lock"

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def airflow_database(self) -> Path:
        return self.airflow_home / "airflow.db"

    @property
    def mlflow_database(self) -> Path:
        return self.home / "mlflow" / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.home / "mlflow" / "artifacts"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def alerts(self) -> Path:
        """What the notifier told, a JSON object in each line."""
        return self.logs / "alerts.jsonl"


def _home_of_the_user() -> Path | None:
    try:
        return Path("~").expanduser().resolve()
    except RuntimeError:  # a container's user has neither HOME nor a name
        return None


def _is_tracking_address(uri: str) -> bool:
    database = "sqlite:///"
    if uri.startswith(database):
        return len(uri) > len(database)
    parts = urlsplit(uri) if uri.startswith("http") and _is_web_address(uri) else None
    return parts is not None and not (parts.query or parts.fragment)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    has_host = bool(parts.hostname) and port != 0 and not parts.netloc.endswith(":")
    return parts.scheme in {"http", "https"} and has_host and not any(map(str.isspace, text))


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
        field = "_".join(str(part) for part in first["loc"])
        name = f"MLOPS_{field.upper()}"
        own_words, given = first["type"] == "value_error", str(first["input"])
        is_secret = field in _SECRET or (field == "tracking_uri" and "@" in given)
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"setting {name}={'…' if is_secret else given!r}",
            expected=message if own_words else _EXPECTED.get(field, message),
            repair=f"set or unset {name}" if name in os.environ else f"set {name}",
        ) from error
