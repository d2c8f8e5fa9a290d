"""Where alerts go: the log, a file in the home, a webhook.

The notifier never raises: whoever tells of a failure must not fail by it.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ml.adapters.files import append_line
from ml.core.alerts import Alert, Kind
from ml.settings import Settings

LOG = logging.getLogger("flightline")


class Notifier:
    """Tells alerts to all channels that the settings name; each works without the others."""

    def __init__(self, settings: Settings) -> None:
        self.file = settings.alerts
        self._webhook = settings.notify_webhook
        self._timeout_s = settings.notify_timeout_s

    def tell(self, alert: Alert) -> None:
        """The quick and safe channels first: the webhook may take as long as its time-out."""
        self._keep(alert)
        if self._webhook is None:
            return
        address = self._webhook.get_secret_value()
        if reason := _posted(address, payload(alert), timeout_s=self._timeout_s):
            self._keep(alert.undelivered(f"{_host(address)}: {reason}"))

    def was_told(self, alert: Alert) -> bool:
        """Whether something was told about the same try of the same task."""
        names = ("dag", "run", "task", "map_index", "try_number")
        return any(
            tuple(told.get(name) for name in names) == alert.identity
            for told in self._told()
            if told["kind"] != Kind.NOT_DELIVERED
        )

    def _told(self) -> list[dict[str, Any]]:
        try:
            return told_alerts(self.file)
        except OSError as error:
            LOG.error("cannot see in %s what was told: %s", self.file, error)
            return []  # to tell twice is better than not at all

    def _keep(self, alert: Alert) -> None:
        LOG.error("%s", alert.text.encode(errors="backslashreplace").decode())
        try:
            append(self.file, alert.to_plain())
        except OSError as error:
            LOG.error("the alert above is not in %s: %s", self.file, error)


def payload(alert: Alert) -> dict[str, Any]:
    """What the webhook gets: `text` is what Slack and its kin show, `alert` is for programs."""
    return {"text": alert.text, "alert": alert.to_plain()}


def told_alerts(file: Path) -> list[dict[str, Any]]:
    """All alerts of a file, the oldest first; a line that was cut off by a kill is left out."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [found for line in lines if (found := _parsed(line))]


def append(file: Path, record: dict[str, Any]) -> None:
    """A line for one record, in ASCII: a text may hold what UTF-8 cannot."""
    append_line(file, json.dumps(record))


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "kind" in found else {}


def _posted(address: str, body: dict[str, Any], *, timeout_s: float) -> str:
    """Send it; returns why that did not work.

    In a thread: a socket's time-out covers neither the look-up of a name nor an answer that
    trickles.
    """
    outcome = [f"no answer within {timeout_s:g} s"]

    def post() -> None:
        outcome[0] = _post(address, body, timeout_s)

    sender = threading.Thread(target=post, daemon=True)
    sender.start()
    sender.join(timeout_s)
    return outcome[0]


def _post(address: str, body: dict[str, Any], timeout_s: float) -> str:
    headers = {"Content-Type": "application/json"}
    data = json.dumps(body).encode()
    try:
        with urlopen(Request(address, data, headers), timeout=timeout_s):
            return ""
    except HTTPError as error:
        return f"status {error.code}"
    except Exception as error:  # noqa: BLE001 - whatever the network does, the task goes on
        return f"{type(error).__name__}: {error}"


def _host(address: str) -> str:
    """Without path and password: the address of a webhook is its secret."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
