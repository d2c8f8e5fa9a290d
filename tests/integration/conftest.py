"""The real chain, once for a session: real data, dbt, Feast, MLflow, LightGBM, without Airflow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import copy_home, forget_artifacts, platform_at, short_spec

from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.core.spec import UseCase
from ml.local.environment import platform_environment
from ml.local.ports import keep_ports, load_ports
from ml.local.secrets import load_secrets
from ml.local.supervisor import SCRIPTS
from ml.settings import Settings
from ml.stages import ingest, materialize, promote, score, train, transform, validate

FIRST_AS_OF, SECOND_AS_OF, LAST = "2013-03-01", "2013-03-20", "2013-03-21"


@dataclass(frozen=True)
class Chain:
    """A home in which the whole story has happened. Tests read it; those that write take a copy."""

    home: Path
    platform: Platform
    days: tuple[Partition, ...]
    ingested: Any
    transformed: Any
    first: Any
    second: Any
    verdicts: tuple[Any, Any]
    promoted: tuple[Any, Any]
    scored: Any


@pytest.fixture(scope="session")
def spec() -> UseCase:
    return short_spec()


@pytest.fixture(scope="session")
def data_home(tmp_path_factory: pytest.TempPathFactory, spec: UseCase) -> tuple[Path, Any, Any]:
    """80 days of raw data, tables and features, and an online store; no models yet."""
    home = tmp_path_factory.mktemp("data") / "home"
    platform = platform_at(home, spec)
    days = spec.partitions(spec.coverage.first, LAST)
    ingested = ingest.run(platform, partitions=days)
    transformed = transform.run(platform, partitions=days)
    materialize.run(platform, partitions=days[-3:])
    return home, ingested, transformed


@pytest.fixture(scope="session")
def chain(
    data_home: tuple[Path, Any, Any], tmp_path_factory: pytest.TempPathFactory, spec: UseCase
) -> Chain:
    """First model, challenger as canary, and two days scored by both."""
    source, ingested, transformed = data_home
    home = copy_home(source, tmp_path_factory.mktemp("chain") / "home")
    platform = platform_at(home, spec)
    platform.features.apply()
    days = spec.partitions(spec.coverage.first, LAST)
    for table in ("flights", "weather"):  # data time is the second promotion's, not two days later
        for day in days[-2:]:
            platform.lake.remove("raw", table, day.key)
    trained, verdicts, promoted = [], [], []
    for as_of in (FIRST_AS_OF, SECOND_AS_OF):
        trained.append(train.run(platform, as_of=spec.as_of(as_of)))
        verdicts.append(validate.run(platform, version=trained[-1].version))
        promoted.append(promote.run(platform, version=trained[-1].version))
    ingest.run(platform, partitions=days[-2:])
    scored = score.run(platform, partitions=days[-2:], source=Source.SCORE)
    return Chain(
        home,
        platform,
        days,
        ingested,
        transformed,
        trained[0],
        trained[1],
        (verdicts[0], verdicts[1]),
        (promoted[0], promoted[1]),
        scored,
    )


@pytest.fixture(autouse=True)
def _own_artifacts() -> None:
    forget_artifacts()


@pytest.fixture
def broken(chain: Chain, tmp_path: Path, spec: UseCase) -> Callable[..., Platform]:
    """A copy of the chain's home to break; another spec may be given."""

    def copy(other: UseCase | None = None, **fields: Any) -> Platform:
        home = copy_home(chain.home, tmp_path / "home")
        platform = platform_at(home, other or spec, **fields)
        platform.features.apply()
        return platform

    return copy


@pytest.fixture
def empty(tmp_path: Path, spec: UseCase) -> Platform:
    """A platform in an empty home."""
    return platform_at(tmp_path / "home", spec)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with Airflow's real tables, and no rows; 8 CPU seconds. Tests take a copy."""
    made = Settings(home=tmp_path_factory.mktemp("airflow") / "home")
    made.airflow_home.mkdir(parents=True)
    keep_ports(made, load_ports(made))
    ports, secrets = load_ports(made), load_secrets(made)
    env = platform_environment(made, secrets, ports, inherited=os.environ)
    subprocess.run([SCRIPTS / "airflow", "db", "migrate"], env=env, check=True, capture_output=True)
    return made.home
