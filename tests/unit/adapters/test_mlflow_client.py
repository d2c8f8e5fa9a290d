"""What errors of MLflow mean: away, to be tried again, or an answer."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
from requests import ConnectionError as NoConnection
from requests import HTTPError, ReadTimeout, Response

from ml.adapters.mlflow_client import is_away, mlflow_errors
from ml.core.errors import DataError, TransientError


def answered(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(response=response)


AWAY = [
    NoConnection("refused"),
    ReadTimeout(),
    answered(503),
    answered(429),
    ConnectionResetError(),
    TimeoutError(),
    MlflowException("HTTPConnectionPool(...): Max retries exceeded with url: /"),
    MlflowException("API request to http://a failed with timeout exception b."),
    MlflowException("locked", TEMPORARILY_UNAVAILABLE),
]
ANSWERED = [
    answered(404),
    answered(403),
    FileNotFoundError("gone"),
    OSError(28, "No space left on device"),
    MlflowException("Run 'a' not found", RESOURCE_DOES_NOT_EXIST),
    DataError("broken"),
]


@pytest.mark.parametrize("error", AWAY, ids=repr)
def test_no_answer_may_be_tried_again(error: Exception) -> None:
    assert is_away(error)
    with (
        pytest.raises(TransientError, match="does not answer at http://a"),
        mlflow_errors("http://a"),
    ):
        raise error


@pytest.mark.parametrize("error", ANSWERED, ids=repr)
def test_an_answer_stays_what_it_is(error: Exception) -> None:
    assert not is_away(error)
    with pytest.raises(type(error)) as caught, mlflow_errors("http://a"):
        raise error
    assert caught.value is error
