"""Airflow's REST API, as much of it as the platform needs, as one of its named users."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request

from ml.core.errors import ConfigError, TransientError
from ml.local import records
from ml.local.ports import direct_opener, kept_ports, load_ports
from ml.local.records import Dag, ImportFailure, Run, TaskInstance
from ml.local.secrets import ENGINEER, load_secrets

if TYPE_CHECKING:
    from ml.settings import Settings

RETRY_AFTER_SECONDS = (0.2, 0.5, 1.0, 2.0)
PAGE_SIZE = 100


class Refused(ConfigError):
    """Airflow understood the request and said no.

    Attributes:
        status: HTTP status.
        is_repeat: an earlier attempt of the same call had no answer, so it may have taken effect.
    """

    def __init__(self, call: str, status: int, detail: str, *, is_repeat: bool) -> None:
        super().__init__(
            f"Airflow refused {call}: {status} {detail}",
            expected="a request that fits the Dags of this platform",
            repair="check the names and the key in the request",
        )
        self.status, self.is_repeat = status, is_repeat


class AirflowApi:
    """Client of one Airflow server, logged in as a named user.

    SQLite now and then makes a write time out with status 500, so calls that may be repeated are.

    Args:
        url: as in `http://127.0.0.1:8080`.

    Raises:
        TransientError: from every method, when the server does not answer.
        Refused: from every method (a `ConfigError`), with the server's reason.
    """

    def __init__(self, url: str, *, user: str, password: str, timeout_s: float = 60.0) -> None:
        self.url, self._user, self._password = url, user, password
        self._timeout_s, self._token = timeout_s, ""

    @classmethod
    def connect(cls, settings: Settings, *, user: str = ENGINEER) -> Self:
        """A client of this home's platform."""
        password = load_secrets(settings).passwords[user]
        ports = kept_ports(settings) or load_ports(settings)
        return cls(ports.airflow_url, user=user, password=password)

    def health(self) -> dict[str, Any]:
        """Heartbeats; needs no log-in and is not repeated: whoever asks is polling."""
        health: dict[str, Any] = self._send("GET", "/api/v2/monitor/health", None, is_repeat=False)
        return health

    def import_errors(self) -> list[ImportFailure]:
        found = self._pages("/importErrors", "import_errors")
        return [records.import_failure(error) for error in found]

    def dags(self) -> list[Dag]:
        return [records.dag(found) for found in self._pages("/dags", "dags")]

    def ensure_pool(self, name: str, *, slots: int = 1, description: str = "") -> None:
        body = {"slots": slots, "description": description, "include_deferred": False}
        try:
            self._call("POST", "/pools", {"name": name, **body})
        except Refused as refusal:
            if refusal.status != http.client.CONFLICT:
                raise
            self._call("PATCH", f"/pools/{quote(name)}", {"pool": name, **body})

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        self._call("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": is_paused})

    def trigger(
        self,
        dag_id: str,
        *,
        run_id: str,
        conf: Mapping[str, Any] | None = None,
        partition_key: str | None = None,
    ) -> Run:
        """Start a run; the run id makes it safe to repeat a call that was not answered."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        if partition_key is not None:
            body["partition_key"] = partition_key
        try:
            return records.run(self._call("POST", f"/dags/{quote(dag_id)}/dagRuns", body))
        except Refused as refusal:
            if refusal.status == http.client.CONFLICT and refusal.is_repeat:
                return self.get_run(dag_id, run_id)
            raise

    def get_run(self, dag_id: str, run_id: str) -> Run:
        return records.run(self._call("GET", _run_path(dag_id, run_id)))

    def runs(self, dag_id: str) -> list[Run]:
        """All runs of a Dag, the newest first."""
        query = {"order_by": "-run_after"}
        found = self._pages(f"/dags/{quote(dag_id)}/dagRuns", "dag_runs", query)
        return [records.run(run) for run in found]

    def repeat_run(self, dag_id: str, run_id: str) -> None:
        """Run what failed in a run again, and what waited for it, in the same run.

        All of it if no task failed, as in a run that timed out: else nothing would run.
        """
        tasks = self.task_instances(dag_id, run_id)
        is_any_failed = any(task.state == "failed" for task in tasks)
        self.clear_run(dag_id, run_id, only_failed=is_any_failed)

    def clear_run(self, dag_id: str, run_id: str, *, only_failed: bool) -> None:
        """Run all tasks of a run again, or the failed ones and what waited for them."""
        body = {"dry_run": False, "only_failed": only_failed}
        self._call("POST", f"{_run_path(dag_id, run_id)}/clear", body)

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        found = self._pages(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances")
        return [records.task_instance(task) for task in found]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """What one try of a task wrote, one line for each event."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self._call("GET", f"{path}?full_content=true")["content"]
        lines = [records.log_line(event) for event in content]
        return "\n".join(line for line in lines if not line.startswith(("::group", "::endgroup")))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries"
        return self._call("GET", f"{path}/{quote(key)}?stringify=false")["value"]

    def _pages(
        self, path: str, key: str, query: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            asked = urlencode({**(query or {}), "limit": PAGE_SIZE, "offset": offset})
            rows = self._call("GET", f"{path}?{asked}")[key]
            yield from rows
            offset += len(rows)
            if len(rows) < PAGE_SIZE:
                return

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """Log in if need be, send, and repeat while the server does not answer properly."""
        for attempt in range(len(RETRY_AFTER_SECONDS) + 1):
            try:
                return self._authorized(method, "/api/v2" + path, body, is_repeat=attempt > 0)
            except TransientError:
                if attempt == len(RETRY_AFTER_SECONDS):
                    raise
                time.sleep(RETRY_AFTER_SECONDS[attempt])
        raise AssertionError("unreachable")

    def _authorized(self, method: str, path: str, body: Any, *, is_repeat: bool) -> Any:
        if not self._token:
            self._log_in()
        try:
            return self._send(method, path, body, is_repeat=is_repeat)
        except Refused as refusal:
            if refusal.status != http.client.UNAUTHORIZED:
                raise
            self._log_in()  # a token lives for a day
            return self._send(method, path, body, is_repeat=is_repeat)

    def _log_in(self) -> None:
        login = {"username": self._user, "password": self._password}
        self._token = ""
        self._token = self._send("POST", "/auth/token", login, is_repeat=False)["access_token"]

    def _send(self, method: str, path: str, body: Any, *, is_repeat: bool) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, method=method, data=data, headers=headers)
        call = f"{method} {path}"
        try:
            with direct_opener().open(request, timeout=self._timeout_s) as answer:
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            if error.code >= http.client.INTERNAL_SERVER_ERROR:
                raise self._away(call, f"{error.code} {_detail(error)}") from error
            raise Refused(call, error.code, _detail(error), is_repeat=is_repeat) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._away(call, str(error)) from error

    def _away(self, call: str, reason: str) -> TransientError:
        return TransientError(
            f"Airflow at {self.url} did not answer {call}: {reason}",
            expected="a running platform",
            repair="flightline status; if it is down: make up",
        )


def _detail(error: HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text[:500]


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
