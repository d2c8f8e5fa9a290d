"""The client of MLflow, and what its errors mean."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from ml.adapters.files import database_error, exclusive, replacing, storage_error
from ml.core.errors import ConfigError, FlightlineError, TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE, _MAKE_SECONDS = "sqlite:///", 120.0
# MLflow keeps of a failed request only its text.
_NO_SPACE = os.strerror(errno.ENOSPC)
_AWAY = ("Max retries exceeded", "failed with timeout exception", "Connection aborted")


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Say in a line that the server is away or the disk refuses: MLflow's texts are pages long."""
    try:
        yield
    except FlightlineError:
        raise
    except Exception as error:
        if told := _disk_error(error, _database(uri)):
            raise told from error
        if is_away(error):
            raise _away(uri) from error
        raise


def _database(uri: str) -> Path | None:
    """The file of a local database."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def _disk_error(error: Exception, database: Path | None) -> FlightlineError | None:
    if isinstance(error, OSError):
        place = error.filename2 or error.filename or database or tempfile.gettempdir()
        return storage_error(error, Path(place))
    if _NO_SPACE in str(error):  # of a download, MLflow keeps only the text
        return storage_error(OSError(errno.ENOSPC, _NO_SPACE), Path(tempfile.gettempdir()))
    lines = str(error).splitlines() if database else ()
    of_sqlite = [line for line in lines if line.startswith("(sqlite3.")]
    return database_error(of_sqlite[0], database) if database and of_sqlite else None


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


def says_nothing(error: BaseException) -> bool:
    """Whether an error tells nothing of what was asked for: MLflow is away, or the disk refuses.

    What is read comes as a copy, so that a full disk hides it, too.

    >>> says_nothing(OSError(28, "No space left on device")), says_nothing(FileNotFoundError())
    (True, False)
    """
    return is_away(error) or (isinstance(error, Exception) and bool(_disk_error(error, None)))


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
        ConfigError: if it refuses the log-in, or nobody vouches for its certificate.
    """
    if uri.startswith("http"):
        _require_answer(uri)
    import mlflow

    for noisy in ("alembic", "mlflow.tracking._model_registry.client", "mlflow.pyfunc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It misses pip in an environment made by uv, at every model.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    # It prints the traceback of each error that it raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if database := _database(uri):
        make(database)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient()


def _require_answer(uri: str) -> None:
    """Ask once, as MLflow asks: with its log-in and certificates. It would try for minutes."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        as_asked = get_default_host_creds(uri)
        answer = http_request(as_asked, "/health", "GET", max_retries=0, timeout=5)
    except (MlflowException, ValueError) as error:  # the latter: of a variable
        if is_away(error) and "SSLError" not in str(error):
            raise _away(uri) from error
        raise _refused(uri, str(error).rsplit("Caused by ", 1)[-1]) from error
    if answer.status_code != HTTPStatus.OK:
        raise _refused(uri, f"it answers {answer.status_code} {answer.reason}")


def _refused(uri: str, why: str) -> ConfigError:
    return ConfigError(
        f"MLflow at {uri} cannot be used: {why}",
        expected="a tracking server, with a log-in and certificates that fit",
        repair="mend MLOPS_TRACKING_URI; or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
        "or MLFLOW_TRACKING_TOKEN; or MLFLOW_TRACKING_SERVER_CERT_PATH",
    )


def make(database: Path) -> None:
    """Create the database, whole or not at all, unless there is one.

    MLflow's migrations do not go on from where a kill has stopped them: "duplicate column name".
    One process at a time does it: whoever came second would replace what the first already uses.
    """
    if _is_made(database):
        return
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    with exclusive(database.with_suffix(".lock"), wait_seconds=_MAKE_SECONDS):
        if _is_made(database):  # by another process meanwhile
            return
        with replacing(database) as temporary:
            engine = create_engine(f"{_SQLITE}{temporary}")
            _initialize_tables(engine)
            engine.dispose()


def _is_made(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0
