"""The client of MLflow, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from ml.core.errors import TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow keeps of a failed request only its text.
_AWAY = ("Max retries exceeded", "failed with timeout exception", "Connection aborted")


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Say in one line that the server is away; the client's own text is a page long."""
    try:
        yield
    except Exception as error:
        if is_away(error):
            raise _away(uri) from error
        raise


def is_away(error: BaseException) -> bool:
    """Whether an error says that MLflow does not answer, not that something is missing or wrong.

    Of what requests raises, an answer that refuses (such as 404) is not away.

    >>> is_away(ConnectionRefusedError()), is_away(FileNotFoundError())
    (True, False)
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    if isinstance(error, MlflowException):
        is_busy = error.error_code == "TEMPORARILY_UNAVAILABLE"
        return is_busy or any(text in str(error) for text in _AWAY)
    if isinstance(error, RequestException):
        status = error.response.status_code if error.response is not None else None
        return status is None or status >= 500 or status in (408, 429)
    return isinstance(error, ConnectionError | TimeoutError)


def _away(uri: str) -> TransientError:
    return TransientError(
        f"MLflow does not answer at {uri}",
        expected="a tracking server, or MLOPS_TRACKING_URI unset to use the local database",
        repair="start that server (flightline up starts this machine's), "
        "or unset MLOPS_TRACKING_URI",
    )


def client(uri: str) -> MlflowClient:
    """A client of the server at `uri`, which must be there.

    Raises:
        TransientError: at once, if a server does not answer.
    """
    if uri.startswith("http"):
        try:
            urlopen(f"{uri}/health", timeout=5).close()
        except (URLError, OSError) as error:
            raise _away(uri) from error
    database = uri.removeprefix("sqlite:///")
    if database != uri:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    import mlflow

    chatty = ("mlflow.store.db.utils", "mlflow.tracking._model_registry.client", "mlflow.pyfunc")
    for noisy in ("alembic", *chatty):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It misses pip in an environment made by uv, at every model.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient()
