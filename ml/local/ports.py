"""Where the local platform listens: loopback ports, chosen once and kept between starts."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from ml.core.errors import ConfigError
from ml.local.secrets import write_private

if TYPE_CHECKING:
    from ml.settings import Settings

LOOPBACK = "127.0.0.1"
# Below the ports that systems lend to outgoing connections: one of those could be lent away while
# the platform is down. At random, so that two clones on one machine do not meet.
CHOSEN_FROM = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    airflow: int
    mlflow: int

    @property
    def airflow_url(self) -> str:
        return f"http://{LOOPBACK}:{self.airflow}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{LOOPBACK}:{self.mlflow}"


@cache
def direct_opener() -> OpenerDirector:
    """What asks the platform's servers: past any proxy, as a company's cannot see this machine.

    Kept: from Python 3.12 on, each new one reads all certificates of the system.
    """
    return build_opener(ProxyHandler({}))


def ports_file(settings: Settings) -> Path:
    return settings.home / "platform.json"


def kept_ports(settings: Settings) -> Ports | None:
    """Where this home's platform listens, or did at its last start; None before the first."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Ports(**json.loads(ports_file(settings).read_text()))
    return None


def load_ports(settings: Settings) -> Ports:
    """For the next start: the ports of the settings, else the kept ones, else free ones.

    Nothing is written: free ones are others at each call until `keep_ports`.
    """
    kept = kept_ports(settings) or Ports(*_free_ports())
    ports = Ports(settings.airflow_port or kept.airflow, settings.mlflow_port or kept.mlflow)
    if ports.airflow != ports.mlflow:  # else one was set to what was kept for the other
        return ports
    another = next(port for port in _free_ports() if port != ports.airflow)
    return replace(ports, **{"airflow" if settings.mlflow_port else "mlflow": another})


def keep_ports(settings: Settings, ports: Ports) -> None:
    """Remember them for the next start, and for whoever asks where this one listens."""
    write_private(ports_file(settings), json.dumps(asdict(ports)))


def check_free(settings: Settings, ports: Ports) -> None:
    """Refuse to start on a port that another program holds.

    Raises:
        ConfigError: naming the port and, where the system tells, the program.
    """
    given = {"airflow": settings.airflow_port, "mlflow": settings.mlflow_port}
    for name, port in asdict(ports).items():
        if not is_free(port) and not _is_released(port):
            is_kept = not given[name] and ports_file(settings).exists()
            anew = f", or choose anew: rm {ports_file(settings)}" if is_kept else ""
            raise ConfigError(
                f"port {port} for {name} is taken{_holder(port)}",
                expected=f"nothing else listens on {LOOPBACK}:{port}",
                repair=f"stop that program, or set MLOPS_{name.upper()}_PORT to a free port{anew}",
            )


def _is_released(port: int, *, within_seconds: float = 5.0) -> bool:
    """Wait for a port that nobody holds, or only one that was killed and closes it in a moment."""
    deadline = time.monotonic() + within_seconds
    while not _holder(port) and time.monotonic() < deadline:
        if is_free(port):
            return True
        time.sleep(0.1)
    return is_free(port)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of a server that has just stopped linger: they are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_ports() -> list[int]:
    candidates = random.sample(CHOSEN_FROM, k=100)
    return list(itertools.islice(filter(is_free, candidates), 2))


def _holder(port: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                if process.cmdline():  # a killed process loses its memory before its sockets
                    return f" by {process.name()} (process {process.pid})"
    return ""
