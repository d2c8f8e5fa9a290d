"""Variables of the shell that redirect the libraries behind the platform.

MLflow and dbt take each option that they are not given from `MLFLOW_…` and `DBT_…`. Those of
another project would choose another registry or target here, or build all tables anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_PREFIXES = ("DBT_", "MLFLOW_", "_MLFLOW_")  # the last: what a server hands to its own processes
_KEPT = (  # beginnings: data of dbt code; how to reach and log in to a server that settings name
    "DBT_ENV_",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",  # a restriction is nobody else's business
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT",
    "MLFLOW_BOTO_CLIENT_",
    "MLFLOW_HTTP_REQUEST_",
    "MLFLOW_S3_",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION",  # the server begins as a process that imports this
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
)


def is_foreign(name: str) -> bool:
    """Whether a variable would change what MLflow or dbt does; credentials do not.

    >>> [is_foreign(f"MLFLOW_{name}") for name in ("REGISTRY_STORE_URI", "TRACKING_TOKEN")]
    [True, False]
    >>> [is_foreign(name) for name in ("DBT_FULL_REFRESH", "DBT_ENV_SECRET_KEY", "MLOPS_HOME")]
    [True, False, False]
    """
    return name.startswith(_PREFIXES) and not name.startswith(_KEPT)


def without_foreign(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that stay, with their values."""
    return {name: value for name, value in variables.items() if not is_foreign(name)}


@contextmanager
def only_ours(ours: Mapping[str, str]) -> Iterator[None]:
    """This process's environment without foreign variables and with `ours`; as before afterwards.

    Never empty in between: other threads may look.
    """
    before = dict(os.environ)
    for name in before.keys() - without_foreign(before).keys():
        del os.environ[name]
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
