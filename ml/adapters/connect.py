"""Puts the adapters of the profile together."""

from __future__ import annotations

from ml.adapters.code import code_digest, code_tags
from ml.adapters.features import FeastFeatures
from ml.adapters.lake import ParquetLake
from ml.adapters.objects import LocalObjects
from ml.adapters.registry import MlflowRegistry
from ml.adapters.tracking import MlflowTracking
from ml.adapters.warehouse import DuckDBWarehouse
from ml.core.ports import Platform
from ml.settings import Settings
from ml.use_cases import load_spec


def tracking_uri(settings: Settings) -> str:
    """The server from the settings, else MLflow's database in the home, without a server."""
    if settings.tracking_uri:
        return settings.tracking_uri.rstrip("/")
    return f"sqlite:///{settings.mlflow_database}"


def connect(slug: str, settings: Settings) -> Platform:
    """Everything outside, for one use case; nothing is opened before it is used."""
    spec = load_spec(slug)
    uri = tracking_uri(settings)
    return Platform(
        spec=spec,
        lake=ParquetLake(LocalObjects(settings.lake), slug),
        warehouse=DuckDBWarehouse(spec, settings),
        features=FeastFeatures(spec, settings),
        tracking=MlflowTracking(spec, settings, uri),
        registry=MlflowRegistry(spec, uri),
        code_digest=code_digest(slug),
        code_tags=code_tags(),
    )
